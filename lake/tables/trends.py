"""Tables of the trends room: series of runs, their change points, and the changes that are followed over time."""

from __future__ import annotations

import dataframely as dy

from lake.contracts import TableContract, count, measure, timestamp, vocabulary

SLICE_KINDS = ("run", "tag", "prompt_group")
CHANGE_POINT_KINDS = ("step", "slope", "outlier")
DIRECTIONS = ("regression", "improvement", "shift")
STATES = ("suspected", "confirmed", "recovered", "acknowledged")
SUPPORTS = ("suspected", "confirmed")

_UNIT = "as in the column unit"


def _share(description: str) -> dy.Float64:
    return dy.Float64(min=0, max=1, nullable=True, description=description)


class TrendSeries(dy.Schema):
    """One number of every run that may be laid side by side, in the order of the code that made them."""

    series_id = dy.String(primary_key=True, description="Digest of what tells a series from others.")
    run_id = dy.String(primary_key=True, description="Run the value is about.")
    run_date = dy.Date(description="UTC date of the run.")
    suite = dy.String(description="Suite that the runs answered.")
    backend = dy.String(description="Backend that answered.")
    model = dy.String(description="Model that answered.")
    branch = dy.String(description="Branch of the code; empty when unknown.")
    source_kind = dy.String(description="Format that the runs were imported from.")
    metric = dy.String(description="Metric, as in silver.run_metrics or computed from the run's outputs.")
    variant = dy.String(description="What tells values of one metric apart: statistic, scorer, operator; or empty.")
    slice_kind = vocabulary(
        *SLICE_KINDS, description="run for the metric of a whole run, else how outputs were grouped."
    )
    slice_value = dy.String(description="The tag or prompt group; empty for a run.")
    unit = dy.String(description="Unit of the value.")
    is_higher_better = dy.Bool(nullable=True, description="Direction of improvement; null when neither is.")
    ordered_at = timestamp(
        "Commit time, or start of the run where none is known; the order of the series.", nullable=False
    )
    is_commit_time = dy.Bool(description="Whether `ordered_at` is when the code was committed.")
    value = measure(_UNIT, "The value.", nullable=False)
    sample_count = count("Measurements that the value sums up; null when the source does not say.")
    interval_low = measure(_UNIT, "Lower end of the value's own 95 % interval; null when it cannot be told.")
    interval_high = measure(_UNIT, "Upper end of the value's own 95 % interval.")
    commit = dy.String(nullable=True, description="Commit that the run was made from.")
    pull_request = dy.String(nullable=True, description="Pull request that the run was made for.")
    environment_digest = dy.String(nullable=True, description="Digest of hardware, engine version and suite content.")
    is_sample = dy.Bool(description="Whether it comes from a sample history that Benchlake ships, not from your runs.")


class ChangePoints(dy.Schema):
    """Where the detector, as it stands, sees a series change."""

    series_id = dy.String(primary_key=True, description="Series it was found in.")
    run_id = dy.String(primary_key=True, description="First run of the new level, or the outlier itself.")
    kind = vocabulary(
        *CHANGE_POINT_KINDS,
        description="A step between two levels, a kink between two slopes, or a spike too short to be a level.",
    )
    previous_run_id = dy.String(nullable=True, description="Last run of the old level.")
    point_index = dy.Int64(min=0, description="Place of the run in the series, from 0.")
    point_count = dy.Int64(min=1, description="Runs in the series when it was looked at.")
    support = vocabulary(
        *SUPPORTS, nullable=True, description="Whether enough later runs bear it out; null for an outlier."
    )
    p_value = _share("How likely noise alone would show such a change somewhere in the series; null for an outlier.")
    before = measure(_UNIT, "Median of the segment before.")
    after = measure(_UNIT, "Median of the segment after; the value itself for an outlier.")
    before_spread = measure(_UNIT, "Spread of the segment before, as a standard deviation (from its quartiles).", min=0)
    after_spread = measure(_UNIT, "Spread of the segment after.", min=0)
    change_ratio = measure("ratio", "(after - before) / |before|; null where before is 0.")
    later_count = count("Runs in the new segment.", nullable=False)
    detector_version = dy.Int32(min=1, description="Version of the detector's rules.")
    input_digest = dy.String(description="Digest of the values that were looked at.")


class TrendRegressions(dy.Schema):
    """A change of a series, recognised again night after night."""

    change_id = dy.String(primary_key=True, description="Stable id, kept when the change moves by a run or two.")
    series_id = dy.String(description="Series that changed.")
    suite = dy.String(description="Suite that the runs answered.")
    backend = dy.String(description="Backend that answered.")
    model = dy.String(description="Model that answered.")
    branch = dy.String(description="Branch of the code; empty when unknown.")
    metric = dy.String(description="Metric that changed.")
    variant = dy.String(description="What tells values of one metric apart; or empty.")
    slice_kind = vocabulary(*SLICE_KINDS, description="run, or how outputs were grouped.")
    slice_value = dy.String(description="The tag or prompt group; empty for a run.")
    unit = dy.String(description="Unit of the levels.")
    direction = vocabulary(
        *DIRECTIONS, description="Against the metric's better direction, with it, or a shift where it has none."
    )
    kind = vocabulary("step", "slope", description="A step between two levels, or a kink between two slopes.")
    state = vocabulary(*STATES, description="What is known of it; docs/trends.md.")
    is_current = dy.Bool(description="Whether the detector still sees it.")
    first_run_id = dy.String(description="First run of the new level.")
    last_run_id = dy.String(description="Last run of the old level.")
    first_commit = dy.String(nullable=True, description="Commit of the first run of the new level.")
    last_commit = dy.String(nullable=True, description="Commit of the last run of the old level.")
    repository_url = dy.String(
        nullable=True, description="Repository of the first run of the new level, as its source says."
    )
    commit_count = count("Commits after the last up to the first; null where their history cannot be read.")
    merged_pull_requests = dy.List(
        dy.String(),
        nullable=True,
        description="Numbers of the pull requests that the messages of these commits name; null where the history "
        "cannot be read.",
    )
    pull_requests = dy.List(dy.String(), description="Pull requests that the runs from the old level to the new name.")
    changed_at = timestamp("`ordered_at` of the first run of the new level.", nullable=False)
    run_date = dy.Date(description="UTC date of the first run of the new level.")
    before = measure(_UNIT, "Median before.", nullable=False)
    after = measure(_UNIT, "Median after.", nullable=False)
    before_spread = measure(_UNIT, "Spread before, as a standard deviation.", min=0)
    after_spread = measure(_UNIT, "Spread after.", min=0)
    change_ratio = measure("ratio", "(after - before) / |before|; null where before is 0.")
    p_value = _share("How likely noise alone would show such a change somewhere in the series.")
    q_value = _share("p after false-discovery control over the night (Benjamini-Hochberg).")
    confidence = _share("1 - q once it is confirmed; null while it is suspected.")
    later_count = count("Runs of the new level so far.", nullable=False)
    event_id = dy.String(
        nullable=True, description="Shared by the changes that one change of environment explains; else null."
    )
    suspected_at = timestamp("When it was first seen.", nullable=False)
    confirmed_at = timestamp("When enough later runs bore it out.")
    recovered_at = timestamp("When the series was first seen back at its old level, or the change no more.")
    acknowledged_at = timestamp("When somebody accepted it.")
    acknowledged_by = dy.String(nullable=True, description="Who accepted it.")
    acknowledged_reason = dy.String(nullable=True, description="Why it is accepted.")
    is_sample = dy.Bool(description="Whether it is of a sample history that Benchlake ships.")


class Acknowledgements(dy.Schema):
    """That somebody accepted a change, or took that back."""

    acknowledgement_id = dy.String(primary_key=True, description="Stable id of the act.")
    change_id = dy.String(description="Change that it is about.")
    is_withdrawn = dy.Bool(description="Whether an earlier acknowledgement is taken back.")
    acknowledged_at = timestamp("When it was done.", nullable=False)
    acknowledged_by = dy.String(description="Who did it.")
    reason = dy.String(min_length=1, description="Why the change is accepted.")


TABLES = (
    TableContract(
        name="trend_series",
        layer="gold",
        grain="One row per series and run.",
        schema=TrendSeries,
        sort_by=("series_id", "ordered_at", "run_id"),
    ),
    TableContract(
        name="change_points",
        layer="gold",
        grain="One row per series and run at which it changes.",
        schema=ChangePoints,
        sort_by=("series_id", "point_index"),
    ),
    TableContract(
        name="trend_regressions",
        layer="gold",
        grain="One row per change of a series that was ever suspected and not dismissed.",
        schema=TrendRegressions,
        sort_by=("series_id", "changed_at"),
    ),
    TableContract(
        name="trend_acknowledgements",
        layer="silver",
        grain="One row per act of acknowledging a change or taking that back.",
        schema=Acknowledgements,
        sort_by=("acknowledged_at",),
        is_append_only=True,
    ),
)
