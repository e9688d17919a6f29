"""What is made from the declaration of the run file for other people: its JSON Schema and the rows of its field tables.

The declaration itself is `run_format.py`.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from pydantic import BaseModel
from pydantic.json_schema import models_json_schema

from pipelines.runs.run_format import LINES, SCHEMA_VERSION, words_of

SCHEMA_ID = f"urn:benchlake:run:{SCHEMA_VERSION}"
SCHEMA_DIALECT = "https://json-schema.org/draft/2020-12/schema"


@dataclass(frozen=True)
class FieldWords:
    """A field for the docs."""

    name: str
    allowed: str
    unit: str
    is_needed: bool
    description: str


def describe_fields(part: type[BaseModel]) -> Iterator[FieldWords]:
    """The fields of a line or a part of one, in their order."""
    for name, info in part.model_fields.items():
        allowed, unit = words_of(info)
        yield FieldWords(name, allowed, unit, info.is_required(), info.description or "")


def json_schema() -> dict[str, Any]:
    """The JSON Schema (draft 2020-12) of one line of a run file, with a definition for each type."""
    definitions = models_json_schema([(model, "validation") for model in LINES.values()])[1]["$defs"]
    for definition in definitions.values():
        _tidy(definition)
    return {
        "$schema": SCHEMA_DIALECT,
        "$id": SCHEMA_ID,
        "title": "A line of a Benchlake run file",
        "description": "JSON lines, one run a file: first the run, then the rest in any order, then the end. "
        "Keys that are not declared are allowed and kept.",
        "oneOf": [{"$ref": f"#/$defs/{model.__name__}"} for model in LINES.values()],
        "$defs": definitions,
    }


def _tidy(definition: dict[str, Any]) -> None:
    """Say in the description what a reader of the schema must know, and drop what only our docs use."""
    definition.pop("title", None)
    for field in definition.get("properties", {}).values():
        field.pop("title", None)
        allowed, unit = field.pop("allowed"), field.pop("unit")
        field["description"] = field["description"].replace("[metrics](../metrics.md)", "docs/metrics.md")
        field["description"] += f" Allowed: {allowed}." + (f" Unit: {unit}." if unit else "")
        if field.get("default", ...) is None:
            del field["default"]
        _merge_null(field)


def _merge_null(field: dict[str, Any]) -> None:
    """`anyOf` a plain type and null, as one type list: what people read and write."""
    choices = [choice for choice in field.get("anyOf", ()) if choice != {"type": "null"}]
    if len(choices) != 1 or len(field["anyOf"]) == 1 or "type" not in choices[0]:
        return
    del field["anyOf"]
    field.update(choices[0])
    field["type"] = [choices[0]["type"], "null"]
    if "enum" in field:
        field["enum"] = [*field["enum"], None]
