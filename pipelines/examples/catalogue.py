"""Which examples there are and how they are labelled: what lists, filters and searches start from.

A few short columns of every example, read whole: of 100,000 examples they come in about 10 ms, less than an index of
them would take to be kept in step.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import polars as pl

from lake.store import Lake
from pipelines.embeddings.texts import vector_ids

EXAMPLES = "silver.examples"
_COLUMNS = (
    "example_id", "function_name", "domain", "tags", "source", "license", "input_digest", "text_digest",
    "effectiveness_score", "is_deleted",
)  # fmt: skip
# Beyond so many commits the feed costs more than the table.
_FOLLOWED_COMMITS = 20
# Rows that are put in place one by one, and pieces that a frame may consist of.
_FEW, _MOST_PIECES = 8, 64


@dataclass(frozen=True, kw_only=True)
class ExampleFilter:
    """Which examples are meant; what is None or empty admits all. An example must have every one of `tags`."""

    function_name: str | None = None
    domain: str | None = None
    tags: Sequence[str] = ()
    source: str | None = None
    license: str | None = None
    min_effectiveness: float | None = None
    has_deleted: bool = False

    @property
    def is_open(self) -> bool:
        """Whether it admits every example that is not deleted."""
        return self == ExampleFilter()

    def predicate(self) -> pl.Expr:
        """The filter over rows of silver.examples."""
        labels = {
            "function_name": self.function_name,
            "domain": self.domain,
            "source": self.source,
            "license": self.license,
        }
        parts = [pl.col(name) == value for name, value in labels.items() if value is not None]
        parts += [pl.col("tags").list.contains(tag) for tag in self.tags]
        if self.min_effectiveness is not None:
            parts.append(pl.col("effectiveness_score") >= self.min_effectiveness)
        if not self.has_deleted:
            parts.append(~pl.col("is_deleted"))
        return pl.all_horizontal(pl.lit(value=True), *(part.fill_null(value=False) for part in parts))


ALL = ExampleFilter()


@dataclass(frozen=True)
class Catalogue:
    """Labels of every example as of one version of the table, by example_id."""

    version: int
    rows: pl.DataFrame

    @cached_property
    def living(self) -> pl.DataFrame:
        """The rows of examples that are not deleted."""
        return self.rows.filter(ALL.predicate())

    def matching(self, wanted: ExampleFilter) -> pl.DataFrame:
        """The rows that a filter admits."""
        return self.living if wanted.is_open else self.rows.filter(wanted.predicate())


def read_catalogue(lake: Lake, *, standing: Catalogue | None = None) -> Catalogue:
    """The catalogue at the newest version; `standing` itself when it is that already."""
    version = lake.version(EXAMPLES)
    if standing is not None and standing.version == version:
        return standing
    if standing is not None and standing.version >= 0 and 0 < version - standing.version <= _FOLLOWED_COMMITS:
        return Catalogue(version, _followed(lake, standing, version))
    at = version if version >= 0 else None
    return Catalogue(version, _with_vector_ids(lake.read(EXAMPLES, columns=_COLUMNS, at=at)).sort("example_id"))


def _followed(lake: Lake, standing: Catalogue, version: int) -> pl.DataFrame:
    """The rows of `standing` with what later commits did to them."""
    feed = lake.changes(EXAMPLES, standing.version, until=version, columns=_COLUMNS)
    is_after = pl.col("_change_type").is_in(["insert", "update_postimage"])
    # Within a commit what goes comes before what arrives.
    ordered = feed.with_columns(is_after=is_after).sort("_commit_version", "is_after")
    last = ordered.unique("example_id", keep="last")
    kept = standing.rows.filter(~pl.col("example_id").is_in(last["example_id"].to_list()))
    return _put_in(kept, _with_vector_ids(last.filter("is_after").select(_COLUMNS)))


def _put_in(kept: pl.DataFrame, arrived: pl.DataFrame) -> pl.DataFrame:
    """Rows put among rows that are in order, without sorting a hundred thousand for the sake of a few."""
    if arrived.height > _FEW:
        return pl.concat([kept, arrived]).sort("example_id")
    for row in arrived.iter_slices(1):
        place = kept["example_id"].search_sorted(row["example_id"][0])
        kept = pl.concat([kept[:place], row, kept[place:]])
    # Each row leaves two cuts, and a frame of many pieces is slow to read.
    return kept.rechunk() if kept.n_chunks() > _MOST_PIECES else kept


def _with_vector_ids(rows: pl.DataFrame) -> pl.DataFrame:
    return rows.with_columns(vector_id=vector_ids(pl.col("text_digest")))
