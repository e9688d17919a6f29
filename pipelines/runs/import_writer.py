"""Batches on their way into the lake: gathered, committed together, while the next ones are read.

What belongs here: the order and size of commits. Which files are read is `imports.py`, what a batch holds is
`importers/frames.py`.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Self

import polars as pl

from lake.tables import contract_of
from pipelines.runs.importers import SourceGroup, importer_of
from pipelines.runs.imports import (
    BatchSummary,
    ImportPlan,
    ImportResult,
    Refusal,
    cap_messages,
    mark_rows,
    raw_token,
    refusal_marks,
    summarise,
)
from pipelines.runs.remarks import apply_tags
from pipelines.runs.span_spool import with_places

if TYPE_CHECKING:
    from lake.store import Lake
    from pipelines.runs.importers.frames import ImportBatch
    from pipelines.runs.sources import Limits

# Files and rows of a call are gathered up to here before they are committed: one commit a table for many small files,
# and memory that does not grow with the number of samples.
COMMIT_RECORDS = 10_000
COMMIT_BYTES = 128 << 20
# The first commit is made sooner, so that what follows is read beside it rather than before it.
FIRST_COMMIT_BYTES = 32 << 20
SPAN_COPIES = 3
# One list of ids in a predicate; beyond it the whole column is read.
MAX_LISTED = 500

_Batches = Sequence[tuple[SourceGroup, "ImportBatch"]]
_Finished = Sequence[tuple[SourceGroup, Sequence[BatchSummary]]]


@dataclass(kw_only=True)
class _Counts:
    """What commits said and wrote so far."""

    samples: int = 0
    rejects: int = 0
    run_ids: set[str] = field(default_factory=set)
    run_dates: set[dt.date] = field(default_factory=set)
    messages: list[str] = field(default_factory=list)

    def add(self, other: _Counts) -> None:
        """Count another commit."""
        self.samples += other.samples
        self.rejects += other.rejects
        self.run_ids |= other.run_ids
        self.run_dates |= other.run_dates
        self.messages.extend(other.messages)


class ImportWriter:
    """Gathers batches of several groups and commits them in a thread of its own, one commit after the other.

    There is never more than one commit under way and one being gathered, which bounds the memory. Use it in a `with`
    statement; what was not flushed when that is left by an error is dropped. `read_before` are digests of files that
    an older importer has read: their records as received are in the lake.
    """

    def __init__(self, lake: Lake, *, now: dt.datetime, read_before: frozenset[str] = frozenset()) -> None:
        self._lake = lake
        self._read_before = read_before
        self._now = now
        self._thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix="commit")
        self._under_way: Future[_Counts] | None = None
        self._batches: list[tuple[SourceGroup, ImportBatch]] = []
        self._finished: list[tuple[SourceGroup, list[BatchSummary]]] = []
        self._pending_records = 0
        self._pending_bytes = 0
        self._commit_bytes = FIRST_COMMIT_BYTES
        self._files = 0
        self._counts = _Counts()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._thread.shutdown()

    def read(self, group: SourceGroup, *, limits: Limits, on_batch: Callable[[int], None]) -> None:
        """Read a group to its end, committing whenever enough has gathered.

        `on_batch` is called with the number of records of each batch.
        """
        summaries: list[BatchSummary] = []
        for batch in with_places(importer_of(group.source_kind).read(group, limits=limits)):
            summaries.append(summarise(batch))
            self._batches.append((group, batch))
            self._pending_records += batch.record_count
            self._pending_bytes += int(
                sum(rows.estimated_size() for rows in (batch.outputs, batch.raw_records))
                # A span's short values are copied several times on their way into a file.
                + SPAN_COPIES * batch.spans.estimated_size()
            )
            if self._pending_records >= COMMIT_RECORDS or self._pending_bytes >= self._commit_bytes:
                self._hand_over()
            on_batch(batch.record_count)
        if all(file.is_unchanged() for file in group.files):
            self._finished.append((group, summaries))
            self._files += group.file_count
        else:
            # What was read may be neither the old content nor the new; without a mark the next call reads it again.
            self._batches = [(owner, batch) for owner, batch in self._batches if owner is not group]
            names = ", ".join(file.path.name for file in group.files)
            self._counts.messages.append(f"{names} changed while being read and will be imported by the next call.")

    def finish(self, plan: ImportPlan) -> ImportResult:
        """Commit what is left and the files that were refused; says what was done by this call."""
        self._hand_over()
        self._await_commit()
        self._counts.add(_commit_refusals(self._lake, plan.refusals, now=self._now))
        return ImportResult(
            files=self._files,
            runs=len(self._counts.run_ids),
            samples=self._counts.samples,
            rejects=self._counts.rejects,
            unchanged_files=plan.unchanged_files,
            run_dates=frozenset(self._counts.run_dates),
            messages=cap_messages(self._counts.messages),
        )

    def _hand_over(self) -> None:
        """Begin to commit what has gathered, as soon as the commit before is done."""
        self._await_commit()
        self._under_way = self._thread.submit(
            _commit_batches,
            self._lake,
            self._batches,
            self._finished,
            now=self._now,
            read_before=self._read_before,
        )
        self._batches, self._finished = [], []
        self._pending_records = self._pending_bytes = 0
        self._commit_bytes = COMMIT_BYTES

    def _await_commit(self) -> None:
        if self._under_way is not None:
            under_way, self._under_way = self._under_way, None
            self._counts.add(under_way.result())


def _commit_batches(
    lake: Lake, batches: _Batches, finished: _Finished, *, now: dt.datetime, read_before: frozenset[str]
) -> _Counts:
    """Write records, outputs and what hangs on them, runs, rejects, and last the marks: a kill between is harmless."""
    counts = _Counts()
    if batches:
        _Commit(lake, counts, read_before).write(batches)
    marks = {
        token: rows for group, summaries in finished for token, rows in mark_rows(group, summaries, now=now).items()
    }
    if marks:
        lake.append_batches("bronze.run_files", marks)
    return counts


def _commit_refusals(lake: Lake, refusals: Sequence[Refusal], *, now: dt.datetime) -> _Counts:
    """Record files that could not be read at all."""
    counts = _Counts()
    if refusals:
        _Commit(lake, counts).upsert("bronze.rejects", [refusal.reject for refusal in refusals])
        marks = refusal_marks(refusals, now=now)
        if marks:
            lake.append_batches("bronze.run_files", marks)
        counts.rejects += len(refusals)
        counts.messages.extend(refusal.message for refusal in refusals)
    return counts


@dataclass(frozen=True)
class _Commit:
    """One commit to every table that batches have rows for."""

    lake: Lake
    counts: _Counts
    read_before: frozenset[str] = frozenset()

    def write(self, batches: _Batches) -> None:
        """All but the marks."""
        self.lake.append_batches(
            "bronze.raw_records",
            {raw_token(batch, group.importer_version): self._unstored_records(batch) for group, batch in batches},
        )
        read = [batch for _, batch in batches]
        self._leave_old_dates(read)
        self.upsert("silver.outputs", [batch.outputs for batch in read])
        self.upsert("silver.output_tokens", [batch.output_tokens for batch in read])
        self.upsert("silver.run_metrics", [batch.run_metrics for batch in read])
        self.upsert("silver.run_params", [batch.run_params for batch in read])
        self.upsert("silver.spans", [batch.spans for batch in read])
        # After its outputs, so that nobody who follows the table meets a run without them.
        runs = [apply_tags(self.lake, self._without_poorer_headers(batch.runs)) for batch in read if batch.runs.height]
        self.upsert("silver.runs", runs)
        self.upsert("bronze.rejects", [batch.rejects for batch in read])
        for batch in read:
            self._count(batch)

    def _unstored_records(self, batch: ImportBatch) -> pl.DataFrame:
        """The records as received, without those that an older importer has put there."""
        if batch.file.sha256 not in self.read_before:
            return batch.raw_records
        key = contract_of("bronze.raw_records").key
        standing = self.lake.read("bronze.raw_records", columns=key, where={"file_sha256": batch.file.sha256})
        return batch.raw_records.join(standing, on=key, how="anti", maintain_order="left")

    def upsert(self, table: str, frames: Sequence[pl.DataFrame]) -> None:
        """One commit for the rows of all batches; of two rows with one key the later counts, as it would alone."""
        filled = [frame for frame in frames if frame.height]
        if not filled:
            return
        rows = pl.concat(filled).unique(list(contract_of(table).key), keep="last", maintain_order=True)
        self.counts.rejects += self.lake.upsert(table, rows).rows_rejected

    def _leave_old_dates(self, batches: Sequence[ImportBatch]) -> None:
        """Take away outputs of runs whose date is known better now: the date is their partition, not their key."""
        dated = [rows.select("run_id", "run_date") for batch in batches for rows in (batch.outputs, batch.spans)]
        owned = pl.concat(dated).unique()
        if owned.is_empty():
            return
        ids = owned["run_id"].unique().to_list()
        where = {"run_id": ids} if len(ids) <= MAX_LISTED else None
        standing = self.lake.read("silver.runs", columns=("run_id", "run_date"), where=where)
        moved = standing.join(owned, on="run_id", suffix="_new").filter(pl.col("run_date") != pl.col("run_date_new"))
        for run_id, date in moved.select("run_id", "run_date").unique().iter_rows():
            for table in ("silver.outputs", "silver.output_tokens", "silver.spans"):
                nothing = contract_of(table).empty()
                self.lake.replace(table, nothing, where={"run_date": date, "run_id": run_id})
            self.counts.run_dates.add(date)

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
        self.counts.messages.extend(
            f"Run {run_id} has ended by another file; this one, which holds no end, did not change its header."
            for run_id in poorer["run_id"]
        )
        return runs.join(poorer, on="run_id", how="anti")

    def _count(self, batch: ImportBatch) -> None:
        self.counts.samples += batch.outputs.height
        self.counts.rejects += batch.rejects.height
        self.counts.run_ids.update(batch.runs["run_id"].to_list())
        self.counts.run_dates.update(batch.runs["run_date"].to_list())
        self.counts.messages.extend(f"{batch.file.path.name}: {message}" for message in batch.rejects["message"][:100])
