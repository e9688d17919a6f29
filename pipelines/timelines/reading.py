"""What the steps of this room read: spans of a run with their places, and what is planned for some run dates."""

from __future__ import annotations

import datetime as dt
from collections.abc import Sequence
from itertools import pairwise
from typing import Any

import polars as pl

from lake.identity import json_digest
from lake.predicates import KeyRange, Slice
from lake.store import Lake
from pipelines.evidence.policy import Policy
from pipelines.evidence.reading import read_plan
from pipelines.runs.span_spool import place_frame
from pipelines.timelines.profiles import SPAN_COLUMNS, TIMELINE_VERSION, slim_spans

# As they stand in the table, so many take some 50 MB.
_SPANS_TOGETHER = 250_000
RUNS, SPANS = "silver.runs", "silver.spans"


def read_spans(lake: Lake, *, run_id: str, run_date: dt.date) -> pl.DataFrame:
    """The spans of a run with `SPAN_COLUMNS`; those that an older release imported are given their places now."""
    where: Slice = {"run_date": run_date, "run_id": run_id}
    spans = lake.read(SPANS, columns=SPAN_COLUMNS, where=where)
    if spans["depth"].null_count():
        spans = place_frame(lake.read(SPANS, where=where)).select(SPAN_COLUMNS)
    return spans


def read_slim_spans(lake: Lake, *, run_id: str, run_date: dt.date) -> pl.DataFrame:
    """The spans of a run as `profiles.slim_spans` gives them.

    A large trace is read in parts, so that only one of them is ever held as it stands in the table.
    """
    version = lake.version(SPANS)
    where: dict[str, Any] = {"run_date": run_date, "run_id": run_id}
    indexes = lake.read(SPANS, columns=["span_index"], where=where, at=version)["span_index"].sort()
    if indexes.len() <= _SPANS_TOGETHER:
        return slim_spans(read_spans(lake, run_id=run_id, run_date=run_date))
    starts = [*indexes.gather_every(_SPANS_TOGETHER), None]
    del indexes
    parts = []
    for start, stop in pairwise(starts):
        part_where = {**where, "span_index": KeyRange(start=start, stop=stop)}
        part = lake.read(SPANS, columns=SPAN_COLUMNS, where=part_where, at=version)
        if part["depth"].null_count():
            # An older release imported it, and places are found for a run as a whole.
            return slim_spans(read_spans(lake, run_id=run_id, run_date=run_date))
        parts.append(slim_spans(part))
    # Not made one piece: that would hold all of it twice.
    return pl.concat(parts, rechunk=False)


def runs_with_spans(lake: Lake, run_dates: Sequence[dt.date]) -> pl.DataFrame:
    """run_id, run_date and input_digest of every run of these dates that has spans."""
    where = {"run_date": sorted(set(run_dates))}
    timed = lake.read(SPANS, columns=["run_id", "run_date"], where=where).unique()
    runs = lake.read(RUNS, columns=["run_id", "run_date", "content_digest"], where=where)
    known = with_input_digests(runs.join(timed, on=["run_id", "run_date"], how="semi"))
    return known.select("run_id", "run_date", "input_digest").sort("run_id")


def with_input_digests(runs: pl.DataFrame) -> pl.DataFrame:
    """Rows with run_id and content_digest, and the digest of what a summary of the run rests on."""
    digests = [json_digest([TIMELINE_VERSION, *row]) for row in runs.select("run_id", "content_digest").iter_rows()]
    return runs.with_columns(input_digest=pl.Series(digests, dtype=pl.String))


def plan_diffs(lake: Lake, policy: Policy, run_dates: Sequence[dt.date]) -> pl.DataFrame:
    """The policy's comparisons of these dates of which both runs have spans.

    Columns as `pairing.plan_comparisons` gives them; `input_digest` covers what a difference of timelines rests on.
    """
    plan, runs = read_plan(lake, policy, run_dates, version=lake.version(RUNS))
    dates = {*plan["run_date"], *plan["baseline_run_date"]}
    timed = set(runs_with_spans(lake, sorted(dates))["run_id"]) if dates else set()
    both = plan.filter(pl.col("candidate_run_id").is_in(timed) & pl.col("baseline_run_id").is_in(timed))
    return both.with_columns(
        input_digest=pl.Series([_digest(row, runs) for row in both.iter_rows(named=True)], dtype=pl.String)
    )


def _digest(row: dict[str, Any], runs: dict[str, dict[str, Any]]) -> str:
    ids = (row["candidate_run_id"], row["baseline_run_id"])
    return json_digest([TIMELINE_VERSION, row["pairing"], *((one, runs[one]["content_digest"]) for one in ids)])
