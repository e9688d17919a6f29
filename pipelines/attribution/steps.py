"""Which runs are to be attributed, and what follows once they are.

What belongs here: what the night and a backfill go through. The methods are `demo_steps.py` and `neighbour_steps.py`.
"""

from __future__ import annotations

import datetime as dt
from dataclasses import dataclass
from typing import Literal

import polars as pl

from lake.store import Lake
from pipelines.attribution.deltas import update_deltas
from pipelines.attribution.lineage_credit import credit_lineage
from pipelines.attribution.recording import MethodResult
from pipelines.optimization.recording import RUNS

CONSUMER = "attribution"
Mode = Literal["changed", "all"]


@dataclass(frozen=True, kw_only=True)
class PendingRuns:
    """Runs that ended with a test and are new to attribution, the oldest first, and the version read up to."""

    run_ids: tuple[str, ...]
    version: int


def find_pending(lake: Lake, *, mode: Mode = "changed") -> PendingRuns:
    """Runs whose rows changed since the last `settle_pending`; every one with mode `all`."""
    newest = lake.version(RUNS)
    runs = lake.read(RUNS, columns=["optimization_run_id", "conclusion", "state", "started_at"])
    ended = runs.filter((pl.col("conclusion") != "not_tested") & (pl.col("state") != "running"))
    if mode == "changed":
        feed = lake.changes(RUNS, lake.cursor(CONSUMER, RUNS), until=newest, columns=["optimization_run_id"])
        ended = ended.join(feed.select("optimization_run_id").unique(), on="optimization_run_id", how="semi")
    return PendingRuns(run_ids=tuple(ended.sort("started_at")["optimization_run_id"]), version=newest)


def settle_pending(lake: Lake, pending: PendingRuns) -> None:
    """Record that these runs are done; not called while one of them is not, so that the next night goes on with it."""
    if pending.version > lake.cursor(CONSUMER, RUNS):
        lake.move_cursor(CONSUMER, {RUNS: pending.version})


def follow_up(lake: Lake, run_id: str, *, now: dt.datetime) -> tuple[list[MethodResult], int]:
    """Credit of the run's units and ancestors, and the deltas that follow; the credits and deltas written."""
    credited = credit_lineage(lake, run_id, now=now)
    return credited, update_deltas(lake)
