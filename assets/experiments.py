"""Assets of the experiments room: scenarios on today's data, and whether decisions keep what they promised."""

import datetime as dt
from collections.abc import Iterator

import dagster as dg
import polars as pl

from assets.partitions import RUN_DATES, run_dates
from assets.presentation import markdown_table
from assets.rooms import Room
from assets.tables import asset_key, table_metadata, table_spec
from pipelines.evidence.render import escape_markdown
from pipelines.experiments.decision_checks import DECISION_CHECKS, check_decisions, newest_checks
from pipelines.experiments.decision_texts import check_sentence, check_table
from pipelines.experiments.decisions import DECISIONS
from pipelines.experiments.scenarios import SCENARIOS
from pipelines.experiments.steps import (
    SCENARIO_RESULTS,
    ensure_decision,
    ensure_scenario,
    newest_results,
    run_scenarios,
)
from pipelines.runs.remarks import Act
from resources.installation import Installation
from resources.night_reports import write_night_report
from resources.shipped_experiments import shipped_decision, shipped_scenario

REPORTS = "gold.reports"
TABLES = (SCENARIO_RESULTS, DECISION_CHECKS, REPORTS)
RECORDED_TABLES = (SCENARIOS, DECISIONS)
KPI_CHECK = "promises_kept"
SHOWN_MOVEMENTS = 12
_AUTHOR = "benchlake"


@dg.multi_asset(
    name="rerun_scenarios",
    specs=[
        table_spec(SCENARIO_RESULTS, deps=["silver.runs", "silver.outputs", SCENARIOS]),
    ],
    pool="experiments",
)
def rerun_scenarios(
    context: dg.AssetExecutionContext, installation: dg.ResourceParam[Installation]
) -> Iterator[dg.MaterializeResult[None]]:
    """Compute every scenario whose runs changed, and say what moved since it was saved."""
    lake, now = installation.lake, dt.datetime.now(dt.UTC)
    ensure_scenario(lake, shipped_scenario(), act=Act(author=_AUTHOR, at=now, reason="A first example."))
    result = run_scenarios(lake, now=now)
    for message in result.messages:
        context.log.warning(message)
    yield dg.MaterializeResult(
        asset_key=asset_key(SCENARIO_RESULTS),
        metadata={
            **table_metadata(lake, [SCENARIO_RESULTS])[SCENARIO_RESULTS],
            "scenarios": result.scenario_count,
            "computed": result.computed_count,
            "what they say": dg.MetadataValue.md(_scenario_table(newest_results(lake))),
        },
    )


@dg.multi_asset(
    name="checked_decisions",
    specs=[table_spec(DECISION_CHECKS, deps=["silver.runs", "silver.outputs", DECISIONS])],
    check_specs=[
        dg.AssetCheckSpec(
            KPI_CHECK,
            asset=asset_key(DECISION_CHECKS),
            description="Every accepted decision's KPI still stands to its threshold as promised.",
        )
    ],
    pool="experiments",
)
def checked_decisions(installation: dg.ResourceParam[Installation]) -> Iterator[dg.MaterializeResult[None]]:
    """Ask the KPI of every accepted decision whose data changed; a broken promise is a failed check that names it."""
    lake, now = installation.lake, dt.datetime.now(dt.UTC)
    ensure_decision(lake, shipped_decision(), act=Act(author=_AUTHOR, at=now, reason="A first example."))
    result = check_decisions(lake, now=now)
    checks = newest_checks(lake)
    yield dg.MaterializeResult(
        asset_key=asset_key(DECISION_CHECKS),
        metadata={
            **table_metadata(lake, [DECISION_CHECKS])[DECISION_CHECKS],
            "promises": result.decision_count,
            "asked": result.asked_count,
            "what was found": dg.MetadataValue.md(check_table(checks)),
        },
        check_results=[kpi_check(checks)],
    )


def kpi_check(checks: pl.DataFrame) -> dg.AssetCheckResult:
    """Passed when every promise holds; an error where one is broken, a warning where one was not measured."""
    open_checks = [row for row in checks.iter_rows(named=True) if row["verdict"] != "pass"]
    broken = [row for row in open_checks if row["verdict"] == "fail"]
    told = "; ".join(f"{row['title']} ({row['decision_id'][:8]}): {check_sentence(row)}" for row in open_checks)
    return dg.AssetCheckResult(
        asset_key=asset_key(DECISION_CHECKS),
        check_name=KPI_CHECK,
        passed=not open_checks,
        severity=dg.AssetCheckSeverity.ERROR if broken else dg.AssetCheckSeverity.WARN,
        description=told or f"{checks.height} promises hold.",
        metadata={"promises": dg.MetadataValue.md(check_table(checks)), "broken": len(broken)},
    )


def _scenario_table(results: pl.DataFrame) -> str:
    if results.is_empty():
        return "No scenario is saved. Save one:  `benchlake scenarios save FILE`"
    table = markdown_table(
        ["scenario", "what it says", "moved since it was saved"],
        (
            [escape_markdown(row["name"]), escape_markdown(row["headline"]), str(row["movement_count"])]
            for row in results.iter_rows(named=True)
        ),
    )
    return table + "".join(
        f"\n\n**{escape_markdown(row['name'])}**\n\n{_moved(row['movements'])}" for row in results.to_dicts()
    )


def _moved(movements: list[dict[str, str | None]]) -> str:
    if not movements:
        return "Nothing moved."
    return markdown_table(
        ["kind", "run", "what", "before", "now"],
        (
            [escape_markdown(str(row[name] or "-")) for name in ("kind", "run_id", "name", "before", "after")]
            for row in movements[:SHOWN_MOVEMENTS]
        ),
    )


@dg.multi_asset(
    name="night_reports",
    specs=[table_spec(REPORTS, deps=TABLES[:2], partitions_def=RUN_DATES)],
    backfill_policy=dg.BackfillPolicy.single_run(),
    pool="experiments",
)
def night_reports(
    context: dg.AssetExecutionContext, installation: dg.ResourceParam[Installation]
) -> Iterator[dg.MaterializeResult[None]]:
    """Write the report of each date as HTML, Markdown and PDF, and say where it is."""
    lake, state = installation.lake, installation.state
    known = set(lake.read("silver.runs", columns=["run_date"])["run_date"])
    written = [
        write_night_report(installation, date, now=dt.datetime.now(dt.UTC))
        for date in run_dates(context)
        if date in known
    ]
    told = [
        f"**{escape_markdown(report.title)}**: {escape_markdown(report.summary)}\n\n"
        + "\n".join(f"* `{path}`" for path in report.paths)
        for report in written
    ]
    yield dg.MaterializeResult(
        asset_key=asset_key(REPORTS),
        metadata={
            **table_metadata(lake, [REPORTS])[REPORTS],
            "reports": dg.MetadataValue.md("\n\n".join(told) or "No run of these dates, so nothing to report."),
            **({"newest": dg.MetadataValue.path(str(written[-1].paths[0]))} if written else {}),
            "folder": dg.MetadataValue.path(str(state.reports)),
        },
    )


# Apart from the night itself: a blocking gate that fails ends the night's run, and then it is wanted most.
NIGHTLY_REPORT = dg.define_asset_job(
    "nightly_report",
    selection=dg.AssetSelection.assets(*map(asset_key, TABLES)),
    description="Compute scenarios, ask the promises of decisions, write the report of a run date. Follows each night "
    "whatever its gates said.",
)


@dg.run_status_sensor(
    run_status=dg.DagsterRunStatus.SUCCESS,
    request_job=NIGHTLY_REPORT,
    default_status=dg.DefaultSensorStatus.RUNNING,
    description="Report a scheduled night that went through.",
)
def report_good_night(context: dg.RunStatusSensorContext) -> dg.RunRequest | dg.SkipReason:
    """Ask for the report of the night's date."""
    return _report_of(context.dagster_run)


@dg.run_status_sensor(
    run_status=dg.DagsterRunStatus.FAILURE,
    request_job=NIGHTLY_REPORT,
    default_status=dg.DefaultSensorStatus.RUNNING,
    description="Report a scheduled night that a gate or a broken step ended.",
)
def report_bad_night(context: dg.RunStatusSensorContext) -> dg.RunRequest | dg.SkipReason:
    """Ask for the report of the night's date."""
    return _report_of(context.dagster_run)


def _report_of(run: dg.DagsterRun) -> dg.RunRequest | dg.SkipReason:
    date = run.tags.get("dagster/partition")
    if run.job_name != "nightly" or date is None:
        return dg.SkipReason("Not a night of one date.")
    if run.tags.get("benchlake/started_by"):
        return dg.SkipReason("benchlake nightly writes its report itself.")
    return dg.RunRequest(run_key=f"report-{run.run_id}", partition_key=date)


ROOM = Room(
    assets=[rerun_scenarios, checked_decisions, night_reports],
    tables=TABLES,
    recorded_tables=RECORDED_TABLES,
    jobs=[NIGHTLY_REPORT],
    sensors=[report_good_night, report_bad_night],
)
