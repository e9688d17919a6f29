"""The example store: create, read, change, delete and page through few-shot examples.

What belongs here: acts on single examples, and lists. Search is `search.py`, bulk `importing.py`, uses `usages.py`,
their worth `effect_steps.py`. Content goes into the example's data unit first and into its row after; a call that is
cut off between the two is completed by the next call on the example, or by the night (`following.py`).
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import polars as pl

from lake.errors import UserError
from lake.predicates import KeyRange
from lake.store import Lake
from lake.tables import contract_of
from pipelines.databits.reading import read_version
from pipelines.databits.revising import (
    Changes,
    Hand,
    VersionConflictError,
    create_databit,
    retract_databit,
    revise_databit,
)
from pipelines.databits.units import DATABITS, parse_content
from pipelines.databits.writing import draft_rows, version_rows
from pipelines.embeddings.texts import text_of_json
from pipelines.examples.catalogue import ALL, Catalogue, ExampleFilter, read_catalogue
from pipelines.examples.drafts import (
    ExampleDraft,
    check_example,
    example_columns,
    search_keys,
    unit_content,
    unit_draft,
    unit_id_of,
)
from pipelines.examples.following import EXAMPLES, follow_units, new_row

DEFAULT_LIMIT = 20
MAX_LIMIT = 500
MIN_ID_CHARACTERS = 4
_HIGHEST = "\U0010ffff"
Row = dict[str, Any]


@dataclass(frozen=True, kw_only=True)
class ExampleChanges:
    """What an edit changes; None leaves a member as it is, an empty text takes a label off."""

    inputs: Mapping[str, Any] | None = None
    expected_output: Any = None
    function_name: str | None = None
    domain: str | None = None
    tags: Sequence[str] | None = None
    license: str | None = None


@dataclass(frozen=True, kw_only=True)
class Page:
    """Rows of silver.examples in the order of their keys, and where the next page begins (None at the end)."""

    rows: pl.DataFrame
    next_after: str | None
    total_count: int


class ExampleStore:
    """Examples of one lake, one at a time or a page at a time.

    Cheap to make; keeps the labels of the last version it saw, so keep it where many calls are made. Safe to share
    between threads.
    """

    def __init__(self, lake: Lake) -> None:
        self.lake = lake
        self._catalogue: Catalogue | None = None

    def catalogue(self) -> Catalogue:
        """Labels of every example, as of now."""
        self._catalogue = read_catalogue(self.lake, standing=self._catalogue)
        return self._catalogue

    def create(self, draft: ExampleDraft, *, now: dt.datetime, author: str, note: str | None = None) -> Row:
        """Add an example and give its row; raises `UserError` when it stands already or the draft is malformed.

        One that was deleted is taken back by creating it again.
        """
        unit = unit_draft(draft)
        example_id = draft.key_id()
        hand = Hand(author=author, at=now, note=note)
        try:
            create_databit(self.lake, unit, hand=hand)
        except UserError:
            # Nearly every example is new, so whether it is gets looked up only when it was not.
            if self._has_unit(example_id):
                return self._take_back(draft, hand)
            raise
        rows = version_rows(
            draft_rows([unit]).with_columns(version=pl.lit(1)), now=now, author=author, change_note=note
        )
        # What was written is read no more: nobody else can have written this unit's first version.
        row = pl.DataFrame([new_row(rows.row(0, named=True))], schema=contract_of(EXAMPLES).dtypes)
        if not self.lake.compare_and_upsert(EXAMPLES, row, expected=pl.DataFrame.is_empty):
            follow_units(self.lake, [unit_id_of(example_id)])
        return row.row(0, named=True)

    def find(self, example_id: str) -> Row | None:
        """The row of an example, deleted or not; None if there is none of that id."""
        rows = self.lake.read(EXAMPLES, where={"example_id": example_id})
        return None if rows.is_empty() else rows.row(0, named=True)

    def get(self, word: str) -> Row:
        """The example of this id, or whose id alone begins so; raises `UserError` when there is none or several."""
        if len(word) < MIN_ID_CHARACTERS:
            raise UserError(f"Write at least {MIN_ID_CHARACTERS} characters of the example's id, not {word!r}.")
        rows = self.lake.read(EXAMPLES, where={"example_id": KeyRange(start=word, stop=f"{word}{_HIGHEST}")})
        exact = rows.filter(pl.col("example_id") == word)
        found = rows if exact.is_empty() else exact
        if found.height != 1:
            ids = found["example_id"].to_list()
            raise UserError.not_one("example", word, ids, see="benchlake examples list")
        return found.row(0, named=True)

    def update(
        self,
        example_id: str,
        changes: ExampleChanges,
        *,
        now: dt.datetime,
        author: str,
        note: str | None = None,
        expected_version: int | None = None,
    ) -> Row:
        """Change an example and give its new row; its estimate goes when inputs or expected output change.

        Raises `UserError` when nothing would change or the result is malformed, and `VersionConflictError` when the
        newest version is not `expected_version` (not checked when None).
        """
        unit = self._living_unit(example_id, expected_version)
        draft = _changed_draft(unit, changes)
        check_example(draft)
        revise_databit(
            self.lake,
            unit["databit_id"],
            Changes(
                content=unit_content(draft.inputs, draft.expected_output),
                license=draft.license,
                search_keys=_other_keys(unit)
                + search_keys(example_id, function_name=draft.function_name, domain=draft.domain, tags=draft.tags),
            ),
            expected_version=unit["version"],
            hand=Hand(author=author, at=now, note=note),
        )
        follow_units(self.lake, [unit["databit_id"]])
        return self.get(example_id)

    def delete(self, example_id: str, *, now: dt.datetime, author: str, reason: str | None = None) -> Row:
        """Delete an example: no longer found, but kept with its history and uses. Gives its row."""
        unit = self._living_unit(example_id, None)
        hand = Hand(author=author, at=now, note=reason)
        retract_databit(self.lake, unit["databit_id"], expected_version=unit["version"], hand=hand)
        follow_units(self.lake, [unit["databit_id"]])
        return self.get(example_id)

    def history(self, example_id: str) -> pl.DataFrame:
        """Every version of an example's unit, oldest first."""
        return self.lake.read(DATABITS, where={"databit_id": unit_id_of(example_id)}).sort("version")

    def list(self, wanted: ExampleFilter = ALL, *, after: str | None = None, limit: int = DEFAULT_LIMIT) -> Page:
        """A page of the examples that a filter admits, in the order of their ids, from after the id `after`."""
        if not 1 <= limit <= MAX_LIMIT:
            raise UserError(f"A page has 1 to {MAX_LIMIT} examples, not {limit}.")
        matching = self.catalogue().matching(wanted)["example_id"]
        rest = matching if after is None else matching.filter(matching > after)
        keys = rest.head(limit)
        return Page(
            rows=self.read(keys.to_list()),
            next_after=keys[-1] if rest.len() > limit else None,
            total_count=matching.len(),
        )

    def all(self, wanted: ExampleFilter = ALL) -> pl.DataFrame:
        """Every example that a filter admits, by id."""
        return self.lake.read(EXAMPLES).filter(wanted.predicate()).sort("example_id")

    def search_by_metadata(self, wanted: ExampleFilter, *, limit: int = DEFAULT_LIMIT) -> pl.DataFrame:
        """The examples that a filter admits, the most effective first; those without an estimate last."""
        matching = self.catalogue().matching(wanted)
        best = matching.sort("effectiveness_score", "example_id", descending=[True, False], nulls_last=True)
        return self.read(best["example_id"].head(limit).to_list())

    def read(self, example_ids: Sequence[str]) -> pl.DataFrame:
        """Rows of these examples, in this order; ids that do not exist are left out."""
        if not example_ids:
            return contract_of(EXAMPLES).empty()
        rows = self.lake.read(EXAMPLES, where={"example_id": list(example_ids)})
        order = pl.DataFrame({"example_id": list(example_ids)}, schema={"example_id": pl.String})
        return order.join(rows, on="example_id", how="inner", maintain_order="left").select(rows.columns)

    def _has_unit(self, example_id: str) -> bool:
        ids = self.lake.read(DATABITS, columns=["databit_id"], where={"databit_id": unit_id_of(example_id)})
        return not ids.is_empty()

    def _living_unit(self, example_id: str, expected_version: int | None) -> Row:
        """The newest version of an example's unit, which may be ahead of the example's row."""
        unit = read_version(self.lake, unit_id_of(example_id))
        if expected_version is not None and unit["version"] != expected_version:
            raise VersionConflictError(unit["databit_id"], expected=expected_version, found=unit["version"])
        if unit["is_deleted"]:
            follow_units(self.lake, [unit["databit_id"]])
            raise UserError(f"Example {example_id} is deleted. Take it back by adding it again.")
        return unit

    def _take_back(self, draft: ExampleDraft, hand: Hand) -> Row:
        """Complete a creation that was cut off, or revise a deleted example into the draft."""
        example_id = draft.key_id()
        found = self.find(example_id)
        if found is not None and not found["is_deleted"]:
            raise UserError(
                f"Example {example_id} stands already. Change it:  benchlake examples edit {example_id[:8]}"
            )
        unit = read_version(self.lake, unit_id_of(example_id))
        if unit["is_deleted"]:
            changes = Changes(
                content=unit_content(draft.inputs, draft.expected_output),
                license=draft.license,
                search_keys=unit_draft(draft).search_keys,
            )
            revise_databit(self.lake, unit["databit_id"], changes, expected_version=unit["version"], hand=hand)
        follow_units(self.lake, [unit["databit_id"]])
        return self.get(example_id)


def _changed_draft(unit: Mapping[str, Any], changes: ExampleChanges) -> ExampleDraft:
    """The example that a unit holds, with `changes` laid over it."""
    shown, content = example_columns(unit), parse_content(unit["content"])

    def label(name: str) -> str | None:
        given = getattr(changes, name)
        return shown[name] if given is None else (given or None)  # type: ignore[return-value]

    return ExampleDraft(
        inputs=content["inputs"] if changes.inputs is None else changes.inputs,
        expected_output=content["expected_output"] if changes.expected_output is None else changes.expected_output,
        function_name=label("function_name"),
        domain=label("domain"),
        tags=list(shown["tags"] if changes.tags is None else changes.tags),  # type: ignore[call-overload]
        license=changes.license or None,
    )


def _other_keys(unit: Mapping[str, Any]) -> list[str]:
    """Search keys that are not the example's own labels."""
    return [key for key in unit["search_keys"] if not key.startswith(("example=", "function=", "domain=", "tag="))]


def shown_inputs(inputs: str) -> str:
    """The inputs column as a reader wants it: the text where there is one field, else a line each."""
    return text_of_json(inputs)


def as_document(row: Mapping[str, Any]) -> Row:
    """A row of silver.examples for programs: inputs as an object."""
    return {**row, "inputs": parse_content(row["inputs"])}
