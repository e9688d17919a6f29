"""Confidence intervals that gates rest on: closed forms for shares, a seeded bootstrap for means and medians.

Pure and deterministic: numbers in, an interval out, a fixed seed, no wall clock. Verdicts are `gates.py`.
Sources: Wilson 1927; Newcombe 1998, Statistics in Medicine 17:873-890 (independent shares, method 10) and 17:2635-2650
(paired shares, method 10); Efron 1987 (BCa bootstrap, as in `scipy.stats.bootstrap`).
"""

from __future__ import annotations

import math
from statistics import NormalDist
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

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


class Interval(NamedTuple):
    """Both ends of a two-sided confidence interval."""

    low: float
    high: float


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


def mean_difference(differences: NDArray[np.float64], *, scale: float, confidence: float) -> Interval:
    """Mean of per-sample differences: BCa bootstrap, or Student's t from 2,000 samples on.

    When all differences are equal there is no spread to resample, and an interval without width would claim certainty
    from any number of samples. Then Wilson's upper limit of 0 in n bounds the share of samples that differ otherwise,
    each by at most `scale` (the range of the scores).
    """
    total = len(differences)
    mean = float(differences.mean())
    if np.ptp(differences) == 0:
        half = wilson(0, total, confidence=confidence).high * scale
        return Interval(mean - half, mean + half)
    from scipy import stats

    if total >= _LARGE:
        half = float(stats.t.ppf((1 + confidence) / 2, total - 1) * differences.std(ddof=1) / math.sqrt(total))
        return Interval(mean - half, mean + half)
    found = stats.bootstrap(
        (differences,),
        np.mean,
        n_resamples=_resamples(total),
        batch=max(1, _BATCH_DRAWS // total),
        confidence_level=confidence,
        method="BCa",
        rng=np.random.default_rng(SEED),
    ).confidence_interval
    return Interval(float(found.low), float(found.high))


def median_ratio(candidate: NDArray[np.float64], baseline: NDArray[np.float64], *, confidence: float) -> Interval:
    """Median of the candidate over that of the baseline, samples resampled in pairs: percentile bootstrap.

    Percentiles are the same on the ratio and on its logarithm, so the interval of the inverse ratio is the inverse.
    BCa is not used because the jackknife of a median is not consistent. All values must be positive.
    """
    total = len(candidate)
    rng = np.random.default_rng(SEED)
    both = np.stack([candidate, baseline])
    logs: list[NDArray[np.float64]] = []
    left = _resamples(total)
    while left:
        count = min(left, max(1, _BATCH_DRAWS // total))
        medians = np.median(both[:, rng.integers(total, size=(count, total))], axis=2)
        logs.append(np.log(medians[0]) - np.log(medians[1]))
        left -= count
    low, high = np.quantile(np.concatenate(logs), [(1 - confidence) / 2, (1 + confidence) / 2])
    return Interval(math.exp(low), math.exp(high))


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
