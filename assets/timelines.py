"""Assets of the timelines room: where the time of runs went and how that differs, by run date."""

import datetime as dt
from collections.abc import Iterator

import dagster as dg

from assets.evidence import RECOMPUTE_TAG
from assets.partitions import FIRST_RUN_DATE, RUN_DATES, range_tags, ranges, run_dates
from assets.presentation import markdown_table, number
from assets.rooms import Room
from assets.tables import asset_key, table_metadata, table_spec
from lake.store import Lake
from pipelines.drawing import as_markdown_image
from pipelines.evidence.render import escape_markdown
from pipelines.timelines.charts import lanes_chart, waterfall_chart
from pipelines.timelines.listing import list_devices, list_timeline_diffs, stretch_to_draw
from pipelines.timelines.staleness import stale_timeline_dates
from pipelines.timelines.steps import diff_timelines, summarise_timelines
from pipelines.timelines.telling import TimelineAnswer
from resources.installation import Installation

TIMELINE_TABLES = ("gold.timeline_summaries", "gold.timeline_devices", "gold.timeline_diffs")
SHOWN_COMPARISONS = 4
NO_TIMELINES = "No pair of runs of these dates has spans on both sides."


@dg.multi_asset(
    name="timelines",
    specs=[
        table_spec("gold.timeline_summaries", deps=["silver.runs", "silver.spans"], partitions_def=RUN_DATES),
        table_spec("gold.timeline_devices", deps=["silver.runs", "silver.spans"], partitions_def=RUN_DATES),
        table_spec(
            "gold.timeline_diffs",
            deps=["silver.runs", "silver.spans", "silver.baselines"],
            partitions_def=RUN_DATES,
        ),
    ],
    backfill_policy=dg.BackfillPolicy.single_run(),
    pool="timelines",
)
def timelines(
    context: dg.AssetExecutionContext, installation: dg.ResourceParam[Installation]
) -> Iterator[dg.MaterializeResult[None]]:
    """Sum up the spans of each run, and compare those of the runs that the policy pairs."""
    lake, policy, dates = installation.lake, installation.policy, run_dates(context)
    is_all = context.run.tags.get(RECOMPUTE_TAG) == "all"
    summarised = summarise_timelines(lake, dates, mode="all" if is_all else "changed")
    compared = diff_timelines(lake, policy, dates, mode="all" if is_all else "changed")
    # Moves the cursor up, if all timelines stand now.
    stale_timeline_dates(lake, policy, first_date=FIRST_RUN_DATE)
    told = list_timeline_diffs(lake, dates)
    facts = table_metadata(lake, TIMELINE_TABLES)
    shown: dict[str, dict[str, dg.MetadataValue | int]] = {
        "gold.timeline_summaries": {"rows written": summarised.rows_written, "spans read": summarised.rows_read},
        "gold.timeline_devices": {"devices": dg.MetadataValue.md(_device_table(lake, dates))},
        "gold.timeline_diffs": {
            "rows written": compared.rows_written,
            "what got slower": dg.MetadataValue.md(_sentences(lake, told)),
            **_pictures(lake, told),
        },
    }
    for table in TIMELINE_TABLES:
        yield dg.MaterializeResult(asset_key=asset_key(table), metadata={**facts[table], **shown[table]})


def _sentences(lake: Lake, told: list[tuple[dict[str, object], TimelineAnswer]]) -> str:
    if not told:
        return NO_TIMELINES
    names = _names(lake)
    rows = (
        [escape_markdown(names[str(ids[f"{side}_run_id"])]) for side in ("candidate", "baseline")]
        + [escape_markdown(answer.sentence)]
        for ids, answer in told
    )
    return markdown_table(["candidate", "baseline", "what got slower"], rows)


def _pictures(lake: Lake, told: list[tuple[dict[str, object], TimelineAnswer]]) -> dict[str, dg.MetadataValue]:
    """Waterfall and lanes of the comparisons that differ most."""
    runs = {run["run_id"]: run for run in lake.read("silver.runs", columns=["run_id", "run_date"]).to_dicts()}
    names = _names(lake) if told else {}
    images = []
    for ids, answer in sorted(told, key=lambda one: -abs(one[1].slowdown_ratio or 0.0))[:SHOWN_COMPARISONS]:
        baseline, candidate = runs[str(ids["baseline_run_id"])], runs[str(ids["candidate_run_id"])]
        title = f"{names[baseline['run_id']]} -> {names[candidate['run_id']]}"
        before, after, stretch = stretch_to_draw(lake, baseline=baseline, candidate=candidate)
        images.append(as_markdown_image(waterfall_chart(answer, title=title), alt="waterfall"))
        if before.height and after.height:
            images.append(as_markdown_image(lanes_chart(before, after, title=f"{title}: {stretch}"), alt="lanes"))
    return {"pictures": dg.MetadataValue.md("\n\n".join(images))} if images else {}


def _names(lake: Lake) -> dict[str, str]:
    columns = ["run_id", "suite", "backend", "run_date"]
    rows = lake.read("silver.runs", columns=columns).iter_rows()
    return {run_id: f"{suite} on {backend}, {date} ({run_id[:8]})" for run_id, suite, backend, date in rows}


def _device_table(lake: Lake, dates: list[dt.date]) -> str:
    rows = list_devices(lake, dates)
    if rows.is_empty():
        return "No run of these dates has spans."
    times = ("wall_ns", "busy_ns", "idle_ns", "computation_ns", "communication_ns", "copy_ns")
    return markdown_table(
        ["run", "device", *(name.removesuffix("_ns") for name in times), "communication hidden"],
        (
            [
                escape_markdown(f"{row['suite']} on {row['backend']}, {row['run_id'][:8]}"),
                row["device"],
                *(number(row[name] / 1e6, "ms") for name in times),
                number(row["communication_overlap_ratio"]),
            ]
            for row in rows.iter_rows(named=True)
        ),
    )


TIMELINE_KEYS = tuple(map(asset_key, TIMELINE_TABLES))
UPDATE_TIMELINES = dg.define_asset_job(
    "update_timelines",
    selection=dg.AssetSelection.assets(*TIMELINE_KEYS),
    description="Sum up and compare the timelines of run dates whose runs or policy changed. Launch a backfill for a "
    "range; the tag benchlake/recompute: all computes unchanged ones again.",
)


@dg.sensor(
    job=UPDATE_TIMELINES,
    minimum_interval_seconds=60,
    default_status=dg.DefaultSensorStatus.RUNNING,
    description="Follows the change feed of silver.runs and asks for the timelines of the affected dates only.",
)
def timeline_feed_sensor(
    context: dg.SensorEvaluationContext,  # noqa: ARG001  # Dagster passes it by this name
    installation: dg.ResourceParam[Installation],
) -> dg.SensorResult | dg.SkipReason:
    """One run request per contiguous range of run dates whose timelines are not all in the lake."""
    lake, policy = installation.lake, installation.policy
    dates = stale_timeline_dates(lake, policy, first_date=FIRST_RUN_DATE)
    state = f"{lake.version('silver.runs')}.{lake.version('silver.baselines')}:{policy.digest[:12]}"
    if not dates:
        return dg.SkipReason(f"The timelines of every run date stand (silver.runs and policy at {state}).")
    return dg.SensorResult(
        run_requests=[
            dg.RunRequest(run_key=f"timelines-{first}-{last}@{state}", tags=range_tags(first, last))
            for first, last in ranges(dates)
        ]
    )


ROOM = Room(
    assets=(timelines,),
    tables=TIMELINE_TABLES,
    jobs=(UPDATE_TIMELINES,),
    sensors=(timeline_feed_sensor,),
    night=TIMELINE_KEYS,
)
