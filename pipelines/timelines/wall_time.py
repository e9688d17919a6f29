"""Wall time, shared out: who is being waited for at every instant of a run.

Pure: columns in, columns out. Adding up durations counts nested and parallel work more than once, so that such sums say
nothing of how much longer somebody had to wait. Here every nanosecond between the first start and the last end goes to

1. the GPU's computation, if any kernel runs; else
2. communication between GPUs, which then nothing hides; else
3. copies and fills of GPU memory; else
4. whatever the CPU is in the innermost span of; else
5. nobody: idle time.

Spans of the first of these that runs at an instant share it equally. So the shares and the idle time add up to the wall
time, and differences of shares add up to the difference of the wall times.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING

import numpy as np

from pipelines.runs.span_places import own_pieces

if TYPE_CHECKING:
    from numpy.typing import NDArray

# Classes of spans in the order above; UNTIMED spans mark or describe, and nobody waits for them.
COMPUTATION, COMMUNICATION, COPY, CPU, UNTIMED = range(5)
_CLASSES = 4
# So many spans or pieces are worked on at once; of more, memory would hold a dozen columns.
_TOGETHER = 250_000


@dataclass(frozen=True, kw_only=True)
class WallTime:
    """Shares of the wall time in nanoseconds, a place a span; they are fractions where spans run at once."""

    share: NDArray[np.float64]
    idle_ns: float
    wall_ns: int


def share_wall_time(
    start: NDArray[np.int64], end: NDArray[np.int64], parent: NDArray[np.int64], rank: NDArray[np.int8]
) -> WallTime:
    """Share out the time from the first start to the last end; `parent` are places, -1 for none, `rank` classes."""
    is_timed = rank != UNTIMED
    if not is_timed.any():
        return WallTime(share=np.zeros(start.size), idle_ns=0.0, wall_ns=0)
    origin = int(start[is_timed].min())
    wall_ns = int(end[is_timed].max()) - origin
    owner, low, high = _timed_pieces(start, end, parent, is_timed)
    share = np.zeros(start.size)
    busy_ns = 0
    for chosen, lows, highs in _blocks(low, high):
        busy_ns += _share_out(share, owner[chosen], lows - origin, highs - origin, rank)
    return WallTime(share=share, idle_ns=float(wall_ns - busy_ns), wall_ns=wall_ns)


def _timed_pieces(
    start: NDArray[np.int64], end: NDArray[np.int64], parent: NDArray[np.int64], is_timed: NDArray[np.bool_]
) -> tuple[NDArray[np.int32], NDArray[np.int64], NDArray[np.int64]]:
    """`own_pieces` of the timed spans, found for so many spans at a time, since a dozen columns are held meanwhile."""
    found = []
    for first in range(0, start.size, _TOGETHER):
        last = min(first + _TOGETHER, start.size)
        children = np.flatnonzero((parent >= first) & (parent < last))
        near = np.concatenate([np.arange(first, last), children])
        above = np.concatenate([np.full(last - first, -1, dtype=np.int64), parent[children] - first])
        owner, low, high = own_pieces(start[near], end[near], above)
        # Children are here to be cut out; their own pieces are found among their own.
        keep = owner < last - first
        keep[keep] = is_timed[owner[keep] + first]
        found.append(((owner[keep] + first).astype(np.int32), low[keep], high[keep]))
    owners, lows, highs = zip(*found, strict=True)
    return np.concatenate(owners), np.concatenate(lows), np.concatenate(highs)


def _blocks(
    low: NDArray[np.int64], high: NDArray[np.int64]
) -> Iterator[tuple[NDArray[np.int64] | slice, NDArray[np.int64], NDArray[np.int64]]]:
    """Stretches of time in which about so many pieces begin: places of the pieces in it, cut to it."""
    if low.size <= _TOGETHER:
        yield slice(None), low, high
        return
    edges = [*np.unique(np.sort(low)[::_TOGETHER]).tolist(), int(high.max())]
    for begin, finish in pairwise(edges):
        chosen = np.flatnonzero((low < finish) & (high > begin))
        yield chosen, np.maximum(low[chosen], begin), np.minimum(high[chosen], finish)


def _share_out(
    share: NDArray[np.float64],
    owner: NDArray[np.int32],
    low: NDArray[np.int64],
    high: NDArray[np.int64],
    rank: NDArray[np.int8],
) -> int:
    """Add to `share` what each owner has of a stretch of time; gives how long anything ran in it."""
    moments, places = np.unique(np.concatenate([low, high]), return_inverse=True)
    begin, finish = places[: low.size], places[low.size :]
    lengths = np.diff(moments)
    is_free = np.ones(lengths.size, dtype=bool)
    for one in range(_CLASSES):
        mine = np.flatnonzero(rank[owner] == one)
        if not mine.size:
            continue
        running = _running(begin[mine], finish[mine], lengths.size)
        is_own = is_free & (running > 0)
        each = np.where(is_own, lengths / np.maximum(running, 1), 0.0)
        upto = np.concatenate([[0.0], np.cumsum(each)])
        np.add.at(share, owner[mine], upto[finish[mine]] - upto[begin[mine]])
        is_free &= running == 0
    return int(lengths[~is_free].sum())


def covered_ns(start: NDArray[np.int64], end: NDArray[np.int64]) -> int:
    """How long at least one of these intervals lasts."""
    if not start.size:
        return 0
    order = np.argsort(start, kind="stable")
    starts, reach = start[order], np.maximum.accumulate(end[order])
    before = np.concatenate([[starts[0]], reach[:-1]])
    return int(np.maximum(reach - np.maximum(starts, before), 0).sum())


def _running(begin: NDArray[np.int64], finish: NDArray[np.int64], count: int) -> NDArray[np.int64]:
    """How many intervals run in each of `count` stretches, from the places where they begin and finish."""
    change = np.bincount(begin, minlength=count + 1) - np.bincount(finish, minlength=count + 1)
    return np.cumsum(change)[:count]
