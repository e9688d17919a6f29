"""Records of other people's files as drafts of examples.

Pure: a record in, a draft or a `UserError` that says what is wrong with it. Reading files is `importing.py`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import orjson

from lake.errors import UserError
from pipelines.databits.licenses import canonical_license
from pipelines.examples.drafts import ExampleDraft, check_example

# Names that files of examples use, looked for in this order when nobody says which fields are meant.
INPUT_NAMES = ("inputs", "question", "prompt", "instruction", "query", "input", "text")
OUTPUT_NAMES = ("expected_output", "reference", "answer", "completion", "output", "response", "target", "label")
_LABELS = ("function_name", "domain", "source", "license", "example_id")


@dataclass(frozen=True, kw_only=True)
class FieldMapping:
    """Which fields of a record are inputs and which the expected output; found by name where None.

    Labels that a record does not bring are those given here; `tags` are added to its own.
    """

    inputs: Sequence[str] | None = None
    expected_output: Sequence[str] | None = None
    labels: Mapping[str, str] = field(default_factory=dict)
    tags: Sequence[str] = ()


def draft_of_record(record: object, mapping: FieldMapping, *, source: str) -> ExampleDraft:
    """The example that a record describes; `source` names where it stood, for records that do not say."""
    if not isinstance(record, dict):
        raise UserError(f"A record must be an object of fields, not {type(record).__name__}.")
    labels = {name: record.get(name) or mapping.labels.get(name) for name in _LABELS}
    draft = ExampleDraft(
        inputs=_inputs(record, mapping.inputs),
        expected_output=_output(record, mapping.expected_output),
        example_id=labels["example_id"],
        function_name=labels["function_name"],
        domain=labels["domain"],
        tags=sorted({*_tags(record.get("tags")), *mapping.tags}),
        # An example that was exported knows where it is from, or that nobody said.
        source=labels["source"] or (None if "example_id" in record else source),
        license=None if labels["license"] is None else canonical_license(labels["license"]),
    )
    check_example(draft)
    return draft


def _inputs(record: Mapping[str, Any], names: Sequence[str] | None) -> dict[str, Any]:
    if names is None:
        found = next((name for name in INPUT_NAMES if record.get(name) not in (None, "")), None)
        if found is None:
            raise UserError(f"No field of {', '.join(INPUT_NAMES)} holds an input; name the fields with --input.")
        fields = fields_of(record["inputs"]) if found == "inputs" else None
        if fields is not None:
            return fields
        # Instruction files put the text that an instruction is about into a second field.
        extra = {"input": record["input"]} if found == "instruction" and record.get("input") else {}
        return {found: record[found], **extra}
    missing = [name for name in names if name not in record]
    if missing:
        raise UserError(f"There is no field {missing[0]!r}; the record has {', '.join(map(str, record))}.")
    return {name: record[name] for name in names}


def _output(record: Mapping[str, Any], names: Sequence[str] | None) -> object:
    if names is None:
        found = next((name for name in OUTPUT_NAMES if record.get(name) not in (None, "")), None)
        if found is None:
            raise UserError(f"No field of {', '.join(OUTPUT_NAMES)} holds an output; name the fields with --output.")
        # Our own export, where a table cannot hold an object.
        return (fields_of(record[found]) if "example_id" in record else None) or record[found]
    missing = [name for name in names if record.get(name) is None]
    if missing:
        raise UserError(f"There is no value in {missing[0]!r}; the record has {', '.join(map(str, record))}.")
    return record[names[0]] if len(names) == 1 else {name: record[name] for name in names}


def fields_of(value: object) -> dict[str, Any] | None:
    """An object of fields, or the JSON text of one; None for anything else."""
    if isinstance(value, dict):
        return dict(value)
    if not isinstance(value, str) or not value.startswith("{"):
        return None
    try:
        parsed = orjson.loads(value)
    except orjson.JSONDecodeError:
        return None
    return parsed if isinstance(parsed, dict) else None


def _tags(value: object) -> list[str]:
    if value is None or value == "":
        return []
    if isinstance(value, str):
        return [tag.strip() for tag in value.replace(";", ",").split(",") if tag.strip()]
    if isinstance(value, list) and all(isinstance(tag, str) for tag in value):
        return list(value)
    raise UserError(f"Tags must be a list of texts, or a text with commas, given: {value!r:.80}")
