"""Drafts become versions: in bulk and idempotently, numbered without gaps whoever writes at the same time.

What belongs here: bringing units up to what drafts say. Changing one unit on purpose is `revising.py`, reading files
`importing.py`.

A version's row is inserted under the key (unit, number) and never changed, and `Lake.insert` leaves a standing key
alone. So of two writers that make the next version of a unit one sees that its row did not land, reads again and
takes the number after.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import polars as pl
import pyarrow as pa

from lake.errors import ConflictError, UserError
from lake.identity import text_digest
from lake.store import MAX_TRIES, Lake
from lake.tables import contract_of
from pipelines.databits.reading import read_versions
from pipelines.databits.units import DATABITS, DatabitKey, Draft, canonical_text, check_draft, guess_modality, unit_id

_TYPES = contract_of(DATABITS).dtypes
# What a draft says; the rest of a row is who wrote it, when, and the number.
DRAFT_COLUMNS = (
    "databit_id", "content", "content_digest", "modality", "attribution", "quality_scores", "search_keys",
)  # fmt: skip
# Two versions that agree in these are the same; the digest stands for the content.
COMPARED_COLUMNS = ("content_digest", "modality", "attribution", "quality_scores", "search_keys")
DRAFT_SCHEMA = {name: _TYPES[name] for name in DRAFT_COLUMNS}
_ARROW_SCHEMA = pl.DataFrame(schema=DRAFT_SCHEMA).to_arrow(compat_level=pl.CompatLevel.oldest()).schema
SHOWN_PARENTS = 3


@dataclass(frozen=True, kw_only=True)
class EnsureResult:
    """What became of drafts: units that are new, that got a further version, that stood already, that are retracted.

    `rejected_count` are rows that broke the contract (see bronze.rejects). `keys` has databit_id and version of what
    stands now, one row a unit, in the order of the drafts; a unit that was retracted keeps its retraction.
    """

    created_count: int
    revised_count: int
    unchanged_count: int
    retracted_count: int
    rejected_count: int
    keys: pl.DataFrame

    def key(self, databit_id: str) -> DatabitKey:
        """The version of a unit that stands now."""
        return DatabitKey(databit_id, int(self.keys.filter(pl.col("databit_id") == databit_id)["version"][0]))


def draft_rows(drafts: Iterable[Draft]) -> pl.DataFrame:
    """Drafts as a frame of `DRAFT_SCHEMA`. Raises `UserError` for content that is no JSON value."""
    # Arrow builds lists of structs a hundred times as fast as Polars does from Python objects.
    rows = pa.Table.from_pylist([_draft_row(draft) for draft in drafts], schema=_ARROW_SCHEMA)
    return pl.DataFrame(rows).cast(pl.Schema(DRAFT_SCHEMA))


def _draft_row(draft: Draft) -> dict[str, object]:
    check_draft(draft)
    content = canonical_text(draft.content)
    return {
        "databit_id": draft.databit_id or unit_id(source=draft.source, content=content),
        "content": content,
        "content_digest": text_digest(content),
        "modality": list(draft.modality) or guess_modality(draft.content),
        "attribution": {
            "creator": draft.creator,
            "source": draft.source,
            "license": draft.license,
            "derived_from": [{"databit_id": key.databit_id, "version": key.version} for key in draft.derived_from],
        },
        "quality_scores": [
            {"scorer": scorer, "value": value} for scorer, value in sorted((draft.quality_scores or {}).items())
        ],
        "search_keys": sorted(set(draft.search_keys)),
    }


def ensure_databits(
    lake: Lake,
    units: Iterable[Draft] | pl.DataFrame,
    *,
    now: dt.datetime,
    author: str,
    change_note: str | None = None,
) -> EnsureResult:
    """Make every unit be as its draft says; a second call with the same drafts changes nothing.

    `units` are drafts, or rows of `DRAFT_SCHEMA` for bulk. A unit that is new becomes version 1, one that differs from
    what `author` wrote last gets the next version, so that what somebody else edited since stays until the source
    itself changes. A retracted unit stays retracted. Of several drafts of one unit the last counts.

    Raises `UserError` when a version in `derived_from` does not stand, and `ConflictError` when other writers never
    let this one through.
    """
    rows = units if isinstance(units, pl.DataFrame) else draft_rows(units)
    rows = rows.select(DRAFT_COLUMNS).unique("databit_id", keep="last", maintain_order=True)
    refuse_dangling(lake, rows)
    rejected = 0
    first: pl.DataFrame | None = None
    for _ in range(MAX_TRIES):
        planned = plan_versions(rows, _standing(lake, rows["databit_id"]), author=author)
        first = planned if first is None else first
        new = planned.filter(pl.col("act").is_in(["create", "revise"]))
        if new.height <= rejected:
            return _result(first, planned, rejected)
        written = lake.insert(DATABITS, version_rows(new, now=now, author=author, change_note=change_note))
        rejected = written.rows_rejected
        if written.rows_written + rejected == new.height:
            return _result(first, planned, rejected)
    raise ConflictError(f"Others wrote {rows.height} DataBits at the same time {MAX_TRIES} times; do it again.")


def _standing(lake: Lake, databit_ids: pl.Series) -> pl.DataFrame:
    """All versions of these units, without their content. Most of a bulk is new: the ids alone are looked for first."""
    columns = ["databit_id", "version", "created_by", "is_deleted", *COMPARED_COLUMNS]
    known = read_versions(lake, databit_ids.to_list(), columns=["databit_id", "version"])["databit_id"].unique()
    return read_versions(lake, known.to_list(), columns=columns)


def plan_versions(rows: pl.DataFrame, standing: pl.DataFrame, *, author: str) -> pl.DataFrame:
    """`rows` with `act` (create, revise, keep, retracted) and the `version` that the act leads to. Pure.

    `standing` are all versions of these units. In the order of `rows`.
    """
    by_age = standing.sort("databit_id", "version")
    newest = by_age.unique("databit_id", keep="last").select(
        "databit_id", pl.col("version").alias("__newest"), pl.col("is_deleted").alias("__is_deleted")
    )
    own = by_age.filter(pl.col("created_by") == author).unique("databit_id", keep="last")
    others = by_age.unique("databit_id", keep="last").join(own, on="databit_id", how="anti")
    compared = pl.concat([own, others]).select(
        "databit_id", *(pl.col(name).alias(f"__{name}") for name in COMPARED_COLUMNS)
    )
    beside = rows.join(newest, on="databit_id", how="left", maintain_order="left").join(
        compared, on="databit_id", how="left", maintain_order="left"
    )
    is_equal = pl.all_horizontal(pl.col(name).eq_missing(pl.col(f"__{name}")) for name in COMPARED_COLUMNS)
    act = (
        pl.when(pl.col("__newest").is_null())
        .then(pl.lit("create"))
        .when(pl.col("__is_deleted"))
        .then(pl.lit("retracted"))
        .when(is_equal)
        .then(pl.lit("keep"))
        .otherwise(pl.lit("revise"))
    )
    is_new = pl.col("act").is_in(["create", "revise"])
    return beside.with_columns(act=act).select(
        *rows.columns, "act", version=pl.col("__newest").fill_null(0) + pl.when(is_new).then(1).otherwise(0)
    )


def version_rows(
    planned: pl.DataFrame, *, now: dt.datetime, author: str, change_note: str | None, is_deleted: bool = False
) -> pl.DataFrame:
    """Rows of silver.databits from draft columns and `version`. Pure."""
    return planned.select(
        *DRAFT_COLUMNS,
        "version",
        created_at=pl.lit(now, dtype=_TYPES["created_at"]),
        created_by=pl.lit(author),
        change_note=pl.lit(change_note, dtype=pl.String),
        is_deleted=pl.lit(is_deleted),
    ).select(list(_TYPES))


def _result(first: pl.DataFrame, planned: pl.DataFrame, rejected: int) -> EnsureResult:
    counts = dict(first["act"].value_counts().iter_rows())
    return EnsureResult(
        created_count=counts.get("create", 0),
        revised_count=counts.get("revise", 0),
        unchanged_count=counts.get("keep", 0),
        retracted_count=counts.get("retracted", 0),
        rejected_count=rejected,
        keys=planned.select("databit_id", "version"),
    )


def parents_of(rows: pl.DataFrame) -> pl.DataFrame:
    """The distinct parents of draft rows: databit_id, version. Pure."""
    parents = rows.select(pl.col("attribution").struct.field("derived_from").alias("parent"))
    exploded = parents.explode("parent").drop_nulls()
    return exploded.select(
        pl.col("parent").struct.field("databit_id"), pl.col("parent").struct.field("version")
    ).unique()


def missing_parents(lake: Lake, rows: pl.DataFrame) -> pl.DataFrame:
    """Parents of draft rows that do not stand: databit_id, version."""
    parents = parents_of(rows)
    if parents.is_empty():
        return parents
    standing = read_versions(lake, parents["databit_id"].to_list(), columns=["databit_id", "version"])
    return parents.join(standing, on=["databit_id", "version"], how="anti").sort("databit_id", "version")


def refuse_dangling(lake: Lake, rows: pl.DataFrame) -> None:
    """Raises `UserError` naming the parents in `rows` that do not stand."""
    missing = [DatabitKey(*row) for row in missing_parents(lake, rows).iter_rows()]
    if missing:
        raise dangling_error(missing)


def dangling_error(missing: Sequence[DatabitKey]) -> UserError:
    """That versions are named as parents which do not stand."""
    shown = ", ".join(map(str, missing[:SHOWN_PARENTS]))
    more = f" and {len(missing) - SHOWN_PARENTS} more" if len(missing) > SHOWN_PARENTS else ""
    return UserError(
        f"derived_from names {shown}{more}, which the lake does not have. Write the parents first, or name versions "
        "that stand:  benchlake databits history ID"
    )
