"""Timelines as people look for them: what a run spent its time on, how two runs differ, and the spans to draw.

What belongs here: reading for whoever asks, be it the command line or an asset. Nothing is written.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import polars as pl

from lake.errors import UserError
from lake.predicates import Slice
from lake.store import Lake
from pipelines.timelines.diff import diff_profiles
from pipelines.timelines.families import family_expr
from pipelines.timelines.profiles import profile_run
from pipelines.timelines.reading import RUNS, SPANS, read_spans, runs_with_spans, with_input_digests
from pipelines.timelines.summaries import DEVICES, DIFFS, device_rows
from pipelines.timelines.telling import TimelineAnswer, tell_difference
from pipelines.timelines.warm_up import without_warm_up

_MANY_SPANS = 200_000
_LISTED_FIRST = ("run_id", "suite", "backend", "started_at")


@dataclass(frozen=True, kw_only=True)
class TimelineComparison:
    """Two runs beside each other: `diff` as `diff_profiles` gives it, `devices` of both, and the answer."""

    baseline: dict[str, Any]
    candidate: dict[str, Any]
    diff: pl.DataFrame
    devices: pl.DataFrame
    answer: TimelineAnswer


def compare_timelines(
    lake: Lake,
    *,
    baseline: dict[str, Any],
    candidate: dict[str, Any],
    step: int | None = None,
    find_renames: bool = True,
    keep_warm_up: bool = False,
) -> TimelineComparison:
    """Compare the timelines of two runs (rows of silver.runs), of one `step` of each if that is named.

    Of whole runs the warm-up is left out (`warm_up.py`), unless `keep_warm_up`.

    Raises `UserError` when a run has no spans, or not that step.
    """
    found = [spans_of(lake, run, step=step) for run in (baseline, candidate)]
    is_whole = step is None and not keep_warm_up
    spans, left_out = zip(*(without_warm_up(rows) if is_whole else (rows, 0) for rows in found), strict=True)
    profiles = [
        profile_run(rows, run_id=run["run_id"], keep_step_names=step is not None, warm_up_count=count)
        for rows, count, run in zip(spans, left_out, (baseline, candidate), strict=True)
    ]
    diff = diff_profiles(profiles[0], profiles[1], find_renames=find_renames)
    devices = [
        device_rows(rows, run_id=run["run_id"], run_date=run["run_date"], input_digest="").with_columns(
            side=pl.lit(side)
        )
        for rows, run, side in zip(spans, (baseline, candidate), ("baseline", "candidate"), strict=True)
    ]
    answer = tell_difference(diff)
    assert answer is not None, "a difference always has idle time"
    return TimelineComparison(
        baseline=baseline, candidate=candidate, diff=diff, devices=pl.concat(devices), answer=answer
    )


def timeline_of(lake: Lake, run: dict[str, Any], *, step: int | None = None) -> tuple[pl.DataFrame, pl.DataFrame]:
    """What a run spent its time on by name, the largest share of wall time first, and how busy its devices were."""
    spans = spans_of(lake, run, step=step)
    profile = profile_run(spans, run_id=run["run_id"], keep_step_names=step is not None)
    names = profile.names.drop("name_id").with_columns(
        family_expr(), wall_ratio=pl.col("wall_ns") / max(profile.wall_ns, 1)
    )
    devices = device_rows(spans, run_id=run["run_id"], run_date=run["run_date"], input_digest="")
    return names.sort("wall_ns", "name", descending=[True, False]), devices.drop("input_digest")


def stretch_to_draw(
    lake: Lake, *, baseline: dict[str, Any], candidate: dict[str, Any], step: int | None = None
) -> tuple[pl.DataFrame, pl.DataFrame, str]:
    """Spans of the same stretch of both runs and its name: a step, a sample, else as much as can be drawn.

    Of steps that both have, the one in the middle; of samples, the one whose difference is the median.
    """
    spans = [spans_of(lake, run, step=step) for run in (baseline, candidate)]
    if step is not None:
        return spans[0], spans[1], f"step {step}"
    for column, word in (("step", "step"), ("sample_id", "sample")):
        repeat = _common_repeat(spans, column)
        if repeat is not None:
            chosen = [rows.filter(pl.col(column) == repeat) for rows in spans]
            return chosen[0], chosen[1], f"{word} {repeat}"
    return spans[0].head(_MANY_SPANS), spans[1].head(_MANY_SPANS), "run"


def list_timeline_diffs(lake: Lake, dates: Sequence[dt.date]) -> list[tuple[dict[str, Any], TimelineAnswer]]:
    """For each comparison of these dates that has timelines: its ids, and what came out."""
    rows = lake.read(DIFFS, where={"run_date": sorted(set(dates)), "alignment": "name"})
    told = []
    for (comparison_id,), own in rows.sort("comparison_id", "node_id").group_by("comparison_id", maintain_order=True):
        first = own.row(0, named=True)
        answer = tell_difference(own)
        if answer is not None:
            ids = ("run_date", "candidate_run_id", "baseline_run_id")
            told.append(({"comparison_id": comparison_id, **{name: first[name] for name in ids}}, answer))
    return told


def list_timelines(lake: Lake) -> pl.DataFrame:
    """Every run that has spans, newest first, a row a device: suite, backend and its row of timeline_devices.

    What the night has not summed up yet has `is_summed_up` false, its spans and wall time, and null for the rest.
    """
    runs = lake.read(RUNS, columns=["run_id", "run_date", "suite", "backend", "started_at", "content_digest"])
    current = with_input_digests(runs).select("run_id", "input_digest")
    summed = lake.read(DEVICES).join(current, on=["run_id", "input_digest"], how="semi")
    waiting = _waiting_devices(lake, runs.join(summed, on="run_id", how="anti"))
    rows = pl.concat(
        [summed.with_columns(is_summed_up=True), waiting.with_columns(is_summed_up=False)], how="diagonal_relaxed"
    )
    return (
        rows.join(runs.select(_LISTED_FIRST), on="run_id", how="left")
        .sort("started_at", "run_id", "device", descending=[True, False, False])
        .select(*_LISTED_FIRST, pl.all().exclude(_LISTED_FIRST))
    )


def _waiting_devices(lake: Lake, runs: pl.DataFrame) -> pl.DataFrame:
    """Spans and wall time by device of those of these runs that have spans; a few columns of theirs alone are read."""
    timed = runs_with_spans(lake, runs["run_date"].to_list()).join(runs, on="run_id", how="semi")
    where: Slice = {"run_date": timed["run_date"].unique().to_list(), "run_id": timed["run_id"].to_list()}
    columns = ["run_id", "run_date", "device", "start_ns", "duration_ns"]
    spans = lake.read(SPANS, columns=columns, where=where)
    end = pl.col("start_ns") + pl.col("duration_ns")
    walls = spans.group_by("run_id").agg(wall_ns=end.max() - pl.col("start_ns").min())
    counts = spans.group_by("run_id", "run_date", "device").agg(span_count=pl.len().cast(pl.Int64))
    return counts.join(walls, on="run_id")


def list_devices(lake: Lake, dates: Sequence[dt.date]) -> pl.DataFrame:
    """Rows of `gold.timeline_devices` of these dates with suite and backend of their runs."""
    where = {"run_date": sorted(set(dates))}
    runs = lake.read("silver.runs", columns=["run_id", "suite", "backend"], where=where)
    return lake.read(DEVICES, where=where).join(runs, on="run_id", how="left").sort("suite", "backend", "device")


def spans_of(lake: Lake, run: dict[str, Any], *, step: int | None = None) -> pl.DataFrame:
    """The spans of a run (a row of silver.runs), of one step if that is named; raises `UserError` without any."""
    spans = read_spans(lake, run_id=run["run_id"], run_date=run["run_date"])
    short = run["run_id"][:8]
    if spans.is_empty():
        raise UserError(
            f"Run {short} has no spans. Traces of the PyTorch profiler, OpenTelemetry and Inspect have them, and runs "
            "that Benchlake asked. Which do:  benchlake timeline list"
        )
    if step is None:
        return spans
    chosen = spans.filter(pl.col("step") == step)
    if chosen.is_empty():
        known = spans["step"].drop_nulls().unique().sort()
        told = f"it has {known[0]} to {known[-1]}" if known.len() else "it marks no steps"
        raise UserError(f"Run {short} has no step {step}; {told}.")
    return chosen


def _common_repeat(spans: Sequence[pl.DataFrame], column: str) -> Any:  # noqa: ANN401 - a step or a sample
    totals = [
        rows.filter(pl.col(column).is_not_null() & (pl.col("depth") == 0))
        .group_by(column)
        .agg(pl.col("duration_ns").sum())
        for rows in spans
    ]
    both = totals[0].join(totals[1], on=column, suffix="_other")
    if both.is_empty():
        return None
    difference = (pl.col("duration_ns_other") - pl.col("duration_ns")).alias("difference")
    ordered = both.select(column, difference).sort(column if column == "step" else "difference", column)
    return ordered[column][both.height // 2]
