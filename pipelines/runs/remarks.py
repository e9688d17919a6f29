"""What people say about runs: tags, notes and baselines, each act a row that stays.

What belongs here: steps that record an act and bring what follows from it up to date. Which runs are meant is
`run_query.py`; how a designated baseline is used is `pipelines.evidence.pairing`.
"""

from __future__ import annotations

import datetime as dt
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import orjson
import polars as pl

from lake.errors import UserError
from lake.identity import derived_id, json_digest
from lake.store import Lake
from lake.tables import contract_of
from pipelines.runs.run_query import FIELDS, RunQuery, field_of, filter_runs, parse_query

RUNS, TAG_EVENTS, NOTES, BASELINES = "silver.runs", "silver.tag_events", "silver.notes", "silver.baselines"
# What a baseline is for when nobody says: runs that differ from it in neither of these.
NO_RUNS = "No runs yet. Make some:  benchlake nightly   or   benchlake import PATH"
DEFAULT_KEY = ("suite", "model", "backend")
SELECTOR_FIELDS = tuple(name for name in FIELDS if name not in {"run_id", "status", "commit"})
_TAG = re.compile(r"[^\s,*?\[\]\x00-\x1f\x7f]{1,100}")
_CONSUMER = "run_tags"


@dataclass(frozen=True, kw_only=True)
class Act:
    """Who does it, when and why."""

    author: str
    at: dt.datetime
    reason: str | None = None


@dataclass(frozen=True, kw_only=True)
class TagResult:
    """Runs that were meant, and how many of them changed."""

    run_count: int
    changed_count: int


def find_runs(lake: Lake, words: Sequence[str], *, now: dt.datetime) -> pl.DataFrame:
    """Rows of `silver.runs` that words mean: beginnings of run ids, or filters such as `branch=main tag=night-*`.

    Raises `UserError` when a beginning means no run or several, and when the filters mean none.
    """
    if not words:
        raise UserError("Name runs: the beginning of a run id, or filters such as suite=starter branch=main.")
    runs = lake.read(RUNS)
    ids = [word for word in words if "=" not in word]
    filters = [word for word in words if "=" in word]
    found = [filter_runs(runs, parse_query(filters, now=now))] if filters else []
    found.extend(_one_run(runs, word) for word in ids)
    chosen = pl.concat(found).unique("run_id", maintain_order=True)
    if chosen.is_empty():
        if runs.is_empty():
            raise UserError(NO_RUNS)
        raise UserError(f"No run is meant by {' '.join(filters)}. See them all:  benchlake runs")
    return chosen


def find_run(lake: Lake, word: str) -> dict[str, Any]:
    """The one run whose id begins with `word`; raises `UserError` when there is none or several."""
    return _one_run(lake.read(RUNS), word).row(0, named=True)


def _one_run(runs: pl.DataFrame, word: str) -> pl.DataFrame:
    exact = runs.filter(pl.col("run_id") == word)
    found = exact if exact.height else runs.filter(pl.col("run_id").str.starts_with(word))
    if found.height == 1:
        return found
    if runs.is_empty():
        raise UserError(NO_RUNS)
    if found.is_empty():
        raise UserError(f"No run has an id that begins with {word!r}. See them all:  benchlake runs")
    shown = ", ".join(found["run_id"].sort().head(5))
    raise UserError(f"{found.height} runs have an id that begins with {word!r}: {shown}. Write more of it.")


def tag_runs(
    lake: Lake, runs: pl.DataFrame, *, add: Iterable[str] = (), remove: Iterable[str] = (), act: Act
) -> TagResult:
    """Put tags on runs and take tags off; a tag that a run has or lacks already is no act.

    Raises `UserError` for a tag that could not be filtered by later.
    """
    added, removed = [check_tag(tag) for tag in add], [check_tag(tag) for tag in remove]
    events = [
        {"run_id": run_id, "tag": tag, "action": action}
        for run_id, tags in runs.select("run_id", "tags").iter_rows()
        for action, wanted in (("add", added), ("remove", removed))
        for tag in dict.fromkeys(wanted)
        if (tag in tags) == (action == "remove")
    ]
    if events:
        rows = pl.DataFrame(
            [
                {
                    "event_id": derived_id("tag_event", *event.values(), act.at.isoformat()),
                    **event,
                    "changed_at": act.at,
                    "changed_by": act.author,
                    "reason": act.reason,
                }
                for event in events
            ],
            schema=contract_of(TAG_EVENTS).dtypes,
        )
        lake.append(TAG_EVENTS, rows, token=json_digest(rows["event_id"].to_list()))
    settle_tags(lake)
    return TagResult(run_count=runs.height, changed_count=len({event["run_id"] for event in events}))


def check_tag(tag: str) -> str:
    """The tag; raises `UserError` if it is empty, too long, or has a space, comma or glob sign in it."""
    if not _TAG.fullmatch(tag):
        raise UserError(f"{tag!r} cannot be a tag: write 1 to 100 characters without spaces, commas, *, ?, [ or ].")
    return tag


def settle_tags(lake: Lake) -> None:
    """Bring the tags of `silver.runs` up to date with acts that are not in them yet, also those of a killed call."""
    version = lake.version(TAG_EVENTS)
    cursor = lake.cursor(_CONSUMER, TAG_EVENTS)
    if cursor >= version:
        return
    touched = lake.changes(TAG_EVENTS, cursor, until=version)["run_id"].unique().to_list()
    runs = lake.read(RUNS, where={"run_id": touched})
    lake.upsert(RUNS, with_tags(runs, lake.read(TAG_EVENTS, where={"run_id": touched})))
    lake.move_cursor(_CONSUMER, {TAG_EVENTS: version})


def apply_tags(lake: Lake, runs: pl.DataFrame) -> pl.DataFrame:
    """Runs as an importer reads them, with the tags that people have put on or taken off since."""
    if runs.is_empty() or lake.version(TAG_EVENTS) < 0:
        return runs
    return with_tags(runs, lake.read(TAG_EVENTS, where={"run_id": runs["run_id"].to_list()}))


def with_tags(runs: pl.DataFrame, events: pl.DataFrame) -> pl.DataFrame:
    """`runs` with the latest act on each tag applied. Pure; order of rows and columns stay."""
    latest = events.sort("changed_at", "event_id").unique(["run_id", "tag"], keep="last")
    by_run = latest.group_by("run_id").agg(
        pl.col("tag").filter(pl.col("action") == "add").alias("_added"),
        pl.col("tag").filter(pl.col("action") == "remove").alias("_removed"),
    )
    empty = pl.lit([], dtype=pl.List(pl.String))
    return (
        runs.join(by_run, on="run_id", how="left", maintain_order="left")
        .with_columns(
            pl.col("tags")
            .list.set_union(pl.col("_added").fill_null(empty))
            .list.set_difference(pl.col("_removed").fill_null(empty))
            .list.sort()
        )
        .select(runs.columns)
    )


def add_note(lake: Lake, runs: pl.DataFrame, text: str, *, act: Act) -> int:
    """Write the same note to every run; the number of notes. Raises `UserError` for an empty one."""
    return write_notes(lake, "run", runs["run_id"].to_list(), text, act=act)


def write_notes(lake: Lake, subject_kind: str, subject_ids: Sequence[str], text: str, *, act: Act) -> int:
    """Write the same note on things of one kind of `NOTE_SUBJECTS`; the number of notes."""
    if not text.strip():
        raise UserError("A note needs a text:  -m 'what you saw'")
    rows = pl.DataFrame(
        [
            {
                "note_id": derived_id("note", subject_kind, subject_id, act.at.isoformat(), text),
                "subject_kind": subject_kind,
                "subject_id": subject_id,
                "text": text,
                "author": act.author,
                "noted_at": act.at,
            }
            for subject_id in subject_ids
        ],
        schema=contract_of(NOTES).dtypes,
    )
    return lake.append(NOTES, rows, token=json_digest(rows["note_id"].to_list())).rows_written


def list_notes(lake: Lake, run_ids: Sequence[str] | None = None) -> pl.DataFrame:
    """Notes on runs, newest first: noted_at, run_id, author, text."""
    notes = read_notes(lake, "run", run_ids)
    return notes.select("noted_at", pl.col("subject_id").alias("run_id"), "author", "text")


def read_notes(lake: Lake, subject_kind: str, subject_ids: Sequence[str] | None = None) -> pl.DataFrame:
    """Notes on things of one kind, newest first: noted_at, subject_id, author, text."""
    where: dict[str, Any] = {"subject_kind": subject_kind}
    where |= {} if subject_ids is None else {"subject_id": list(subject_ids)}
    notes = lake.read(NOTES, where=where).sort("noted_at", "note_id", descending=True)
    return notes.select("noted_at", "subject_id", "author", "text")


def designate_baseline(
    lake: Lake, run: Mapping[str, Any], *, key: Sequence[str] = DEFAULT_KEY, effective: dt.date, act: Act
) -> dict[str, str]:
    """Make `run` the yardstick for candidates by a selector, and give the selector.

    A word of `key` is a field, whose value is then the run's own, or `field=glob`. It counts for candidates whose run
    date is `effective` or later, so that what was judged before stays judged. Raises `UserError` for a run that did
    not succeed, a field that the run does not know, or one that is none.
    """
    if run["status"] != "success":
        raise UserError(f"Run {run['run_id']} ended as {run['status']!r}; a baseline must have succeeded.")
    selector = _selector(run, key)
    _append_designation(lake, selector, run_id=run["run_id"], effective=effective, act=act)
    return selector


def withdraw_baseline(lake: Lake, word: str, *, effective: dt.date, act: Act) -> dict[str, Any]:
    """End the designation whose id, or whose run's id, begins with `word`; the designation that was in force.

    Raises `UserError` when none or several are meant.
    """
    standing = list_baselines(lake)
    found = standing.filter(pl.col("designation_id").str.starts_with(word) | pl.col("run_id").str.starts_with(word))
    if found.height != 1:
        if standing.is_empty():
            raise UserError("No baseline is in force. Designate one:  benchlake baseline set RUN")
        raise UserError.not_one(
            "designation in force", word, found["designation_id"].to_list(), see="benchlake baseline list"
        )
    row = found.row(0, named=True)
    _append_designation(lake, orjson.loads(row["selector"]), run_id=None, effective=effective, act=act)
    return row


def list_baselines(lake: Lake, *, history: bool = False) -> pl.DataFrame:
    """Designations in force, newest first; with `history` every act there ever was."""
    acts = lake.read(BASELINES).sort("designated_at", "designation_id", descending=True)
    return acts if history else in_force(acts)


def in_force(acts: pl.DataFrame) -> pl.DataFrame:
    """The latest act of each selector, unless it withdrew. Pure; rows of `silver.baselines`."""
    latest = acts.sort("designated_at", "designation_id").unique("selector_digest", keep="last", maintain_order=True)
    return latest.filter(pl.col("run_id").is_not_null()).sort("designated_at", "designation_id", descending=True)


def _selector(run: Mapping[str, Any], key: Sequence[str]) -> dict[str, str]:
    selector = {}
    for word in key:
        name, equals, pattern = word.partition("=")
        if name not in SELECTOR_FIELDS:
            raise UserError.unknown("field of a baseline's key", name, SELECTOR_FIELDS)
        value = pattern if equals else field_of(run, name)
        if not value:
            raise UserError(f"Run {run['run_id']} has no {name}. Leave it out of the key, or write {name}=VALUE.")
        selector[name] = value
    if not selector:
        raise UserError(f"A baseline needs a key: some of {', '.join(SELECTOR_FIELDS)}.")
    return selector


def _append_designation(
    lake: Lake, selector: Mapping[str, str], *, run_id: str | None, effective: dt.date, act: Act
) -> None:
    digest = json_digest(selector)
    designation_id = derived_id("baseline", digest, run_id, act.at.isoformat())
    row = {
        "designation_id": designation_id,
        "selector_digest": digest,
        "selector": orjson.dumps(selector, option=orjson.OPT_SORT_KEYS).decode(),
        "run_id": run_id,
        "effective_date": effective,
        "designated_at": act.at,
        "designated_by": act.author,
        "reason": act.reason,
    }
    lake.append(BASELINES, pl.DataFrame([row], schema=contract_of(BASELINES).dtypes), token=designation_id)


__all__ = [
    "DEFAULT_KEY",
    "SELECTOR_FIELDS",
    "Act",
    "RunQuery",
    "TagResult",
    "add_note",
    "apply_tags",
    "check_tag",
    "designate_baseline",
    "find_run",
    "find_runs",
    "in_force",
    "list_baselines",
    "list_notes",
    "settle_tags",
    "tag_runs",
    "with_tags",
    "withdraw_baseline",
]
