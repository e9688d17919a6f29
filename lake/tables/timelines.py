"""Tables of timelines: where the time of a run went, and how that differs between runs.

The spans themselves are `silver.spans` (`runs.py`). Sums of times are whole nanoseconds, so that they agree exactly
with the source; shares of the wall time are not whole, since spans that run at once share it.
"""

from __future__ import annotations

import dataframely as dy

from lake.contracts import TableContract, count, measure, vocabulary
from lake.tables.runs import DEVICES, SPAN_KINDS

# What a timeline is divided by before two are compared: how often the same work was done.
REPEAT_KINDS = ("run", "step", "sample")
ALIGNMENTS = ("name", "call_path")
CHANGES = ("added", "removed", "increased", "decreased", "unchanged")
# Time in which nothing ran is a part of the wall time as well.
NODE_KINDS = (*SPAN_KINDS, "idle")


def _nanoseconds(description: str, *, min: int | None = 0) -> dy.Int64:  # noqa: A002 - as dataframely
    return dy.Int64(min=min, description=description, metadata={"unit": "ns"})


class TimelineSummaries(dy.Schema):
    """What a run spent its time on, by what was done."""

    run_id = dy.String(primary_key=True, description="Run it belongs to.")
    device = vocabulary(*DEVICES, primary_key=True, description="What was busy with it.")
    span_kind = vocabulary(*SPAN_KINDS, primary_key=True, description="What it is, in one word for all sources.")
    category = dy.String(primary_key=True, description="Kind as the source names it, or empty.")
    name = dy.String(primary_key=True, description="Operator, kernel, phase or operation.")
    run_date = dy.Date(description="UTC date of the run.")
    span_count = count("How often it was done.", nullable=False)
    error_count = count("How many of these spans report a failure.", nullable=False)
    lane_count = count("Lanes that it was done on.", nullable=False)
    total_ns = _nanoseconds("Sum of durations; what encloses another counts that one's time too.")
    self_ns = _nanoseconds("Sum of the time in it and in nothing that it encloses.")
    wall_ns = measure("ns", "Its share of the run's wall time: with idle time, shares add up to it.", min=0)
    mean_ns = measure("ns", "Mean duration.", min=0, nullable=False)
    p50_ns = measure("ns", "Median duration.", min=0, nullable=False)
    p95_ns = measure("ns", "Duration that 95 in 100 do not exceed.", min=0, nullable=False)
    input_digest = dy.String(description="Digest of everything the row was computed from.")


class TimelineDevices(dy.Schema):
    """How busy a device was during a run, and what ran at the same time."""

    run_id = dy.String(primary_key=True, description="Run it belongs to.")
    device = vocabulary(*DEVICES, primary_key=True, description="The device.")
    run_date = dy.Date(description="UTC date of the run.")
    span_count = count("Spans on it.", nullable=False)
    lane_count = count("Lanes: threads, streams.", nullable=False)
    step_count = count("Iterations that the source marks.", nullable=False)
    wall_ns = _nanoseconds("From the first to the last moment of the run, on any device.")
    busy_ns = _nanoseconds("Time in which at least one span ran on the device.")
    idle_ns = _nanoseconds("The rest of the wall time.")
    computation_ns = _nanoseconds("Time in which the device computed; on a GPU: any kernel but communication.")
    communication_ns = _nanoseconds("Time in which it exchanged data with other devices (NCCL and its like).")
    copy_ns = _nanoseconds("Time in which it copied or filled memory.")
    overlapped_communication_ns = _nanoseconds("Communication while it computed as well.")
    communication_overlap_ratio = dy.Float64(
        nullable=True,
        min=0,
        max=1,
        description="Communication hidden behind computation / all communication; null without any.",
        metadata={"unit": "ratio"},
    )
    input_digest = dy.String(description="Digest of everything the row was computed from.")


class TimelineDiffs(dy.Schema):
    """How one thing that both runs, or one of them, spent time on differs."""

    comparison_id = dy.String(primary_key=True, description="Comparison it belongs to.")
    node_id = dy.String(primary_key=True, description="Derived from what was aligned.")
    run_date = dy.Date(description="UTC date of the candidate run.")
    candidate_run_id = dy.String(description="Run that is judged.")
    baseline_run_id = dy.String(description="Run it is judged against.")
    alignment = vocabulary(*ALIGNMENTS, description="What made it the same thing on both sides.")
    device = vocabulary(*DEVICES, nullable=True, description="What was busy with it; null for idle time.")
    span_kind = vocabulary(*NODE_KINDS, description="What it is.")
    category = dy.String(description="Kind as the source names it, or empty.")
    name = dy.String(description="Its name; the candidate's where they differ.")
    baseline_name = dy.String(nullable=True, description="Its name in the baseline, where a rename was recognised.")
    call_path = dy.List(dy.String(), description="Names from the outermost span of its lane to it; by name: none.")
    count_change = vocabulary(*CHANGES, description="What became of how often it was done, per repeat.")
    duration_change = vocabulary(
        *CHANGES,
        description="What became of its total duration per repeat; unchanged where the interval holds 0.",
    )
    candidate_count = count("Spans of the candidate.", nullable=False)
    baseline_count = count("Spans of the baseline.", nullable=False)
    count_delta = dy.Int64(description="Candidate minus baseline.")
    candidate_total_ns = _nanoseconds("Sum of the candidate's durations.")
    baseline_total_ns = _nanoseconds("Sum of the baseline's durations.")
    total_delta_ns = _nanoseconds("Candidate minus baseline.", min=None)
    candidate_self_ns = _nanoseconds("Sum of the candidate's time in it and in nothing that it encloses.")
    baseline_self_ns = _nanoseconds("The same of the baseline.")
    self_delta_ns = _nanoseconds("Candidate minus baseline.", min=None)
    repeat_kind = vocabulary(*REPEAT_KINDS, description="What wall times and the interval are per.")
    candidate_repeat_count = count("Steps or samples of the candidate; 1 for a run.", nullable=False)
    baseline_repeat_count = count("Steps or samples of the baseline; 1 for a run.", nullable=False)
    candidate_warm_up_count = count(
        "Steps of the candidate left out as warm-up (step 0), or 0; null in rows of before that was done."
    )
    baseline_warm_up_count = count("The same of the baseline.")
    candidate_wall_ns = measure("ns", "The candidate's wall time that it took, per repeat.", min=0, nullable=False)
    baseline_wall_ns = measure("ns", "The same of the baseline.", min=0, nullable=False)
    wall_delta_ns = measure("ns", "Candidate minus baseline; by name, these add up to the run's.", nullable=False)
    slowdown_ratio = measure("ratio", "wall_delta_ns / wall time of the baseline: 0.09 is nine points slower.")
    change_share_ratio = measure("ratio", "wall_delta_ns / the run's: its share of the whole change.")
    effect_ns = measure(
        "ns", "Difference of mean total durations per repeat, with what belongs to none shared out.", nullable=False
    )
    interval_low_ns = measure("ns", "Lower end of the effect's 95 % interval; null where no repeat has it.")
    interval_high_ns = measure("ns", "Upper end of the effect's 95 % interval.")
    input_digest = dy.String(description="Digest of everything the row was computed from.")


TABLES = (
    TableContract(
        name="timeline_summaries",
        layer="gold",
        grain="One row per run, device, kind and name of span.",
        schema=TimelineSummaries,
        partition_by=("run_date",),
        sort_by=("run_id", "device", "span_kind", "name"),
    ),
    TableContract(
        name="timeline_devices",
        layer="gold",
        grain="One row per run with spans and device.",
        schema=TimelineDevices,
        partition_by=("run_date",),
        sort_by=("run_id", "device"),
    ),
    TableContract(
        name="timeline_diffs",
        layer="gold",
        grain="One row per comparison and thing that either run spent time on.",
        schema=TimelineDiffs,
        partition_by=("run_date",),
        sort_by=("comparison_id", "alignment", "device", "span_kind", "name"),
    ),
)
