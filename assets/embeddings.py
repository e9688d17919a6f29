"""Assets of the embeddings room: texts, their vectors, and the vector index that follows them."""

import datetime as dt
from collections.abc import Iterator

import dagster as dg
import polars as pl

from assets.presentation import markdown_table
from assets.rooms import Room
from assets.runs import SUITE_RUNS
from assets.tables import asset_key, table_metadata, table_spec
from pipelines.embeddings.freshness import measure_lag
from pipelines.embeddings.sources import SOURCES
from pipelines.embeddings.text_steps import Mode, collect_texts, embed_texts
from pipelines.evidence.render import escape_markdown
from resources.installation import Installation

TABLES = ("silver.texts", "silver.embeddings")
VECTOR_SEARCH = dg.AssetKey(["sync_to_vector_search"])
RECOMPUTE_TAG = "benchlake/recompute"


def _mode(context: dg.AssetExecutionContext) -> Mode:
    """Only what changed, unless the run carries the tag `benchlake/recompute: all`, as the job rebuild_index does."""
    return "all" if context.run.tags.get(RECOMPUTE_TAG) == "all" else "changed"


@dg.multi_asset(
    name="embedded_texts",
    specs=[
        # The night saves its suite while it asks it, before which there may be no prompts.
        table_spec("silver.texts", deps=[*sorted({source.table for source in SOURCES}), SUITE_RUNS]),
        table_spec("silver.embeddings", deps=["silver.texts"]),
    ],
    pool="embeddings",
)
def embedded_texts(
    context: dg.AssetExecutionContext, installation: dg.ResourceParam[Installation]
) -> Iterator[dg.MaterializeResult[None]]:
    """Follow the tables that have texts, and embed what is new; the configured model makes the vectors."""
    lake, mode = installation.lake, _mode(context)
    texts = collect_texts(lake, mode=mode)
    vectors = embed_texts(lake, installation.embedder, mode=mode, on_progress=installation.on_progress)
    facts = table_metadata(lake, TABLES)
    yield dg.MaterializeResult(
        asset_key=asset_key("silver.texts"),
        metadata={**facts["silver.texts"], "written": texts.written_count, "removed": texts.removed_count},
    )
    yield dg.MaterializeResult(
        asset_key=asset_key("silver.embeddings"),
        metadata={
            **facts["silver.embeddings"],
            "model": installation.embedder.model_name,
            "embedded": vectors.embedded_count,
            "known already": vectors.reused_count,
            "removed": vectors.removed_count,
        },
    )


@dg.asset(
    key=VECTOR_SEARCH,
    deps=[asset_key("silver.embeddings")],
    group_name="embeddings",
    owners=["team:embeddings"],
    kinds={"faiss"},
    pool="embeddings",
    description="One vector index over all embeddings of the configured model, in the state folder.",
)
def sync_to_vector_search(
    context: dg.AssetExecutionContext, installation: dg.ResourceParam[Installation]
) -> dg.MaterializeResult[None]:
    """Apply what changed since the version that the index has seen, or build it where that cannot be done."""
    result = installation.embeddings.sync(mode=_mode(context), on_progress=installation.on_progress)
    if result.reason:
        context.log.info("The index was built from the table: %s.", result.reason)
    return dg.MaterializeResult(
        metadata={
            "delta_version": result.version,
            "dagster/row_count": result.vector_count,
            "added": result.added_count,
            "removed": result.removed_count,
            "mode": result.mode,
            "folder": dg.MetadataValue.path(str(installation.embeddings.folder)),
        }
    )


@dg.asset_check(
    asset=VECTOR_SEARCH,
    name="freshness",
    description="Texts, vectors and index have seen the newest versions of the tables they follow, or are not behind "
    "for longer than embeddings.max_lag_seconds of benchlake.toml.",
)
def freshness(installation: dg.ResourceParam[Installation]) -> dg.AssetCheckResult:
    """How far each stage is behind, in versions and seconds; Dagster plots both over time."""
    lag = measure_lag(installation.lake, installation.embedder, installation.state.indexes, now=dt.datetime.now(dt.UTC))
    behind, slowest = max(lag["lag_versions"].to_list()), max(lag["lag_seconds"].to_list())
    is_usable = not (lag["note"] != "").any()
    return dg.AssetCheckResult(
        passed=is_usable and slowest <= installation.config.embeddings.max_lag_seconds,
        severity=dg.AssetCheckSeverity.WARN,
        metadata={
            "lag in versions": behind,
            "lag in seconds": slowest,
            "stages": dg.MetadataValue.md(_lag_table(lag)),
        },
    )


def _lag_table(lag: pl.DataFrame) -> str:
    return markdown_table(
        ["stage", "follows", "seen", "newest", "versions behind", "seconds behind", "note"],
        (
            [
                row["stage"],
                row["table"],
                str(row["version"]),
                str(row["newest_version"]),
                str(row["lag_versions"]),
                f"{row['lag_seconds']:.1f}",
                escape_markdown(row["note"]),
            ]
            for row in lag.iter_rows(named=True)
        ),
    )


_KEYS = (*map(asset_key, TABLES), VECTOR_SEARCH)
SYNC_INDEX = dg.define_asset_job(
    "sync_index",
    selection=dg.AssetSelection.assets(*_KEYS),
    description="Embed new texts and bring the vector index up to date.",
)
REBUILD_INDEX = dg.define_asset_job(
    "rebuild_index",
    selection=dg.AssetSelection.assets(*_KEYS),
    tags={RECOMPUTE_TAG: "all"},
    description="Look at every text again and build the vector index from nothing; vectors that stand are kept.",
)

ROOM = Room(
    assets=(embedded_texts, sync_to_vector_search),
    tables=TABLES,
    checks=(freshness,),
    jobs=(SYNC_INDEX, REBUILD_INDEX),
    night=_KEYS,
)
