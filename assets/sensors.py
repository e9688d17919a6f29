"""Sensors: files that land are imported, runs that change wake the evidence of their dates."""

import json

import dagster as dg

from assets.jobs import IMPORT_LANDING, UPDATE_EVIDENCE
from assets.partitions import FIRST_RUN_DATE
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
    context: dg.SensorEvaluationContext, installation: dg.ResourceParam[Installation]
) -> dg.SensorResult | dg.SkipReason:
    """One run request per run date whose planned comparisons are not all in the lake."""
    cursor = json.loads(context.cursor or "{}")
    version = installation.lake.version(RUNS)
    policy_digest = installation.policy.digest
    if cursor == {"version": version, "policy": policy_digest}:
        return dg.SkipReason(f"{RUNS} is still at version {version} and the policy is the same.")
    since = cursor.get("version", -1) if cursor.get("policy") == policy_digest else -1
    dates = stale_run_dates(installation.lake, installation.policy, since=since)
    requests = [
        dg.RunRequest(run_key=f"{date}@{version}:{policy_digest[:12]}", partition_key=date.isoformat())
        for date in dates
        if date >= FIRST_RUN_DATE
    ]
    return dg.SensorResult(run_requests=requests, cursor=json.dumps({"version": version, "policy": policy_digest}))
