"""What a table's log says of its past: when versions were committed, and which table it is."""

from __future__ import annotations

import datetime as dt
from typing import TYPE_CHECKING, Any

from lake.errors import ConflictError, UserError
from lake.tables import contract_of

if TYPE_CHECKING:
    from lake.store import Lake

# A log that grows this often while it is read belongs to writers that never pause.
_MAX_READS = 20


def commits_since(lake: Lake, table: str, version: int) -> dict[int, dict[str, Any]]:
    """What the log says of every version after `version`, oldest first.

    `history` reads the log's newest entries but numbers them from the handle's version, so it is believed only when
    nobody committed meanwhile.
    """
    for _ in range(_MAX_READS):
        handle = lake.open_for_write(contract_of(table))
        newest = handle.version()
        if newest <= version:
            return {}
        entries = handle.history(limit=newest - version)
        if lake.version(table) == newest:
            return dict(zip(range(version + 1, newest + 1), reversed(entries), strict=True))
    raise ConflictError(
        f"The log of {table} grew {_MAX_READS} times while it was read; look again when its writers are done."
    )


def committed_at(lake: Lake, table: str, version: int) -> dt.datetime:
    """When `version` was committed, by the clock of whoever did; raises `UserError` if there is no such version."""
    commits = commits_since(lake, table, version - 1) if lake.exists(table) else {}
    if version not in commits:
        raise UserError(f"{table} has no version {version}; its newest is {lake.version(table)}.")
    return dt.datetime.fromtimestamp(commits[version]["timestamp"] / 1000, dt.UTC)


def table_id(lake: Lake, table: str) -> str | None:
    """The id that Delta gave the table when it was created; None while it does not exist.

    A table that was deleted and made anew in the same place has versions of the same numbers and another id.
    """
    handle = lake.handle(table)
    return None if handle is None else str(handle.metadata().id)
