"""Find units that repeat earlier ones, exactly or nearly, as units come and change.

What belongs here: keeping the keys by which duplicates are found in step with the newest versions, and judging what
they bring together. Signatures and similarity are `minhash.py`.

Of units that say the same the earliest is the canonical one. A unit that was made from another, or from the same one,
is no duplicate of it: a correction is meant to resemble what it corrects.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import polars as pl

from lake.identity import text_digest
from lake.store import Lake
from lake.tables import contract_of
from pipelines.databits.following import follow
from pipelines.databits.lineage_steps import read_closure
from pipelines.databits.minhash import METHOD_DIGEST, MIN_CHARACTERS, NEAR_FROM, bands, jaccard_similarity, normalised
from pipelines.databits.reading import newest_of, read_newest
from pipelines.databits.units import DATABITS, readable_text

KEYS, DUPLICATES = "silver.duplicate_keys", "gold.databit_duplicates"
CONSUMER = f"databit_duplicates:{METHOD_DIGEST[:12]}"
# Earlier units that one is compared with: of a thousand copies of a template the first few decide.
MAX_COMPARED = 16
_COLUMNS = ("databit_id", "version", "content", "created_at", "is_deleted")
_KEY_TYPES = contract_of(KEYS).dtypes


@dataclass(frozen=True, kw_only=True)
class DuplicatesResult:
    """Units looked at, and how many duplicates were found or are none any more."""

    unit_count: int
    found_count: int
    cleared_count: int


def find_duplicates(lake: Lake) -> DuplicatesResult:
    """Look for duplicates of units whose newest version is new, and again for those whose canonical unit changed."""
    looked_at = found = cleared = 0
    for feed in follow(lake, DATABITS, CONSUMER, columns=("databit_id",)):
        touched = feed["databit_id"].unique()
        bereft = lake.read(DUPLICATES, columns=["databit_id", "canonical_id"]).filter(
            pl.col("canonical_id").is_in(touched.implode())
        )
        ids = pl.concat([touched, bereft["databit_id"]]).unique().to_list()
        newest = read_newest(lake, ids, columns=_COLUMNS)
        _write_keys(lake, newest)
        rows = _duplicates_among(lake, newest)
        if rows.height:
            found += lake.upsert(DUPLICATES, rows).rows_written
        cleared += lake.remove(DUPLICATES, newest.join(rows, on="databit_id", how="anti")).rows_written
        looked_at += newest.height
    return DuplicatesResult(unit_count=looked_at, found_count=found, cleared_count=cleared)


def key_rows(newest: pl.DataFrame) -> pl.DataFrame:
    """Rows of silver.duplicate_keys for versions that are not retracted. Pure."""
    kept = newest.filter(~pl.col("is_deleted"))
    texts = [readable_text(content) for content in kept["content"]]
    return kept.select("databit_id", "version", "created_at").with_columns(
        text_digest=pl.Series([text_digest(normalised(text)) for text in texts], dtype=pl.String),
        bands=pl.Series([bands(text) for text in texts], dtype=_KEY_TYPES["bands"]),
        scorer_digest=pl.lit(METHOD_DIGEST),
    ).select(list(_KEY_TYPES))  # fmt: skip


def _write_keys(lake: Lake, newest: pl.DataFrame) -> None:
    rows = key_rows(newest)
    if rows.height:
        lake.upsert(KEYS, rows)
    gone = newest.filter(pl.col("is_deleted")).select("databit_id")
    if gone.height:
        lake.remove(KEYS, gone)


def _duplicates_among(lake: Lake, newest: pl.DataFrame) -> pl.DataFrame:
    own = key_rows(newest)
    pairs = candidate_pairs(own, lake.read(KEYS))
    if pairs.is_empty():
        return contract_of(DUPLICATES).empty()
    unrelated = pairs.filter(~_is_related(lake, pairs))
    texts = _texts(lake, [*unrelated["databit_id"], *unrelated["other_id"]])
    return judge_pairs(unrelated, texts)


def candidate_pairs(own: pl.DataFrame, keys: pl.DataFrame) -> pl.DataFrame:
    """Pairs of a unit and an earlier one that share their text or a band, at most `MAX_COMPARED` a unit. Pure.

    Both are rows of silver.duplicate_keys. Gives databit_id, version, other_id, other_version, is_exact and other_at,
    the earliest others first.
    """
    others = keys.select(
        other_id="databit_id", other_version="version", other_at="created_at", text_digest="text_digest", bands="bands"
    )
    mine = own.select("databit_id", "version", "created_at", "text_digest", "bands")
    exact = mine.drop("bands").join(others.drop("bands"), on="text_digest").with_columns(is_exact=pl.lit(value=True))
    by_band = mine.drop("text_digest").explode("bands").drop_nulls("bands")
    met = others.drop("text_digest").explode("bands").join(by_band.select("bands").unique(), on="bands", how="semi")
    near = by_band.join(met, on="bands").with_columns(is_exact=pl.lit(value=False))
    columns = ["databit_id", "version", "other_id", "other_version", "is_exact", "created_at", "other_at"]
    is_earlier = (pl.col("other_at") < pl.col("created_at")) | (
        (pl.col("other_at") == pl.col("created_at")) & (pl.col("other_id") < pl.col("databit_id"))
    )
    return (
        pl.concat([exact.select(columns), near.select(columns)])
        .filter((pl.col("databit_id") != pl.col("other_id")) & is_earlier)
        .sort("databit_id", "is_exact", "other_at", "other_id", descending=[False, True, False, False])
        .unique(["databit_id", "other_id"], keep="first", maintain_order=True)
        .group_by("databit_id", maintain_order=True)
        .head(MAX_COMPARED)
    )


def judge_pairs(pairs: pl.DataFrame, texts: Mapping[str, str]) -> pl.DataFrame:
    """Rows of gold.databit_duplicates: of each unit the earliest other that it repeats, an equal one before a near one.

    Pure; `texts` are the readable texts by unit.
    """
    rows: dict[str, dict[str, Any]] = {}
    for row in pairs.iter_rows(named=True):
        if (
            row["databit_id"] in rows
            or min(len(texts[row["databit_id"]]), len(texts[row["other_id"]])) < MIN_CHARACTERS
        ):
            continue
        similarity = jaccard_similarity(texts[row["databit_id"]], texts[row["other_id"]])
        if similarity >= NEAR_FROM:
            rows[row["databit_id"]] = {
                "databit_id": row["databit_id"],
                "version": row["version"],
                "duplicate_kind": "exact" if row["is_exact"] else "near",
                "canonical_id": row["other_id"],
                "canonical_version": row["other_version"],
                "similarity_ratio": similarity,
                "scorer_digest": METHOD_DIGEST,
            }
    return pl.DataFrame(list(rows.values()), schema=contract_of(DUPLICATES).dtypes)


def _texts(lake: Lake, databit_ids: list[str]) -> dict[str, str]:
    rows = newest_of(read_newest(lake, databit_ids, columns=["databit_id", "version", "content"]))
    return {databit_id: readable_text(content) for databit_id, _, content in rows.iter_rows()}


def _is_related(lake: Lake, pairs: pl.DataFrame) -> pl.Series:
    """Of each pair whether one was made from the other, or both from the same unit."""
    ids = pl.concat([pairs["databit_id"], pairs["other_id"]]).unique()
    versions = pl.concat(
        [
            pairs.select("databit_id", "version"),
            pairs.select(databit_id="other_id", version="other_version"),
        ]
    ).unique()
    closure = read_closure(lake, versions, of="descendant")
    families: dict[str, set[str]] = {databit_id: {databit_id} for databit_id in ids}
    for descendant, ancestor in closure.select("descendant_id", "ancestor_id").iter_rows():
        families[descendant].add(ancestor)
    return pl.Series(
        [
            not families[one].isdisjoint(families[other])
            for one, other in pairs.select("databit_id", "other_id").iter_rows()
        ],
        dtype=pl.Boolean,
    )
