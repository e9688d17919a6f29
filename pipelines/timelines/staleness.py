"""Which run dates have timelines that are missing, outdated or orphaned, by the change feed of runs.

The cursor of consumer `timelines:<version>:<policy digest>` on `silver.runs` says up to which version all of them are
known to stand. It moves only over what was looked at, so what a killed night left is found again. Spans land before the
row of their run, so following runs is enough.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Sequence

import polars as pl

from lake.errors import UserError
from lake.store import NO_VERSION, Lake
from pipelines.evidence.policy import Policy
from pipelines.timelines.profiles import TIMELINE_VERSION
from pipelines.timelines.reading import RUNS, plan_diffs, runs_with_spans
from pipelines.timelines.summaries import DEVICES, DIFFS

_CURSORS = "silver.cursors"
_CONSUMER = "timelines:"


def stale_timeline_dates(lake: Lake, policy: Policy, *, first_date: dt.date = dt.date.min) -> list[dt.date]:
    """Run dates, ascending, whose timelines are not what runs and policy ask for; moves the cursor when there are none.

    Dates before `first_date` are left out: nobody will work them off.
    """
    consumer = f"{_CONSUMER}{TIMELINE_VERSION}:{policy.digest}"
    version, cursor = lake.version(RUNS), lake.cursor(consumer, RUNS)
    if cursor >= version:
        return []
    touched = [date for date in _touched_dates(lake, since=cursor, version=version) if date >= first_date]
    stale = _out_of_step(lake, policy, touched) if touched else []
    if not stale:
        lake.move_cursor(consumer, {RUNS: version})
        _drop_others(lake, consumer)
    return stale


def _touched_dates(lake: Lake, *, since: int, version: int) -> list[dt.date]:
    """Dates of changed runs, old and new, and every later date of their suites, where they may be a baseline now."""
    changed = _changed_runs(lake, since=since, version=version)
    first = changed.group_by("suite").agg(first_date=pl.col("run_date").min())
    suites = first["suite"].sort().to_list()
    runs = lake.read(RUNS, columns=["suite", "run_date"], where={"suite": suites}, at=version).unique()
    later = runs.join(first, on="suite").filter(pl.col("run_date") >= pl.col("first_date"))
    return sorted({*changed["run_date"], *later["run_date"]})


def _changed_runs(lake: Lake, *, since: int, version: int) -> pl.DataFrame:
    if since > NO_VERSION:
        try:
            return lake.changes(RUNS, since, until=version).select("suite", "run_date").unique()
        except UserError:
            # Maintenance has removed what the feed would need; the table itself says more than enough.
            pass
    return lake.read(RUNS, columns=["suite", "run_date"], at=version).unique()


def _out_of_step(lake: Lake, policy: Policy, dates: Sequence[dt.date]) -> list[dt.date]:
    where = {"run_date": sorted(set(dates))}
    found: set[dt.date] = set()
    expected = (
        (DEVICES, "run_id", runs_with_spans(lake, dates)),
        (DIFFS, "comparison_id", plan_diffs(lake, policy, dates)),
    )
    for table, key, wanted in expected:
        columns = [key, "run_date", "input_digest"]
        standing, mine = lake.read(table, columns=columns, where=where).unique(), wanted.select(columns)
        for one, other in ((mine, standing), (standing, mine)):
            found.update(one.join(other, on=columns, how="anti")["run_date"])
    return sorted(found)


def _drop_others(lake: Lake, consumer: str) -> None:
    """A cursor of another policy that stands still would keep old versions for ever."""
    others = lake.read(_CURSORS, columns=["consumer", "table"]).filter(
        pl.col("consumer").str.starts_with(_CONSUMER) & (pl.col("consumer") != consumer)
    )
    if others.height:
        lake.remove(_CURSORS, others)
