r"""How likely noise alone would show a change as clear as this one, somewhere.

A two-sample test at the place where a search found the largest difference takes the best of many tests for one, which
is why detectors built on it cry wolf. Three things are priced in here:

*The search.* For the largest two-sample statistic over all cuts that leave a share of at least $\epsilon$ on both
sides, Miller and Siegmund (1982) give

$$P(\max |Z| \ge b) \approx \varphi(b)\,\left[(b - 1/b)\,\ln\frac{(1-\epsilon)^2}{\epsilon^2} + 4/b\right].$$

*The windows.* A change is tested in the window between its neighbours; a series of $n$ has $n / m$ windows of length
$m$ to find something in.

*Autocorrelation.* Neighbouring runs are alike. With correlation $\phi$ between them, a mean of $n$ values is as
uncertain as one of $n (1 - \phi) / (1 + \phi)$ independent ones.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import TYPE_CHECKING

import numpy as np

from pipelines.trends.scores import MAD_TO_SIGMA, median, spread

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Floats = NDArray[np.float64]

# Above this a series is more walk than noise around levels, and no correction makes a test of it: what remains is
# whether it looks like a change to the eye.
_MAX_CORRELATION = 0.8
# A segment's own variance counts like that of as many values as it has, the common one like that of so many.
_BORROWED = 20
# The p of the values is multiplied by this before it is compared with that of their ranks.
_SIZE_COUNTS = 10.0
_CLIPPED_SPREADS = 3.0
# Below this the tail formula does not hold, and nothing that is below is of interest.
_LEAST_CLEAR = 1.2


def level_change_p(
    values: Floats, scores: Floats, cut: int, *, inflation: float, series_length: int, minimum_length: int
) -> float:
    """P of a change of level at `cut` of a window, from its values and their normal scores; two-sided.

    Ranks can say only so much about few values, however far apart two levels are. So the values themselves are asked
    too, with their distances from the two medians clipped; what they say counts a tenth, since it rests on more than
    exchangeability. `inflation` is how much more a mean varies than if values were independent.
    """

    def p_of(numbers: Floats) -> float:
        squared_t = _squared_t(numbers[:cut], numbers[cut:]) / inflation
        clearness = _as_normal(squared_t, freedom=max((len(numbers) - 2) / inflation, 1.0))
        p = _after_search(clearness, least_share=minimum_length / len(numbers))
        return _among_windows(p, len(numbers), series_length)

    return min(p_of(scores), _SIZE_COUNTS * p_of(_clipped(values, cut)), 1.0)


def _squared_t(before: Floats, after: Floats) -> float:
    """The square of a two-sample t; infinite when neither side varies."""
    counts, within = (len(before), len(after)), (before.var(), after.var())
    pooled = (counts[0] * within[0] + counts[1] * within[1]) / (counts[0] + counts[1] - 2)
    # Where the spread changes too, the larger of the two errors counts (Welch's beside Student's). The spread of a
    # short segment is hardly known, so that part of it is the common one.
    own = [(v * n + _BORROWED * pooled) / (n + _BORROWED) / n for v, n in zip(within, counts, strict=True)]
    error = max(pooled * (1 / counts[0] + 1 / counts[1]), sum(own))
    return float((before.mean() - after.mean()) ** 2 / error) if error > 0 else math.inf


def _clipped(values: Floats, cut: int) -> Floats:
    """The values with those far from the median of their side brought nearer; all alike where most are equal."""
    parts = values[:cut], values[cut:]
    middles = [median(part) for part in parts]
    usual = MAD_TO_SIGMA * median(np.abs(np.concatenate([part - m for part, m in zip(parts, middles, strict=True)])))
    if usual <= 0:
        # Most values are equal: there is no noise to compare a distance with, and ranks must decide alone.
        return np.tile([-1.0, 1.0], len(values))[: len(values)]
    bounds = [_CLIPPED_SPREADS * max(usual, spread(part)) for part in parts]
    return np.concatenate([part.clip(m - b, m + b) for part, m, b in zip(parts, middles, bounds, strict=True)])


def line_change_p(
    residual_before: float, residual_after: float, count: int, *, inflation: float, series_length: int
) -> float:
    """P of a change of line within a window of `count` values (Chow's test), priced for the search.

    `residual_before` is the sum of squares about one line for the window, `residual_after` about the two.
    """
    if residual_before <= 0 or residual_after >= residual_before:
        return 1.0
    freedom = max((count - 4) / inflation, 1.0)
    gain = min(residual_before / max(residual_after, 1e-12 * residual_before), 1e12)
    # Two parameters more; the place of the change counts as a third, which multiplies the tail by its exponent.
    exponent = max(freedom * math.log1p((gain - 1) * (count - 4) / inflation / freedom), 0.0)
    return _among_windows(math.exp(-exponent / 2) * (1 + exponent), count, series_length)


def variance_inflation(residuals: Iterable[Floats], *, is_shrunk: bool) -> float:
    """How much more a mean varies than if values were independent, from the residuals of each segment.

    Corrected for the bias that fitted means cause. `is_shrunk` leaves one standard error of the correlation
    unaccounted, so that independent noise is not punished for what chance shows.
    """
    correlation = lag_one_correlation(residuals, is_shrunk=is_shrunk)
    return (1 + correlation) / (1 - correlation)


def lag_one_correlation(residuals: Iterable[Floats], *, is_shrunk: bool) -> float:
    """Correlation of neighbouring residuals within segments, between 0 and `_MAX_CORRELATION`."""
    parts = list(residuals)
    total, count = sum(float(part @ part) for part in parts), sum(map(len, parts))
    if total <= 0:
        return 0.0
    raw = sum(float(part[1:] @ part[:-1]) for part in parts) / total
    if count > 4 * len(parts):
        # Each fitted mean takes (1 + 3 phi) / n from the estimate (Kendall 1954).
        raw = (raw * count + len(parts)) / (count - 3 * len(parts))
    return min(max(raw - (1 / math.sqrt(count) if is_shrunk else 0.0), 0.0), _MAX_CORRELATION)


def share_discoveries(p_values: list[list[float]]) -> list[list[float]]:
    """Benjamini and Hochberg's q for the p-values of several series; a series without any is one test that failed."""
    tests = sum(max(len(own), 1) for own in p_values)
    places = sorted((p, series, place) for series, own in enumerate(p_values) for place, p in enumerate(own))
    q_values = [[1.0] * len(own) for own in p_values]
    lowest = 1.0
    for rank in range(len(places), 0, -1):
        p, series, place = places[rank - 1]
        lowest = min(lowest, p * tests / rank)
        q_values[series][place] = lowest
    return q_values


def _as_normal(squared_t: float, *, freedom: float) -> float:
    """The normal deviate with the same tail as Student's t, by Wallace's approximation (1959)."""
    if math.isinf(squared_t):
        squared_t = 1e12
    return math.sqrt(freedom * math.log1p(squared_t / freedom)) * (8 * freedom + 1) / (8 * freedom + 3)


def _after_search(clearness: float, *, least_share: float) -> float:
    if clearness < _LEAST_CLEAR:
        return 1.0
    density = math.exp(-clearness * clearness / 2) / math.sqrt(2 * math.pi)
    share = min(least_share, 0.45)
    return density * ((clearness - 1 / clearness) * 2 * math.log((1 - share) / share) + 4 / clearness)


def _among_windows(p: float, window_length: int, series_length: int) -> float:
    return min(1.0, p * max(1.0, series_length / window_length))
