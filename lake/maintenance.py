"""Compaction, checkpoints and vacuum, one table and one process at a time.

Two compactions from handles opened before each other's commit duplicate every row in delta-rs 1.6, silently. So this
runs under a lease, on a handle opened inside it, and compares the recorded rows of the version it made with those of
the version just before; should they differ, the table is restored and the error says so.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from deltalake import CommitProperties, DeltaTable

from lake.errors import MaintenanceError
from lake.store import CURSORS, PINS, recorded_rows
from lake.tables import contract_of

if TYPE_CHECKING:
    from lake.store import Lake

# Files below it are merged; twice the row-group size that DuckDB and Polars like to read.
TARGET_FILE_BYTES = 128 << 20


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

    Returns None if the table does not exist. Raises `LeaseHeldError` when another process maintains it, and
    `MaintenanceError` when rows would have changed (the table is then as before).
    """
    if lake.handle(table) is None:
        return None
    with lake.lease(f"maintain:{table}"):
        handle = lake.open_for_write(contract_of(table))
        files_before = len(handle.file_uris())
        _compact(lake, table, handle)
        handle = lake.open_for_write(contract_of(table))
        handle.create_checkpoint()
        kept = _needed_versions(lake, table, handle.version())
        vacuumed = handle.vacuum(
            retention_hours=retention_hours,
            dry_run=False,
            enforce_retention_duration=False,
            full=True,
            keep_versions=list(kept) or None,
        )
        handle = lake.open_for_write(contract_of(table))
        return MaintenanceResult(
            table=table,
            version=handle.version(),
            row_count=recorded_rows(handle),
            files_before=files_before,
            files_after=len(handle.file_uris()),
            files_vacuumed=len(vacuumed),
            kept_versions=kept,
        )


def _compact(lake: Lake, table: str, handle: DeltaTable) -> None:
    before = handle.version()
    handle.optimize.compact(target_size=TARGET_FILE_BYTES, commit_properties=CommitProperties(max_commit_retries=0))
    after = lake.handle(table)
    if after is None or after.version() == before:
        return
    compacted = _compaction_version(after, before)
    if compacted is None:
        return
    rows_after = _rows_at(lake, table, compacted)
    rows_before = _rows_at(lake, table, compacted - 1)
    if rows_after != rows_before:
        raise MaintenanceError(_undo(lake, table, compacted, rows_before, rows_after))


def _undo(lake: Lake, table: str, compacted: int, rows_before: int, rows_after: int) -> str:
    """Restore the version before a bad compaction, unless later commits stand on it; says what was done."""
    handle = lake.open_for_write(contract_of(table))
    fault = f"Compacting {table} in version {compacted} turned {rows_before} rows into {rows_after}"
    if handle.version() != compacted:
        return (
            f"{fault}, and version {handle.version()} already stands on it. Stop the writers of this table, keep "
            f"the rows added since with changes({table!r}, {compacted}), and restore version {compacted - 1}."
        )
    handle.restore(compacted - 1, commit_properties=CommitProperties(max_commit_retries=0))
    return f"{fault}; it was restored to version {compacted - 1}. Please report this."


def _compaction_version(handle: DeltaTable, before: int) -> int | None:
    for entry in handle.history(limit=handle.version() - before):
        if entry["operation"] == "OPTIMIZE":
            return int(entry["version"])
    return None


def _rows_at(lake: Lake, table: str, version: int) -> int:
    handle = lake.handle(table, at=version)
    return 0 if handle is None else recorded_rows(handle)


def _needed_versions(lake: Lake, table: str, newest: int) -> tuple[int, ...]:
    """Pinned versions, and every version from the slowest cursor on (its feed is still to be read)."""
    pinned = lake.read(PINS, columns=["version"], where={"table": table})["version"].to_list()
    cursors = lake.read(CURSORS, columns=["version"], where={"table": table})["version"].to_list()
    slowest = min(cursors, default=newest)
    return tuple(sorted({*pinned, *range(max(slowest, 0), newest + 1)} - {newest}))
