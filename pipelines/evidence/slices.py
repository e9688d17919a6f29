"""How much is read and written at once: slices of dates and runs, comparisons and samples in chunks of bounded size."""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import polars as pl

from lake.predicates import KeyRange

# Comparisons and pairs of outputs that one commit covers: longer lists of ids plan slower than they read, and the
# texts and edits of so many pairs of long answers take some hundred megabytes.
CHUNK_COMPARISONS = 200
CHUNK_PAIRS = 20_000
# A run that does not say how many samples to expect.
_UNKNOWN_PAIRS = 1_000


def dates_slice(run_dates: Sequence[dt.date]) -> dict[str, list[dt.date]]:
    """The rows of some run dates."""
    return {"run_date": sorted(set(run_dates))}


def runs_slice(comparisons: pl.DataFrame) -> dict[str, list[Any]]:
    """The outputs of both runs of each comparison, in those runs' own partitions."""
    dates = {*comparisons["run_date"], *comparisons["baseline_run_date"]}
    ids = {*comparisons["candidate_run_id"], *comparisons["baseline_run_id"]}
    return {"run_date": sorted(dates), "run_id": sorted(ids)}


def comparison_chunks(comparisons: pl.DataFrame, runs: Mapping[str, Mapping[str, Any]]) -> Iterator[pl.DataFrame]:
    """The rows in order of run date and id, cut where a chunk would become too large.

    `comparisons` has comparison_id and run_date; sizes come from `expected_sample_count` of the candidates in `runs`.
    """
    ordered = comparisons.sort("run_date", "comparison_id")
    start = pairs = 0
    for place, size in enumerate(_pair_counts(ordered, runs)):
        if place > start and (pairs + size > CHUNK_PAIRS or place - start >= CHUNK_COMPARISONS):
            yield ordered[start:place]
            start, pairs = place, 0
        pairs += size
    if start < ordered.height:
        yield ordered[start:]


def is_large(run: Mapping[str, Any]) -> bool:
    """Whether a run may have more outputs than one chunk should hold; one that does not say how many may."""
    count = run.get("expected_sample_count")
    return count is None or int(count) > CHUNK_PAIRS


def sample_ranges(sample_ids: pl.Series) -> list[KeyRange]:
    """Ranges of about `CHUNK_PAIRS` outputs that together hold every sample id there can be, listed or not."""
    cuts = sample_ids.sort().gather_every(CHUNK_PAIRS, CHUNK_PAIRS).unique(maintain_order=True).to_list()
    return [KeyRange(start=start, stop=stop) for start, stop in zip([None, *cuts], [*cuts, None], strict=True)]


def _pair_counts(comparisons: pl.DataFrame, runs: Mapping[str, Mapping[str, Any]]) -> list[int]:
    if "candidate_run_id" not in comparisons.columns:
        return [0] * comparisons.height
    counts = [runs.get(run_id, {}).get("expected_sample_count") for run_id in comparisons["candidate_run_id"]]
    return [_UNKNOWN_PAIRS if count is None else int(count) for count in counts]
