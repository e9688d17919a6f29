"""Sensors: files that land are imported, runs that change wake the evidence of their dates."""

import dagster as dg

from assets.jobs import IMPORT_LANDING, UPDATE_EVIDENCE
from assets.partitions import FIRST_RUN_DATE, range_tags, ranges
from lake.identity import json_digest
from pipelines.evidence.steps import stale_run_dates
from pipelines.runs.sources import walk_files
from resources.installation import Installation

RUNS = "silver.runs"


@dg.sensor(
    job=IMPORT_LANDING,
    minimum_interval_seconds=30,
    default_status=dg.DefaultSensorStatus.RUNNING,
    description="Imports files as they land. A file counts as new when its path, size or modification time does.",
)
def landing_sensor(
    context: dg.SensorEvaluationContext, installation: dg.ResourceParam[Installation]
) -> dg.RunRequest | dg.SkipReason:
    """One import for everything that changed since the last tick."""
    seen = [
        (str(path.relative_to(installation.landing)), path.stat().st_size, path.stat().st_mtime_ns)
        for path in walk_files(installation.landing)
    ]
    digest = json_digest(seen)
    if not seen or digest == context.cursor:
        return dg.SkipReason(f"Nothing new in {installation.landing} ({len(seen)} files).")
    context.update_cursor(digest)
    return dg.RunRequest(run_key=digest)


@dg.sensor(
    job=UPDATE_EVIDENCE,
    minimum_interval_seconds=60,
    default_status=dg.DefaultSensorStatus.RUNNING,
    description="Follows the change feed of silver.runs and asks for the evidence of the affected dates only.",
)
def run_feed_sensor(
    context: dg.SensorEvaluationContext,  # noqa: ARG001  # Dagster passes it by this name
    installation: dg.ResourceParam[Installation],
) -> dg.SensorResult | dg.SkipReason:
    """One run request per contiguous range of run dates whose evidence is not all in the lake."""
    versions = installation.lake.versions([RUNS, "silver.baselines"])
    state = f"{versions[RUNS]}.{versions['silver.baselines']}:{installation.policy.digest[:12]}"
    dates = stale_run_dates(installation.lake, installation.policy, first_date=FIRST_RUN_DATE)
    if not dates:
        return dg.SkipReason(f"The evidence of every run date stands ({RUNS} and policy at {state}).")
    # The same dates are asked for once per state of runs and policy, however often the sensor looks before it is done.
    return dg.SensorResult(
        run_requests=[
            dg.RunRequest(run_key=f"{first}-{last}@{state}", tags=range_tags(first, last))
            for first, last in ranges(dates)
        ]
    )
