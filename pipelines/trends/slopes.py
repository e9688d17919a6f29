"""Series that rise and fall rather than step: straight lines between kinks, and when they tell more than levels.

A trend is not a staircase. Where neighbouring residuals about the levels are alike, lines are fitted as well, and they
replace the levels if most of the series lies on a clear slope and they are the better model by Schwarz's criterion.
"""

from __future__ import annotations

import math
from itertools import pairwise
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from pipelines.trends.partitioning import cut_lines
from pipelines.trends.scores import median
from pipelines.trends.significance import line_change_p, variance_inflation

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    Floats = NDArray[np.float64]

# A line has a parameter more than a level, and any wiggle can be followed by one of five points.
LINE_LENGTH = 5
_PENALTY = 3.0
_MAX_P = 1e-4
# A slope is clear when it is this many standard errors from flat; slow drift of a noisy machine is not.
_CLEAR_SLOPE = 8.0
_LEAST_SLOPING = 0.4


class Line(NamedTuple):
    """A least-squares line over the observations from `start` to before `end`."""

    start: int
    end: int
    mean: float
    slope: float
    residual: Floats

    def at(self, places: Floats) -> Floats:
        """Its values at these observations, also beyond its own ends."""
        return self.mean + self.slope * (places - (self.start + self.end - 1) / 2)


def find_kinks(
    values: Floats, level_cuts: Sequence[int], *, minimum_change_ratio: float
) -> tuple[list[int], list[float]] | None:
    """Where lines change and the p of each, or None when levels that begin at `level_cuts` tell the series as well."""
    if len(values) < 2 * LINE_LENGTH:
        return None
    steps = [values[start:end] - values[start:end].mean() for start, end in segments(level_cuts, len(values))]
    sloped = [fit_line(values, start, end) for start, end in segments(level_cuts, len(values))]
    noise = math.sqrt(_squares([line.residual for line in sloped]) / len(values))
    if noise == 0:
        return None
    price = _PENALTY * math.log(len(values))
    cuts = cut_lines(values / noise, penalty=price, minimum_length=LINE_LENGTH)
    cuts, p_values = _keep_clear(values, cuts, minimum_change_ratio=minimum_change_ratio)
    lines = [fit_line(values, start, end) for start, end in segments(cuts, len(values))]
    if _sloping_count(values, lines, minimum_change_ratio=minimum_change_ratio) < _LEAST_SLOPING * len(values):
        return None
    is_better = _schwarz([line.residual for line in lines], 3 * len(lines)) < _schwarz(steps, 2 * len(steps))
    return (cuts, p_values) if is_better else None


def fit_line(values: Floats, start: int, end: int) -> Line:
    """The least-squares line of a segment."""
    own = values[start:end]
    places = np.arange(len(own)) - (len(own) - 1) / 2
    slope = float(places @ own / max(float(places @ places), 0.5))
    mean = float(own.mean())
    return Line(start, end, mean, slope, own - mean - slope * places)


def segments(cuts: Sequence[int], count: int) -> list[tuple[int, int]]:
    """Start and end of each segment of a series that is cut before these observations."""
    return list(pairwise([0, *cuts, count]))


def _keep_clear(values: Floats, cuts: list[int], *, minimum_change_ratio: float) -> tuple[list[int], list[float]]:
    """Drop the least clear kink until all are clear: of noise, and large enough to matter."""
    while cuts:
        lines = [fit_line(values, start, end) for start, end in segments(cuts, len(values))]
        inflation = variance_inflation([line.residual for line in lines], is_shrunk=False)
        p_values = [
            _kink_p(values, before, after, inflation=inflation)
            if _leads_away(values, before, after) >= minimum_change_ratio
            else 1.0
            for before, after in pairwise(lines)
        ]
        weakest = int(np.argmax(p_values))
        if p_values[weakest] <= _MAX_P:
            return cuts, p_values
        cuts = cuts[:weakest] + cuts[weakest + 1 :]
    return [], []


def _kink_p(values: Floats, before: Line, after: Line, *, inflation: float) -> float:
    whole = fit_line(values, before.start, after.end)
    return line_change_p(
        _squares([whole.residual]),
        _squares([before.residual, after.residual]),
        after.end - before.start,
        inflation=inflation,
        series_length=len(values),
    )


def _leads_away(values: Floats, before: Line, after: Line) -> float:
    """How far the new line leads from where the old one would have, as a share of the old level."""
    places = np.array([after.start, after.end - 1], dtype=np.float64)
    distance = float(np.abs(after.at(places) - before.at(places)).max())
    level = abs(median(values[before.start : before.end]))
    return distance / level if level > 0 else math.inf


def _sloping_count(values: Floats, lines: list[Line], *, minimum_change_ratio: float) -> int:
    """Observations that lie on a line which clearly rises or falls."""
    inflation = variance_inflation([line.residual for line in lines], is_shrunk=False)
    return sum(
        line.end - line.start
        for line in lines
        if _is_clear(line, inflation)
        and abs(line.slope) * (line.end - line.start - 1)
        > minimum_change_ratio * abs(median(values[line.start : line.end]))
    )


def _is_clear(line: Line, inflation: float) -> bool:
    count = line.end - line.start
    variance = _squares([line.residual]) / max(count - 2, 1) * inflation
    return line.slope**2 > _CLEAR_SLOPE**2 * variance * 12 / (count * (count * count - 1))


def _schwarz(residuals: list[Floats], parameter_count: int) -> float:
    count = sum(map(len, residuals))
    return count * math.log(max(_squares(residuals) / count, 1e-300)) + parameter_count * math.log(count)


def _squares(residuals: list[Floats]) -> float:
    return sum(float(part @ part) for part in residuals)
