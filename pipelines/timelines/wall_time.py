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

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from pipelines.runs.span_places import own_pieces

if TYPE_CHECKING:
    from numpy.typing import NDArray

# Classes of spans in the order above; UNTIMED spans mark or describe, and nobody waits for them.
COMPUTATION, COMMUNICATION, COPY, CPU, UNTIMED = range(5)
_CLASSES = 4


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
    owner, low, high = own_pieces(start, end, parent)
    timed = is_timed[owner]
    owner, low, high = owner[timed], low[timed] - origin, high[timed] - origin
    moments, places = np.unique(np.concatenate([low, high]), return_inverse=True)
    begin, finish = places[: low.size], places[low.size :]
    lengths = np.diff(moments)
    share = np.zeros(start.size)
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
    return WallTime(share=share, idle_ns=float(wall_ns - lengths[~is_free].sum()), wall_ns=wall_ns)


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
