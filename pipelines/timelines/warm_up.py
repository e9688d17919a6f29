"""The step in which a program warms up, left out of comparisons.

Pure. Step 0 is the first that a profiled program ever takes: libraries are loaded, kernels chosen, memory is asked for.
Measured on small trainings on CPUs it took 1.4 to 4 times as long as the steps after it. A first step of any other
number is no warm-up: the profiler's schedule has let steps pass before it, and it took as long as the others (in the
real pair of traces of the tests 0.98 and 0.82 times the median of the rest). So only step 0 is left out, whatever its
duration: to leave out what is slow would hide what has become slow.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import polars as pl

from pipelines.runs.span_places import own_pieces
from pipelines.timelines.profiles import parent_places

if TYPE_CHECKING:
    from numpy.typing import NDArray

WARM_UP_STEP = 0


def without_warm_up(spans: pl.DataFrame) -> tuple[pl.DataFrame, int]:
    """Spans of a run from the end of its step 0 on, and how many steps that leaves out (0 or 1).

    What step 0 launched goes with it, even if it ran later. Of what began before and lasts longer, as the call of a
    whole training does, the later part stays. A run without another step keeps all it has.
    """
    marks = spans.filter((pl.col("span_kind") == "step") & (pl.col("device") == "cpu"))
    is_own = pl.col("step") == WARM_UP_STEP
    own = marks.filter(is_own)
    if own.is_empty() or own.height == marks.drop_nulls("step").height:
        return spans, 0
    end = pl.col("start_ns") + pl.col("duration_ns")
    cut = int(own.select(end.max()).item())
    later = spans.filter(~is_own.fill_null(value=False) & (end > cut)).sort("span_index")
    return _from(later, cut), 1


def _from(spans: pl.DataFrame, cut: int) -> pl.DataFrame:
    """The spans with the part before `cut` taken off those that begin before it."""
    is_early = (spans["start_ns"] < cut).to_numpy()
    if not is_early.any():
        return spans
    own = spans["self_ns"].fill_null(0).to_numpy().copy()
    own[is_early] = _own_after(spans, is_early, cut)
    start = np.maximum(spans["start_ns"].to_numpy(), cut)
    end = (spans["start_ns"] + spans["duration_ns"]).to_numpy()
    return spans.with_columns(start_ns=pl.Series(start), duration_ns=pl.Series(end - start), self_ns=pl.Series(own))


def _own_after(spans: pl.DataFrame, is_early: NDArray[np.bool_], cut: int) -> NDArray[np.int64]:
    """For each of the early spans the time after `cut` in it and in nothing that it encloses."""
    early = spans["span_index"].filter(pl.Series(is_early))
    is_child = spans["parent_span_index"].is_in(early.implode()).fill_null(value=False).to_numpy()
    near = spans.filter(pl.Series(is_early | is_child))
    start = near["start_ns"].to_numpy()
    owner, low, high = own_pieces(start, start + near["duration_ns"].to_numpy(), parent_places(near))
    found = np.zeros(near.height, dtype=np.int64)
    np.add.at(found, owner, np.maximum(high - np.maximum(low, cut), 0))
    own: NDArray[np.int64] = found[is_early[is_early | is_child]]
    return own
