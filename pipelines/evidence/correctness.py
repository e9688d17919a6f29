"""When a score means that the answer was right, and whether two outputs were scored alike.

What belongs here: the one definition of right that contingencies, flips and kinds of change share. Scores of different
scorers are never mixed, and a missing score is no wrong answer.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import TypedDict

import polars as pl

# From this score on a yes-or-no scorer says right.
RIGHT_SCORE = 1.0
# Scorers with values in between for which somebody decided what is right. Any other scorer with values in between has
# no contingency: a cut that nobody chose would decide what counts as a flip.
RIGHT_AT: Mapping[str, float] = {"token_f1": 0.5}
# Scores that differ by less were rounded, not judged otherwise.
SCORE_TOLERANCE = 1e-9

SCORES = pl.List(pl.Struct({"scorer": pl.String, "value": pl.Float64}))


class Score(TypedDict):
    """An element of `silver.outputs.scores`."""

    scorer: str
    value: float


def is_scored_alike(candidate: Sequence[Score] | None, baseline: Sequence[Score] | None) -> bool:
    """Whether no scorer that both outputs have gave them different values; True where nothing was scored."""
    ours, theirs = _by_scorer(candidate), _by_scorer(baseline)
    return all(abs(value - theirs[scorer]) <= SCORE_TOLERANCE for scorer, value in ours.items() if scorer in theirs)


def has_full_marks(candidate: Sequence[Score] | None, baseline: Sequence[Score] | None) -> bool:
    """Whether both outputs got exactly `RIGHT_SCORE` from every scorer that both have, and there is one."""
    ours, theirs = _by_scorer(candidate), _by_scorer(baseline)
    shared = [(value, theirs[scorer]) for scorer, value in ours.items() if scorer in theirs]
    return bool(shared) and all(value == other == RIGHT_SCORE for value, other in shared)


def right_scores_of(scored: pl.DataFrame) -> pl.DataFrame:
    """The score from which each scorer says right, for the scorers that can say so.

    `scored` has comparison_id, scorer, candidate_score and baseline_score. Gives comparison_id, scorer and right_score:
    `RIGHT_SCORE` for scorers that gave nothing but 0 and 1 in this comparison, else what `RIGHT_AT` names.
    """
    values = pl.col("candidate_score", "baseline_score")
    decided = pl.col("scorer").replace_strict(dict(RIGHT_AT), default=None, return_dtype=pl.Float64)
    return (
        scored.group_by("comparison_id", "scorer")
        .agg(is_binary=pl.all_horizontal(values.is_in([0.0, RIGHT_SCORE]).all()))
        .select(
            "comparison_id",
            "scorer",
            right_score=pl.when("is_binary").then(pl.coalesce(decided, pl.lit(RIGHT_SCORE))).otherwise(decided),
        )
        .drop_nulls("right_score")
    )


def _by_scorer(scores: Sequence[Score] | None) -> dict[str, float]:
    return {score["scorer"]: score["value"] for score in scores or () if math.isfinite(score["value"])}
