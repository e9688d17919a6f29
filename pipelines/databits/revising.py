"""One unit, changed on purpose: create, revise, fork, merge, retract.

What belongs here: the acts of a person or a program on single units, with optimistic concurrency. Bulk and nightly
work is `writing.py`.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import polars as pl

from lake.errors import UserError
from lake.identity import text_digest
from lake.store import Lake
from pipelines.databits.licenses import canonical_license
from pipelines.databits.reading import read_version
from pipelines.databits.units import (
    DATABITS,
    Content,
    DatabitKey,
    Draft,
    Modality,
    canonical_text,
    check_draft,
    guess_modality,
    parse_content,
)
from pipelines.databits.writing import DRAFT_SCHEMA, draft_rows, refuse_dangling, version_rows

# JSON null is a content too, so None cannot say that nothing was given.
UNCHANGED: Content = object()


class VersionConflictError(UserError):
    """Somebody wrote a version of the unit since it was read."""

    def __init__(self, databit_id: str, *, expected: int, found: int) -> None:
        super().__init__(
            f"DataBit {databit_id} was expected at version {expected} and is at version {found}. Look at what changed "
            f"(benchlake databits diff {databit_id}@{expected} {databit_id}@{found}), then do it again on version "
            f"{found}."
        )
        self.databit_id = databit_id
        self.expected = expected
        self.found = found


@dataclass(frozen=True, kw_only=True)
class Hand:
    """Who writes a version, when and why."""

    author: str
    at: dt.datetime
    note: str | None = None


@dataclass(frozen=True, kw_only=True)
class Changes:
    """What a revision changes; None, or `UNCHANGED` for the content, leaves a member as it is."""

    content: Content = UNCHANGED
    creator: str | None = None
    license: str | None = None
    derived_from: Sequence[DatabitKey] | None = None
    modality: Sequence[Modality] | None = None
    search_keys: Sequence[str] | None = None
    quality_scores: Mapping[str, float] | None = None


def create_databit(lake: Lake, draft: Draft, *, hand: Hand) -> DatabitKey:
    """Version 1 of a new unit.

    Raises `UserError` when the unit stands already, a parent does not stand, or the licence is no SPDX expression.
    """
    row = draft_rows([_with_known_license(draft)])
    refuse_dangling(lake, row)
    key = DatabitKey(row["databit_id"][0], 1)
    new = version_rows(row.with_columns(version=pl.lit(1)), now=hand.at, author=hand.author, change_note=hand.note)
    if not _inserted(lake, new):
        standing = read_version(lake, key.databit_id)
        raise UserError(
            f"DataBit {key.databit_id} stands already, at version {standing['version']}. Revise it "
            f"(benchlake databits revise {key.databit_id}), or give the new unit an id of its own (--id)."
        )
    return key


def revise_databit(lake: Lake, databit_id: str, changes: Changes, *, expected_version: int, hand: Hand) -> DatabitKey:
    """The next version of a unit, if the newest is still `expected_version`.

    What `changes` leaves out stays, the lineage included. A retracted unit is taken back by revising it. Raises
    `VersionConflictError` when another version was written since, and `UserError` when nothing would change.
    """
    standing = _expected(lake, databit_id, expected_version)
    row = _changed_row(standing, changes)
    refuse_dangling(lake, row)
    if not standing["is_deleted"] and _is_same(row, standing):
        raise UserError(f"DataBit {databit_id} at version {expected_version} is already so: nothing would change.")
    return _next_version(lake, row, expected_version, hand=hand)


def retract_databit(lake: Lake, databit_id: str, *, expected_version: int, hand: Hand) -> DatabitKey:
    """Withdraw a unit by a further version that says so; what was derived from it keeps its lineage.

    Raises `VersionConflictError` when another version was written since, `UserError` when it is retracted already.
    """
    standing = _expected(lake, databit_id, expected_version)
    if standing["is_deleted"]:
        raise UserError(f"DataBit {databit_id} was retracted at version {expected_version} already.")
    return _next_version(lake, _changed_row(standing, Changes()), expected_version, hand=hand, is_deleted=True)


def fork_databit(lake: Lake, parent: DatabitKey, *, databit_id: str, changes: Changes, hand: Hand) -> DatabitKey:
    """A new unit made from a version of another: its content and licence unless `changes` says otherwise."""
    standing = _not_retracted(lake, parent)
    draft = Draft(
        databit_id=databit_id,
        content=parse_content(standing["content"]) if changes.content is UNCHANGED else changes.content,
        creator=changes.creator or hand.author,
        license=changes.license or standing["attribution"]["license"],
        derived_from=[parent, *(changes.derived_from or ())],
        modality=changes.modality or standing["modality"],
        search_keys=standing["search_keys"] if changes.search_keys is None else changes.search_keys,
        quality_scores=changes.quality_scores,
    )
    return create_databit(lake, draft, hand=hand)


def merge_databits(
    lake: Lake, parents: Sequence[DatabitKey], *, databit_id: str, changes: Changes, hand: Hand
) -> DatabitKey:
    """A new unit made from several: content by `changes`, else the parents' contents joined (see `joined_content`).

    The licence is left open unless `changes` states it: what follows from the parents is computed with the lineage.
    Raises `UserError` for fewer than two parents, the same twice, or a retracted one.
    """
    if len(set(parents)) < 2 or len(set(parents)) != len(parents):  # noqa: PLR2004  # one parent is a fork
        raise UserError("A merge needs two different parents or more; of one parent it is a fork.")
    rows = [_not_retracted(lake, parent) for parent in parents]
    contents = [parse_content(row["content"]) for row in rows]
    draft = Draft(
        databit_id=databit_id,
        content=joined_content(contents) if changes.content is UNCHANGED else changes.content,
        creator=changes.creator or hand.author,
        license=changes.license,
        derived_from=list(parents),
        modality=changes.modality or sorted({modality for row in rows for modality in row["modality"]}),
        search_keys=sorted({key for row in rows for key in row["search_keys"]})
        if changes.search_keys is None
        else changes.search_keys,
        quality_scores=changes.quality_scores,
    )
    return create_databit(lake, draft, hand=hand)


def joined_content(contents: Sequence[Content]) -> Content:
    """Several contents as one: texts as paragraphs, lists end to end, objects member by member, else a list. Pure.

    Raises `UserError` when objects disagree about a member, since nobody said which is right.
    """
    if all(isinstance(content, str) for content in contents):
        return "\n\n".join(contents)
    if all(isinstance(content, list) for content in contents):
        return [item for content in contents for item in content]
    if not all(isinstance(content, dict) for content in contents):
        return list(contents)
    joined: dict[str, Any] = {}
    for content in contents:
        for name, value in content.items():
            if name in joined and joined[name] != value:
                raise UserError(f"The parents disagree about the member {name!r}; give the merged content yourself.")
            joined[name] = value
    return joined


def _with_known_license(draft: Draft) -> Draft:
    return draft if draft.license is None else replace(draft, license=canonical_license(draft.license))


def _expected(lake: Lake, databit_id: str, expected_version: int) -> dict[str, Any]:
    standing = read_version(lake, databit_id)
    if standing["version"] != expected_version:
        raise VersionConflictError(databit_id, expected=expected_version, found=standing["version"])
    return standing


def _not_retracted(lake: Lake, key: DatabitKey) -> dict[str, Any]:
    row = read_version(lake, key.databit_id, key.version)
    if row["is_deleted"]:
        raise UserError(f"{key} is a retraction; name the version before it to derive from what it was.")
    return row


def _changed_row(standing: Mapping[str, Any], changes: Changes) -> pl.DataFrame:
    """The standing version with `changes` laid over it, as a draft row."""
    attribution = dict(standing["attribution"])
    if changes.creator is not None:
        attribution["creator"] = changes.creator
    if changes.license is not None:
        attribution["license"] = canonical_license(changes.license)
    if changes.derived_from is not None:
        attribution["derived_from"] = [key._asdict() for key in changes.derived_from]
    row = {name: standing[name] for name in DRAFT_SCHEMA} | {"attribution": attribution}
    if changes.content is not UNCHANGED:
        row |= _content_members(changes.content, standing)
    if changes.modality is not None:
        row["modality"] = list(changes.modality)
    if changes.search_keys is not None:
        row["search_keys"] = sorted(set(changes.search_keys))
    if changes.quality_scores is not None:
        row["quality_scores"] = [{"scorer": name, "value": value} for name, value in changes.quality_scores.items()]
    check_draft(Draft(content=None, modality=row["modality"], search_keys=row["search_keys"]))
    return pl.DataFrame([row], schema=DRAFT_SCHEMA)


def _content_members(content: Content, standing: Mapping[str, Any]) -> dict[str, Any]:
    """Content with its digest; what was guessed of the old content is guessed again, scores of it do not hold on."""
    text = canonical_text(content)
    is_guessed = standing["modality"] == guess_modality(parse_content(standing["content"]))
    return {
        "content": text,
        "content_digest": text_digest(text),
        "modality": guess_modality(content) if is_guessed else standing["modality"],
        "quality_scores": [] if text_digest(text) != standing["content_digest"] else standing["quality_scores"],
    }


def _is_same(row: pl.DataFrame, standing: Mapping[str, Any]) -> bool:
    return row.equals(pl.DataFrame([{name: standing[name] for name in DRAFT_SCHEMA}], schema=DRAFT_SCHEMA))


def _next_version(
    lake: Lake, row: pl.DataFrame, expected_version: int, *, hand: Hand, is_deleted: bool = False
) -> DatabitKey:
    key = DatabitKey(row["databit_id"][0], expected_version + 1)
    new = version_rows(
        row.with_columns(version=pl.lit(key.version)),
        now=hand.at,
        author=hand.author,
        change_note=hand.note,
        is_deleted=is_deleted,
    )
    if not _inserted(lake, new):
        found = read_version(lake, key.databit_id)
        raise VersionConflictError(key.databit_id, expected=expected_version, found=int(found["version"]))
    return key


def _inserted(lake: Lake, new: pl.DataFrame) -> bool:
    """Whether the row landed; raises `UserError` when it broke the contract rather than met another's version."""
    result = lake.insert(DATABITS, new)
    if result.rows_rejected:
        raise UserError(f"The version breaks the contract of {DATABITS}; the reason is in bronze.rejects.")
    return result.rows_written == 1
