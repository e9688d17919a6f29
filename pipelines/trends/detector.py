"""Where a noisy series changes: the one detector of the project, at one fixed default for all series.

Pure: numbers in, change points out; no randomness, no clock. In this order:

1. What repeats with a fixed period is taken out (`seasonality.py`).
2. Normal scores of the ranks are cut into levels by exact search at a price that grows with the logarithm of the
   length (`partitioning.py`), then each level again by its own scores, since beside a large change a small one ranks
   low.
3. The least clear cut goes, and its neighbours move to their best place, until every cut is one that noise would not
   show (`significance.py`: search, windows and autocorrelation are priced in) and is large enough to matter.
4. If the series is made of slopes rather than levels, kinks take the place of steps (`slopes.py`).
5. Values far from their level on both sides, too few to be a level, are outliers.

Why so, and what was measured against what: docs/decisions/0006-change-points.md.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from itertools import islice, pairwise
from typing import TYPE_CHECKING, Literal

import numpy as np

from pipelines.trends.partitioning import cut_levels
from pipelines.trends.scores import median, normal_scores, spread, without_spikes
from pipelines.trends.seasonality import without_season
from pipelines.trends.significance import lag_one_correlation, level_change_p, variance_inflation
from pipelines.trends.slopes import find_kinks, segments

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from numpy.typing import NDArray

    Floats = NDArray[np.float64]

Kind = Literal["step", "slope"]
Support = Literal["suspected", "confirmed"]

DETECTOR_VERSION = 1
# Fewer observations than this are outliers, not a level.
MINIMUM_LENGTH = 4
# So many observations of the new level bear a change out.
CONFIRMING_COUNT = 6
# A change of less than one per cent of its level is not worth anybody's time, however sure it is.
MINIMUM_CHANGE_RATIO = 0.01
# Price of a cut, times the logarithm of the length, in units of the scores' variance.
_PENALTY = 4.0
# A short series cannot pay that: a perfect step between equal halves gains 0.64 for each value.
_MAX_PENALTY_SHARE = 0.45
_MAX_P = 1e-3
# Independent noise about the right levels shows a correlation as high as this in one series of a thousand.
_LEAST_TREND_CORRELATION = 0.3
_OUTLIER_SPREADS = 6.0
_FAR_SPREADS = 5.0
_LASTING_COUNT = 6
# A distance from both levels beyond this many spreads hardly says more about where the change is: only, by a little,
# which of the two is nearer.
_CLIPPED_SPREADS = 3.0
_NEARNESS = 0.05
_MAX_MOVES = 2
# Series held ready at a time; the search itself makes smaller parts.
_TOGETHER = 512


@dataclass(frozen=True, kw_only=True)
class ChangePoint:
    """A change. `index` is the first observation of the new level, counted from 0 over all values that were given.

    `before` and `after` are medians of the neighbouring segments, spreads are standard deviations (by median absolute
    deviation), `later_count` is how many observations the new segment has. `p` is two-sided.
    """

    index: int
    previous_index: int
    kind: Kind
    support: Support
    p: float
    before: float
    after: float
    before_spread: float
    after_spread: float
    later_count: int

    @property
    def change_ratio(self) -> float | None:
        """(after - before) / |before|; None where before is 0."""
        return None if self.before == 0 else (self.after - self.before) / abs(self.before)


@dataclass(frozen=True, kw_only=True)
class Outlier:
    """A value too far from its level, in company too small for a level of its own; `level` is where the others are."""

    index: int
    value: float
    level: float
    level_spread: float


@dataclass(frozen=True, kw_only=True)
class Detection:
    """What a series shows. `count` observations were numbers; `period` is 0 without a season."""

    count: int
    period: int
    change_points: tuple[ChangePoint, ...]
    outliers: tuple[Outlier, ...]


def detect(values: Iterable[float] | Floats, *, minimum_change_ratio: float = MINIMUM_CHANGE_RATIO) -> Detection:
    """Change points and outliers of a series in order; values that are not finite are missing and skipped.

    `minimum_change_ratio` is the least change that matters, as a share of the level before; 0 makes the result the same
    for a series and for the series plus a constant. Any length and any scale. For more than one series `detect_many`
    is several times faster.
    """
    return detect_many([values], minimum_change_ratio=minimum_change_ratio)[0]


def detect_many(
    many: Iterable[Iterable[float] | Floats], *, minimum_change_ratio: float = MINIMUM_CHANGE_RATIO
) -> list[Detection]:
    """What `detect` says of each series; the search goes through many side by side."""
    found: list[Detection] = []
    rest = iter(many)
    while part := list(islice(rest, _TOGETHER)):
        found += _detect_together(part, minimum_change_ratio=minimum_change_ratio)
    return found


@dataclass(frozen=True)
class _Series:
    """A series made ready: its numbers, where they stood, and what is searched."""

    places: NDArray[np.int64]
    known: Floats
    scale: float
    values: Floats
    period: int
    scores: Floats


def _detect_together(part: Sequence[Iterable[float] | Floats], *, minimum_change_ratio: float) -> list[Detection]:
    ready = [_prepare(values) for values in part]
    searched = [series for series in ready if isinstance(series, _Series)]
    candidates = iter(_candidates(searched))
    return [
        _conclude(series, next(candidates), minimum_change_ratio=minimum_change_ratio)
        if isinstance(series, _Series)
        else series
        for series in ready
    ]


def _prepare(values: Iterable[float] | Floats) -> _Series | Detection:
    """A series ready to be searched, or what can be said of it without a search."""
    given = np.asarray(values if isinstance(values, np.ndarray) else list(values), dtype=np.float64)
    places = np.flatnonzero(np.isfinite(given))
    known = given[places]
    if len(known) < 2 * MINIMUM_LENGTH or known.min() == known.max():
        return Detection(count=len(known), period=0, change_points=(), outliers=())
    scale = _scale(known)
    scores = normal_scores(known)
    seasonless, period = without_season(known / scale, scores)
    if period:
        scores = normal_scores(seasonless)
    return _Series(places, known, scale, seasonless, period, scores)


def _candidates(many: Sequence[_Series]) -> list[list[int]]:
    """Cuts of each series by the exact search over the whole, and over each segment that it leaves."""
    prices = [_PENALTY * math.log(len(series.values)) for series in many]
    first = cut_levels(
        [series.scores for series in many],
        penalties=[
            min(price, _MAX_PENALTY_SHARE * len(series.values)) for price, series in zip(prices, many, strict=True)
        ],
        minimum_length=MINIMUM_LENGTH,
    )
    parts = [
        (place, start, end)
        for place, cuts in enumerate(first)
        if cuts
        for start, end in segments(cuts, len(many[place].values))
        if end - start >= 4 * MINIMUM_LENGTH
    ]
    inner = cut_levels(
        [normal_scores(many[place].values[start:end]) for place, start, end in parts],
        penalties=[prices[place] for place, _, _ in parts],
        minimum_length=MINIMUM_LENGTH,
    )
    for (place, start, _), cuts in zip(parts, inner, strict=True):
        first[place] += [start + cut for cut in cuts]
    return [
        sorted({*cuts, *_short_levels(series.values, sorted(cuts))}) for series, cuts in zip(many, first, strict=True)
    ]


def _short_levels(values: Floats, cuts: Sequence[int]) -> list[int]:
    """Where runs of values begin and end that are far from their level on one side, and enough to be a level.

    Of a few values ranks can tell no more than that they are the largest, which the price of a cut outweighs. A level
    that came and went must have lasted longer than one that may only have begun: busy machines make many of those.
    """
    found = []
    for start, end in segments(cuts, len(values)):
        distances = values[start:end] - median(values[start:end])
        usual = spread(values[start:end])
        if usual > 0 and np.abs(distances).max() > _FAR_SPREADS * usual:
            side = np.where(np.abs(distances) > _FAR_SPREADS * usual, np.sign(distances), 0)
            edges = [0, *(np.flatnonzero(np.diff(side)) + 1).tolist(), end - start]
            found += [
                start + edge
                for first, last in pairwise(edges)
                if side[first] != 0
                and last - first >= (MINIMUM_LENGTH if start + last == len(values) else _LASTING_COUNT)
                for edge in (first, last)
            ]
    return [cut for cut in found if MINIMUM_LENGTH <= cut <= len(values) - MINIMUM_LENGTH]


def _conclude(series: _Series, candidates: list[int], *, minimum_change_ratio: float) -> Detection:
    """The candidates that stand, told in the series' own unit and places."""
    kind, cuts, p_values = _find_changes(series, candidates, minimum_change_ratio=minimum_change_ratio)
    values = series.values * series.scale
    found = [
        _told(values, series.places, window, kind=kind, p=p)
        for window, p in zip(_windows(cuts, len(values)), p_values, strict=True)
    ]
    outliers = _outliers(series.known, values, series.places, cuts) if kind == "step" else []
    return Detection(count=len(values), period=series.period, change_points=tuple(found), outliers=tuple(outliers))


def _find_changes(
    series: _Series, candidates: list[int], *, minimum_change_ratio: float
) -> tuple[Kind, list[int], list[float]]:
    cuts, p_values = _find_steps(series, candidates, minimum_change_ratio=minimum_change_ratio)
    if lag_one_correlation(_segment_scores(series, cuts), is_shrunk=False) >= _LEAST_TREND_CORRELATION:
        calm = without_spikes(series.values, reach=MINIMUM_LENGTH)
        kinks = find_kinks(calm, cuts, minimum_change_ratio=minimum_change_ratio)
        if kinks is not None:
            return "slope", *kinks
    return "step", cuts, p_values


def _segment_scores(series: _Series, cuts: Sequence[int]) -> list[Floats]:
    if not cuts:
        return [series.scores]
    return [normal_scores(series.values[start:end]) for start, end in segments(cuts, len(series.values))]


def _find_steps(series: _Series, cuts: list[int], *, minimum_change_ratio: float) -> tuple[list[int], list[float]]:
    """Of candidate cuts those that stand every test, at their best places, with their p-values."""
    if not cuts:
        return [], []
    values, count = series.values, len(series.values)
    inflation = variance_inflation(_segment_scores(series, cuts), is_shrunk=True)

    def judge(start: int, cut: int, end: int) -> float:
        before, after = median(values[start:cut]), median(values[cut:end])
        if abs(after - before) < minimum_change_ratio * abs(before):
            return 1.0
        return level_change_p(
            values[start:end],
            normal_scores(values[start:end]),
            cut - start,
            inflation=inflation,
            series_length=count,
            minimum_length=MINIMUM_LENGTH,
        )

    p_values = [judge(*window) for window in _windows(cuts, count)]
    while cuts:
        weakest = max(range(len(cuts)), key=p_values.__getitem__)
        if p_values[weakest] <= _MAX_P:
            return _settled(values, cuts), p_values
        del cuts[weakest], p_values[weakest]
        for place in (weakest - 1, weakest):
            if 0 <= place < len(cuts):
                cuts[place] = _best_place(values, *_windows(cuts, count)[place])
        for place in range(max(weakest - 2, 0), min(weakest + 2, len(cuts))):
            p_values[place] = judge(*_windows(cuts, count)[place])
    return [], []


def _settled(values: Floats, cuts: Sequence[int]) -> list[int]:
    """Every cut at its best place between its neighbours."""
    settled = list(cuts)
    for place in range(len(settled)):
        settled[place] = _best_place(values, *_windows(settled, len(values))[place])
    return settled


def _best_place(values: Floats, start: int, cut: int, end: int) -> int:
    """Where within its window a cut best parts the level before from the level after.

    Least squares about the two medians, clipped so that one wild value cannot pull the cut to itself. Ranks would do
    worse here: once two levels are apart, ranks no longer tell how far.
    """
    window = values[start:end]
    for _ in range(_MAX_MOVES):
        before, after = median(values[start:cut]), median(values[cut:end])
        usual = spread(np.concatenate((values[start:cut] - before, values[cut:end] - after)))
        usual = max(usual, abs(after - before) / 20)
        if usual == 0:
            return cut
        distances = np.abs(window[None, :] - np.array([[before], [after]])) / usual
        distances = np.minimum(distances, _CLIPPED_SPREADS) ** 2 + _NEARNESS * distances
        costs = np.cumsum(distances[0] - distances[1])[MINIMUM_LENGTH - 1 : end - start - MINIMUM_LENGTH]
        if len(costs) == 0:
            return cut
        best = start + MINIMUM_LENGTH + int(costs.argmin())
        if best == cut:
            break
        cut = best
    return cut


def _windows(cuts: Sequence[int], count: int) -> list[tuple[int, int, int]]:
    """Of each cut: where the segment before begins, the cut, where the segment after ends."""
    edges = [0, *cuts, count]
    return list(zip(edges, cuts, edges[2:], strict=False))


def _told(
    values: Floats, places: NDArray[np.int64], window: tuple[int, int, int], *, kind: Kind, p: float
) -> ChangePoint:
    start, cut, end = window
    return ChangePoint(
        index=int(places[cut]),
        previous_index=int(places[cut - 1]),
        kind=kind,
        support="confirmed" if end - cut >= CONFIRMING_COUNT else "suspected",
        p=p,
        before=median(values[start:cut]),
        after=median(values[cut:end]),
        before_spread=spread(values[start:cut]),
        after_spread=spread(values[cut:end]),
        later_count=end - cut,
    )


def _outliers(known: Floats, values: Floats, places: NDArray[np.int64], cuts: Sequence[int]) -> list[Outlier]:
    found = []
    for start, end in segments(cuts, len(values)):
        level, usual = median(values[start:end]), spread(values[start:end])
        if usual > 0:
            far = np.flatnonzero(np.abs(values[start:end] - level) > _OUTLIER_SPREADS * usual) + start
            found += [
                Outlier(index=int(places[place]), value=float(known[place]), level=level, level_spread=usual)
                for place in _lonely(far)
            ]
    return found


def _lonely(far: NDArray[np.int64]) -> list[int]:
    """Of places in order, those in runs too short to be a level."""
    if len(far) == 0:
        return []
    edges = [0, *(np.flatnonzero(np.diff(far) > 1) + 1).tolist(), len(far)]
    runs = (far[first:last].tolist() for first, last in pairwise(edges))
    return [place for run in runs if len(run) < MINIMUM_LENGTH for place in run]


def _scale(values: Floats) -> float:
    """A power of two that brings the values near 1, so that squares neither overflow nor vanish; exact to divide by."""
    return float(2.0 ** max(math.frexp(float(np.abs(values).max()))[1], -1000))
