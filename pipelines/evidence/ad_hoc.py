"""Two runs that somebody names, compared at once: the same evidence as a planned comparison has, without a row kept.

The runs need not be paired by the policy; its gates judge them all the same. What the policy pairs is `pairing.py`,
and stands in the lake.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import polars as pl

from lake.identity import derived_id, json_digest
from lake.store import Lake
from pipelines.evidence.comparisons import COUNTED_COLUMNS, DIFFED_COLUMNS, diff_comparisons, sum_up
from pipelines.evidence.listing import readable_verdicts
from pipelines.evidence.pair_tokens import PairTokens, measure_two
from pipelines.evidence.policy import Policy
from pipelines.evidence.reading import OUTPUTS, RUNS, read_supports
from pipelines.evidence.verdicts import JUDGED_COLUMNS, judge_comparisons

PAIRING = "ad-hoc"


@dataclass(frozen=True, kw_only=True)
class PairEvidence:
    """One row of `gold.run_comparisons`, rows of `gold.output_diffs`, and verdicts as `list_verdicts` gives them.

    `tokens` says where the pairs part, and how far the backends are apart.
    """

    comparison: Mapping[str, Any]
    diffs: pl.DataFrame
    tokens: PairTokens
    verdicts: pl.DataFrame


def compare_two(
    lake: Lake, policy: Policy, *, candidate: Mapping[str, Any], baseline: Mapping[str, Any]
) -> PairEvidence:
    """The evidence on two rows of `silver.runs`, judged by every gate of the policy. Nothing is written."""
    plan = _plan(candidate, baseline)
    runs = {run["run_id"]: run for run in (candidate, baseline)}
    columns = list(dict.fromkeys((*DIFFED_COLUMNS, *COUNTED_COLUMNS, *JUDGED_COLUMNS)))
    dates = sorted({run["run_date"] for run in runs.values()})
    outputs = lake.read(OUTPUTS, columns=columns, where={"run_date": dates, "run_id": list(runs)})
    diffs = diff_comparisons(plan, runs, outputs.select(DIFFED_COLUMNS))
    comparison = sum_up(plan, runs, outputs.select(COUNTED_COLUMNS), diffs)
    versions = [{"table": table, "version": version} for table, version in lake.versions([RUNS, OUTPUTS]).items()]
    judging = _for_any_pair(policy)
    tokens = measure_two(lake, plan, runs)
    supports = read_supports(lake, judging, plan, version=lake.version(RUNS))
    run_dates = {run_id: date for support in supports.values() for run_id, date in support.run_dates.items()}

    def read_judged(run_id: str) -> pl.DataFrame:
        return lake.read(OUTPUTS, columns=JUDGED_COLUMNS, where={"run_date": run_dates[run_id], "run_id": run_id})

    verdicts = judge_comparisons(
        comparison,
        judging,
        runs,
        outputs.select(JUDGED_COLUMNS),
        versions=versions,
        supports=supports,
        read_outputs=read_judged,
        tokens=tokens.evidence,
    )
    names = pl.DataFrame({"run_id": list(runs), "backend": [run["backend"] for run in runs.values()]})
    return PairEvidence(
        comparison=comparison.row(0, named=True),
        diffs=diffs,
        tokens=tokens,
        verdicts=readable_verdicts(verdicts, names),
    )


def _for_any_pair(policy: Policy) -> Policy:
    gates = tuple(gate.model_copy(update={"applies_to": None}) for gate in policy.gates)
    return policy.model_copy(update={"gates": gates})


def _plan(candidate: Mapping[str, Any], baseline: Mapping[str, Any]) -> pl.DataFrame:
    ids = (candidate["run_id"], baseline["run_id"])
    return pl.DataFrame(
        {
            "comparison_id": [derived_id("comparison", *ids, PAIRING)],
            "pairing": [PAIRING],
            "suite": [candidate["suite"]],
            "run_date": [candidate["run_date"]],
            "candidate_run_id": [ids[0]],
            "baseline_run_id": [ids[1]],
            "baseline_run_date": [baseline["run_date"]],
            "input_digest": [json_digest([*ids, candidate["content_digest"], baseline["content_digest"]])],
        }
    )
