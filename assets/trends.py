"""Assets of the trends room: series of runs, their changes, and one check per group of series."""

import datetime as dt
from collections.abc import Iterator

import dagster as dg
import polars as pl

from assets.presentation import markdown_table
from assets.rooms import Room
from assets.tables import asset_key, table_metadata, table_spec
from pipelines.drawing import as_markdown_image
from pipelines.evidence.render import escape_markdown
from pipelines.trends.groups import GROUPS
from pipelines.trends.listing import ChangeQuery, between_words, list_changes, open_regressions, readable_changes
from pipelines.trends.pictures import draw_series
from pipelines.trends.sample_history import seed_sample_history
from pipelines.trends.steps import acknowledge, update_changes, update_series
from resources.installation import Installation

TREND_TABLES = ("gold.trend_series", "gold.change_points", "gold.trend_regressions")
RECORDED_TABLES = ("silver.trend_acknowledgements",)
SHOWN_CHANGES = 40
# Each picture is some 40 kB of the event that Dagster stores.
SHOWN_CHARTS = 3
NO_CHANGES = "No series has changed. A series needs eight runs before anything can be said."


@dg.multi_asset(
    name="trends",
    specs=[
        table_spec("gold.trend_series", deps=["silver.runs", "silver.run_metrics", "silver.outputs"]),
        table_spec("gold.change_points", deps=["gold.trend_series"]),
        table_spec("gold.trend_regressions", deps=["gold.trend_series", "silver.trend_acknowledgements"]),
    ],
    pool="trends",
)
def trends(installation: dg.ResourceParam[Installation]) -> Iterator[dg.MaterializeResult[None]]:
    """Bring series up to date with new runs, and follow the changes of those that got a point."""
    lake, config, now = installation.lake, installation.config.trends, dt.datetime.now(dt.UTC)
    series = update_series(lake)
    sample_rows = seed_sample_history(lake, now=now) if config.sample_history else 0
    changes = update_changes(
        lake, now=now, minimum_change_ratio=config.minimum_change_ratio, history=installation.code_history
    )
    newest = list_changes(lake, ChangeQuery(), limit=SHOWN_CHANGES)
    facts = table_metadata(lake, TREND_TABLES)
    shown: dict[str, dict[str, dg.MetadataValue | int]] = {
        "gold.trend_series": {
            "new or changed runs": series.run_count,
            "rows written": series.rows_written,
            "sample rows written": sample_rows,
        },
        "gold.change_points": {"series looked at": changes.series_count, "found": changes.change_point_count},
        "gold.trend_regressions": {
            "new changes": changes.new_count,
            "dismissed suspicions": changes.dismissed_count,
            "newest changes": dg.MetadataValue.md(_change_table(newest)),
            **_pictures(installation, newest),
        },
    }
    for table in TREND_TABLES:
        yield dg.MaterializeResult(asset_key=asset_key(table), metadata={**facts[table], **shown[table]})


@dg.multi_asset_check(
    name="trend_groups",
    specs=[
        dg.AssetCheckSpec(
            f"{group}_regressions",
            asset=asset_key("gold.trend_regressions"),
            description=f"No confirmed regression in the group {group} stands that nobody has acknowledged "
            "(docs/trends.md); severity by trends.severities of benchlake.toml.",
        )
        for group in GROUPS
    ],
    pool="trends",
)
def trend_groups(installation: dg.ResourceParam[Installation]) -> Iterator[dg.AssetCheckResult]:
    """One check per group of series: passed when no confirmed, unacknowledged regression stands in it."""
    config = installation.config.trends
    since = dt.datetime.now(dt.UTC) - dt.timedelta(days=config.alarm_days)
    standing = open_regressions(installation.lake, since=since)
    for group in GROUPS:
        own = standing.filter(pl.col("group") == group)
        is_blocking = getattr(config.severities, group) == "block"
        yield dg.AssetCheckResult(
            check_name=f"{group}_regressions",
            asset_key=asset_key("gold.trend_regressions"),
            passed=own.is_empty(),
            severity=dg.AssetCheckSeverity.ERROR if is_blocking else dg.AssetCheckSeverity.WARN,
            description=f"{own.height} confirmed regressions of the last {config.alarm_days} days",
            metadata={"regressions": dg.MetadataValue.md(_change_table(own)), "count": own.height},
        )


class Acknowledgement(dg.Config):
    """Which change is accepted, by whom and why."""

    change_id: str
    reason: str
    author: str
    is_withdrawn: bool = False


@dg.op(pool="trends")
def acknowledge_one(
    context: dg.OpExecutionContext, config: Acknowledgement, installation: dg.ResourceParam[Installation]
) -> None:
    """Record that somebody accepts a change, or takes that back."""
    change = acknowledge(
        installation.lake,
        config.change_id,
        author=config.author,
        reason=config.reason,
        now=dt.datetime.now(dt.UTC),
        is_withdrawn=config.is_withdrawn,
        minimum_change_ratio=installation.config.trends.minimum_change_ratio,
        history=installation.code_history,
    )
    context.log.info("%s of %s is now %s.", change["metric"], change["suite"], change["state"])


@dg.job(
    description="Acknowledge a change of a series: give change_id (its beginning is enough), reason and author in the "
    "launchpad. The act is kept in silver.trend_acknowledgements."
)
def acknowledge_change() -> None:
    """One acknowledgement."""
    acknowledge_one()


def _change_table(changes: pl.DataFrame) -> str:
    if changes.is_empty():
        return NO_CHANGES
    rows = readable_changes(changes)
    return markdown_table(
        ["change", "state", "direction", "series", "level", "since", "commits", "between", "q", "runs since"],
        (
            [
                f"`{row['change']}`",
                row["state"],
                row["direction"],
                escape_markdown(row["series"]),
                escape_markdown(row["level"]),
                str(row["since"]),
                f"`{row['commits']}`" if row["commits"].replace(".", "").isalnum() else escape_markdown(row["commits"]),
                between,
                f"{row['q']:.1g}" if row["q"] is not None else "",
                str(row["runs_since"]),
            ]
            for row, between in zip(rows.iter_rows(named=True), _between(changes), strict=True)
        ),
    )


def _between(changes: pl.DataFrame) -> list[str]:
    """What was merged between the commits of each change; numbers that are none are only text."""
    return [between_words(row, form="markdown") for row in changes.iter_rows(named=True)]


def _pictures(installation: Installation, changes: pl.DataFrame) -> dict[str, dg.MetadataValue]:
    """The series of the newest changes, each once."""
    chosen = changes["series_id"].unique(maintain_order=True).head(SHOWN_CHARTS)
    return {
        f"series {series_id[:8]}": dg.MetadataValue.md(
            as_markdown_image(draw_series(installation.lake, series_id), alt="a series with its levels and changes")
        )
        for series_id in chosen
    }


ROOM = Room(
    assets=(trends,),
    tables=TREND_TABLES,
    recorded_tables=RECORDED_TABLES,
    checks=(trend_groups,),
    jobs=(acknowledge_change,),
    night=tuple(map(asset_key, TREND_TABLES)),
)
