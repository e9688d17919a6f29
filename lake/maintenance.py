"""Compaction, checkpoints and vacuum, one table and one process at a time.

Two compactions from handles opened before each other's commit duplicate every row in delta-rs 1.6, silently. So this
runs under a lease, on a handle opened inside it, and compares the recorded rows of the version it made with those of
the version just before; should they differ, the table is restored and the error says so.

Compaction keeps the order of the rows, so a run's rows, which are written together and sorted, stay together.
"""

from __future__ import annotations

import datetime as dt
import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

from deltalake.exceptions import CommitFailedError

from lake.delta import EXCLUSIVE, HOOKS, recorded_rows, writer_properties
from lake.errors import ConflictError, MaintenanceError
from lake.history import commits_since
from lake.store import CURSORS, PINS
from lake.tables import contract_of

if TYPE_CHECKING:
    from lake.store import Lake

# Files below it are merged; larger ones are read whole too often for the sake of one run.
TARGET_FILE_BYTES = 128 << 20
# Written once and read for years: a slower level than that of the first write pays.
COMPRESSION_LEVEL = 3
# A table that is written faster than this many compactions is compacted another night.
MAX_COMPACTIONS = 5
# Writers' clocks, the store's and ours may differ by this much.
CLOCK_SLACK_HOURS = 1


@dataclass(frozen=True, kw_only=True)
class MaintenanceResult:
    """What maintenance did to a table."""

    table: str
    version: int
    row_count: int
    files_before: int
    files_after: int
    files_vacuumed: int
    kept_versions: tuple[int, ...]


def maintain(lake: Lake, table: str, *, retention_hours: int) -> MaintenanceResult | None:
    """Compact, checkpoint and vacuum `table`, keeping every version that a pin or cursor needs.

    Returns None if the table does not exist. Raises `LeaseHeldError` when another process maintains it,
    `ConflictError` when its writers leave no room for a compaction, and `MaintenanceError` when rows would have
    changed (the table is then as before).
    """
    handle = lake.handle(table)
    if handle is None:
        return None
    with lake.lease(f"maintain:{table}"):
        files_before = len(handle.file_uris())
        _compact(lake, table)
        handle = lake.open_for_write(contract_of(table))
        handle.create_checkpoint()
        kept, vacuumed = _vacuum(lake, table, retention_hours)
        handle = lake.open_for_write(contract_of(table))
        return MaintenanceResult(
            table=table,
            version=handle.version(),
            row_count=recorded_rows(handle),
            files_before=files_before,
            files_after=len(handle.file_uris()),
            files_vacuumed=vacuumed,
            kept_versions=kept,
        )


def _compact(lake: Lake, table: str) -> None:
    """Merge small files; tried again from a fresh handle when a writer came between."""
    first_version = lake.version(table)
    for _ in range(MAX_COMPACTIONS):
        handle = lake.open_for_write(contract_of(table))
        before = handle.version()
        try:
            handle.optimize.compact(
                target_size=TARGET_FILE_BYTES,
                writer_properties=writer_properties(contract_of(table), compression_level=COMPRESSION_LEVEL),
                commit_properties=EXCLUSIVE,
                post_commithook_properties=HOOKS,
            )
        except CommitFailedError:
            continue
        _verify(lake, table, before)
        return
    raise ConflictError.gave_up(table, "maintain", MAX_COMPACTIONS, first_version, lake.version(table))


def _verify(lake: Lake, table: str, before: int) -> None:
    """Compare the rows of each compaction after version `before` with those of the version it replaced.

    Appends may have landed before and after the compaction, so it is looked up in the log.
    """
    for version, commit in commits_since(lake, table, before).items():
        if commit["operation"] != "OPTIMIZE":
            continue
        rows_before, rows_after = _rows_at(lake, table, version - 1), _rows_at(lake, table, version)
        if rows_after != rows_before:
            raise MaintenanceError(_undo(lake, table, version, rows_before, rows_after))


def _undo(lake: Lake, table: str, compacted: int, rows_before: int, rows_after: int) -> str:
    """Restore the version before a bad compaction, unless later commits stand on it; says what was done."""
    handle = lake.open_for_write(contract_of(table))
    fault = f"Compacting {table} in version {compacted} turned {rows_before} rows into {rows_after}"
    if handle.version() != compacted:
        return (
            f"{fault}, and version {handle.version()} already stands on it. Stop the writers of this table, keep "
            f"the rows added since with changes({table!r}, {compacted}), and restore version {compacted - 1}."
        )
    handle.restore(compacted - 1, commit_properties=EXCLUSIVE)
    return f"{fault}; it was restored to version {compacted - 1}. Please report this."


def _rows_at(lake: Lake, table: str, version: int) -> int:
    handle = lake.handle(table, at=version)
    return 0 if handle is None else recorded_rows(handle)


def _vacuum(lake: Lake, table: str, retention_hours: int) -> tuple[tuple[int, ...], int]:
    """Remove files that no kept version needs; gives the kept versions and how many files went.

    `keep_versions` protects data files alone. The feed's own files are removed by age, so the retention is drawn out
    to the version that the slowest consumer has read: all that it has still to read is younger.
    """
    pinned = lake.read(PINS, columns=["version"], where={"table": table})["version"].to_list()
    cursors = lake.read(CURSORS, columns=["version"], where={"table": table})["version"].to_list()
    handle = lake.open_for_write(contract_of(table))
    newest = handle.version()
    slowest = max(min(cursors, default=newest), 0)
    kept = tuple(sorted({*pinned, slowest} - {newest}))
    removed = handle.vacuum(
        retention_hours=max(retention_hours, _hours_since(lake, table, slowest) if slowest < newest else 0),
        dry_run=False,
        enforce_retention_duration=False,
        full=True,
        keep_versions=list(kept) or None,
        post_commithook_properties=HOOKS,
    )
    return kept, len(removed)


def _hours_since(lake: Lake, table: str, version: int) -> int:
    """Whole hours, rounded up, since `version` was committed, and the slack."""
    committed_ms = commits_since(lake, table, version - 1)[version]["timestamp"]
    age = dt.datetime.now(dt.UTC) - dt.datetime.fromtimestamp(committed_ms / 1000, dt.UTC)
    return math.ceil(age / dt.timedelta(hours=1)) + CLOCK_SLACK_HOURS
