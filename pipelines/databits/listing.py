"""DataBits as people look for them, and the tables they are shown: lists, licences, scores.

What belongs here: reading for display. Nothing is written.
"""

from __future__ import annotations

from collections.abc import Sequence

import polars as pl

from lake.store import Lake
from pipelines.databits.lineage import CLOSURE
from pipelines.databits.lineage_steps import LICENSES
from pipelines.databits.quality_steps import QUALITY
from pipelines.databits.reading import read_current, read_newest
from pipelines.databits.units import DATABITS, DatabitKey, readable_text

SHOWN_CHARACTERS = 100
_LIST_COLUMNS = (
    "databit_id", "version", "content", "modality", "attribution", "search_keys", "created_at", "created_by",
)  # fmt: skip


def list_databits(
    lake: Lake, *, keys: Sequence[str] = (), words: Sequence[str] = (), license_text: str | None = None, limit: int = 50
) -> pl.DataFrame:
    """Newest versions of units that are not retracted and have all these search keys and words, the newest first.

    Columns: databit_id, version, text (its beginning), modality, license, creator, search_keys, created_at,
    created_by. Words are looked for in the content, whatever their case.
    """
    found = read_current(lake, columns=list(_LIST_COLUMNS))
    has_keys = pl.all_horizontal(pl.lit(value=True), *(pl.col("search_keys").list.contains(key) for key in keys))
    lowered = pl.col("content").str.to_lowercase()
    has_words = pl.all_horizontal(
        pl.lit(value=True), *(lowered.str.contains(word.lower(), literal=True) for word in words)
    )
    attribution = pl.col("attribution").struct
    is_licensed = True if license_text is None else attribution.field("license") == license_text
    chosen = found.filter(has_keys & has_words & is_licensed).sort("created_at", "databit_id", descending=[True, False])
    return chosen.head(limit).select(
        "databit_id",
        "version",
        text=pl.col("content").map_elements(_beginning, return_dtype=pl.String),
        modality="modality",
        license=attribution.field("license"),
        creator=attribution.field("creator"),
        search_keys="search_keys",
        created_at="created_at",
        created_by="created_by",
    )


def _beginning(content: str) -> str:
    words = " ".join(readable_text(content).split())
    return words if len(words) <= SHOWN_CHARACTERS else f"{words[: SHOWN_CHARACTERS - 3]}..."


def declared_licenses(lake: Lake) -> list[str]:
    """Licences that units state at their newest version, the commonest first: what `list_databits` filters by."""
    licenses = read_current(lake, columns=["databit_id", "version", "attribution"])["attribution"].struct.field(
        "license"
    )
    counts = licenses.drop_nulls().value_counts().sort(["count", "license"], descending=[True, False])
    return counts["license"].to_list()


def newest_licenses(lake: Lake) -> pl.DataFrame:
    """Rows of gold.databit_licenses of the newest versions that are not retracted."""
    current = read_current(lake, columns=["databit_id", "version"])
    return lake.read(LICENSES).join(current, on=["databit_id", "version"], how="semi")


def count_licenses(licenses: pl.DataFrame) -> pl.DataFrame:
    """How many units there are of each status and effective licence, the commonest first. Pure."""
    counts = licenses.group_by("status", "effective_license").agg(unit_count=pl.len())
    return counts.sort("unit_count", "status", "effective_license", descending=[True, False, False])


def most_derived(lake: Lake) -> DatabitKey | None:
    """The version with the most ancestors, the one whose lineage shows most; None without any."""
    closure = lake.read(CLOSURE, columns=["descendant_id", "descendant_version"])
    counts = closure.group_by("descendant_id", "descendant_version").agg(ancestor_count=pl.len())
    if counts.is_empty():
        return None
    ranked = counts.sort("ancestor_count", "descendant_id", "descendant_version", descending=[True, False, True])
    return DatabitKey(*ranked.select("descendant_id", "descendant_version").row(0))


def summarise_scores(lake: Lake) -> pl.DataFrame:
    """One row per scorer: how many versions it scored, least, median and greatest value, commonest detail."""
    scores = lake.read(QUALITY, columns=["scorer", "value", "detail"])
    return (
        scores.group_by("scorer")
        .agg(
            scored_count=pl.col("value").count(),
            least=pl.col("value").min(),
            median=pl.col("value").median(),
            greatest=pl.col("value").max(),
            commonest_detail=pl.col("detail").drop_nulls().mode().sort().first(),
        )
        .sort("scorer")
    )


def read_scores(lake: Lake, databit_id: str, version: int) -> pl.DataFrame:
    """What our scorers found in one version: scorer, value, detail."""
    rows = lake.read(QUALITY, where={"databit_id": databit_id, "version": version})
    return rows.select("scorer", "value", "detail").sort("scorer")


def latest_units(lake: Lake, databit_ids: Sequence[str]) -> pl.DataFrame:
    """Newest versions of these units, retracted ones included: databit_id, version, is_deleted."""
    return read_newest(lake, databit_ids, columns=["databit_id", "version", "is_deleted"])


def count_units(lake: Lake) -> dict[str, int]:
    """How many units and versions there are, and how many units are retracted."""
    rows = lake.read(DATABITS, columns=["databit_id", "version", "is_deleted"])
    newest = rows.sort("databit_id", "version").unique("databit_id", keep="last")
    return {
        "units": newest.height,
        "versions": rows.height,
        "retracted": int(newest["is_deleted"].sum()),
    }
