"""Which runs later work may build on. Pure: verdict rows in, rows of `gold.promoted_runs` out."""

from __future__ import annotations

import polars as pl

from lake.tables import contract_of
from pipelines.evidence.policy import Policy

PROMOTED = "gold.promoted_runs"


def promote(comparisons: pl.DataFrame, gates: pl.DataFrame, runs: pl.DataFrame, policy: Policy) -> pl.DataFrame:
    """One row per run whose every blocking gate, in every comparison where it is the candidate, passed.

    `comparisons` has comparison_id, pairing and candidate_run_id, `gates` comparison_id, gate, severity and verdict,
    `runs` run_id, run_date, suite and backend. A gate without a verdict, and one that is incomparable, holds the run
    back; an inconclusive one does too unless the policy says `on_inconclusive: promote`.

    Missing evidence is never a pass, so a run that was only ever a baseline, or that no blocking gate looked at (the
    first of its kind, say), is not promoted.
    """
    required = pl.DataFrame(
        [
            (run_id, comparison_id, gate.name)
            for comparison_id, pairing, run_id in comparisons.select(
                "comparison_id", "pairing", "candidate_run_id"
            ).iter_rows()
            for gate in policy.gates_of(pairing)
            if gate.severity == "block"
        ],
        schema={"run_id": pl.String, "comparison_id": pl.String, "gate": pl.String},
        orient="row",
    )
    good_enough = ["pass", "inconclusive"] if policy.on_inconclusive == "promote" else ["pass"]
    judged = required.join(gates.select("comparison_id", "gate", "verdict"), on=["comparison_id", "gate"], how="left")
    promoted = (
        judged.group_by("run_id")
        .agg(
            pl.col("verdict").is_in(good_enough).fill_null(value=False).all().alias("is_good"),
            (pl.col("verdict") == "pass").sum().cast(pl.Int64).alias("gate_count"),
            pl.col("comparison_id").unique().sort().alias("comparison_ids"),
        )
        .filter("is_good")
    )
    return (
        promoted.join(runs.select("run_id", "run_date", "suite", "backend"), on="run_id")
        .with_columns(pl.lit(policy.digest).alias("policy_digest"))
        .select(list(contract_of(PROMOTED).dtypes))
        .sort("run_date", "run_id")
    )
