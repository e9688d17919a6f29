r"""The best way to cut a series into segments: exact search, for levels and for lines.

A segmentation of $x_0 … x_{n-1}$ into $k$ segments costs

$$\sum_{segments} C(s, e) + \beta\,(k - 1)$$

where $C$ is the sum of squares about the segment's mean (levels) or its least-squares line (lines) and $\beta$ the
price of a cut. Optimal partitioning (Jackson et al. 2005) finds the cheapest one: $F(e)$, the least cost of the first
$e$ values, is $\min_s F(s) + C(s, e) + \beta$ over the starts $s \le e - m$ of a last segment of at least $m$ values.
$C$ comes from cumulative sums in constant time.

Because a segment has at least $m$ values, $F(e) … F(e + m - 1)$ depend only on starts below $e$: they are computed
as one array operation. And because $F(e)$ depends only on the first $e$ values, series of different lengths are
searched side by side, the shorter ones padded. The interpreter is entered $n / m$ times for dozens of series rather
than $n$ times for each, and nothing is approximated. PELT's pruning (Killick et al. 2012) would save little on series
with few changes, which are most.

A series of more than `MAX_CELLS` values is searched as the means of neighbouring cells, of which the search is exact;
the caller moves a cut to its exact place afterwards. What a cut is worth is `significance.py`, which cuts stay is
`detector.py`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Floats = NDArray[np.float64]
    # By series: cost of the segments that begin at 0 … starts - 1 (last axis) and end before `first` … `last`.
    Cost = Callable[[int, int, int], NDArray[np.floating]]

# The search takes time with the square of this.
MAX_CELLS = 2_048
# Numbers in a working array: what stays in a core's cache. Measured: 4 times more or less is slower.
_WORKING_SIZE = 65_536


def cut_levels(many: Sequence[Floats], *, penalties: Sequence[float], minimum_length: int) -> list[list[int]]:
    """Of each series, where new levels begin in the cheapest segmentation into constant segments; without 0."""
    cells = [_in_cells(values) for values in many]
    widths = [len(values) // max(len(own), 1) for values, own in zip(many, cells, strict=True)]
    cuts: list[list[int]] = [[] for _ in many]
    # In order of length, so that little is padded; one shortest length (in cells) at a time.
    order = sorted(
        (place for place, values in enumerate(many) if len(values) >= 2 * minimum_length),
        key=lambda place: (widths[place], len(cells[place])),
    )
    for chunk in _chunks(order, widths, [len(own) for own in cells], minimum_length=minimum_length):
        width = widths[chunk[0]]
        found = _cheapest(
            [len(cells[place]) for place in chunk],
            _level_cost([cells[place] for place in chunk]),
            # A cell's mean stands for `width` values: the sums of squares are that much smaller than the series'.
            prices=[penalties[place] / width for place in chunk],
            shortest=-(-minimum_length // width),
        )
        for place, own in zip(chunk, found, strict=True):
            cuts[place] = [cut * width for cut in own]
    return cuts


def cut_lines(values: Floats, *, penalty: float, minimum_length: int) -> list[int]:
    """Where new lines begin in the cheapest segmentation into segments of a straight line each; ascending."""
    if len(values) < 2 * minimum_length:
        return []
    cells = _in_cells(values)
    width = len(values) // len(cells)
    shortest = -(-minimum_length // width)
    [cuts] = _cheapest([len(cells)], _line_cost(cells), prices=[penalty / width], shortest=shortest)
    return [cut * width for cut in cuts]


def _in_cells(values: Floats) -> Floats:
    width = max(-(-len(values) // MAX_CELLS), 1)
    count = len(values) // width
    cells: Floats = values if width == 1 else values[: count * width].reshape(count, width).mean(axis=1)
    return cells


def _chunks(
    order: Sequence[int], widths: Sequence[int], lengths: Sequence[int], *, minimum_length: int
) -> list[list[int]]:
    """Series of one cell width in `order`, as many together as a working array holds."""
    chunks: list[list[int]] = []
    for place in order:
        last = chunks[-1] if chunks else []
        fits = (len(last) + 1) * lengths[place] * minimum_length <= _WORKING_SIZE
        if last and widths[last[0]] == widths[place] and fits:
            last.append(place)
        else:
            chunks.append([place])
    return chunks


def _level_cost(many: Sequence[Floats]) -> Cost:
    """The sum of all squares is the same for every segmentation and left out. Single precision is ample for a price."""
    longest = max(map(len, many))
    sums = np.zeros((len(many), longest + 1), dtype=np.float32)
    for own, values in zip(sums, many, strict=True):
        own[1 : len(values) + 1] = np.cumsum(values)
    shares = _by_length((-1 / np.arange(1, longest + 1)).astype(np.float32))

    def cost(starts: int, first: int, last: int) -> NDArray[np.floating]:
        totals = sums[:, first : last + 1, None] - sums[:, None, :starts]
        totals *= totals
        totals *= shares(starts, first, last)
        return totals

    return cost


def _line_cost(values: Floats) -> Cost:
    count = len(values)
    places = np.arange(count) - (count - 1) / 2
    sum_x, sum_y = _cumulated(places), _cumulated(values)
    sum_xy, sum_yy = _cumulated(places * values), _cumulated(values * values)
    lengths = np.arange(1, count + 1, dtype=np.float64)
    shares = _by_length(1 / lengths)
    # The sum of squares of m neighbouring places about their mean is m (m^2 - 1) / 12.
    squares = _by_length(12 / np.maximum(lengths * (lengths * lengths - 1), 6))

    def cost(starts: int, first: int, last: int) -> NDArray[np.floating]:
        def between(cumulated: Floats) -> Floats:
            return cumulated[first : last + 1, None] - cumulated[None, :starts]

        share = shares(starts, first, last)
        y = between(sum_y)
        xy = between(sum_xy) - between(sum_x) * y * share
        return np.maximum(between(sum_yy) - y * y * share - xy * xy * squares(starts, first, last), 0.0)[None]

    return cost


def _by_length(numbers: NDArray[np.floating]) -> Cost:
    """A number for each segment by its length (`numbers[0]` for length 1), as views: nothing is computed again."""
    count = len(numbers)
    # The number for length 1 also stands for lengths below, which are never chosen.
    backwards = np.concatenate((numbers[::-1], np.full(count, numbers[0])))
    # Row `count - e` holds the number of the segment from s to e in column s.
    rows = np.lib.stride_tricks.sliding_window_view(backwards, count)
    return lambda starts, first, last: rows[count - first : count - last - 1 if last < count else None : -1, :starts]


def _cheapest(lengths: Sequence[int], cost: Cost, *, prices: Sequence[float], shortest: int) -> list[list[int]]:
    """Of each series, where the segments of the cheapest segmentation begin, without the first."""
    longest = max(lengths)
    price = np.asarray(prices)[:, None]
    least = np.full((len(lengths), longest + 1), np.inf, dtype=np.float32)
    least[:, :1] = -price
    begins = np.zeros((len(lengths), longest + 1), dtype=np.int64)
    every = np.arange(len(lengths))[:, None]
    for first in range(shortest, longest + 1, shortest):
        last = min(first + shortest - 1, longest)
        starts = last - shortest + 1
        totals = cost(starts, first, last)
        totals += least[:, None, :starts]
        for row in range(last - first):
            # This end is too near to the newest starts.
            totals[:, row, first + row - shortest + 1 :] = np.inf
        best = totals.argmin(axis=2)
        begins[:, first : last + 1] = best
        least[:, first : last + 1] = totals[every, np.arange(last - first + 1), best] + price
    return [_followed_back(own, length) for own, length in zip(begins.tolist(), lengths, strict=True)]


def _followed_back(begins: Sequence[int], length: int) -> list[int]:
    cuts = []
    begin = begins[length]
    while begin > 0:
        cuts.append(begin)
        begin = begins[begin]
    return cuts[::-1]


def _cumulated(values: NDArray[np.floating]) -> Floats:
    return np.concatenate(([0.0], np.cumsum(values)))
