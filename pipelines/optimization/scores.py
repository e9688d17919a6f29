"""Scores of trials with their intervals, and what a test allows to say. Pure; the statistics are the gates'."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from pipelines.evidence.statistics import Interval, mean_difference, paired_share_difference, wilson

Conclusion = Literal["improved", "no_difference_shown", "worse", "not_tested"]
CONFIDENCE = 0.95


@dataclass(frozen=True, kw_only=True)
class TestResult:
    """Best against start on the test items, paired; `effect` is best minus start in score points."""

    start: float
    best: float
    effect: float
    interval: Interval
    conclusion: Conclusion


def mean(scores: Sequence[float]) -> float:
    """Mean score; raises `ZeroDivisionError` without scores."""
    return sum(scores) / len(scores)


def score_interval(scores: Sequence[float], *, confidence: float = CONFIDENCE) -> Interval:
    """Interval of a mean score: Wilson's for right and wrong, else BCa bootstrap, kept within 0 and 1."""
    if _is_yes_no(scores):
        return wilson(round(sum(scores)), len(scores), confidence=confidence)
    low, high = mean_difference(np.asarray(scores, dtype=np.float64), scale=1.0)(confidence)
    return Interval(max(low, 0.0), min(high, 1.0))


def compare_scores(start: Sequence[float], best: Sequence[float], *, confidence: float = CONFIDENCE) -> TestResult:
    """What the test says: `improved` or `worse` only where the whole interval is on that side of 0.

    Newcombe's paired method 10 for right and wrong, else BCa bootstrap of the paired differences. Raises `ValueError`
    for scores that are not of the same items.
    """
    if len(start) != len(best) or not start:
        raise ValueError(f"{len(start)} and {len(best)} scores are no pairs.")
    if _is_yes_no([*start, *best]):
        cells = [sum(1 for pair in zip(best, start, strict=True) if pair == cell) for cell in _CELLS]
        interval = paired_share_difference(*cells, confidence=confidence)
    else:
        interval = mean_difference(np.subtract(best, start, dtype=np.float64), scale=1.0)(confidence)
    conclusion: Conclusion = "no_difference_shown"
    if interval.low > 0:
        conclusion = "improved"
    elif interval.high < 0:
        conclusion = "worse"
    return TestResult(
        start=mean(start),
        best=mean(best),
        effect=mean(best) - mean(start),
        interval=interval,
        conclusion=conclusion,
    )


# Both right, only the best, only the start, neither.
_CELLS = ((1.0, 1.0), (1.0, 0.0), (0.0, 1.0), (0.0, 0.0))


def _is_yes_no(scores: Sequence[float]) -> bool:
    return all(score in {0.0, 1.0} for score in scores)
