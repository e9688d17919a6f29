"""The schedule of the night."""

import datetime as dt

import dagster as dg

from assets.rooms import AssetJob
from resources.config import NightlyConfig


def nightly_schedule(config: NightlyConfig, job: AssetJob) -> dg.ScheduleDefinition:
    """Start the job `nightly` at the configured time, for the UTC date on which it starts."""

    @dg.schedule(
        job=job,
        name="nightly",
        cron_schedule=config.cron,
        execution_timezone=config.time_zone,
        default_status=dg.DefaultScheduleStatus.RUNNING,
        description=f"Every night at {config.cron} {config.time_zone} (benchlake.toml, section nightly).",
    )
    def nightly(context: dg.ScheduleEvaluationContext) -> dg.RunRequest:
        date = context.scheduled_execution_time.astimezone(dt.UTC).date().isoformat()
        return dg.RunRequest(run_key=date, partition_key=date)

    return nightly
