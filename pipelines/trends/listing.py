"""Followed changes and series as people look for them. Rows in, rows out; nothing is written."""

from __future__ import annotations

import datetime as dt
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import TYPE_CHECKING, Any, Literal

import polars as pl

from lake.errors import UserError
from lake.predicates import Slice
from pipelines.evidence.render import escape_markdown
from pipelines.plain_texts import shown_number
from pipelines.trends.code_history import linked_pull_requests
from pipelines.trends.detector import MINIMUM_LENGTH
from pipelines.trends.groups import group_of
from pipelines.trends.series import IDENTITY, SERIES
from pipelines.trends.tracking import REGRESSIONS

if TYPE_CHECKING:
    from lake.store import Lake


_MIB = 1 << 20
# A level before and one after; fewer runs say nothing.
LEAST_RUNS = 2 * MINIMUM_LENGTH


@dataclass(frozen=True, kw_only=True)
class SeriesQuery:
    """Which series are wanted, and over which stretch of time; globs for texts, None for all.

    `since` and `until` (exclusive) bound the order of the series: the time of the commit, else of the run.
    """

    since: dt.datetime | None = None
    until: dt.datetime | None = None
    suite: str | None = None
    backend: str | None = None
    model: str | None = None
    branch: str | None = None
    metric: str | None = None
    is_sample: bool | None = None


@dataclass(frozen=True, kw_only=True)
class ChangeQuery(SeriesQuery):
    """Which changes are wanted, in which series; empty for all."""

    directions: Sequence[str] = ()
    states: Sequence[str] = ()


_GLOBBED = ("suite", "backend", "model", "branch", "metric")


def list_changes(lake: Lake, query: ChangeQuery, *, limit: int | None = None) -> pl.DataFrame:
    """Rows of `gold.trend_regressions` that the query means, the latest change first."""
    rows = _meant(lake.read(REGRESSIONS), query, at="changed_at")
    for column, wanted in (("direction", query.directions), ("state", query.states)):
        if wanted:
            rows = rows.filter(pl.col(column).is_in(list(wanted)))
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
        between=pl.Series([between_words(row) for row in rows.iter_rows(named=True)], dtype=pl.String),
        q=pl.col("q_value"),
        runs_since="later_count",
    )  # fmt: skip


def between_words(row: Mapping[str, Any], *, form: Literal["plain", "markdown"] = "plain") -> str:
    """What lies between the commits of a change: `3 commits, #12 #15`; empty where nothing is known of it."""
    count = row["commit_count"]
    parts = [] if count is None else [f"{count} commit{'' if count == 1 else 's'}"]
    numbers = []
    for number, page in linked_pull_requests(row):
        named = number if form == "plain" else escape_markdown(number)
        text = f"#{number}" if number.isdigit() else named
        numbers.append(f"[{text}]({page})" if page and form == "markdown" else text)
    return ", ".join([*parts, *([" ".join(numbers)] if numbers else [])])


def list_series(lake: Lake, query: SeriesQuery | None = None, *, limit: int | None = None) -> pl.DataFrame:
    """One row per series with points that the query means: identity, how many of them, the newest; the longest first.

    Columns: series_id, those of `IDENTITY`, unit, is_sample, run_count, newest_at, newest_value.
    """
    columns = ["series_id", *IDENTITY, "unit", "ordered_at", "run_id", "value", "is_sample"]
    rows = _meant(lake.read(SERIES, columns=columns), query or SeriesQuery(), at="ordered_at")
    found = (
        rows.sort("ordered_at", "run_id")
        .group_by("series_id", *IDENTITY, "unit", "is_sample", maintain_order=True)
        .agg(run_count=pl.len(), newest_at=pl.last("ordered_at"), newest_value=pl.last("value"))
        .sort("run_count", *IDENTITY, "series_id", descending=[True, *[False] * (len(IDENTITY) + 1)])
    )
    return found if limit is None else found.head(limit)


def readable_series(rows: pl.DataFrame) -> pl.DataFrame:
    """Rows of `list_series` as a table for people; model and branch stand below what they belong to."""
    below = {name: pl.when(pl.col(name) == "").then(pl.lit("")).otherwise(pl.lit("\n") + pl.col(name))
             for name in ("model", "branch")}  # fmt: skip
    newest = [_with_unit([value], unit) for value, unit in rows.select("newest_value", "unit").iter_rows()]
    sample = pl.when(pl.col("is_sample")).then(pl.lit(" (sample)")).otherwise(pl.lit(""))
    return rows.select(
        series=pl.col("series_id").str.head(8),
        suite=pl.concat_str("suite", sample, below["branch"]),
        backend=pl.concat_str("backend", below["model"]),
        metric=_metric_name(),
        runs="run_count",
        newest=pl.Series(newest, dtype=pl.String),
        at=pl.col("newest_at").dt.date(),
    )


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


def changes_of(lake: Lake, series_id: str) -> pl.DataFrame:
    """The followed changes of a series, the latest first."""
    rows = lake.read(REGRESSIONS, where={"series_id": series_id})
    return rows.sort("changed_at", "change_id", descending=True)


def open_regressions(lake: Lake, *, since: dt.datetime) -> pl.DataFrame:
    """Confirmed regressions since then that nobody has acknowledged, with their `group`; samples do not count."""
    query = ChangeQuery(since=since, directions=["regression"], states=["confirmed"], is_sample=False)
    rows = list_changes(lake, query)
    return rows.with_columns(group=pl.Series([group_of(metric) for metric in rows["metric"]], dtype=pl.String))


@dataclass(frozen=True, kw_only=True)
class TrendNight:
    """What a night brought: series that got a point of it, those too short to show a change, and new regressions."""

    series_count: int
    short_count: int
    suspected_count: int
    confirmed_count: int

    @property
    def headline(self) -> str:
        """The night in one line."""
        if not self.series_count:
            return "Trends: no series got a point."
        told = f"Trends: {self.series_count} series got a point"
        if self.short_count == self.series_count:
            return f"{told}; none has the {LEAST_RUNS} runs that a change needs."
        short = f", {self.short_count} still short of the {LEAST_RUNS} runs that a change needs"
        return (
            f"{told}{short if self.short_count else ''}; regressions: {self.suspected_count} newly suspected, "
            f"{self.confirmed_count} newly confirmed."
        )


def trend_night(lake: Lake, date: dt.date) -> TrendNight:
    """What the runs of a date brought, and which regressions were first suspected or confirmed on it; no samples.

    A regression that was suspected and confirmed on one date counts as confirmed.
    """
    where: Slice = {"run_date": date, "is_sample": False}
    touched = lake.read(SERIES, columns=["series_id"], where=where)["series_id"].unique()
    points = lake.read(SERIES, columns=["series_id"], where={"series_id": touched.to_list()})
    lengths = points.group_by("series_id").len()["len"]
    columns = ["direction", "is_sample", "suspected_at", "confirmed_at"]
    new = lake.read(REGRESSIONS, columns=columns).filter(~pl.col("is_sample"), pl.col("direction") == "regression")
    is_confirmed = (pl.col("confirmed_at").dt.date() == date).fill_null(value=False)
    is_suspected = (pl.col("suspected_at").dt.date() == date) & ~is_confirmed
    return TrendNight(
        series_count=touched.len(),
        short_count=int((lengths < LEAST_RUNS).sum()),
        suspected_count=new.filter(is_suspected).height,
        confirmed_count=new.filter(is_confirmed).height,
    )


def _meant(rows: pl.DataFrame, query: SeriesQuery, *, at: str) -> pl.DataFrame:
    """The rows of series that the query means, within its stretch of time by the column `at`."""
    conditions: list[pl.Expr] = []
    if query.since is not None:
        conditions.append(pl.col(at) >= query.since)
    if query.until is not None:
        conditions.append(pl.col(at) < query.until)
    if query.is_sample is not None:
        conditions.append(pl.col("is_sample") == query.is_sample)
    for column in _GLOBBED:
        pattern = getattr(query, column)
        if pattern is not None:
            # Few texts, many rows: each text is looked at once.
            known = [text for text in rows[column].unique().sort() if fnmatchcase(text, pattern)]
            conditions.append(pl.col(column).is_in(known))
    return rows.filter(*conditions)


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
    share = "" if row["change_ratio"] is None else f" ({row['change_ratio']:+.1%})"
    return f"{_with_unit([row['before'], row['after']], row['unit'])}{share}"


def _with_unit(values: Sequence[float], unit: str) -> str:
    """`413.6 to 440.2 ms`; many bytes are MiB, whose numbers stay on one line of a narrow column."""
    if unit == "bytes" and max(map(abs, values)) >= _MIB:
        values, unit = [value / _MIB for value in values], "MiB"
    return " to ".join(map(shown_number, values)) + ("" if unit == "1" else f" {unit}")
