"""Steps of the timelines room: read from the lake, call pure functions, write, say what was done.

`summarise_timelines` and `diff_timelines` bring some run dates up to date, each run and comparison by itself, so that
memory holds two traces and a kill loses one. What stands and was computed from the same inputs is left alone. Which
dates need it is `staleness.py`.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import polars as pl

from lake.predicates import Slice
from lake.store import Lake, WriteResult
from lake.tables import contract_of
from pipelines.evidence.policy import Policy
from pipelines.timelines.diff import diff_profiles
from pipelines.timelines.profiles import Profile, profile_run
from pipelines.timelines.reading import plan_diffs, read_slim_spans, runs_with_spans
from pipelines.timelines.summaries import DEVICES, DIFFS, SUMMARIES, device_rows, diff_rows, summary_rows
from pipelines.timelines.warm_up import without_warm_up

Mode = Literal["changed", "all"]


@dataclass(frozen=True, kw_only=True)
class TimelineResult:
    """What a step did: runs or comparisons computed, left as they were, and removed; rows; version of the table."""

    table: str
    version: int
    computed_count: int
    skipped_count: int
    removed_count: int
    rows_read: int
    rows_written: int


def summarise_timelines(lake: Lake, run_dates: Sequence[dt.date], *, mode: Mode = "changed") -> TimelineResult:
    """Sum up the spans of every run of these dates into `gold.timeline_summaries` and `gold.timeline_devices`."""
    wanted = runs_with_spans(lake, run_dates)
    where = {"run_date": sorted(set(run_dates))}
    key = ["run_id", "run_date", "input_digest"]
    standing = lake.read(SUMMARIES, columns=key, where=where).unique()
    # The devices are written last and are the mark that a run is summed up.
    marked = lake.read(DEVICES, columns=key, where=where).unique()
    todo = wanted if mode == "all" else wanted.join(marked, on=key, how="anti")
    written: list[WriteResult] = []
    rows_read = 0
    for run_id, run_date, digest in todo.iter_rows():
        spans = read_slim_spans(lake, run_id=run_id, run_date=run_date)
        rows_read += spans.height
        place: Slice = {"run_date": run_date, "run_id": run_id}
        summary = summary_rows(profile_run(spans, run_id=run_id), run_date=run_date, input_digest=digest)
        written.append(lake.replace(SUMMARIES, summary, where=place))
        devices = device_rows(spans, run_id=run_id, run_date=run_date, input_digest=digest)
        written.append(lake.replace(DEVICES, devices, where=place))
    gone = pl.concat([standing, marked]).select("run_id", "run_date").unique().join(wanted, on="run_id", how="anti")
    for run_id, run_date in gone.iter_rows():
        for table in (SUMMARIES, DEVICES):
            lake.replace(table, contract_of(table).empty(), where={"run_date": run_date, "run_id": run_id})
    return TimelineResult(
        table=SUMMARIES,
        version=lake.version(SUMMARIES),
        computed_count=todo.height,
        skipped_count=wanted.height - todo.height,
        removed_count=gone.height,
        rows_read=rows_read,
        rows_written=sum(result.rows_written for result in written),
    )


def diff_timelines(
    lake: Lake, policy: Policy, run_dates: Sequence[dt.date], *, mode: Mode = "changed"
) -> TimelineResult:
    """Compare the timelines of every pair of runs that the policy plans for these dates into `gold.timeline_diffs`."""
    wanted = plan_diffs(lake, policy, run_dates)
    key = ["comparison_id", "run_date", "input_digest"]
    standing = lake.read(DIFFS, columns=key, where={"run_date": sorted(set(run_dates))}).unique()
    todo = wanted if mode == "all" else wanted.join(standing, on=key, how="anti")
    written = [_diff(lake, row) for row in todo.iter_rows(named=True)]
    gone = standing.select(key[:2]).unique().join(wanted, on=key[:2], how="anti")
    for comparison_id, run_date in gone.iter_rows():
        where: Slice = {"run_date": run_date, "comparison_id": comparison_id}
        lake.replace(DIFFS, contract_of(DIFFS).empty(), where=where)
    return TimelineResult(
        table=DIFFS,
        version=lake.version(DIFFS),
        computed_count=todo.height,
        skipped_count=wanted.height - todo.height,
        removed_count=gone.height,
        rows_read=sum(rows for rows, _ in written),
        rows_written=sum(result.rows_written for _, result in written),
    )


def read_profile(lake: Lake, *, run_id: str, run_date: dt.date) -> tuple[Profile, int]:
    """The profile of a run as it is compared, without its warm-up, and how many spans were read for it."""
    spans = read_slim_spans(lake, run_id=run_id, run_date=run_date)
    count = spans.height
    spans, warm_up_count = without_warm_up(spans)
    return profile_run(spans, run_id=run_id, warm_up_count=warm_up_count), count


def _diff(lake: Lake, row: dict[str, object]) -> tuple[int, WriteResult]:
    baseline, before = read_profile(lake, run_id=str(row["baseline_run_id"]), run_date=_date(row["baseline_run_date"]))
    candidate, after = read_profile(lake, run_id=str(row["candidate_run_id"]), run_date=_date(row["run_date"]))
    rows = diff_rows(
        diff_profiles(baseline, candidate),
        comparison_id=str(row["comparison_id"]),
        run_date=_date(row["run_date"]),
        candidate_run_id=candidate.run_id,
        baseline_run_id=baseline.run_id,
        input_digest=str(row["input_digest"]),
    )
    where: Slice = {"run_date": _date(row["run_date"]), "comparison_id": str(row["comparison_id"])}
    return before + after, lake.replace(DIFFS, rows, where=where)


def _date(value: object) -> dt.date:
    assert isinstance(value, dt.date)
    return value
