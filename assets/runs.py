"""Assets of the runs room: the night's suite runs, and the import of everything that has landed."""

import datetime as dt
from collections.abc import Iterator

import dagster as dg

from assets.presentation import import_summary, suite_run_table
from assets.tables import asset_key, table_metadata, table_spec
from lake.tables import remarks, runs
from pipelines.runs.steps import import_paths
from resources.installation import Installation
from resources.nightly_suite import run_nightly_suite

SUITE_RUNS = dg.AssetKey(["landing", "suite_runs"])
IMPORTED_TABLES = ("bronze.rejects", *(contract.address for contract in runs.TABLES))
IMPORT_KEYS = tuple(map(asset_key, IMPORTED_TABLES))
REMARKED_TABLES = tuple(contract.address for contract in remarks.TABLES)


@dg.asset(
    key=SUITE_RUNS,
    group_name="runs",
    owners=["team:runs"],
    kinds={"jsonl", "python"},
    pool="inference",
    description="One file per run of the night's suite on a configured backend, in the landing folder.",
)
def suite_runs(
    context: dg.AssetExecutionContext, installation: dg.ResourceParam[Installation]
) -> dg.MaterializeResult[None]:
    """Ask every configured backend the suite; a run that is already there is not asked again."""
    results = run_nightly_suite(installation, now=dt.datetime.now(dt.UTC), on_message=context.log.info)
    return dg.MaterializeResult(
        metadata={
            "runs": len(results),
            "samples": sum(result.sample_count for result in results),
            "folder": dg.MetadataValue.path(str(installation.landing)),
            "what ran": dg.MetadataValue.md(suite_run_table(results)),
        }
    )


@dg.multi_asset(
    name="imported_runs",
    specs=[
        table_spec(
            table, deps=[SUITE_RUNS, *(["silver.tag_events", "silver.batch_runs"] if table == "silver.runs" else [])]
        )
        for table in IMPORTED_TABLES
    ],
    pool="runs",
    can_subset=False,
)
def imported_runs(
    context: dg.AssetExecutionContext, installation: dg.ResourceParam[Installation]
) -> Iterator[dg.MaterializeResult[None]]:
    """Import every new file of the landing folder; files that are already in the lake cost one look-up."""
    result = import_paths(
        installation.lake, [installation.landing], root=installation.landing, now=dt.datetime.now(dt.UTC)
    )
    for message in result.messages:
        context.log.warning(message)
    facts = table_metadata(installation.lake, IMPORTED_TABLES)
    for table in IMPORTED_TABLES:
        yield dg.MaterializeResult(
            asset_key=asset_key(table),
            metadata={**facts[table], "last import": dg.MetadataValue.md(import_summary(result))},
        )
