"""What repeats with a fixed period, for instance slower weekends, taken out of a series before changes are sought.

A period is accepted when the differences of neighbours agree with themselves one period later far better than
independent noise would; a trend or a step does not look like that.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np

from pipelines.trends.scores import median

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Floats = NDArray[np.float64]

_SHORTEST_PERIOD = 3
# A series must show a period this often before it counts as one.
_LEAST_PERIODS = 3
_LEAST_AGREEMENT = 0.5
# In standard errors of the correlation of independent values.
_LEAST_CLEARNESS = 4.0
# A multiple of the period agrees about as well as the period itself; the shortest that does is it.
_AS_GOOD = 0.85
# More lags than this are of no calendar, and the transform of a huge series would only cost time.
_LONGEST_SERIES = 20_000
# What takes longer has happened a few times rather than with a period; a year of weeks is shorter.
_LONGEST_PERIOD = 64


def without_season(values: Floats, scores: Floats) -> tuple[Floats, int]:
    """The series without its seasonal part, and the period in observations, 0 when there is none.

    `scores` are the normal scores of the values: a spike must neither hide a period nor make one.
    """
    period = find_period(scores)
    if period == 0:
        return values, 0
    detrended = values - _moving_mean(values, period)
    phases = np.arange(len(values)) % period
    usual = np.array([median(detrended[phase::period]) for phase in range(period)])
    return values - (usual - usual.mean())[phases], period


def find_period(scores: Floats) -> int:
    """The period of a series in observations, or 0."""
    longest = min(len(scores) // _LEAST_PERIODS, _LONGEST_PERIOD)
    if longest <= _SHORTEST_PERIOD or len(scores) > _LONGEST_SERIES:
        return 0
    agreement = _agreement(np.diff(scores), longest)[_SHORTEST_PERIOD:]
    best = float(agreement.max(initial=0.0))
    if best < max(_LEAST_AGREEMENT, _LEAST_CLEARNESS / math.sqrt(len(scores) - 1)):
        return 0
    padded = np.pad(agreement, 1, constant_values=-1.0)
    is_peak = (agreement >= padded[:-2]) & (agreement >= padded[2:]) & (agreement >= _AS_GOOD * best)
    return _SHORTEST_PERIOD + int(np.flatnonzero(is_peak)[0])


def _agreement(differences: Floats, longest: int) -> Floats:
    """Autocorrelation by lag up to the longest, each lag over the pairs that it has."""
    count = len(differences)
    centred = differences - differences.mean()
    # Room for the lags that are wanted, so that the end does not meet the beginning. A power of two is transformed
    # several times as fast as twice a prime.
    size = 1 << (count + longest).bit_length()
    power = np.abs(np.fft.rfft(centred, size)) ** 2
    products = np.fft.irfft(power, size)[: longest + 1]
    if products[0] <= 0:
        return np.zeros(longest + 1)
    scaled: Floats = products / products[0] * count / (count - np.arange(longest + 1))
    return scaled


def _moving_mean(values: Floats, period: int) -> Floats:
    weights = np.ones(period) if period % 2 else np.r_[0.5, np.ones(period - 1), 0.5]
    padded = np.pad(values, len(weights) // 2, mode="reflect", reflect_type="odd")
    return np.convolve(padded, weights / period, mode="valid")
