"""Followed changes and series as people look for them. Rows in, rows out; nothing is written."""

from __future__ import annotations

import datetime as dt
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import TYPE_CHECKING, Any

import polars as pl

from lake.errors import UserError
from pipelines.trends.groups import group_of
from pipelines.trends.series import IDENTITY, SERIES
from pipelines.trends.tracking import REGRESSIONS

if TYPE_CHECKING:
    from lake.store import Lake


@dataclass(frozen=True, kw_only=True)
class ChangeQuery:
    """Which changes are wanted; globs for texts, None or empty for all."""

    since: dt.datetime | None = None
    directions: Sequence[str] = ()
    states: Sequence[str] = ()
    suite: str | None = None
    backend: str | None = None
    metric: str | None = None
    is_sample: bool | None = None


def list_changes(lake: Lake, query: ChangeQuery, *, limit: int | None = None) -> pl.DataFrame:
    """Rows of `gold.trend_regressions` that the query means, the latest change first."""
    rows = lake.read(REGRESSIONS)
    if query.since is not None:
        rows = rows.filter(pl.col("changed_at") >= query.since)
    for column, wanted in (("direction", query.directions), ("state", query.states)):
        if wanted:
            rows = rows.filter(pl.col(column).is_in(list(wanted)))
    for column in ("suite", "backend", "metric"):
        pattern = getattr(query, column)
        if pattern is not None:
            rows = rows.filter([fnmatchcase(value, pattern) for value in rows[column]])
    if query.is_sample is not None:
        rows = rows.filter(pl.col("is_sample") == query.is_sample)
    ordered = rows.sort("changed_at", "change_id", descending=True)
    return ordered if limit is None else ordered.head(limit)


def readable_changes(rows: pl.DataFrame) -> pl.DataFrame:
    """Changes as a table for people; one row each."""
    return rows.select(
        change=pl.col("change_id").str.head(8),
        state="state",
        direction="direction",
        series=pl.concat_str(
            pl.col("suite"), pl.lit(" / "), pl.col("backend"), pl.lit(" / "), _metric_name(),
            pl.when(pl.col("is_sample")).then(pl.lit(" (sample)")).otherwise(pl.lit("")),
        ),
        level=pl.Series([_level(row) for row in rows.iter_rows(named=True)], dtype=pl.String),
        since=pl.col("changed_at").dt.date(),
        commits=pl.concat_str(_commit("last_commit"), pl.lit(".."), _commit("first_commit")),
        pull_requests=pl.col("pull_requests").list.join(", "),
        q=pl.col("q_value"),
        runs_since="later_count",
    )  # fmt: skip


def list_series(lake: Lake, *, limit: int | None = None) -> pl.DataFrame:
    """One row per series: identity, how many runs it has, its newest value; the longest first."""
    rows = lake.read(SERIES, columns=["series_id", *IDENTITY, "unit", "ordered_at", "run_id", "value", "is_sample"])
    ordered = rows.sort("ordered_at", "run_id")
    found = ordered.group_by("series_id", *IDENTITY, "unit", "is_sample", maintain_order=True).agg(
        run_count=pl.len(), newest_at=pl.last("ordered_at"), newest_value=pl.last("value")
    )
    found = found.sort("run_count", "series_id", descending=[True, False])
    return found if limit is None else found.head(limit)


def find_series(lake: Lake, word: str) -> str:
    """The id of the one series that a beginning of its id means, or the id or beginning of a change in it.

    Raises `UserError` when there is none or several.
    """
    ids = lake.read(SERIES, columns=["series_id"])["series_id"].unique()
    own = sorted(each for each in ids if each.startswith(word))
    if not own:
        changes = lake.read(REGRESSIONS, columns=["change_id", "series_id"])
        own = sorted(set(changes.filter(pl.col("change_id").str.starts_with(word))["series_id"]))
    if len(own) == 1:
        return str(own[0])
    if not own:
        raise UserError(f"No series or change has an id that begins with {word!r}. See them:  benchlake trends series")
    raise UserError(f"{len(own)} series are meant by {word!r}: {', '.join(own[:5])}. Write more of it.")


def read_series(lake: Lake, series_id: str) -> pl.DataFrame:
    """The points of a series in order."""
    return lake.read(SERIES, where={"series_id": series_id}).sort("ordered_at", "run_id")


def open_regressions(lake: Lake, *, since: dt.datetime) -> pl.DataFrame:
    """Confirmed regressions since then that nobody has acknowledged, with their `group`; samples do not count."""
    query = ChangeQuery(since=since, directions=["regression"], states=["confirmed"], is_sample=False)
    rows = list_changes(lake, query)
    return rows.with_columns(group=pl.Series([group_of(metric) for metric in rows["metric"]], dtype=pl.String))


def _metric_name() -> pl.Expr:
    variant, slice_value = pl.col("variant"), pl.col("slice_value")
    return pl.concat_str(
        pl.col("metric"),
        pl.when(variant == "").then(pl.lit("")).otherwise(pl.lit(" ") + variant),
        pl.when(slice_value == "").then(pl.lit("")).otherwise(pl.lit(" of ") + slice_value),
    )


def _commit(column: str) -> pl.Expr:
    return pl.col(column).str.head(8).fill_null("?")


def _level(row: Mapping[str, Any]) -> str:
    """Both levels with their unit, and the share between them."""
    unit = "" if row["unit"] == "1" else f" {row['unit']}"
    share = "" if row["change_ratio"] is None else f" ({row['change_ratio']:+.1%})"
    return f"{row['before']:.4g} to {row['after']:.4g}{unit}{share}"
