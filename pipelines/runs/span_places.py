"""Where spans stand: in which row of the timeline, how deep, inside which other span, and how much time is their own.

Pure: columns of one run in, columns out. Spans of one process and thread enclose each other, as calls do. Where two of
them overlap without that (streams of old GPUs, requests that are answered at once), the later one moves to a row of
its own. Parents that the source names count more than those that times suggest.

Whatever the number of spans, a handful of 8-byte columns is held; names and attributes are not needed here.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

# Sources round times: an end may seem to lie so far behind the end of what encloses it. Kineto rounds to microseconds.
ROUNDING_NS = 1_000
NONE = -1
# Of a parent: the source says that there is none.
OUTERMOST = -2
_MAX_ROWS = 512
# Spans that are walked through at once, as Python's own numbers, which take ten times the room.
_STRETCH = 50_000


@dataclass(frozen=True, kw_only=True)
class SpanTimes:
    """Spans of one run, one place of each array a span; times in nanoseconds.

    `lane` numbers process and thread. `can_enclose` is false for what never contains others: kernels, copies.
    `parent` is the place of the parent that the source names, `OUTERMOST` where it says that there is none, and `NONE`
    where it says nothing and times must tell.
    """

    start: NDArray[np.int64]
    duration: NDArray[np.int64]
    lane: NDArray[np.int32]
    can_enclose: NDArray[np.bool_]
    parent: NDArray[np.int64]


@dataclass(frozen=True, kw_only=True)
class SpanPlaces:
    """Where each span stands; `row` counts rows of a lane from 0, `parent` is a place, -1 for outermost spans."""

    row: NDArray[np.int32]
    depth: NDArray[np.int32]
    parent: NDArray[np.int64]
    self_time: NDArray[np.int64]


def place_spans(spans: SpanTimes) -> SpanPlaces:
    """Rows, parents, depths and self times."""
    end = spans.start + spans.duration
    order = np.lexsort((np.arange(end.size), -end, spans.start, spans.lane))
    parent = np.full(end.size, NONE, dtype=np.int64)
    row = np.zeros(end.size, dtype=np.int32)
    for places in _stretches(order, spans.lane, spans.start, end):
        starts, ends = spans.start[places].tolist(), end[places].tolist()
        encloses = spans.can_enclose[places]
        named = _within_lane(spans.parent, places)
        found = _nest(starts, ends) if encloses.all() or not _overlaps(starts, ends) else None
        if found is None or not all(map(_agree, named, found)):
            found, rows = _spread(starts, ends, encloses.tolist(), named)
            row[places] = rows
        inside = np.array(found, dtype=np.int64)
        parent[places] = np.where(inside >= 0, places[inside], NONE)
    named = spans.parent != NONE
    parent[named] = np.maximum(spans.parent[named], NONE)
    parent, depth = _depths(parent, is_named=named)
    return SpanPlaces(
        row=row,
        depth=depth,
        parent=parent,
        self_time=_self_times(spans.start, end, parent, may_overlap=bool(named.any())),
    )


def nearest_marked(parent: NDArray[np.int64], is_marked: NDArray[np.bool_]) -> NDArray[np.int64]:
    """For each place the nearest marked one on the way outwards, itself included; -1 where there is none."""
    found = np.where(is_marked, np.arange(parent.size), parent)
    while True:
        # Jumps double their length each time, so that deep call stacks take few rounds.
        is_open = (found >= 0) & ~is_marked[found]
        if not is_open.any():
            return found
        found = np.where(is_open, found[found], found)


def own_pieces(
    start: NDArray[np.int64], end: NDArray[np.int64], parent: NDArray[np.int64]
) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int64]]:
    """The intervals in which each span runs and nothing that it encloses: place, start and end of each piece."""
    children = np.flatnonzero(parent >= 0)
    order = children[np.lexsort((start[children], parent[children]))]
    owner = parent[order]
    lows = np.clip(start[order], start[owner], end[owner])
    highs = np.clip(end[order], start[owner], end[owner])
    is_first = np.ones(order.size, dtype=bool)
    is_first[1:] = owner[1:] != owner[:-1]
    reach = _grouped_maximum(highs, is_first)
    before = np.where(is_first, start[owner], np.roll(reach, 1)) if order.size else lows
    last = np.flatnonzero(np.append(is_first[1:], True)) if order.size else np.empty(0, dtype=np.int64)
    childless = np.ones(start.size, dtype=bool)
    childless[owner] = False
    alone = np.flatnonzero(childless)
    owners = np.concatenate([alone, owner, owner[last]])
    lows_of = np.concatenate([start[alone], before, reach[last]])
    highs_of = np.concatenate([end[alone], lows, end[owner[last]]])
    keep = highs_of > lows_of
    return owners[keep], lows_of[keep], highs_of[keep]


def _stretches(
    order: NDArray[np.int64], lane: NDArray[np.int32], start: NDArray[np.int64], end: NDArray[np.int64]
) -> Iterator[NDArray[np.int64]]:
    """Places of one lane at a time, and of a long lane as far as to a moment at which nothing on it runs."""
    cuts = np.flatnonzero(np.diff(lane[order])) + 1
    for places in np.split(order, cuts) if order.size else ():
        quiet = np.flatnonzero(start[places[1:]] >= np.maximum.accumulate(end[places[:-1]])) + 1
        first = 0
        while places.size - first > _STRETCH:
            later = quiet[np.searchsorted(quiet, first + _STRETCH) :]
            if not later.size:
                break
            yield places[first : later[0]]
            first = int(later[0])
        yield places[first:]


def _within_lane(parent: NDArray[np.int64], places: NDArray[np.int64]) -> list[int]:
    """For the spans of a lane, in their order, where in it the parent is that the source names.

    In its lane a span is outermost as well if its parent is in another one.
    """
    named = parent[places]
    if (named == NONE).all():
        return [NONE] * places.size
    order = np.argsort(places)
    at = np.minimum(np.searchsorted(places, named, sorter=order), places.size - 1)
    inside = np.where(places[order[at]] == named, order[at], OUTERMOST)
    found: list[int] = np.where(named == NONE, NONE, inside).tolist()
    return found


def _agree(named: int, inside: int) -> bool:
    return named == NONE or max(named, NONE) == inside


def _overlaps(starts: list[int], ends: list[int]) -> bool:
    """Whether any span of a lane in order of start begins before an earlier one has ended."""
    reach = np.maximum.accumulate(np.array(ends[:-1], dtype=np.int64))
    return bool((np.array(starts[1:], dtype=np.int64) < reach).any())


def _nest(starts: list[int], ends: list[int]) -> list[int] | None:
    """The enclosing span of each, for spans in order of start, the longer first; None where two only overlap."""
    found = [NONE] * len(starts)
    open_places: list[int] = []
    for place, (start, end) in enumerate(zip(starts, ends, strict=True)):
        while open_places:
            reach = ends[open_places[-1]]
            if reach >= end:
                found[place] = open_places[-1]
                break
            if reach > start:
                relation = _relation(reach, start, end)
                if relation == "apart":
                    return None
                if relation == "inside":
                    found[place] = open_places[-1]
                    break
            open_places.pop()
        open_places.append(place)
    return found


def _relation(reach: int, start: int, end: int) -> Literal["inside", "after", "apart"]:
    """What a span is to one that began before it and ends at `reach`, as far as times may be rounded."""
    if reach <= start:
        return "after"
    if reach >= end or (end - reach <= ROUNDING_NS and 2 * (reach - start) >= end - start):
        return "inside"
    return "after" if reach - start <= ROUNDING_NS else "apart"


def _spread(starts: list[int], ends: list[int], encloses: list[bool], named: list[int]) -> tuple[list[int], list[int]]:
    """The same for spans that may overlap: each goes to the first row in which it fits, from its named parent's on."""
    found, rows = [NONE] * len(starts), [0] * len(starts)
    open_rows: list[list[int]] = [[]]
    for place, (start, end) in enumerate(zip(starts, ends, strict=True)):
        first = rows[named[place]] if 0 <= named[place] < place else 0
        for number in range(first, _MAX_ROWS):
            if number == len(open_rows):
                open_rows.append([])
            opened = open_rows[number]
            while opened and _relation(ends[opened[-1]], start, end) == "after":
                opened.pop()
            top = opened[-1] if opened else NONE
            is_inside = top != NONE and encloses[top] and _relation(ends[top], start, end) == "inside"
            is_inside = is_inside and named[place] in (NONE, top)
            if is_inside or not opened:
                break
        found[place] = opened[-1] if is_inside else NONE
        rows[place] = number
        opened.append(place)
    return found, rows


def _depths(parent: NDArray[np.int64], *, is_named: NDArray[np.bool_]) -> tuple[NDArray[np.int64], NDArray[np.int32]]:
    """Parents without circles, and how many there are above each span; a circle loses the parents that were named."""
    depth = (parent >= 0).astype(np.int32)
    above = parent.copy()
    for _ in range(max(2, parent.size.bit_length() + 1)):
        is_open = above >= 0
        if not is_open.any():
            return parent, depth
        depth[is_open] += depth[above[is_open]]
        above[is_open] = above[above[is_open]]
    broken = np.where(is_named & (above >= 0), NONE, parent)
    return _depths(broken, is_named=np.zeros_like(is_named))


def _self_times(
    start: NDArray[np.int64], end: NDArray[np.int64], parent: NDArray[np.int64], *, may_overlap: bool
) -> NDArray[np.int64]:
    if may_overlap:
        owners, lows, highs = own_pieces(start, end, parent)
        covered = np.zeros(start.size, dtype=np.int64)
        np.add.at(covered, owners, highs - lows)
        return covered
    inside = np.zeros(start.size, dtype=np.int64)
    children = np.flatnonzero(parent >= 0)
    owner = parent[children]
    np.add.at(inside, owner, np.minimum(end[children], end[owner]) - np.minimum(start[children], end[owner]))
    own = end - start - inside
    own[own < 0] = 0
    return own


def _grouped_maximum(values: NDArray[np.int64], is_first: NDArray[np.bool_]) -> NDArray[np.int64]:
    """The running maximum within groups that begin where `is_first` says."""
    if not values.size:
        return values
    import polars as pl

    groups = pl.DataFrame({"value": values, "group": np.cumsum(is_first)})
    reach: NDArray[np.int64] = groups.select(pl.col("value").cum_max().over("group")).to_series().to_numpy()
    return reach
