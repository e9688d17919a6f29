"""Steps of the runs room: read from the lake or from files, call pure functions, write, say what was done.

Assets, the command line and the web interface all call these; none of them holds logic of its own.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import polars as pl

from pipelines.runs.importers import SourceGroup, importer_of
from pipelines.runs.imports import (
    BatchSummary,
    ImportPlan,
    ImportResult,
    Mark,
    Refusal,
    cap_messages,
    find_candidates,
    identify_files,
    mark_rows,
    plan_import,
    raw_token,
    refusal_marks,
    summarise,
)
from pipelines.runs.sources import Limits, SourceFile

if TYPE_CHECKING:
    import datetime as dt
    from pathlib import Path

    from lake.store import Lake
    from pipelines.runs.importers.frames import ImportBatch

# Files and rows of a call are gathered up to here before they are committed: one commit a table for many small files,
# and memory that does not grow with the number of samples.
COMMIT_RECORDS = 20_000
COMMIT_BYTES = 128 << 20
# One list of ids in a predicate; beyond it the whole column is read.
_MAX_LISTED = 500

Progress = Callable[[int, int], None]


def import_paths(
    lake: Lake,
    paths: Iterable[str | Path],
    *,
    root: str | Path | None = None,
    format: str | None = None,  # noqa: A002  # the word that the command line and every caller use
    now: dt.datetime,
    progress: Progress | None = None,
    limits: Limits | None = None,
) -> ImportResult:
    """Bring files and folders of files into the lake; what is there already is not read again.

    `root` is the folder that no file may lie outside of, `format` names an importer instead of recognising it,
    `progress` is called with the number of files done and in all. A problem with a file is a reject and a message,
    never an error. Safe to kill and to run beside itself: the mark in bronze.run_files comes last, and everything
    before it is idempotent. Raises `UserError` for an unknown format.
    """
    limits = limits or Limits()
    source_kind = importer_of(format).source_kind if format is not None else None
    files = list(identify_files(find_candidates(paths, root=root), limits=limits))
    plan = plan_import(files, _read_marks(lake, files), source_kind=source_kind, limits=limits)
    writer = _Writer(lake=lake, now=now)
    total = sum(len(group.files) for group in plan.groups)
    done = 0
    for group in plan.groups:
        writer.read(group, limits)
        done += len(group.files)
        if progress is not None:
            progress(done, total)
    writer.flush()
    writer.refuse(plan.refusals)
    return writer.result(plan)


def _read_marks(lake: Lake, files: Sequence[SourceFile | Refusal]) -> dict[str, list[Mark]]:
    digests = sorted({file.sha256 for file in files if isinstance(file, SourceFile)})
    where = {"file_sha256": digests} if len(digests) <= _MAX_LISTED else None
    marks: dict[str, list[Mark]] = {}
    if digests:
        columns = ("file_sha256", "source_kind", "importer_version")
        for sha256, kind, version in lake.read("bronze.run_files", columns=columns, where=where).iter_rows():
            marks.setdefault(sha256, []).append(Mark(kind, version))
    return marks


@dataclass(kw_only=True)
class _Writer:
    """Gathers batches of several groups and commits them together, in the order that makes a kill harmless."""

    lake: Lake
    now: dt.datetime
    batches: list[tuple[SourceGroup, ImportBatch]] = field(default_factory=list)
    finished: list[tuple[SourceGroup, list[BatchSummary]]] = field(default_factory=list)
    pending_records: int = 0
    pending_bytes: int = 0
    files: int = 0
    samples: int = 0
    rejects: int = 0
    run_ids: set[str] = field(default_factory=set)
    run_dates: set[dt.date] = field(default_factory=set)
    messages: list[str] = field(default_factory=list)

    def read(self, group: SourceGroup, limits: Limits) -> None:
        """Read a group to its end, committing whenever enough has gathered."""
        summaries: list[BatchSummary] = []
        for batch in importer_of(group.source_kind).read(group, limits=limits):
            summaries.append(summarise(batch))
            self.batches.append((group, batch))
            self.pending_records += batch.record_count
            self.pending_bytes += int(
                sum(rows.estimated_size() for rows in (batch.outputs, batch.raw_records, batch.spans))
            )
            if self.pending_records >= COMMIT_RECORDS or self.pending_bytes >= COMMIT_BYTES:
                self.flush()
        if all(file.is_unchanged() for file in group.files):
            self.finished.append((group, summaries))
            self.files += len(group.files)
        else:
            # What was read may be neither the old content nor the new; without a mark the next call reads it again.
            self.batches = [(owner, batch) for owner, batch in self.batches if owner is not group]
            names = ", ".join(file.path.name for file in group.files)
            self.messages.append(f"{names} changed while being read and will be imported by the next call.")

    def flush(self) -> None:
        """Commit everything gathered: records, outputs and what hangs on them, runs, rejects, and last the marks."""
        batches = [batch for _, batch in self.batches]
        if batches:
            self.lake.append_batches(
                "bronze.raw_records",
                {raw_token(batch, group.importer_version): batch.raw_records for group, batch in self.batches},
            )
            self._leave_old_dates(batches)
            self._upsert("silver.outputs", [batch.outputs for batch in batches])
            self._upsert("silver.output_tokens", [batch.output_tokens for batch in batches])
            self._upsert("silver.run_metrics", [batch.run_metrics for batch in batches])
            self._upsert("silver.run_params", [batch.run_params for batch in batches])
            self._upsert("silver.spans", [batch.spans for batch in batches])
            # After its outputs, so that nobody who follows the table meets a run without them.
            self._upsert("silver.runs", [self._without_poorer_headers(batch.runs) for batch in batches])
            self._upsert("bronze.rejects", [batch.rejects for batch in batches])
            self._count(batches)
        marks = {
            token: rows
            for group, summaries in self.finished
            for token, rows in mark_rows(group, summaries, now=self.now).items()
        }
        if marks:
            self.lake.append_batches("bronze.run_files", marks)
        self.batches, self.finished = [], []
        self.pending_records = self.pending_bytes = 0

    def refuse(self, refusals: Sequence[Refusal]) -> None:
        """Record files that could not be read at all."""
        if not refusals:
            return
        self._upsert("bronze.rejects", [refusal.reject for refusal in refusals])
        marks = refusal_marks(refusals, now=self.now)
        if marks:
            self.lake.append_batches("bronze.run_files", marks)
        self.rejects += len(refusals)
        self.messages.extend(refusal.message for refusal in refusals)

    def result(self, plan: ImportPlan) -> ImportResult:
        """What was done by this call."""
        return ImportResult(
            files=self.files,
            runs=len(self.run_ids),
            samples=self.samples,
            rejects=self.rejects,
            unchanged_files=plan.unchanged_files,
            run_dates=frozenset(self.run_dates),
            messages=cap_messages(self.messages),
        )

    def _upsert(self, table: str, frames: Sequence[pl.DataFrame]) -> None:
        """One commit for the rows of all batches; of two rows with one key the later counts, as it would alone."""
        rows = pl.concat([frame for frame in frames if frame.height] or frames[:1])
        if rows.is_empty():
            return
        from lake.tables import contract_of

        keyed = rows.unique(list(contract_of(table).key), keep="last", maintain_order=True)
        self.rejects += self.lake.upsert(table, keyed).rows_rejected

    def _leave_old_dates(self, batches: Sequence[ImportBatch]) -> None:
        """Take away outputs of runs whose date is known better now: the date is their partition, not their key."""
        dated = [rows.select("run_id", "run_date") for batch in batches for rows in (batch.outputs, batch.spans)]
        owned = pl.concat(dated).unique()
        if owned.is_empty():
            return
        ids = owned["run_id"].unique().to_list()
        where = {"run_id": ids} if len(ids) <= _MAX_LISTED else None
        standing = self.lake.read("silver.runs", columns=("run_id", "run_date"), where=where)
        moved = standing.join(owned, on="run_id", suffix="_new").filter(pl.col("run_date") != pl.col("run_date_new"))
        for run_id, date in moved.select("run_id", "run_date").unique().iter_rows():
            for table in ("silver.outputs", "silver.output_tokens", "silver.spans"):
                empty = self.lake.read(table, where={"run_date": date, "run_id": run_id}).clear()
                self.lake.replace(table, empty, where={"run_date": date, "run_id": run_id})
            self.run_dates.add(date)

    def _without_poorer_headers(self, runs: pl.DataFrame) -> pl.DataFrame:
        """Leave out runs that another file knows to have ended: a copy that was cut off must not undo that."""
        unfinished = runs.filter(pl.col("status") == "started")
        if unfinished.is_empty():
            return runs
        standing = self.lake.read(
            "silver.runs", columns=("run_id", "status", "file_sha256"), where={"run_id": unfinished["run_id"].to_list()}
        ).filter(pl.col("status") != "started")
        poorer = unfinished.join(standing, on="run_id", suffix="_standing").filter(
            pl.col("file_sha256") != pl.col("file_sha256_standing")
        )
        self.messages.extend(
            f"Run {run_id} has ended by another file; this one, which holds no end, did not change its header."
            for run_id in poorer["run_id"]
        )
        return runs.join(poorer, on="run_id", how="anti")

    def _count(self, batches: Sequence[ImportBatch]) -> None:
        for batch in batches:
            self.samples += batch.outputs.height
            self.rejects += batch.rejects.height
            self.run_ids.update(batch.runs["run_id"].to_list())
            self.run_dates.update(batch.runs["run_date"].to_list())
            self.messages.extend(f"{batch.file.path.name}: {message}" for message in batch.rejects["message"][:100])
