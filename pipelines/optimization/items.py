"""Training items: examples of the store as values of a template's fields, and how a program's output is scored.

Splitting items is `splitting.py`; a program is run on them in `dspy_adapter/`.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import orjson
import polars as pl

from lake.errors import UserError
from lake.store import Lake
from pipelines.databits.units import canonical_text, parse_content
from pipelines.examples.digests import input_digest
from pipelines.optimization.templates import Template
from pipelines.runs.scorers import ScorerError, score

EXAMPLES = "silver.examples"
_COLUMNS = ("example_id", "inputs", "expected_output", "function_name", "domain", "tags", "input_digest", "is_deleted")


@dataclass(frozen=True, kw_only=True)
class Item:
    """An example as values of a template's fields; `input_digest` is that of the example store."""

    example_id: str
    inputs: Mapping[str, Any]
    outputs: Mapping[str, Any]
    input_digest: str

    @classmethod
    def of(cls, example_id: str, inputs: Mapping[str, Any], outputs: Mapping[str, Any]) -> Item:
        """An item with its digest computed."""
        return cls(example_id=example_id, inputs=inputs, outputs=outputs, input_digest=input_digest(inputs))


@dataclass(frozen=True, kw_only=True)
class ItemSet:
    """Items of a template, and the examples that do not fit its fields with the reason."""

    items: tuple[Item, ...]
    unfit: Mapping[str, str]


def read_items(
    lake: Lake, template: Template, *, function_name: str | None = None, tags: Sequence[str] = ()
) -> ItemSet:
    """Examples of the store for `function_name` (default: the template's name) as items, sorted by id.

    `tags` must all be on an example. Examples whose fields are not the template's are listed with the reason.
    """
    name = function_name or template.template
    rows = lake.read(EXAMPLES, columns=_COLUMNS, where={"function_name": name}).filter(~pl.col("is_deleted"))
    for tag in tags:
        rows = rows.filter(pl.col("tags").list.contains(tag))
    items, unfit = [], {}
    for row in rows.sort("example_id").iter_rows(named=True):
        try:
            items.append(item_of(row, template))
        except UserError as error:
            unfit[row["example_id"]] = str(error)
    return ItemSet(items=tuple(items), unfit=unfit)


def item_of(row: Mapping[str, Any], template: Template) -> Item:
    """A row of silver.examples as an item; raises `UserError` if its fields are not the template's."""
    inputs = parse_content(row["inputs"])
    wanted = {field.name for field in template.inputs}
    if set(inputs) != wanted:
        raise UserError(f"its inputs are {', '.join(sorted(inputs))}; the template's are {', '.join(sorted(wanted))}")
    return Item(
        example_id=row["example_id"],
        inputs=inputs,
        outputs=read_outputs(row["expected_output"], template),
        input_digest=row["input_digest"],
    )


def read_outputs(text: str, template: Template) -> dict[str, Any]:
    """Output fields from `expected_output`: a JSON object of them, or the value itself where there is one field.

    Raises `UserError` if the text has other fields.
    """
    names = [field.name for field in template.final_outputs]
    try:
        value = orjson.loads(text)
    except orjson.JSONDecodeError:
        value = text
    if isinstance(value, dict) and set(value) == set(names):
        return value
    if len(names) != 1:
        raise UserError(f"its expected output is not a JSON object of {', '.join(names)}")
    # A text field keeps the text as it stands: `007` is no number there.
    return {names[0]: text if template.final_outputs[0].kind in {"text", "choice"} else value}


def score_outputs(template: Template, expected: Mapping[str, Any], given: Mapping[str, Any]) -> float:
    """Score of what a program gave, from 0 to 1; 0 where the scored field is missing or the scorer gives up."""
    name = template.scored_field
    if given.get(name) is None:
        return 0.0
    use = template.metric.scorer
    reference = as_text(expected[name]) if expected.get(name) is not None else None
    try:
        return float(score(use.name, as_text(given[name]), reference, use.options))
    except ScorerError:
        return 0.0


def as_text(value: object) -> str:
    """A field's value as the text that scorers compare."""
    return value if isinstance(value, str) else canonical_text(value)


def balanced_order(items: Iterable[Item], *, field: str, seed: int) -> list[Item]:
    """Items shuffled, with the values of an output field taking turns.

    Optimisers take demos from the front of what they are given; with one value first they show that one alone.
    """
    import random

    shuffled = sorted(items, key=lambda item: item.input_digest)
    random.Random(seed).shuffle(shuffled)  # noqa: S311 - no secret
    groups: dict[str, list[Item]] = {}
    for item in shuffled:
        groups.setdefault(as_text(item.outputs.get(field)), []).append(item)
    longest = max(map(len, groups.values()), default=0)
    return [group[index] for index in range(longest) for group in groups.values() if index < len(group)]
