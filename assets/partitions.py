"""The one partitioning of the code location: UTC run dates."""

from __future__ import annotations

import datetime as dt
from collections.abc import Sequence

import dagster as dg

# Older runs than this are imported and queryable, but have no evidence partition; see docs/configuration.md.
FIRST_RUN_DATE = dt.date(2020, 1, 1)

# The current day is a partition from its first minute on, so that tonight's run lands in tonight's evidence.
RUN_DATES = dg.DailyPartitionsDefinition(start_date=FIRST_RUN_DATE.isoformat(), end_offset=1)


# More separate ranges than this are cheaper as one run over all the days between: a day without runs costs nothing.
MAX_RANGES = 10
RANGE_START_TAG = "dagster/asset_partition_range_start"
RANGE_END_TAG = "dagster/asset_partition_range_end"


def ranges(dates: Sequence[dt.date]) -> list[tuple[dt.date, dt.date]]:
    """Ascending dates as contiguous ranges (first, last), or as one range when they would be too many."""
    found: list[tuple[dt.date, dt.date]] = []
    for date in dates:
        if found and date - found[-1][1] == dt.timedelta(days=1):
            found[-1] = (found[-1][0], date)
        else:
            found.append((date, date))
    return found if len(found) <= MAX_RANGES else [(found[0][0], found[-1][1])]


def range_tags(first: dt.date, last: dt.date) -> dict[str, str]:
    """Tags that make one run of all partitions of a range."""
    return {RANGE_START_TAG: first.isoformat(), RANGE_END_TAG: last.isoformat()}


def run_dates(context: dg.AssetExecutionContext) -> list[dt.date]:
    """The run dates that this execution was asked for."""
    return [dt.date.fromisoformat(key) for key in context.partition_keys]
