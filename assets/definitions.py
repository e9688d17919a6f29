"""The code location: every definition, assembled.

`build_defs(**overrides)` makes another code location of the same parts, for a test or another deployment.
"""

from __future__ import annotations

from pathlib import Path

import dagster as dg

from assets import (
    attribution,
    batches,
    databits,
    embeddings,
    evidence,
    examples,
    experiments,
    jobs,
    optimization,
    runs,
    schedules,
    sensors,
    timelines,
    token_scorings,
    trends,
)
from assets.contract_checks import contract_check
from assets.tables import table_spec
from pipelines.evidence.policy import load_policy
from resources.config import Config
from resources.dagster_resources import InstallationResource

# Beside runs and evidence, whose definitions depend on the policy. In the order of the night.
ROOMS = tuple(
    module.ROOM
    for module in (
        token_scorings,
        timelines,
        trends,
        databits,
        embeddings,
        examples,
        optimization,
        attribution,
        experiments,
    )
)


def build_defs(*, folder: Path | None = None, executor: dg.ExecutorDefinition | None = None) -> dg.Definitions:
    """Definitions for the installation in `folder` (default: the working folder)."""
    folder = folder or Path.cwd()
    config = Config.load(folder)
    policy = load_policy(config.policy_path(folder))
    assets = [
        runs.suite_runs,
        batches.asked_suites,
        runs.imported_runs,
        evidence.compared_runs,
        evidence.judged_gates(policy),
        *(asset for room in ROOMS for asset in room.assets),
    ]
    # Written by commands and by steps beside their own tables; here for lineage, columns and checks.
    recorded = (
        *runs.REMARKED_TABLES,
        *evidence.RECORDED_TABLES,
        *(table for room in ROOMS for table in room.recorded_tables),
    )
    written = (*batches.BATCH_TABLES, *runs.IMPORTED_TABLES, *evidence.EVIDENCE_TABLES)
    checked = (*written, *(table for room in ROOMS for table in room.tables), *recorded)
    later = {table: keys for room in ROOMS for table, keys in room.written_later.items()}
    nightly = jobs.nightly_job(key for room in ROOMS for key in room.night)
    return dg.Definitions(
        assets=[*dg.with_source_code_references(assets), *map(table_spec, recorded)],
        asset_checks=[
            *(contract_check(table, after=later.get(table, ())) for table in checked),
            *(check for room in ROOMS for check in room.checks),
        ],
        jobs=[nightly, *jobs.JOBS, *(job for room in ROOMS for job in room.jobs)],
        schedules=[schedules.nightly_schedule(config.nightly, nightly)],
        sensors=[
            sensors.landing_sensor,
            sensors.run_feed_sensor,
            *(sensor for room in ROOMS for sensor in room.sensors),
        ],
        resources={"installation": InstallationResource(folder=str(folder))},
        executor=executor or dg.in_process_executor,
    )


defs = build_defs()
