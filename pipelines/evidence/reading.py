"""What the steps of this room read from the lake: the plan for some run dates, the runs in it, who may be promoted."""

from __future__ import annotations

import datetime as dt
from collections.abc import Sequence
from typing import Any

import polars as pl

from lake.store import Lake
from pipelines.evidence.designations import Designation, read_designations
from pipelines.evidence.pairing import RUN_COLUMNS, plan_comparisons
from pipelines.evidence.policy import Policy
from pipelines.evidence.promotion import PROMOTED, promote
from pipelines.evidence.scoring_matches import SCORED, SCORINGS, with_scorings
from pipelines.evidence.slices import dates_slice
from pipelines.evidence.unchanged_code import CodeHistory, Support

__all__ = [
    "BASELINES",
    "COMPARISONS",
    "CONTINGENCIES",
    "DIFFS",
    "DIVERGENCES",
    "GATES",
    "OUTPUTS",
    "POSITIONS",
    "PROMOTED",
    "RUNS",
    "SCORED",
    "SCORINGS",
    "TOKENS",
    "differing_rows",
    "read_all_designations",
    "read_plan",
    "read_promotable",
    "read_runs",
    "read_supports",
]

RUNS, OUTPUTS, BASELINES = "silver.runs", "silver.outputs", "silver.baselines"
DIFFS, COMPARISONS, GATES = "gold.output_diffs", "gold.run_comparisons", "gold.gate_results"
CONTINGENCIES = "gold.contingencies"
TOKENS, DIVERGENCES, POSITIONS = "silver.output_tokens", "gold.token_divergences", "gold.token_positions"

_ASSESSED_COLUMNS = ("status", "fingerprint", "code_version", "expected_sample_count")


def read_plan(
    lake: Lake, policy: Policy, run_dates: Sequence[dt.date], *, version: int
) -> tuple[pl.DataFrame, dict[str, dict[str, Any]]]:
    """The planned comparisons of these dates, and the rows of their runs by id.

    Scorings of tokens are read as they stand: they are not of any version of the runs.
    """
    candidates = lake.read(RUNS, columns=["suite"], where=dates_slice(run_dates), at=version)
    suites = candidates["suite"].unique().sort().to_list()
    columns = list(dict.fromkeys((*RUN_COLUMNS, *_ASSESSED_COLUMNS)))
    runs = lake.read(RUNS, columns=columns, where={"suite": suites}, at=version)
    plan = plan_comparisons(runs, policy, set(run_dates), read_all_designations(lake, policy))
    needed = pl.concat([plan["candidate_run_id"], plan["baseline_run_id"]]).unique()
    involved = runs.filter(pl.col("run_id").is_in(needed.implode()))
    return with_scorings(lake, plan), {row["run_id"]: row for row in involved.to_dicts()}


def read_supports(lake: Lake, policy: Policy, comparisons: pl.DataFrame, *, version: int) -> dict[str, Support]:
    """By comparison id, the runs that verdicts may rest on besides: re-runs, and runs of unchanged code.

    `comparisons` has comparison_id, suite, candidate_run_id and baseline_run_id. Nothing is read for a policy whose
    gates look at the two runs alone.
    """
    if comparisons.is_empty() or not (policy.asks_reruns or policy.asks_history):
        return {}
    suites = comparisons["suite"].unique().sort().to_list()
    runs = lake.read(RUNS, columns=RUN_COLUMNS, where={"suite": suites}, at=version)
    history = CodeHistory(runs.to_dicts(), unchanged=policy.unchanged_runs)
    ids = comparisons.select("comparison_id", "candidate_run_id", "baseline_run_id")
    return {comparison_id: history.support_of(*sides) for comparison_id, *sides in ids.iter_rows()}


def read_all_designations(lake: Lake, policy: Policy) -> list[Designation]:
    """Every designation, if the policy asks for designated baselines at all."""
    if not any(rule.baseline == "designated" for rule in policy.comparisons):
        return []
    return read_designations(lake.read(BASELINES))


def read_promotable(lake: Lake, policy: Policy, run_dates: Sequence[dt.date]) -> tuple[pl.DataFrame, int]:
    """The rows that `gold.promoted_runs` should hold for these dates, and how many rows say so."""
    where = dates_slice(run_dates)
    comparisons = lake.read(COMPARISONS, columns=["comparison_id", "pairing", "candidate_run_id"], where=where)
    gates = lake.read(GATES, columns=["comparison_id", "gate", "severity", "verdict", "policy_digest"], where=where)
    runs = lake.read(RUNS, columns=["run_id", "run_date", "suite", "backend"], where=where)
    current = gates.filter(policy_digest=policy.digest)
    return promote(comparisons, current, runs, policy), comparisons.height + gates.height + runs.height


def differing_rows(expected: pl.DataFrame, standing: pl.DataFrame) -> pl.DataFrame:
    """Rows that only one of the two frames has; both get the columns of `expected`."""
    names = expected.columns
    standing = standing.select(names)
    return pl.concat([expected.join(standing, on=names, how="anti"), standing.join(expected, on=names, how="anti")])


def read_runs(lake: Lake, comparisons: pl.DataFrame, *, version: int) -> dict[str, dict[str, Any]]:
    """The runs on both sides of some comparisons, by id."""
    ids = sorted({*comparisons["candidate_run_id"], *comparisons["baseline_run_id"]})
    columns = ["run_id", "run_date", *_ASSESSED_COLUMNS]
    return {
        row["run_id"]: row for row in lake.read(RUNS, columns=columns, where={"run_id": ids}, at=version).to_dicts()
    }
