"""Rows of `gold.gate_results` from comparisons, a policy and the outputs of both runs.

Pure. How one gate judges is `gates.py`; reading and writing is `steps.py`.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from functools import lru_cache
from typing import Any

import polars as pl

from lake.identity import json_digest
from lake.tables import contract_of
from pipelines.evidence.comparability import timing_differences
from pipelines.evidence.gates import GATE_VERSION, Judgement, judge_together, lay_side_by_side
from pipelines.evidence.noise_floor import History
from pipelines.evidence.policy import Gate, Policy
from pipelines.evidence.reruns import confirm_failures
from pipelines.evidence.unchanged_code import NO_SUPPORT, Support, why_no_rerun
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

Supports = Mapping[str, Support]
"""By comparison id, the runs that verdicts about it may rest on besides its two."""
NO_SUPPORTS: Supports = {}
ReadOutputs = Callable[[str], pl.DataFrame]

_IDENTITY = ("comparison_id", "run_date", "suite", "candidate_run_id", "baseline_run_id")
_EXPECTED = {
    "comparison_id": pl.String(),
    "run_date": pl.Date(),
    "gate": pl.String(),
    "input_digest": pl.String(),
}


def expected_verdicts(comparisons: pl.DataFrame, policy: Policy, supports: Supports = NO_SUPPORTS) -> pl.DataFrame:
    """Which verdicts there must be: comparison_id, run_date, gate and the digest of everything each is computed from.

    `comparisons` has comparison_id, run_date, pairing and input_digest, planned or standing; `supports` are those of
    `reading.read_supports`.
    """
    policy_digest = policy.digest
    wanted = comparisons.select("comparison_id", "run_date", "pairing", "input_digest").iter_rows()
    rows = [
        (
            comparison_id,
            run_date,
            gate.name,
            _input_digest(input_digest, policy_digest, gate, supports.get(comparison_id, NO_SUPPORT)),
        )
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
    supports: Supports = NO_SUPPORTS,
    read_outputs: ReadOutputs | None = None,
    tokens: pl.DataFrame | None = None,
) -> pl.DataFrame:
    """One row per comparison and gate that applies to it; `versions` are the table versions that were read.

    `supports` are the runs, by comparison id, that a verdict may rest on besides (re-runs, runs of unchanged code);
    `read_outputs` gives `JUDGED_COLUMNS` of one of them, and is called for what a verdict really needs alone. `tokens`
    has comparison_id, sample_id, repeat_index and the columns of `token_gates.TOKEN_COLUMNS`, as far as they are known.
    """
    at_hand = {*comparisons["candidate_run_id"], *comparisons["baseline_run_id"]}
    pairs = _Pairs(at_hand, outputs, read_outputs)
    token_rows = {str(key[0]): rows for key, rows in tokens.group_by("comparison_id")} if tokens is not None else {}
    policy_digest = policy.digest
    rows: list[dict[str, object]] = []
    for comparison in comparisons.to_dicts():
        support = supports.get(comparison["comparison_id"], NO_SUPPORT)
        gates = policy.gates_of(comparison["pairing"])
        own_tokens = token_rows.get(comparison["comparison_id"])
        judged = _judge(gates, comparison, runs, pairs, support, own_tokens)
        identity = {name: comparison[name] for name in _IDENTITY}
        rows.extend(
            {
                **identity,
                **_columns(gate, judgement),
                "policy_digest": policy_digest,
                "input_digest": _input_digest(comparison["input_digest"], policy_digest, gate, support),
                "input_versions": list(versions),
            }
            for gate, judgement in zip(gates, judged, strict=True)
        )
    return pl.DataFrame(rows, schema=contract_of("gold.gate_results").dtypes)


def _judge(
    gates: Sequence[Gate],
    comparison: Mapping[str, Any],
    runs: Mapping[str, Mapping[str, Any]],
    pairs: _Pairs,
    support: Support,
    tokens: pl.DataFrame | None,
) -> list[Judgement]:
    """All gates on one comparison, and failures that must be confirmed on its re-runs."""
    candidate, baseline = comparison["candidate_run_id"], comparison["baseline_run_id"]
    fingerprints = [runs[run_id]["fingerprint"] if run_id in runs else None for run_id in (candidate, baseline)]
    timing = timing_differences(*fingerprints)
    why_not = [_why_not(gate, comparison, timing) for gate in gates]
    history = History(support.chains, outputs_of=pairs.beside, seen=pairs.noises)

    def judge_run(run_id: str) -> list[Judgement]:
        beside = pairs.beside(run_id, baseline)
        if tokens is not None and run_id == candidate:
            beside = beside.join(tokens.drop("comparison_id"), on=["sample_id", "repeat_index"], how="left")
        return judge_together(gates, beside, why_not, history=history)

    return confirm_failures(
        gates,
        judge_run(candidate),
        rerun_ids=support.rerun_ids,
        earlier_id=support.earlier_id,
        judge_run=judge_run,
        why_none=why_no_rerun(runs[candidate]) if candidate in runs else "",
    )


class _Pairs:
    """Outputs of runs laid side by side: those at hand, and others read when somebody asks."""

    def __init__(self, at_hand: Collection[str], outputs: pl.DataFrame, read_outputs: ReadOutputs | None) -> None:
        self.noises: dict[tuple[str, str, str], Any] = {}
        found = {str(key[0]): rows for key, rows in outputs.group_by("run_id")}
        none = outputs.clear()
        self._at_hand = {run_id: found.get(run_id, none) for run_id in at_hand}
        # A chain of runs asks for each but its ends twice in a row.
        self._read = lru_cache(maxsize=2)(read_outputs) if read_outputs else None

    def beside(self, candidate: str, baseline: str) -> pl.DataFrame:
        return lay_side_by_side(self._outputs(candidate), self._outputs(baseline))

    def _outputs(self, run_id: str) -> pl.DataFrame:
        if run_id in self._at_hand:
            return self._at_hand[run_id]
        assert self._read is not None
        return self._read(run_id)


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
        "margin_source": "policy" if gate.fixed_margin is not None else found.noise and found.noise.source,
        "noise_run_ids": None if found.noise is None else list(found.noise.run_ids),
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
        "rerun_ids": None if found.rerun_ids is None else list(found.rerun_ids),
        "reasons": list(found.reasons),
    }


def _input_digest(comparison_digest: str, policy_digest: str, gate: Gate, support: Support) -> str:
    return json_digest([GATE_VERSION, comparison_digest, policy_digest, gate.name, support.digest_of(gate)])
