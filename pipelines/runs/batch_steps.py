"""Batches in the lake: what was launched, how far each cell is, and taking it back. Steps over a `Lake`.

What belongs here: reading and writing silver.batch_runs. Which cells there are is `batches.py`, asking them
`resources/batches.py`.
"""

from __future__ import annotations

import datetime as dt
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from threading import Lock
from typing import Any, Literal

import polars as pl

from lake.errors import ConflictError, UserError
from lake.store import MAX_TRIES, Lake
from pipelines.runs.batches import BATCH_RUNS, BatchCell, BatchFacts, batch_rows, cell_row
from pipelines.runs.listing import summarise_outputs

# Counts are for people who watch; each write is a commit.
SECONDS_BETWEEN_COUNTS = 3.0
NO_BATCH = "None was run yet. Run one:  benchlake batch run --suite starter --backend llama.cpp"
_MIN_ID_CHARS = 8
_OUTPUT_COLUMNS = ("run_id", "status", "latency_ms", "scores")


class BatchCancelledError(Exception):
    """Somebody cancelled the batch that this process is asking."""


class BatchJournal:
    """How far the cells of a batch are, kept in silver.batch_runs; may be used by several threads.

    State changes are written at once, counts of answered outputs every few seconds. Every write looks whether the
    batch was cancelled meanwhile, in the same commit, and raises `BatchCancelledError` if it was.
    """

    def __init__(
        self, lake: Lake, rows: Iterable[Mapping[str, Any]], *, ticks: Callable[[], float] = time.monotonic
    ) -> None:
        self._lake = lake
        self._rows = {row["run_id"]: dict(row) for row in rows}
        self._ticks = ticks
        self._written_at = ticks()
        self._counted: set[str] = set()
        self._lock = Lock()

    def begin(self, run_id: str, *, now: dt.datetime) -> None:
        """The cell is being asked."""
        with self._lock:
            self._set(run_id, state="running", started_at=now, ended_at=None, error_message=None)
            self._write_unless_cancelled([run_id])

    def count(self, run_id: str, answered: int) -> None:
        """So many outputs of the cell stand on disk; written when the last write is a few seconds ago."""
        with self._lock:
            self._set(run_id, answered_count=answered)
            self._counted.add(run_id)
            if self._ticks() - self._written_at >= SECONDS_BETWEEN_COUNTS:
                self._write_unless_cancelled(sorted(self._counted))

    def recount(self, run_id: str, answered: int) -> None:
        """So many outputs of a cell that was stopped stand on disk; written when it is put back."""
        with self._lock:
            self._set(run_id, answered_count=answered)

    def end(
        self, run_id: str, state: Literal["finished", "failed"], *, now: dt.datetime, error_message: str | None = None
    ) -> None:
        """The cell has ended; written whether or not the batch was cancelled meanwhile, since it is a fact."""
        with self._lock:
            self._set(run_id, state=state, ended_at=now, error_message=error_message)
            self._counted.discard(run_id)
            self._lake.upsert(BATCH_RUNS, batch_rows([self._rows[run_id]]))

    def put_back(self, *, is_cancelled: bool, now: dt.datetime) -> None:
        """Cells that were being asked wait again, or are cancelled, with what they have answered."""
        with self._lock:
            open_ = [row for row in self._rows.values() if row["state"] in {"planned", "running"}]
            begun = [row["run_id"] for row in open_ if row["state"] == "running"]
            for row in open_ if is_cancelled else []:
                row.update(state="cancelled", ended_at=now)
            for run_id in begun if not is_cancelled else []:
                self._set(run_id, state="planned")
            if begun:
                self._lake.upsert(BATCH_RUNS, batch_rows(self._rows[run_id] for run_id in begun))

    def row(self, run_id: str) -> Mapping[str, Any]:
        """The cell as this process knows it."""
        with self._lock:
            return dict(self._rows[run_id])

    def _set(self, run_id: str, **changes: object) -> None:
        self._rows[run_id].update(changes)

    def _write_unless_cancelled(self, run_ids: Sequence[str]) -> None:
        rows = batch_rows(self._rows[run_id] for run_id in run_ids)
        self._written_at = self._ticks()
        self._counted.difference_update(run_ids)
        if not self._lake.compare_and_upsert(BATCH_RUNS, rows, expected=_none_cancelled):
            raise BatchCancelledError


def start_batch(lake: Lake, batch: BatchFacts, cells: Sequence[BatchCell], *, superseded: Sequence[str]) -> None:
    """Record cells that are to be asked as planned, also those that were cancelled or failed before.

    What stands on disk of an unfinished cell is counted when it is asked. `superseded` run ids leave the batch: they
    have no whole run, and another cell takes their place.
    """
    lake.upsert(BATCH_RUNS, batch_rows(cell_row(cell, batch) for cell in cells))
    if superseded:
        lake.remove(BATCH_RUNS, pl.DataFrame({"batch_id": [batch.batch_id] * len(superseded), "run_id": superseded}))


def cancel_batch(lake: Lake, batch_id: str, *, now: dt.datetime) -> int:
    """Take back every cell that has not ended, in one commit; gives how many.

    A process that is asking one of them stops at its next write, after the samples that are under way; what it has
    answered stays and a later resume uses it. Raises `ConflictError` when the batch never stands still.
    """
    for _ in range(MAX_TRIES):
        open_ = read_cells(lake, batch_id).filter(pl.col("state").is_in(["planned", "running"]))
        if open_.is_empty():
            return 0
        rows = open_.with_columns(state=pl.lit("cancelled"), ended_at=pl.lit(now, dtype=open_.schema["ended_at"]))
        if lake.compare_and_upsert(BATCH_RUNS, rows, expected=_none_ended):
            return rows.height
    raise ConflictError(f"The batch {batch_id} changed {MAX_TRIES} times meanwhile; cancel it again.")


def read_cells(lake: Lake, batch_id: str) -> pl.DataFrame:
    """The rows of a batch; none if there is no such batch."""
    return lake.read(BATCH_RUNS, where={"batch_id": batch_id}).sort("suite", "backend", "run_id")


def find_batch(lake: Lake, reference: str) -> str:
    """The id of the batch that has this name, this id, or the only id that begins so; else raises `UserError`."""
    batches = lake.read(BATCH_RUNS, columns=["batch", "batch_id"]).unique()
    named = batches.filter((pl.col("batch") == reference) | (pl.col("batch_id") == reference))
    if named.is_empty() and len(reference) >= _MIN_ID_CHARS:
        named = batches.filter(pl.col("batch_id").str.starts_with(reference))
    if named.height == 1:
        return str(named["batch_id"][0])
    if named.height:
        raise UserError(f"{named.height} batches begin with {reference}: {', '.join(named['batch_id'].sort())}.")
    raise UserError.unknown(
        "batch", reference, batches["batch"].to_list(), list_all="benchlake batch list", none=NO_BATCH
    )


def list_batches(lake: Lake, *, limit: int = 20) -> pl.DataFrame:
    """The newest batches: name, state, cells and outputs done and wanted, suites, backends, tags, who and when.

    A batch is `running` or `planned` while a cell is, else `failed` or `cancelled` if a cell is, else `finished`.
    """
    order = ("running", "planned", "failed", "cancelled")
    state = pl.lit("finished")
    for name in reversed(order):
        state = pl.when((pl.col("state") == name).any()).then(pl.lit(name)).otherwise(state)
    return (
        lake.read(BATCH_RUNS)
        .group_by("batch_id")
        .agg(
            pl.col("batch").first(),
            state.alias("state"),
            cell_count=pl.len().cast(pl.Int64),
            finished_count=(pl.col("state") == "finished").sum().cast(pl.Int64),
            failed_count=(pl.col("state") == "failed").sum().cast(pl.Int64),
            answered_count=pl.col("answered_count").sum(),
            expected_count=pl.col("expected_count").sum(),
            suites=pl.col("suite").unique().sort(),
            backends=pl.col("backend").unique().sort(),
            tags=pl.col("tags").first(),
            requested_at=pl.col("requested_at").min(),
            requested_by=pl.col("requested_by").sort_by("requested_at").first(),
        )
        .sort("requested_at", "batch_id", descending=True)
        .head(limit)
    )


def list_cells(lake: Lake, batch_id: str) -> pl.DataFrame:
    """The cells of a batch with what came out of those whose run is in the lake.

    Columns of silver.batch_runs, and failed_count, mean_score and median_latency_ms as in `list_runs`.
    """
    cells = read_cells(lake, batch_id)
    runs = lake.read("silver.runs", columns=["run_id", "run_date"], where={"run_id": cells["run_id"].to_list()})
    where = {"run_date": runs["run_date"].unique().to_list(), "run_id": runs["run_id"].to_list()}
    outputs = summarise_outputs(lake.read("silver.outputs", columns=_OUTPUT_COLUMNS, where=where))
    return cells.join(outputs.drop("output_count"), on="run_id", how="left", maintain_order="left")


def _none_cancelled(standing: pl.DataFrame) -> bool:
    return not (standing["state"] == "cancelled").any()


def _none_ended(standing: pl.DataFrame) -> bool:
    return bool(standing["state"].is_in(["planned", "running"]).all())
