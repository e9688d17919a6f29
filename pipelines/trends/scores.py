"""Robust numbers of a series: normal scores, spread, values without spikes.

Pure and vectorised; nothing here knows what a change point is. Arrays are one-dimensional and finite.
"""

from __future__ import annotations

from functools import lru_cache
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Floats = NDArray[np.float64]

# Standard deviation of normal noise over its median absolute deviation.
MAD_TO_SIGMA = 1.4826

# Acklam's rational approximation of the normal quantile (2003), relative error below 1.2e-9: scores need no more, and
# the first call of a library's exact one would cost more than a thousand series.
_CENTRE = (
    (-3.969683028665376e01, 2.209460984245205e02, -2.759285104469687e02,
     1.383577518672690e02, -3.066479806614716e01, 2.506628277459239e00),
    (-5.447609879822406e01, 1.615858368580409e02, -1.556989798598866e02,
     6.680131188771972e01, -1.328068155288572e01, 1.0),
)  # fmt: skip
_TAIL = (
    (-7.784894002430293e-03, -3.223964580411365e-01, -2.400758277161838e00,
     -2.549732539343734e00, 4.374664141464968e00, 2.938163982698783e00),
    (7.784695709041462e-03, 3.224671290700398e-01, 2.445134137142996e00, 3.754408661907416e00, 1.0),
)  # fmt: skip
_TAIL_BEGINS = 0.02425
# A value this many spreads from the median of its neighbours is a spike.
_SPIKE_SPREADS = 5.0


def normal_scores(values: Floats) -> Floats:
    """Van der Waerden scores: the normal quantile of each value's midrank, with mean 0 and variance 1.

    Ranks forget the size of an outlier; the normal quantile gives back the power that ranks lose on normal noise.
    Equal values have equal scores; a constant series has zeros.
    """
    count = len(values)
    order = values.argsort(kind="stable")
    ordered = values[order]
    is_new = ordered[1:] != ordered[:-1]
    scores = np.empty(count)
    if is_new.all():
        scores[order] = _score_table(count)[::2]
        return scores
    firsts = np.flatnonzero(np.concatenate(([True], is_new)))
    if len(firsts) == 1:
        return np.zeros(count)
    ends = np.append(firsts[1:], count)
    scores[order] = np.repeat(_score_table(count)[firsts + ends - 1], ends - firsts)
    scores -= scores.mean()
    scores /= np.sqrt(scores @ scores / count)
    return scores


@lru_cache(maxsize=512)
def _score_table(count: int) -> Floats:
    """Scores of the midranks 1, 1.5, 2 … count (Blom's plotting positions); those of whole ranks have variance 1."""
    midranks = np.arange(2, 2 * count + 1) / 2
    scores = normal_quantile((midranks - 0.375) / (count + 0.25))
    scores /= np.sqrt((scores[::2] ** 2).mean()) or 1.0
    scores.flags.writeable = False
    return scores


def normal_quantile(shares: Floats) -> Floats:
    """The value below which a share of the standard normal distribution lies; shares between 0 and 1, exclusive."""
    tail = np.minimum(shares, 1 - shares)
    middle = np.minimum(np.abs(shares - 0.5), 0.5 - _TAIL_BEGINS)
    centre = middle * np.polyval(_CENTRE[0], middle**2) / np.polyval(_CENTRE[1], middle**2)
    root = np.sqrt(-2 * np.log(np.minimum(tail, _TAIL_BEGINS)))
    outer = -np.polyval(_TAIL[0], root) / np.polyval(_TAIL[1], root)
    return np.sign(shares - 0.5) * np.where(tail < _TAIL_BEGINS, outer, centre)


def spread(values: Floats) -> float:
    """Standard deviation as the median absolute deviation sees it; 0 when half of the values are equal."""
    return MAD_TO_SIGMA * median(np.abs(values - median(values)))


def median(values: Floats) -> float:
    """Median of at least one value; several times faster than NumPy's own on short arrays."""
    # The array's own method: the function of the same name costs more than the work.
    ordered = values.copy()
    middle = len(ordered) // 2
    if len(ordered) % 2:
        ordered.partition(middle)
        return float(ordered[middle])
    ordered.partition((middle - 1, middle))
    low, high = ordered[middle - 1], ordered[middle]
    return float(low + (high - low) / 2)


def without_spikes(values: Floats, *, reach: int) -> Floats:
    """The series with each value that is far from the median of its `reach` neighbours on both sides replaced by it."""
    width = 2 * reach + 1
    if len(values) < width:
        return values
    windows = np.lib.stride_tricks.sliding_window_view(np.pad(values, reach, mode="reflect"), width)
    middles = np.partition(windows, reach, axis=1)[:, reach]
    distances = np.abs(values - middles)
    usual = MAD_TO_SIGMA * median(distances) or float(distances.std())
    return np.where(distances > _SPIKE_SPREADS * usual, middles, values)
