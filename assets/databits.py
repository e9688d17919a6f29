"""Assets of the databits room: units of suites, their lineage and licences, quality, the curation queue."""

import datetime as dt
from collections.abc import Iterator, Mapping

import dagster as dg
import polars as pl

from assets.presentation import markdown_table, number
from assets.rooms import Room
from assets.tables import asset_key, table_metadata, table_spec
from pipelines.databits.agreement import agreement_statistics, count_states
from pipelines.databits.curation import ITEMS, list_items
from pipelines.databits.duplicate_steps import DUPLICATES
from pipelines.databits.lineage_drawing import draw_lineage
from pipelines.databits.lineage_graph import read_graph
from pipelines.databits.lineage_steps import LICENSES
from pipelines.databits.listing import count_licenses, count_units, most_derived, newest_licenses, summarise_scores
from pipelines.databits.steps import assess_quality, queue_findings, update_lineage, update_suite_units
from pipelines.databits.units import DATABITS
from pipelines.drawing import as_markdown_image
from pipelines.evidence.render import escape_markdown
from resources.curation_assistant import open_assistant
from resources.installation import Installation

LINEAGE_TABLES = ("gold.lineage_edges", "gold.lineage_closure", LICENSES)
QUALITY_TABLES = ("gold.quality_scores", "silver.duplicate_keys", DUPLICATES)
TABLES = (DATABITS, *LINEAGE_TABLES, *QUALITY_TABLES, ITEMS)
RECOMPUTE_TAG = "benchlake/recompute"
SHOWN_ITEMS, SHOWN_FINDINGS = 20, 20


@dg.multi_asset(
    name="suite_databits",
    specs=[table_spec(DATABITS, deps=["silver.prompts", "silver.suites", "silver.outputs", "silver.runs"])],
    pool="databits",
)
def suite_databits(installation: dg.ResourceParam[Installation]) -> Iterator[dg.MaterializeResult[None]]:
    """Prompts, references, wrong outputs and their corrections become units; only what is new or changed is written."""
    lake = installation.lake
    result = update_suite_units(lake, now=dt.datetime.now(dt.UTC), licenses=installation.config.databits.suite_licenses)
    yield dg.MaterializeResult(
        asset_key=asset_key(DATABITS),
        metadata={
            **table_metadata(lake, [DATABITS])[DATABITS],
            **{f"written: {role}": count for role, count in result.written_by_role.items()},
            **count_units(lake),
        },
    )


@dg.multi_asset(
    name="databit_lineage",
    # After the examples, whose content is units too: theirs are then scored and queued in the same night.
    specs=[table_spec(table, deps=[DATABITS, "silver.examples"]) for table in LINEAGE_TABLES],
    pool="databits",
)
def databit_lineage(
    context: dg.AssetExecutionContext, installation: dg.ResourceParam[Installation]
) -> Iterator[dg.MaterializeResult[None]]:
    """Edges, closure and licences of versions that are new; of all of them with the tag benchlake/recompute: all."""
    lake = installation.lake
    is_whole = context.run.tags.get(RECOMPUTE_TAG) == "all"
    result = update_lineage(lake, mode="all" if is_whole else "changed")
    facts = table_metadata(lake, LINEAGE_TABLES)
    deepest = most_derived(lake)
    picture = {} if deepest is None else {"the most derived unit": _picture(installation, deepest.databit_id)}
    yield dg.MaterializeResult(
        asset_key=asset_key("gold.lineage_edges"),
        metadata={**facts["gold.lineage_edges"], "new edges": result.edge_count, **picture},
    )
    yield dg.MaterializeResult(
        asset_key=asset_key("gold.lineage_closure"),
        metadata={**facts["gold.lineage_closure"], "new rows": result.closure_count},
    )
    yield dg.MaterializeResult(
        asset_key=asset_key(LICENSES),
        metadata={
            **facts[LICENSES],
            "judged": result.license_count,
            "licences": dg.MetadataValue.md(_plain_table(count_licenses(newest_licenses(lake)))),
        },
    )


def _picture(installation: Installation, databit_id: str) -> dg.MarkdownMetadataValue:
    from pipelines.databits.reading import find_databit

    svg = draw_lineage(read_graph(installation.lake, find_databit(installation.lake, databit_id)))
    return dg.MetadataValue.md(as_markdown_image(svg, alt="lineage of the most derived unit"))


@dg.multi_asset(
    name="databit_quality",
    specs=[
        table_spec("gold.quality_scores", deps=[DATABITS, "gold.lineage_closure", "silver.prompts"]),
        table_spec("silver.duplicate_keys", deps=[DATABITS]),
        table_spec(DUPLICATES, deps=["silver.duplicate_keys", "gold.lineage_closure"]),
    ],
    pool="databits",
)
def databit_quality(installation: dg.ResourceParam[Installation]) -> Iterator[dg.MaterializeResult[None]]:
    """Score versions that are new by every scorer, and find units that repeat earlier ones."""
    lake = installation.lake
    scored, duplicates = assess_quality(lake)
    own: Mapping[str, Mapping[str, dg.MetadataValue | int]] = {
        "gold.quality_scores": {
            "new scores": scored.row_count,
            "scorers": dg.MetadataValue.md(_plain_table(summarise_scores(lake))),
        },
        "silver.duplicate_keys": {"units looked at": duplicates.unit_count},
        DUPLICATES: {"found": duplicates.found_count, "cleared": duplicates.cleared_count},
    }
    facts = table_metadata(lake, QUALITY_TABLES)
    for table in QUALITY_TABLES:
        yield dg.MaterializeResult(asset_key=asset_key(table), metadata={**facts[table], **own[table]})


@dg.multi_asset(
    name="curation_queue",
    specs=[table_spec(ITEMS, deps=["gold.quality_scores", DUPLICATES, LICENSES])],
    pool="inference",
)
def curation_queue(installation: dg.ResourceParam[Installation]) -> Iterator[dg.MaterializeResult[None]]:
    """Put what was found into the queue, and have the configured backend say what it would do about some of it."""
    lake, config = installation.lake, installation.config.databits
    result = queue_findings(lake, now=dt.datetime.now(dt.UTC))
    labelled = _label(installation) if config.labels_per_night else 0
    items = lake.read(ITEMS)
    yield dg.MaterializeResult(
        asset_key=asset_key(ITEMS),
        metadata={
            **table_metadata(lake, [ITEMS])[ITEMS],
            **{f"added: {rule}": count for rule, count in result.added_by_rule.items()},
            "labelled": labelled,
            "states": dg.MetadataValue.md(_plain_table(count_states(items))),
            "most urgent": dg.MetadataValue.md(_item_table(list_items(lake, limit=SHOWN_ITEMS))),
            "agreement": dg.MetadataValue.md(_plain_table(agreement_statistics(items))),
        },
    )


def _label(installation: Installation) -> int:
    from pipelines.databits.assistant import label_items, waiting_items

    limit = installation.config.databits.labels_per_night
    # A model takes seconds to load: not for an empty queue.
    if waiting_items(installation.lake).is_empty():
        return 0
    with open_assistant(installation) as assistant:
        return 0 if assistant is None else label_items(installation.lake, assistant, limit=limit)


def _plain_table(rows: pl.DataFrame) -> str:
    if rows.is_empty():
        return "Nothing yet."
    return markdown_table(
        [name.replace("_", " ") for name in rows.columns], ([_cell(value) for value in row] for row in rows.iter_rows())
    )


def _cell(value: object) -> str:
    if value is None or isinstance(value, float):
        return number(value)
    return escape_markdown(str(value))


def _item_table(items: pl.DataFrame) -> str:
    if items.is_empty():
        return "The queue is empty."
    return markdown_table(
        ["rule", "why", "assistant", "item"],
        (
            [
                row["rule"],
                escape_markdown(row["reason"]),
                f"{row['assistant_label']} ({row['assistant_confidence']:.0%})" if row["assistant_label"] else "-",
                f"`{row['item_id'][:8]}`",
            ]
            for row in items.iter_rows(named=True)
        ),
    )


@dg.asset_check(
    asset=asset_key(LICENSES),
    name="licences_clear",
    description="No unit stems from licences that cannot be met together, or states one that is no SPDX expression.",
)
def licences_clear(installation: dg.ResourceParam[Installation]) -> dg.AssetCheckResult:
    """Warns with the units in doubt; exporting them needs a reason in any case."""
    licenses = newest_licenses(installation.lake)
    doubtful = licenses.filter(pl.col("status").is_in(["incompatible", "unrecognised"]))
    shown = doubtful.sort("status", "databit_id").head(SHOWN_FINDINGS)
    return dg.AssetCheckResult(
        passed=doubtful.is_empty(),
        severity=dg.AssetCheckSeverity.WARN,
        metadata={
            "in doubt": doubtful.height,
            "unknown": licenses.filter(pl.col("status") == "unknown").height,
            "findings": dg.MetadataValue.md(
                _plain_table(shown.select("databit_id", "version", "status", pl.col("findings").list.join("; ")))
            ),
        },
    )


@dg.asset_check(
    asset=asset_key(DUPLICATES),
    name="no_exact_duplicates",
    description="No unit says word for word what another says already. Near-duplicates wait in the curation queue.",
)
def no_exact_duplicates(installation: dg.ResourceParam[Installation]) -> dg.AssetCheckResult:
    """Warns with the units that repeat another exactly."""
    duplicates = installation.lake.read(DUPLICATES)
    exact = duplicates.filter(pl.col("duplicate_kind") == "exact")
    return dg.AssetCheckResult(
        passed=exact.is_empty(),
        severity=dg.AssetCheckSeverity.WARN,
        metadata={
            "exact": exact.height,
            "near": duplicates.height - exact.height,
            "which": dg.MetadataValue.md(
                _plain_table(exact.sort("databit_id").head(SHOWN_FINDINGS).select("databit_id", "canonical_id"))
            ),
        },
    )


KEYS = tuple(map(asset_key, TABLES))
UPDATE_DATABITS = dg.define_asset_job(
    "update_databits",
    selection=dg.AssetSelection.assets(*KEYS),
    description="Units of suites, lineage, licences, quality, duplicates, the curation queue: what is new in them.",
)
REBUILD_LINEAGE = dg.define_asset_job(
    "rebuild_lineage",
    selection=dg.AssetSelection.assets(*map(asset_key, LINEAGE_TABLES)),
    tags={RECOMPUTE_TAG: "all"},
    description="Lineage, closure and licences from nothing, out of silver.databits alone.",
)

ROOM = Room(
    assets=(suite_databits, databit_lineage, databit_quality, curation_queue),
    tables=TABLES,
    recorded_tables=("silver.databit_exports",),
    checks=(licences_clear, no_exact_duplicates),
    jobs=(UPDATE_DATABITS, REBUILD_LINEAGE),
    night=KEYS,
)
