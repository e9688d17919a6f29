"""The decision ledger: what was decided, from which alternatives, on which runs, and the KPI it promises to keep.

What belongs here: the typed entry, its rows, filters, and the steps that record and revise it. Asking the KPI again is
`decision_checks.py`, the Markdown form `decision_texts.py`. An entry is never changed in place: each revision is a row.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Mapping, Sequence
from dataclasses import asdict, replace
from typing import Any, Literal

import polars as pl
from pydantic import ConfigDict, Field, TypeAdapter, ValidationError
from pydantic.dataclasses import dataclass

from lake.errors import ConflictError, UserError
from lake.identity import derived_id
from lake.store import Lake
from lake.tables import contract_of
from lake.tables.experiments import DECISION_STATUSES
from pipelines.experiments.reading import COMPARED_TABLES
from pipelines.runs.remarks import Act, find_run
from pipelines.runs.run_query import matches

DECISIONS = "silver.decisions"
Status = Literal["proposed", "accepted", "superseded", "reverted"]
_STRICT = ConfigDict(extra="forbid", str_strip_whitespace=True)
# From where a decision may go where. A revert may be taken back, and so may a supersession.
_NEXT: Mapping[str, tuple[str, ...]] = {
    "proposed": ("accepted", "superseded", "reverted"),
    "accepted": ("superseded", "reverted", "proposed"),
    "superseded": ("accepted",),
    "reverted": ("proposed", "accepted"),
}


@dataclass(frozen=True, kw_only=True, config=_STRICT)
class Alternative:
    """One way that was considered; `run_ids` are the runs that show what it does."""

    name: str = Field(min_length=1)
    pros: tuple[str, ...] = ()
    cons: tuple[str, ...] = ()
    run_ids: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True, config=_STRICT)
class Kpi:
    """A promise that can be asked again: SQL that gives one number, and how that has to stand to a threshold."""

    name: str = Field(min_length=1)
    query: str = Field(min_length=1)
    comparison: Literal["<", "<=", ">", ">="]
    threshold: float = Field(allow_inf_nan=False)
    unit: str | None = None


@dataclass(frozen=True, kw_only=True, config=_STRICT)
class DecisionEntry:
    """A decision as people write it; see docs/decisions of the documentation for each field."""

    title: str = Field(min_length=1)
    problem: str
    decision: str
    alternatives: tuple[Alternative, ...] = ()
    kpi: Kpi | None = None
    run_ids: tuple[str, ...] = ()
    tags: tuple[str, ...] = ()
    links: tuple[str, ...] = ()
    author: str | None = None
    status: Status = "proposed"
    superseded_by: str | None = None


ENTRY = TypeAdapter(DecisionEntry)
KPI_PARTS = ("name", "query", "comparison", "threshold", "unit")


def parse_entry(content: object, *, source: str) -> DecisionEntry:
    """An entry from parsed YAML or JSON; raises `UserError` that names the field and what is wrong with it."""
    try:
        return ENTRY.validate_python(content)
    except ValidationError as error:
        first = error.errors()[0]
        place = ".".join(map(str, first["loc"])) or "the entry"
        raise UserError(f"{source}: {place}: {first['msg']}. See an example:  benchlake decisions template") from None


def parse_changes(content: Mapping[str, object], *, source: str) -> dict[str, Any]:
    """Some fields of an entry, checked like a whole one; raises `UserError` that names the field."""
    blank = {"title": "-", "problem": "", "decision": ""}
    entry = parse_entry(blank | dict(content), source=source)
    return {name: getattr(entry, name) for name in content}


def record_decision(lake: Lake, entry: DecisionEntry, *, act: Act, decision_id: str | None = None) -> dict[str, Any]:
    """Write a new decision and give its row; the same title by the same author at the same moment is one decision.

    Beginnings of run ids are made whole. Raises `UserError` for a run that is not in the lake, `ConflictError` when
    the decision is there already.
    """
    known = _with_whole_ids(lake, entry)
    derived = derived_id("decision", known.title, known.author or act.author, act.at.isoformat())
    return _write(lake, decision_id or derived, 1, known, act=act)


def revise_decision(
    lake: Lake, word: str, changes: Mapping[str, Any], *, act: Act, expected_revision: int | None = None
) -> dict[str, Any]:
    """Write the next revision with some fields changed.

    Raises `UserError` for a status that cannot follow the present one, `ConflictError` when the decision was revised
    by somebody else since `expected_revision`, or at this moment.
    """
    standing = find_decision(lake, word)
    if expected_revision is not None and standing["revision_index"] != expected_revision:
        raise ConflictError(
            f"Decision {standing['decision_id']} is at revision {standing['revision_index']}, not {expected_revision}: "
            f"{standing['recorded_by']} revised it. Look at it first:  benchlake decisions show {word}"
        )
    entry = entry_of(standing)
    status = changes.get("status", entry.status)
    if status != entry.status and status not in _NEXT[entry.status]:
        raise UserError(f"A decision that is {entry.status} cannot become {status}; it can become {_or(entry.status)}.")
    revised = _with_whole_ids(lake, replace(entry, **changes))
    return _write(lake, standing["decision_id"], standing["revision_index"] + 1, revised, act=act)


def _or(status: str) -> str:
    return " or ".join(_NEXT[status])


def find_decision(lake: Lake, word: str) -> dict[str, Any]:
    """The newest revision of the decision whose id begins with `word`; `UserError` when there is none or several."""
    rows = newest_revisions(lake.read(DECISIONS))
    found = rows.filter(pl.col("decision_id").str.starts_with(word))
    if found.height == 1:
        return found.row(0, named=True)
    if found.is_empty():
        raise UserError(f"No decision has an id that begins with {word!r}. See them all:  benchlake decisions list")
    raise UserError(f"{found.height} decisions have an id that begins with {word!r}. Write more of it.")


def newest_revisions(decisions: pl.DataFrame) -> pl.DataFrame:
    """One row per decision, its newest revision, newest first."""
    return (
        decisions.sort("revision_index")
        .group_by("decision_id")
        .last()
        .sort("recorded_at", "decision_id", descending=True)
        .select(decisions.columns)
    )


def filter_decisions(
    decisions: pl.DataFrame,
    *,
    tags: Sequence[str] = (),
    run_id: str | None = None,
    kpi: str | None = None,
    status: str | None = None,
    text: str | None = None,
    since: dt.datetime | None = None,
    until: dt.datetime | None = None,
) -> pl.DataFrame:
    """Rows for which everything that is given holds: globs for tags and KPI names, a beginning of a run's id, words.

    `text` is looked for in title, problem, decision and the names of alternatives, whatever the case.
    """
    if status is not None and status not in DECISION_STATUSES:
        raise UserError.unknown("status", status, DECISION_STATUSES)
    kept = [
        row
        for row in decisions.iter_rows(named=True)
        if all(any(matches(tag, [pattern]) for tag in row["tags"]) for pattern in tags)
        and (run_id is None or any(known.startswith(run_id) for known in _runs_of(row)))
        and (kpi is None or matches(row["kpi_name"], [kpi]))
        and (status is None or row["status"] == status)
        and (text is None or text.lower() in _words_of(row))
        and (since is None or row["recorded_at"] >= since)
        and (until is None or row["recorded_at"] < until)
    ]
    return pl.DataFrame(kept, schema=decisions.schema)


def _runs_of(row: Mapping[str, Any]) -> set[str]:
    return {*row["run_ids"], *(run_id for item in row["alternatives"] for run_id in item["run_ids"])}


def _words_of(row: Mapping[str, Any]) -> str:
    names = [item["name"] for item in row["alternatives"]]
    return "\n".join([row["title"], row["problem"], row["decision"], *names]).lower()


def entry_of(row: Mapping[str, Any]) -> DecisionEntry:
    """The entry in a row of silver.decisions."""
    kpi = {part: row[f"kpi_{part}"] for part in KPI_PARTS}
    names = ("title", "problem", "decision", "alternatives", "run_ids", "tags", "links", "author", "status")
    fields = {name: row[name] for name in (*names, "superseded_by")}
    return ENTRY.validate_python({**fields, "kpi": kpi if kpi["name"] is not None else None})


def _with_whole_ids(lake: Lake, entry: DecisionEntry) -> DecisionEntry:
    def whole(words: Sequence[str]) -> tuple[str, ...]:
        return tuple(find_run(lake, word)["run_id"] for word in words)

    alternatives = tuple(replace(item, run_ids=whole(item.run_ids)) for item in entry.alternatives)
    return replace(entry, run_ids=whole(entry.run_ids), alternatives=alternatives)


def _write(lake: Lake, decision_id: str, revision: int, entry: DecisionEntry, *, act: Act) -> dict[str, Any]:
    versions = {table: version for table, version in lake.versions(COMPARED_TABLES).items() if version >= 0}
    row = _row(decision_id, revision, entry, versions, act=act)
    rows = pl.DataFrame([row], schema=contract_of(DECISIONS).dtypes)
    # Pinned before it is written: a decision without its pins would lose what it rests on.
    lake.pin(f"decision:{decision_id}:{revision}", versions, reason=f"Decision: {entry.title}"[:200], now=act.at)
    if not lake.compare_and_upsert(DECISIONS, rows, expected=lambda standing: standing.is_empty()):
        raise ConflictError(f"Decision {decision_id} was revised by somebody else just now. Look at it and try again.")
    return row


def _row(
    decision_id: str, revision: int, entry: DecisionEntry, versions: Mapping[str, int], *, act: Act
) -> dict[str, Any]:
    content = asdict(entry)
    kpi = content.pop("kpi") or {}
    content["author"] = entry.author or act.author
    content["tags"] = sorted(set(entry.tags))
    return {
        "decision_id": decision_id,
        "revision_index": revision,
        **content,
        **{f"kpi_{part}": kpi.get(part) for part in KPI_PARTS},
        "input_versions": [{"table": table, "version": version} for table, version in sorted(versions.items())],
        "recorded_at": act.at,
        "recorded_by": act.author,
        "change_note": act.reason,
    }
