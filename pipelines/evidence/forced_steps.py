"""The step that tells how far a candidate's backend is from the baseline's, where it has scored the baseline's tokens.

What belongs here: reading and writing. What is computed is `forced_divergence.py`, which scoring tells of which
comparison `scoring_matches.py`; how scorings come about is `scoring_steps.py`.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Sequence
from typing import Any

import polars as pl

from lake.predicates import Slice
from lake.store import Lake
from pipelines.evidence.forced_divergence import (
    BAND_ROWS,
    FORCED,
    SCORED_COLUMNS,
    band_rows,
    forced_rows,
)
from pipelines.evidence.policy import Policy
from pipelines.evidence.reading import DIVERGENCES, RUNS, SCORED, SCORINGS, read_plan
from pipelines.evidence.rewriting import EvidenceResult, Mode, rewrite, unmarked
from pipelines.evidence.scoring_matches import match_scorings
from pipelines.evidence.slices import dates_slice
from pipelines.evidence.token_gates import TOKEN_COLUMNS

_OUTPUT_KEY = ["comparison_id", "sample_id", "repeat_index"]
_FORCED_COLUMNS = [name for name in TOKEN_COLUMNS if name != "divergence_kind"]


def measure_forced_divergence(
    lake: Lake, policy: Policy, run_dates: Sequence[dt.date], *, mode: Mode = "changed"
) -> EvidenceResult:
    """Measure every planned comparison of these run dates that has a scoring; before `compare_runs`, which marks it.

    The result is that of `gold.divergence_bands`.
    """
    versions = lake.versions([RUNS])
    plan, runs = read_plan(lake, policy, run_dates, version=versions[RUNS])
    matches = match_scorings(lake, plan)
    matched = plan.join(matches.select("comparison_id", "scoring_id"), on="comparison_id")
    todo = unmarked(lake, plan, run_dates, mode=mode).join(
        matches.select("comparison_id", "scoring_id"), on="comparison_id"
    )
    results = []
    for table, compute_rows in ((FORCED, forced_rows), (BAND_ROWS, band_rows)):
        standing = lake.read(table, columns=["comparison_id", "run_date"], where=dates_slice(run_dates)).unique()

        def compute(chunk: pl.DataFrame, _: Slice, compute_rows: Any = compute_rows) -> tuple[pl.DataFrame, int]:  # noqa: ANN401
            scored = read_scored(lake, chunk)
            return compute_rows(chunk, scored), scored.height

        results.append(rewrite(lake, table, todo=todo, standing=standing, planned=matched, runs=runs, compute=compute))
    return results[-1]


def read_scored(lake: Lake, matched: pl.DataFrame) -> pl.DataFrame:
    """The scored tokens of matched comparisons, of outputs that could be scored."""
    where: Slice = {
        "run_date": matched["baseline_run_date"].unique().sort().to_list(),
        "scoring_id": matched["scoring_id"].unique().sort().to_list(),
    }
    return lake.read(SCORED, columns=SCORED_COLUMNS, where=where)


def read_token_evidence(lake: Lake, where: Slice) -> pl.DataFrame:
    """What gates are told of the tokens of some comparisons: `token_gates.TOKEN_COLUMNS` by comparison and output."""
    parted = lake.read(DIVERGENCES, columns=[*_OUTPUT_KEY, "divergence_kind"], where=where)
    return token_evidence(parted, lake.read(FORCED, columns=[*_OUTPUT_KEY, *_FORCED_COLUMNS], where=where))


def token_evidence(divergences: pl.DataFrame, forced: pl.DataFrame) -> pl.DataFrame:
    """Rows of `gold.token_divergences` and `gold.forced_divergences` beside each other."""
    parted = divergences.select(*_OUTPUT_KEY, "divergence_kind")
    return parted.join(forced.select(*_OUTPUT_KEY, *_FORCED_COLUMNS), on=_OUTPUT_KEY, how="full", coalesce=True)


def band_of_scoring(lake: Lake, scoring_id: str) -> pl.DataFrame:
    """A row as of `gold.divergence_bands` about a scoring by itself, whether or not any comparison rests on it."""
    scorings = lake.read(SCORINGS, where={"scoring_id": scoring_id})
    matched = scorings.select(
        "run_date",
        "suite",
        "scoring_id",
        comparison_id=pl.col("scoring_id"),
        candidate_run_id=pl.lit(""),
        baseline_run_id=pl.col("run_id"),
        baseline_run_date=pl.col("run_date"),
    )
    return band_rows(matched, read_scored(lake, matched)) if matched.height else matched
