"""Which scoring of tokens tells of which comparison, so that evidence follows what was scored.

Computing evidence from a scoring is `forced_steps.py`; making one is `scoring_steps.py`.
"""

from __future__ import annotations

import orjson
import polars as pl

from lake.identity import json_digest
from lake.store import Lake
from pipelines.evidence.forced_divergence import FORCED_VERSION

SCORED, SCORINGS = "silver.scored_tokens", "silver.token_scorings"

_NO_MATCHES = {"comparison_id": pl.String(), "scoring_id": pl.String(), "content_digest": pl.String()}
_SCORING_COLUMNS = (
    "scoring_id", "run_id", "backend", "model", "model_digest", "engine", "engine_version", "is_exact",
    "position_count", "content_digest", "scored_at",
)  # fmt: skip


def match_scorings(lake: Lake, plan: pl.DataFrame) -> pl.DataFrame:
    """Which scoring tells of which comparison: comparison_id, scoring_id, content_digest; none for most.

    A scoring tells of a comparison if it scored the baseline's outputs with what answered the candidate: the same
    backend by name, model, weights, engine and version. Of several the exact one counts, then the one of more
    positions, then the latest.
    """
    baselines = plan["baseline_run_id"].unique().sort().to_list()
    scorings = lake.read(SCORINGS, columns=_SCORING_COLUMNS, where={"run_id": baselines}) if baselines else None
    if scorings is None or scorings.is_empty():
        return pl.DataFrame(schema=_NO_MATCHES)
    concerned = plan.filter(pl.col("baseline_run_id").is_in(scorings["run_id"].unique().implode()))
    ids = concerned["candidate_run_id"].unique().sort().to_list()
    columns = ["run_id", "backend", "model", "engine", "engine_version", "parameters"]
    runs = lake.read("silver.runs", columns=columns, where={"run_id": ids})
    digests = [orjson.loads(text or "{}").get("model_digest") for text in runs["parameters"]]
    candidates = runs.drop("parameters").with_columns(
        pl.Series("model_digest", [value if isinstance(value, str) else None for value in digests], dtype=pl.String)
    )
    facts = ["backend", "model", "model_digest", "engine", "engine_version"]
    found = (
        concerned.select("comparison_id", "candidate_run_id", "baseline_run_id")
        .join(candidates, left_on="candidate_run_id", right_on="run_id")
        .join(scorings, left_on=["baseline_run_id", *facts], right_on=["run_id", *facts], nulls_equal=True)
    )
    order = ["is_exact", "position_count", "scored_at", "scoring_id"]
    return (
        found.sort(order, descending=True)
        .unique("comparison_id", keep="first", maintain_order=True)
        .select(list(_NO_MATCHES))
        .sort("comparison_id")
    )


def with_scorings(lake: Lake, plan: pl.DataFrame) -> pl.DataFrame:
    """The plan with input digests that cover the scorings, so that a new scoring makes a comparison be done again."""
    digests = dict(match_scorings(lake, plan).select("comparison_id", "content_digest").iter_rows())
    if not digests:
        return plan
    covered = [
        json_digest([own, FORCED_VERSION, digests[comparison]]) if comparison in digests else own
        for comparison, own in plan.select("comparison_id", "input_digest").iter_rows()
    ]
    return plan.with_columns(pl.Series("input_digest", covered, dtype=pl.String))
