"""Exports: chosen rows of the lake as files that other programs read, with a manifest that says what they are.

What belongs here: which tables an export has, how runs are chosen, and the steps that write it. The files themselves
are `export_files.py`, their schemas `export_schemas.py`, reading one back `export_imports.py`, the exchange format
Every Eval Ever `every_eval_ever.py`.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import orjson

from lake.errors import UserError
from lake.predicates import Slice
from lake.store import Lake
from lake.tables import contract_of
from pipelines.experiments.export_files import ENDINGS, Form, WrittenFile, described, writing
from pipelines.runs.remarks import find_runs

EXPORT_KIND, EXPORT_VERSION = "benchlake-export", 1
MANIFEST = "manifest.json"
# What can be asked for, and the tables that hold it.
TABLES_OF: Mapping[str, tuple[str, ...]] = {
    "runs": ("silver.runs", "silver.run_params", "silver.run_metrics"),
    "outputs": ("silver.outputs", "silver.output_tokens"),
    "evidence": ("gold.run_comparisons", "gold.output_diffs", "gold.gate_results"),
    "notes": ("silver.notes", "silver.tag_events", "silver.baselines"),
    "scenarios": ("silver.scenarios", "gold.scenario_results"),
    "decisions": ("silver.decisions", "gold.decision_checks"),
    "databits": ("silver.databits",),
    "examples": ("silver.examples", "silver.example_usages"),
    "optimization": ("silver.templates", "gold.dspy_runs", "gold.dspy_trials", "gold.dspy_programs"),
}
EXPORTED_TABLES = tuple(table for tables in TABLES_OF.values() for table in tables)
# Where a table says which run a row is about; other tables are exported whole.
_RUN_COLUMNS: Mapping[str, str] = {
    **dict.fromkeys(("silver.runs", "silver.run_params", "silver.run_metrics"), "run_id"),
    **dict.fromkeys(("silver.outputs", "silver.output_tokens"), "run_id"),
    **dict.fromkeys(("gold.run_comparisons", "gold.output_diffs", "gold.gate_results"), "candidate_run_id"),
    "silver.tag_events": "run_id",
}
# Written at once; what is read at once is a run date.
_BATCH_ROWS = 20_000
Progress = Callable[[int, int, str], None]


@dataclass(frozen=True, kw_only=True)
class ExportedTable(WrittenFile):
    """A file of an export and the table version it was read from."""

    table: str
    delta_version: int
    is_filtered: bool


@dataclass(frozen=True, kw_only=True)
class ExportResult:
    """Where the export is, and what is in it."""

    folder: Path
    tables: tuple[ExportedTable, ...]

    @property
    def row_count(self) -> int:
        """Rows of all files."""
        return sum(table.row_count for table in self.tables)


def export_tables(
    lake: Lake,
    folder: Path,
    *,
    what: Sequence[str],
    form: Form,
    words: Sequence[str] = (),
    now: dt.datetime,
    progress: Progress | None = None,
) -> ExportResult:
    """Write the tables of `what` (keys of `TABLES_OF`, or `project` for all of them) into an empty folder.

    `words` choose runs as `benchlake runs` does; tables that are not about runs are written whole, and the manifest
    says so. One run date of a table is in memory at a time. Raises `UserError` for an unknown word, a folder with
    something in it, or filters that mean no run.
    """
    tables = tables_of(what)
    run_ids = find_runs(lake, words, now=now)["run_id"].to_list() if words else None
    _prepare(folder)
    written = []
    for place, table in enumerate(tables):
        if progress:
            progress(place, len(tables), table)
        written.append(_write(lake, folder, table, form=form, run_ids=run_ids))
    manifest = {
        "kind": EXPORT_KIND,
        "schema_version": EXPORT_VERSION,
        "created_at": now.isoformat(),
        "format": form,
        "what": list(what),
        "query": list(words),
        "files": [asdict(item) for item in written],
    }
    # Last, so that a folder with a manifest is a whole export.
    (folder / MANIFEST).write_bytes(orjson.dumps(manifest, option=orjson.OPT_INDENT_2) + b"\n")
    if progress:
        progress(len(tables), len(tables), MANIFEST)
    return ExportResult(folder=folder, tables=tuple(written))


def tables_of(what: Sequence[str]) -> list[str]:
    """The tables that words mean, each once; raises `UserError` for a word that means none."""
    if not what:
        raise UserError(f"Say what to export: {', '.join(TABLES_OF)} or project.")
    tables: dict[str, None] = {}
    for word in what:
        if word != "project" and word not in TABLES_OF:
            raise UserError.unknown("kind of export", word, [*TABLES_OF, "project"])
        tables |= dict.fromkeys(EXPORTED_TABLES if word == "project" else TABLES_OF[word])
    return list(tables)


def pin_export(lake: Lake, result: ExportResult, *, name: str, now: dt.datetime) -> None:
    """Keep the versions that an export was read from, so that it can be made again to the byte."""
    versions = {table.table: table.delta_version for table in result.tables if table.delta_version >= 0}
    lake.pin(f"export:{name}", versions, reason=f"Export {name}", now=now)


def _prepare(folder: Path) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    if any(folder.iterdir()):
        raise UserError(f"{folder} is not empty. Name a new folder, so that no older file is taken for part of it.")


def _write(lake: Lake, folder: Path, table: str, *, form: Form, run_ids: list[str] | None) -> ExportedTable:
    contract, version = contract_of(table), lake.version(table)
    column = _RUN_COLUMNS.get(table) if run_ids is not None else None
    with writing(folder, table, contract, form=form) as writer:
        for where in _slices(lake, table, version, column, run_ids or []) if version >= 0 else ():
            rows = lake.read(table, where=where, at=version).sort(*contract.key)
            for batch in rows.iter_slices(_BATCH_ROWS):
                writer.add(batch)
    about = described(folder / f"{table}.{ENDINGS[form]}", row_count=writer.row_count)
    return ExportedTable(**asdict(about), table=table, delta_version=version, is_filtered=column is not None)


def _slices(lake: Lake, table: str, version: int, column: str | None, run_ids: list[str]) -> Iterator[Slice | None]:
    """Parts of a table that are read one after another: its run dates where it is stored by them."""
    chosen: dict[str, Any] = {column: run_ids} if column else {}
    if "run_date" not in contract_of(table).partition_by:
        yield chosen or None
        return
    dates = lake.read(table, columns=["run_date"], where=chosen or None, at=version)["run_date"].unique().sort()
    for date in dates:
        yield {**chosen, "run_date": date}
