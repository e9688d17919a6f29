"""Rows of `gold.contingencies`, and flips: how many pairs both sides got right, one side alone, or neither.

Pure: planned comparisons, runs and outputs in, counts out. What right means is `correctness.py`; reading and writing
is `contingency_steps.py`.
"""

from __future__ import annotations

import polars as pl

from lake.tables import contract_of
from pipelines.evidence.comparisons import Runs, comparable_pairs
from pipelines.evidence.correctness import right_scores_of

# Part of every comparison's input digest: raise it when the same outputs would be counted otherwise.
CONTINGENCY_VERSION = 1
# A group or tag of one pair says what the pair says.
MIN_SLICE_PAIRS = 2

SCORED_COLUMNS = ("run_id", "sample_id", "repeat_index", "prompt_digest", "scores", "tags")

_SIDES = ("candidate", "baseline")
_PAIR = ["comparison_id", "sample_id", "repeat_index"]
_CELL = ["comparison_id", "scorer", "slice_kind", "slice_value"]


def count_right(plan: pl.DataFrame, runs: Runs, outputs: pl.DataFrame) -> pl.DataFrame:
    """One row of `gold.contingencies` per comparison, scorer and slice, sorted by its key.

    `plan` has the columns of `pairing.plan_comparisons`, `outputs` has `SCORED_COLUMNS`. Scorers that cannot say what
    is right have no rows (see `correctness.right_scores_of`).
    """
    pairs = comparable_pairs(plan, runs, outputs)
    judged = judge_right(pairs)
    sliced = judged.join(_slices_of(pairs), on=_PAIR)
    candidate, baseline = pl.col("is_candidate_right"), pl.col("is_baseline_right")
    counts = sliced.group_by(_CELL).agg(
        pl.col("right_score").first(),
        pair_count=(candidate.is_not_null() & baseline.is_not_null()).sum(),
        both_right_count=(candidate & baseline).sum(),
        candidate_only_count=(candidate & ~baseline).sum(),
        baseline_only_count=(~candidate & baseline).sum(),
        both_wrong_count=(~candidate & ~baseline).sum(),
        unscored_count=(candidate.is_null() | baseline.is_null()).sum(),
    )
    told = counts.filter((pl.col("slice_kind") == "suite") | (pl.col("pair_count") >= MIN_SLICE_PAIRS))
    dtypes = contract_of("gold.contingencies").dtypes
    of_comparison = plan.select("comparison_id", "run_date", "candidate_run_id", "baseline_run_id", "input_digest")
    rows = told.join(of_comparison, on="comparison_id")
    return rows.select(pl.col(name).cast(dtype) for name, dtype in dtypes.items()).sort(_CELL)


def judge_right(pairs: pl.DataFrame) -> pl.DataFrame:
    """One row per pair and scorer that can say what is right; on a side that it did not score, its word is null.

    `pairs` has comparison_id, sample_id, repeat_index and the `_scores` of both sides. Adds scorer, right_score,
    candidate_score, baseline_score, is_candidate_right and is_baseline_right.
    """
    candidate, baseline = (_scores_of(pairs, side) for side in _SIDES)
    scored = candidate.join(baseline, on=[*_PAIR, "scorer"], how="full", coalesce=True)
    return scored.join(right_scores_of(scored), on=["comparison_id", "scorer"]).with_columns(
        (pl.col(f"{side}_score") >= pl.col("right_score")).alias(f"is_{side}_right") for side in _SIDES
    )


def flips_of(judged: pl.DataFrame) -> pl.DataFrame:
    """The rows of `judge_right` of which one side alone is right, with `flip`: gained by the candidate, or lost."""
    candidate, baseline = pl.col("is_candidate_right"), pl.col("is_baseline_right")
    return judged.filter(candidate != baseline).with_columns(
        pl.when(candidate).then(pl.lit("gained")).otherwise(pl.lit("lost")).alias("flip")
    )


def prompt_group(sample_id: pl.Expr) -> pl.Expr:
    """The group that a sample's id names: what stands before the last slash, else before the first of `-_:.#`.

    `algebra/linear/17` is of `algebra/linear`, `fact-france` of `fact`; an id without such a sign is of no group.
    """
    return pl.coalesce(sample_id.str.extract(r"^(.+)/[^/]*$"), sample_id.str.extract(r"^([^-_:.#/]+)[-_:.#]"))


def _scores_of(pairs: pl.DataFrame, side: str) -> pl.DataFrame:
    """One row per pair and scorer of a side; of several values of one scorer their mean."""
    return (
        pairs.select(*_PAIR, score=f"{side}_scores")
        .explode("score", empty_as_null=False, keep_nulls=False)
        .unnest("score")
        .filter(pl.col("value").is_finite())
        .group_by(*_PAIR, "scorer")
        .agg(pl.col("value").mean().alias(f"{side}_score"))
    )


def _slices_of(pairs: pl.DataFrame) -> pl.DataFrame:
    """Each pair with every slice that it is in: its suite, the tags of either side, its prompt group."""
    tags = pairs.select(
        *_PAIR,
        slice_kind=pl.lit("tag"),
        slice_value=pl.concat_list(pl.col(f"{side}_tags").fill_null([]) for side in _SIDES).list.unique(),
    ).explode("slice_value", empty_as_null=False, keep_nulls=False)
    whole, groups = (
        pairs.select(*_PAIR, slice_kind=pl.lit(kind), slice_value=value)
        for kind, value in (("suite", pl.col("suite")), ("prompt_group", prompt_group(pl.col("sample_id"))))
    )
    return pl.concat([whole, tags, groups]).drop_nulls("slice_value")
