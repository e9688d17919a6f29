"""What the steps of this room read: spans of a run with their places, and what is planned for some run dates."""

from __future__ import annotations

import datetime as dt
from collections.abc import Sequence
from typing import Any

import polars as pl

from lake.identity import json_digest
from lake.predicates import Slice
from lake.store import Lake
from pipelines.evidence.policy import Policy
from pipelines.evidence.reading import read_plan
from pipelines.runs.span_spool import place_frame
from pipelines.timelines.profiles import SPAN_COLUMNS, TIMELINE_VERSION

RUNS, SPANS = "silver.runs", "silver.spans"


def read_spans(lake: Lake, *, run_id: str, run_date: dt.date) -> pl.DataFrame:
    """The spans of a run with `SPAN_COLUMNS`; those that an older release imported are given their places now."""
    where: Slice = {"run_date": run_date, "run_id": run_id}
    spans = lake.read(SPANS, columns=SPAN_COLUMNS, where=where)
    if spans["depth"].null_count():
        spans = place_frame(lake.read(SPANS, where=where)).select(SPAN_COLUMNS)
    return spans


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
