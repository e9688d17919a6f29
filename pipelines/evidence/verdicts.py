"""Rows of `gold.gate_results` from comparisons, a policy and the outputs of both runs.

Pure. How one gate judges is `gates.py`; reading and writing is `steps.py`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import polars as pl

from lake.identity import json_digest
from lake.tables import contract_of
from pipelines.evidence.comparability import timing_differences
from pipelines.evidence.gates import GATE_VERSION, Judgement, judge_together, lay_side_by_side
from pipelines.evidence.policy import Gate, Policy
from pipelines.runs.records import canonical_json

JUDGED_COLUMNS = (
    "run_id",
    "sample_id",
    "repeat_index",
    "status",
    "scores",
    "latency_ms",
    "time_to_first_token_ms",
    "tags",
)

POLICIES = "gold.policies"
_IDENTITY = ("comparison_id", "run_date", "suite", "candidate_run_id", "baseline_run_id")
_EXPECTED = {
    "comparison_id": pl.String(),
    "run_date": pl.Date(),
    "gate": pl.String(),
    "input_digest": pl.String(),
}


def expected_verdicts(comparisons: pl.DataFrame, policy: Policy) -> pl.DataFrame:
    """Which verdicts there must be: comparison_id, run_date, gate and the digest of everything each is computed from.

    `comparisons` has comparison_id, run_date, pairing and input_digest, planned or standing.
    """
    policy_digest = policy.digest
    wanted = comparisons.select("comparison_id", "run_date", "pairing", "input_digest").iter_rows()
    rows = [
        (comparison_id, run_date, gate.name, _input_digest(input_digest, policy_digest, gate))
        for comparison_id, run_date, pairing, input_digest in wanted
        for gate in policy.gates_of(pairing)
    ]
    return pl.DataFrame(rows, schema=_EXPECTED, orient="row")


def judge_comparisons(
    comparisons: pl.DataFrame,
    policy: Policy,
    runs: Mapping[str, Mapping[str, Any]],
    outputs: pl.DataFrame,
    *,
    versions: Sequence[Mapping[str, object]],
) -> pl.DataFrame:
    """One row per comparison and gate that applies to it; `versions` are the table versions that were read."""
    by_run = {str(key[0]): rows for key, rows in outputs.group_by("run_id")}
    none = outputs.clear()
    policy_digest = policy.digest
    rows: list[dict[str, object]] = []
    for comparison in comparisons.to_dicts():
        ids = (comparison["candidate_run_id"], comparison["baseline_run_id"])
        beside = lay_side_by_side(*(by_run.get(run_id, none) for run_id in ids))
        fingerprints = [runs[run_id]["fingerprint"] if run_id in runs else None for run_id in ids]
        gates = policy.gates_of(comparison["pairing"])
        timing = timing_differences(*fingerprints)
        judged = judge_together(gates, beside, [_why_not(gate, comparison, timing) for gate in gates])
        identity = {name: comparison[name] for name in _IDENTITY}
        rows.extend(
            {
                **identity,
                **_columns(gate, judgement),
                "policy_digest": policy_digest,
                "input_digest": _input_digest(comparison["input_digest"], policy_digest, gate),
                "input_versions": list(versions),
            }
            for gate, judgement in zip(gates, judged, strict=True)
        )
    return pl.DataFrame(rows, schema=contract_of("gold.gate_results").dtypes)


def policy_row(policy: Policy) -> pl.DataFrame:
    """The row of `gold.policies` for a policy."""
    return pl.DataFrame(
        {
            "policy_digest": [policy.digest],
            "content": [canonical_json(policy.model_dump(mode="json"))],
            "comparison_count": [len(policy.comparisons)],
            "gate_count": [len(policy.gates)],
        },
        schema=contract_of(POLICIES).dtypes,
    )


def _why_not(gate: Gate, comparison: Mapping[str, Any], timing: Sequence[str]) -> Sequence[str]:
    """Why the gate can have no verdict on this comparison; empty when it can."""
    if comparison["comparability"] == "incomparable":
        return list(comparison["reasons"])
    return timing if gate.family == "latency_regression" else []


def _columns(gate: Gate, found: Judgement) -> dict[str, object]:
    return {
        "gate": gate.name,
        "family": gate.family,
        "metric": gate.metric,
        "unit": gate.unit,
        "severity": gate.severity,
        "margin": found.margin,
        "confidence": gate.confidence,
        "verdict": found.verdict,
        "sample_count": found.sample_count,
        "candidate_value": found.candidate_value,
        "baseline_value": found.baseline_value,
        "effect": found.effect,
        "interval_low": found.interval.low if found.interval else None,
        "interval_high": found.interval.high if found.interval else None,
        "minimum_detectable_effect": found.minimum_detectable_effect,
        "p_value": found.p_value,
        "q_value": found.q_value,
        "reasons": list(found.reasons),
    }


def _input_digest(comparison_digest: str, policy_digest: str, gate: Gate) -> str:
    return json_digest([GATE_VERSION, comparison_digest, policy_digest, gate.name])
