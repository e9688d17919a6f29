"""Rows of the tables of this room, from profiles and their differences.

Pure. How a profile is made is `profiles.py`, how two are compared is `diff.py`; reading and writing is `steps.py`.
"""

from __future__ import annotations

import datetime as dt
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import polars as pl

from lake.tables import contract_of
from pipelines.timelines.profiles import Profile, ranks
from pipelines.timelines.wall_time import COMMUNICATION, COMPUTATION, COPY, CPU, UNTIMED, covered_ns

if TYPE_CHECKING:
    from numpy.typing import NDArray

SUMMARIES, DEVICES, DIFFS = "gold.timeline_summaries", "gold.timeline_devices", "gold.timeline_diffs"


def summary_rows(profile: Profile, *, run_date: dt.date, input_digest: str) -> pl.DataFrame:
    """Rows of `gold.timeline_summaries`."""
    return _conformed(SUMMARIES, profile.names, run_id=profile.run_id, run_date=run_date, input_digest=input_digest)


@dataclass(frozen=True, kw_only=True)
class _Times:
    """Spans of one device with the class of each (`wall_time.py`)."""

    start: NDArray[np.int64]
    end: NDArray[np.int64]
    rank: NDArray[np.int8]

    def covered(self, *classes: int) -> int:
        """How long at least one span of these classes runs."""
        chosen = np.isin(self.rank, classes)
        return covered_ns(self.start[chosen], self.end[chosen])


def device_rows(spans: pl.DataFrame, *, run_id: str, run_date: dt.date, input_digest: str) -> pl.DataFrame:
    """Rows of `gold.timeline_devices`, one a device that any span of the run is on.

    On a GPU, every kernel but communication computes. On the CPU, whatever is timed counts as computing, marks of
    steps apart: a step is a stretch of time, not work.
    """
    rank, is_step = ranks(spans), (spans["span_kind"] == "step").to_numpy()
    start = spans["start_ns"].to_numpy()
    end = start + spans["duration_ns"].to_numpy()
    timed = rank != UNTIMED
    wall_ns = int(end[timed].max() - start[timed].min()) if timed.any() else 0
    rows = []
    marks = spans["step"].filter(spans["span_kind"] == "step").n_unique()
    for device in spans["device"].unique(maintain_order=True):
        is_own = (spans["device"] == device).to_numpy()
        places = np.flatnonzero(is_own & timed & ~is_step)
        times = _Times(start=start[places], end=end[places], rank=rank[places])
        computing, communicating = times.covered(COMPUTATION, CPU), times.covered(COMMUNICATION)
        both = computing + communicating - times.covered(COMPUTATION, CPU, COMMUNICATION)
        busy_ns = covered_ns(start[places], end[places])
        rows.append(
            {
                "device": device,
                "span_count": int(is_own.sum()),
                "lane_count": spans["lane"].filter(pl.Series(is_own)).n_unique(),
                "step_count": marks,
                "wall_ns": wall_ns,
                "busy_ns": busy_ns,
                "idle_ns": wall_ns - busy_ns,
                "computation_ns": computing,
                "communication_ns": communicating,
                "copy_ns": times.covered(COPY),
                "overlapped_communication_ns": both,
                "communication_overlap_ratio": both / communicating if communicating else None,
            }
        )
    frame = pl.DataFrame(rows, infer_schema_length=None)
    return _conformed(DEVICES, frame, run_id=run_id, run_date=run_date, input_digest=input_digest)


def diff_rows(
    diff: pl.DataFrame,
    *,
    comparison_id: str,
    run_date: dt.date,
    candidate_run_id: str,
    baseline_run_id: str,
    input_digest: str,
) -> pl.DataFrame:
    """Rows of `gold.timeline_diffs` from those of `diff.diff_profiles`."""
    return _conformed(
        DIFFS,
        diff,
        comparison_id=comparison_id,
        run_date=run_date,
        candidate_run_id=candidate_run_id,
        baseline_run_id=baseline_run_id,
        input_digest=input_digest,
    )


def _conformed(table: str, rows: pl.DataFrame, **known: object) -> pl.DataFrame:
    given = rows.with_columns(pl.lit(value).alias(name) for name, value in known.items())
    return given.select(
        (pl.col(name) if name in given.columns else pl.lit(None).alias(name)).cast(dtype)
        for name, dtype in contract_of(table).dtypes.items()
    )
