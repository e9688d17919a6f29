"""How a step puts computed rows in place: what is to be done, in which chunks, and what goes away.

What belongs here: the mechanics that the steps of this room share. What a step reads and computes is `steps.py` and
`contingency_steps.py`.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import polars as pl

from lake.predicates import Slice
from lake.store import Lake, WriteResult
from lake.tables import contract_of
from pipelines.evidence.reading import COMPARISONS, OUTPUTS
from pipelines.evidence.slices import comparison_chunks, dates_slice, is_large, sample_ranges

Mode = Literal["changed", "all"]
Compute = Callable[[pl.DataFrame, Slice], tuple[pl.DataFrame, int]]
"""Rows for a chunk of comparisons, and how many rows were read for them; the slice narrows the samples."""
WHOLE: Slice = {}


@dataclass(frozen=True, kw_only=True)
class EvidenceResult:
    """What a step did: comparisons (runs, for promotion) computed, left as they were, and removed; rows; version."""

    table: str
    version: int
    computed_count: int
    skipped_count: int
    removed_count: int
    rows_read: int
    rows_written: int
    rows_rejected: int


def unmarked(lake: Lake, plan: pl.DataFrame, run_dates: Sequence[dt.date], *, mode: Mode) -> pl.DataFrame:
    """Planned comparisons without a row of `gold.run_comparisons` that was computed from the same inputs."""
    if mode == "all":
        return plan
    mark = ["comparison_id", "run_date", "input_digest"]
    marks = lake.read(COMPARISONS, columns=mark, where=dates_slice(run_dates))
    return plan.join(marks, on=mark, how="anti")


def rewrite(
    lake: Lake,
    table: str,
    *,
    todo: pl.DataFrame,
    standing: pl.DataFrame,
    planned: pl.DataFrame,
    runs: Mapping[str, Mapping[str, Any]],
    compute: Compute,
    outputs_version: int | None = None,
) -> EvidenceResult:
    """Put the computed rows of `todo` in place and take away what stands for comparisons that are not `planned`.

    Works through chunks of bounded size, each one commit, so that a range of years fits in memory and a kill loses
    one chunk. With `outputs_version` (of `silver.outputs`) a comparison of very many samples is cut as well; then the
    table must have a `sample_id`.
    """
    keys = ["comparison_id", "run_date"]
    gone = standing.select(keys).unique().join(planned, on=keys, how="anti")
    results: list[WriteResult] = []
    rows_read = 0
    for chunk in comparison_chunks(todo, runs):
        parts = [WHOLE] if outputs_version is None else _sample_parts(lake, chunk, runs, version=outputs_version)
        for part in parts:
            rows, count = compute(chunk, part)
            results.append(lake.replace(table, rows, where={**comparisons_slice(chunk), **part}))
            rows_read += count
    for chunk in comparison_chunks(gone, {}):
        results.append(lake.replace(table, contract_of(table).empty(), where=comparisons_slice(chunk)))  # noqa: PERF401  # a commit each
    return EvidenceResult(
        table=table,
        version=results[-1].version if results else lake.version(table),
        computed_count=todo.height,
        skipped_count=planned.join(todo, on=keys, how="anti").height,
        removed_count=gone.height,
        rows_read=rows_read,
        rows_written=sum(result.rows_written for result in results),
        rows_rejected=sum(result.rows_rejected for result in results),
    )


def comparisons_slice(chunk: pl.DataFrame) -> dict[str, list[Any]]:
    """The rows about these comparisons."""
    return {
        "run_date": chunk["run_date"].unique().sort().to_list(),
        "comparison_id": chunk["comparison_id"].unique().sort().to_list(),
    }


def _sample_parts(
    lake: Lake, chunk: pl.DataFrame, runs: Mapping[str, Mapping[str, Any]], *, version: int
) -> Sequence[Slice]:
    """Ranges of samples that together are all of them; one that is everything unless the chunk is one large run."""
    if chunk.height != 1 or not is_large(runs.get(chunk["candidate_run_id"][0], {})):
        return [WHOLE]
    where = {"run_date": chunk["run_date"].to_list(), "run_id": chunk["candidate_run_id"].to_list()}
    samples = lake.read(OUTPUTS, columns=["sample_id"], where=where, at=version)["sample_id"]
    return [{"sample_id": part} for part in sample_ranges(samples)]
