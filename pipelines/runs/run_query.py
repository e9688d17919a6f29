"""Which runs are meant: by field, tag, time and code version, with globs.

What belongs here: the filter language of `benchlake runs`, of tags, notes and baselines, pure. Reading runs by it is
`listing.py` and `remarks.py`.
"""

from __future__ import annotations

import datetime as dt
import re
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from typing import Any

import polars as pl

from lake.errors import UserError

# Where a field stands in silver.runs: a column, or a member of one of its structs.
_PLACES: dict[str, tuple[str, str | None]] = {
    "run_id": ("run_id", None),
    "suite": ("suite", None),
    "backend": ("backend", None),
    "model": ("model", None),
    "engine": ("engine", None),
    "engine_version": ("engine_version", None),
    "status": ("status", None),
    "source_kind": ("source_kind", None),
    "branch": ("code_version", "branch"),
    "commit": ("code_version", "commit"),
    "pull_request": ("code_version", "pull_request"),
    "repository_url": ("code_version", "repository_url"),
    "hardware": ("fingerprint", "hardware"),
}
FIELDS = tuple(_PLACES)
# A beginning says enough: nobody types forty hex digits.
_BY_BEGINNING = frozenset({"run_id", "commit"})
_OTHER_WORDS = ("tag", "without_tag", "is_dirty", "since", "until")
_GLOB = re.compile(r"[*?\[]")
_AGO = re.compile(r"(\d+)\s*(h|d|w)")
_HOURS = {"h": 1, "d": 24, "w": 168}


@dataclass(frozen=True, kw_only=True)
class RunQuery:
    """A conjunction: every given key must hold, and of several values for a key one is enough.

    `patterns` are globs (`*`, `?`, `[abc]`) by field of `FIELDS`; a commit or run id may also be given by its
    beginning. `tags` and `without_tags` are globs over tags. `since` and `until` bound the start of the run.
    """

    patterns: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    tags: tuple[str, ...] = ()
    without_tags: tuple[str, ...] = ()
    is_dirty: bool | None = None
    since: dt.datetime | None = None
    until: dt.datetime | None = None

    @property
    def is_empty(self) -> bool:
        """Whether every run is meant."""
        return self == RunQuery()


def parse_query(words: Iterable[str], *, now: dt.datetime) -> RunQuery:
    """The query in words such as `branch=main`, `tag=experiment-*`, `since=7d`, `is_dirty=false`.

    A word without `=` is the beginning of a run id. Several values for one key are separated by commas or given as
    several words. Raises `UserError` that names the word and what is allowed.
    """
    patterns: dict[str, tuple[str, ...]] = {}
    tags: dict[str, tuple[str, ...]] = {"tag": (), "without_tag": ()}
    rest: dict[str, Any] = {}
    for word in words:
        key, equals, value = word.partition("=")
        if not equals:
            key, value = "run_id", word
        if not value:
            raise UserError(f"{word!r} says nothing after the =. Write for instance {key}=main.")
        if key in FIELDS:
            patterns[key] = (*patterns.get(key, ()), *value.split(","))
        elif key in tags:
            tags[key] = (*tags[key], *value.split(","))
        elif key in _OTHER_WORDS:
            rest[key] = _parse_truth(value) if key == "is_dirty" else parse_instant(value, now=now)
        else:
            raise UserError.unknown("filter", key, [*FIELDS, *_OTHER_WORDS])
    return RunQuery(patterns=patterns, tags=tags["tag"], without_tags=tags["without_tag"], **rest)


def parse_instant(text: str, *, now: dt.datetime) -> dt.datetime:
    """An instant from `7d`, `24h`, `2w` (that long before `now`) or ISO 8601; without an offset it is UTC."""
    ago = _AGO.fullmatch(text.strip())
    try:
        if ago:
            return now - dt.timedelta(hours=int(ago[1]) * _HOURS[ago[2]])
        moment = dt.datetime.fromisoformat(text)
    except (ValueError, OverflowError):
        raise UserError(f"{text!r} is no time: write 24h, 7d, 2w, 2026-11-20 or 2026-11-20T08:00.") from None
    return moment if moment.tzinfo else moment.replace(tzinfo=dt.UTC)


def filter_runs(runs: pl.DataFrame, query: RunQuery) -> pl.DataFrame:
    """The rows of `silver.runs` that the query means, in their order."""
    meant = [_field_holds(runs, name, patterns) for name, patterns in query.patterns.items()]
    if query.tags:
        meant.append(_has_tag(runs, query.tags))
    if query.without_tags:
        meant.append(~_has_tag(runs, query.without_tags))
    if query.is_dirty is not None:
        meant.append(pl.col("code_version").struct.field("is_dirty").eq(query.is_dirty).fill_null(value=False))
    if query.since is not None:
        meant.append(pl.col("started_at") >= query.since)
    if query.until is not None:
        meant.append(pl.col("started_at") < query.until)
    return runs.filter(*meant)


def field_of(run: Mapping[str, Any], name: str) -> str | None:
    """A field of `FIELDS` in a row of `silver.runs`."""
    column, member = _PLACES[name]
    value = run.get(column)
    return value if member is None else (value or {}).get(member)


def field_expression(name: str) -> pl.Expr:
    """A field of `FIELDS` as a column of that name."""
    column, member = _PLACES[name]
    return (pl.col(column) if member is None else pl.col(column).struct.field(member)).alias(name)


def is_glob(pattern: str) -> bool:
    """Whether a pattern can mean more than one text."""
    return _GLOB.search(pattern) is not None


def matches(text: str | None, patterns: Collection[str]) -> bool:
    """Whether a text is one of `patterns`, literally or as a glob; an unknown one never is."""
    return text is not None and any(text == pattern or fnmatchcase(text, pattern) for pattern in patterns)


def exact_values(query: RunQuery, columns: Sequence[str]) -> dict[str, list[str]]:
    """The patterns of some columns that are plain texts, for reading no more of the table than is meant."""
    return {
        name: list(patterns)
        for name, patterns in query.patterns.items()
        if name in columns and not any(is_glob(pattern) for pattern in patterns)
    }


def _field_holds(runs: pl.DataFrame, name: str, patterns: Sequence[str]) -> pl.Expr:
    # Over the few different values instead of over rows.
    value = field_expression(name)
    known = runs.select(value).to_series().drop_nulls().unique().to_list()
    wanted = [*patterns, *(f"{pattern}*" for pattern in patterns)] if name in _BY_BEGINNING else patterns
    return value.is_in([text for text in known if matches(text, wanted)]).fill_null(value=False)


def _has_tag(runs: pl.DataFrame, patterns: Sequence[str]) -> pl.Expr:
    known = runs["tags"].explode(empty_as_null=False).drop_nulls().unique().to_list()
    meant = [tag for tag in known if matches(tag, patterns)]
    return pl.col("tags").list.eval(pl.element().is_in(meant)).list.any().fill_null(value=False)


def _parse_truth(text: str) -> bool:
    if text.lower() in {"true", "yes", "1"}:
        return True
    if text.lower() in {"false", "no", "0"}:
        return False
    raise UserError(f"is_dirty={text} must be true or false.")
