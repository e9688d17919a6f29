"""The one partitioning of the code location: UTC run dates."""

from __future__ import annotations

import datetime as dt

import dagster as dg

# Older runs than this are imported and queryable, but have no evidence partition; see docs/configuration.md.
FIRST_RUN_DATE = dt.date(2020, 1, 1)

# The current day is a partition from its first minute on, so that tonight's run lands in tonight's evidence.
RUN_DATES = dg.DailyPartitionsDefinition(start_date=FIRST_RUN_DATE.isoformat(), end_offset=1)


def run_dates(context: dg.AssetExecutionContext) -> list[dt.date]:
    """The run dates that this execution was asked for."""
    return [dt.date.fromisoformat(key) for key in context.partition_keys]
