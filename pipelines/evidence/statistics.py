"""The statistics that gates rest on: intervals, one-sided p-values, false-discovery control, detectable effects.

Pure and deterministic: numbers in, numbers out, a fixed seed, no wall clock. Verdicts are `gates.py`.
An interval comes as a function of the confidence, so that the p-value of a limit is the confidence at which the
interval just touches it: verdict, interval and p can never contradict each other.

Sources: Wilson 1927; Newcombe 1998, Statistics in Medicine 17:873-890 (independent shares, method 10) and 17:2635-2650
(paired shares, method 10); Efron 1987 (BCa bootstrap); McNemar 1947, exact form; Benjamini and Hochberg 1995.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from statistics import NormalDist
from typing import TYPE_CHECKING, Literal, NamedTuple

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

Direction = Literal["above", "below"]

# The interval of the same numbers must be the same on every machine and in every year.
SEED = 20_260_101
RESAMPLES = 4_000
# Large samples need fewer resamples for the same Monte Carlo error; this bounds time and memory for any size.
_MAX_DRAWS = 20_000_000
_MIN_RESAMPLES = 500
_BATCH_DRAWS = 2_000_000
# From here on the mean of bounded differences is normal to more digits than are shown, and BCa's jackknife is
# quadratic.
_LARGE = 2_000
# Between these the confidence is sought at which an interval touches a limit.
_LEAST_CONFIDENCE = 1e-9
_MOST_CONFIDENCE = 1 - 1e-6
_BISECTIONS = 40


class Interval(NamedTuple):
    """Both ends of a two-sided confidence interval."""

    low: float
    high: float


# The interval at a confidence; wider for more of it.
IntervalAt = Callable[[float], Interval]


def wilson(successes: int, total: int, *, confidence: float) -> Interval:
    """Wilson's score interval for a share; `total` at least 1."""
    z = _z(confidence)
    share = successes / total
    centre = (successes + z * z / 2) / (total + z * z)
    half = z * math.sqrt(share * (1 - share) * total + z * z / 4) / (total + z * z)
    # The ends are exactly 0 and 1 in algebra, not in floating point.
    return Interval(0.0 if successes == 0 else centre - half, 1.0 if successes == total else centre + half)


def share_difference(
    candidate_successes: int, candidate_total: int, baseline_successes: int, baseline_total: int, *, confidence: float
) -> Interval:
    """Candidate's share minus the baseline's, independent samples: Newcombe's method 10 from two Wilson intervals."""
    candidate, baseline = candidate_successes / candidate_total, baseline_successes / baseline_total
    c_low, c_high = wilson(candidate_successes, candidate_total, confidence=confidence)
    b_low, b_high = wilson(baseline_successes, baseline_total, confidence=confidence)
    effect = candidate - baseline
    return Interval(
        effect - math.hypot(candidate - c_low, b_high - baseline),
        effect + math.hypot(c_high - candidate, baseline - b_low),
    )


def paired_share_difference(
    both: int, only_candidate: int, only_baseline: int, neither: int, *, confidence: float
) -> Interval:
    """Candidate's share minus the baseline's over the same samples: Newcombe's paired method 10.

    The four counts are samples that succeeded on both sides, on one alone, and on neither.
    """
    total = both + only_candidate + only_baseline + neither
    candidate_successes, baseline_successes = both + only_candidate, both + only_baseline
    candidate, baseline = candidate_successes / total, baseline_successes / total
    c_low, c_high = wilson(candidate_successes, total, confidence=confidence)
    b_low, b_high = wilson(baseline_successes, total, confidence=confidence)
    phi = _phi(both, only_candidate, only_baseline, neither)
    effect = candidate - baseline

    def reach(candidate_side: float, baseline_side: float) -> float:
        # The square is never negative in algebra since |phi| <= 1; rounding may take it below.
        square = candidate_side**2 - 2 * phi * candidate_side * baseline_side + baseline_side**2
        return math.sqrt(max(square, 0.0))

    return Interval(
        effect - reach(candidate - c_low, b_high - baseline), effect + reach(c_high - candidate, baseline - b_low)
    )


def mean_difference(differences: NDArray[np.float64], *, scale: float) -> IntervalAt:
    """Mean of per-sample differences: BCa bootstrap, or Student's t from 2,000 samples on.

    When all differences are equal there is no spread to resample, and an interval without width would claim certainty
    from any number of samples. Then Wilson's upper limit of 0 in n bounds the share of samples that differ otherwise,
    each by at most `scale` (the range of the scores).
    """
    total = len(differences)
    mean = float(differences.mean())
    if np.ptp(differences) == 0:

        def without_spread(confidence: float) -> Interval:
            half = wilson(0, total, confidence=confidence).high * scale
            return Interval(mean - half, mean + half)

        return without_spread
    if total >= _LARGE:
        from scipy import stats

        error = float(differences.std(ddof=1)) / math.sqrt(total)

        def by_student(confidence: float) -> Interval:
            half = float(stats.t.ppf((1 + confidence) / 2, total - 1)) * error
            return Interval(mean - half, mean + half)

        return by_student
    return _bias_corrected(differences, mean)


def quantile_ratio(candidate: NDArray[np.float64], baseline: NDArray[np.float64], *, quantile: float) -> IntervalAt:
    """A quantile of the candidate over that of the baseline, samples resampled in pairs: percentile bootstrap.

    Percentiles are the same on the ratio and on its logarithm, so the interval of the inverse ratio is the inverse.
    BCa is not used because the jackknife of a quantile is not consistent. All values must be positive.
    """
    total = len(candidate)
    rng = np.random.default_rng(SEED)
    both = np.stack([candidate, baseline])
    parts: list[NDArray[np.float64]] = []
    left = _resamples(total)
    while left:
        count = min(left, max(1, _BATCH_DRAWS // total))
        drawn = np.quantile(both[:, rng.integers(total, size=(count, total))], quantile, axis=2)
        parts.append(np.log(drawn[0]) - np.log(drawn[1]))
        left -= count
    logs = np.sort(np.concatenate(parts))

    def by_percentile(confidence: float) -> Interval:
        low, high = np.quantile(logs, [(1 - confidence) / 2, (1 + confidence) / 2])
        return Interval(math.exp(low), math.exp(high))

    return by_percentile


def one_sided_p(interval_at: IntervalAt, limit: float, *, worse: Direction) -> float:
    """How likely an effect at least this far on the worse side of `limit` is if the true one is just at the limit.

    Half of one minus the confidence at which the interval begins to touch the limit, found by bisection; near 1 when
    the effect lies far on the better side. Never 0: a bootstrap cannot see further than its resamples.
    """

    def is_beyond(confidence: float) -> bool:
        low, high = interval_at(confidence)
        return low > limit if worse == "above" else high < limit

    def is_inside(confidence: float) -> bool:
        low, high = interval_at(confidence)
        return high <= limit if worse == "above" else low >= limit

    if is_beyond(_LEAST_CONFIDENCE):
        return max((1 - _touching(is_beyond)) / 2, 1 - _MOST_CONFIDENCE)
    return 1 - (1 - _touching(is_inside)) / 2 if is_inside(_LEAST_CONFIDENCE) else 0.5


def mcnemar(only_candidate: int, only_baseline: int) -> float:
    """Exact two-sided p that the two sides succeed equally often, from the samples on which they disagree."""
    total = only_candidate + only_baseline
    if total == 0:
        return 1.0
    from scipy import stats

    return float(stats.binomtest(only_candidate, total).pvalue)


def control_false_discoveries(p_values: Sequence[float | None]) -> list[float | None]:
    """Benjamini and Hochberg's q for each p, in the order given; a test without p takes no part."""
    known = sorted((p, place) for place, p in enumerate(p_values) if p is not None)
    q_values: list[float | None] = [None] * len(p_values)
    lowest = 1.0
    for rank, (p, place) in reversed(list(enumerate(known, start=1))):
        lowest = min(lowest, p * len(known) / rank)
        q_values[place] = lowest
    return q_values


def detectable_worsening(half_width: float, *, margin: float, confidence: float, power: float = 0.8) -> float:
    """The smallest true worsening that a gate would fail with this power, on the scale of margin and half width.

    It fails when the whole interval lies beyond the margin, so the effect must be the margin, the half width and what
    the effect itself may vary by. Normal approximation.
    """
    return margin + half_width * (1 + NormalDist().inv_cdf(power) / _z(confidence))


def _bias_corrected(differences: NDArray[np.float64], mean: float) -> IntervalAt:
    """Efron's BCa interval of a mean. The draws are made once; the acceleration of a mean has a closed form."""
    total = len(differences)
    rng = np.random.default_rng(SEED)
    means: list[NDArray[np.float64]] = []
    left = _resamples(total)
    while left:
        count = min(left, max(1, _BATCH_DRAWS // total))
        means.append(differences[rng.integers(total, size=(count, total))].mean(axis=1))
        left -= count
    draws = np.sort(np.concatenate(means))
    normal = NormalDist()
    # Ties with the mean count half, as for a discrete distribution.
    below = (np.searchsorted(draws, mean, "left") + np.searchsorted(draws, mean, "right")) / 2 / len(draws)
    bias = normal.inv_cdf(min(max(below, 1 / (2 * len(draws))), 1 - 1 / (2 * len(draws))))
    # The scale cancels out, and cubes of very small numbers would be 0.
    centred = (differences - mean) / np.abs(differences - mean).max()
    acceleration = float((centred**3).sum() / (6 * (centred**2).sum() ** 1.5))

    def corrected(level: float) -> float:
        shifted = bias + normal.inv_cdf(level)
        return float(np.quantile(draws, normal.cdf(bias + shifted / (1 - acceleration * shifted))))

    def interval_at(confidence: float) -> Interval:
        return Interval(corrected((1 - confidence) / 2), corrected((1 + confidence) / 2))

    return interval_at


def _touching(holds: Callable[[float], bool]) -> float:
    """The confidence up to which `holds` is true; it must be at the least one, and false for ever once it is."""
    low, high = _LEAST_CONFIDENCE, _MOST_CONFIDENCE
    if holds(high):
        return high
    for _ in range(_BISECTIONS):
        middle = (low + high) / 2
        low, high = (middle, high) if holds(middle) else (low, middle)
    return low


def _phi(both: int, only_candidate: int, only_baseline: int, neither: int) -> float:
    """Correlation of the two sides, with Newcombe's correction towards 0 when it is positive; 0 when undefined."""
    margins = (both + only_candidate) * (only_baseline + neither) * (both + only_baseline) * (only_candidate + neither)
    if margins == 0:
        return 0.0
    total = both + only_candidate + only_baseline + neither
    cross = both * neither - only_candidate * only_baseline
    return (max(cross - total / 2, 0.0) if cross > 0 else cross) / math.sqrt(margins)


def _resamples(total: int) -> int:
    return max(_MIN_RESAMPLES, min(RESAMPLES, _MAX_DRAWS // total))


def _z(confidence: float) -> float:
    return NormalDist().inv_cdf((1 + confidence) / 2)
