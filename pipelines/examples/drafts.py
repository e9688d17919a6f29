"""What an example is before it is a row: the draft, the data unit that holds it, and the way back from that unit.

Pure. Content lives in the unit's versions (`silver.databits`); a row of `silver.examples` can always be made of the
unit's versions alone, so nothing is lost when a write is cut off between the two.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from lake.errors import UserError
from lake.identity import derived_id, text_digest
from pipelines.databits.units import DatabitKey, Draft, canonical_text, parse_content
from pipelines.embeddings.texts import text_of_json
from pipelines.examples.digests import derived_example_id, input_digest

# Search keys of a unit that say that it is an example, which one, and what it is labelled with.
_ID_KEY, _FUNCTION_KEY, _DOMAIN_KEY, _TAG_KEY = "example=", "function=", "domain=", "tag="


@dataclass(frozen=True, kw_only=True)
class ExampleDraft:
    """An example as it should be.

    `inputs` are the input fields by name, `expected_output` a text or an object of output fields. `license` is an
    SPDX expression, None while unknown. An absent `example_id` is derived from the content; give one that is derived
    from the source where the source may change what the example says.
    """

    inputs: Mapping[str, Any]
    expected_output: Any
    example_id: str | None = None
    function_name: str | None = None
    domain: str | None = None
    tags: Sequence[str] = ()
    source: str | None = None
    license: str | None = None
    creator: str | None = None
    derived_from: Sequence[DatabitKey] = ()

    def key_id(self) -> str:
        """The example's id: as given, else derived from what it says."""
        return self.example_id or derived_example_id(
            function_name=self.function_name, inputs=self.inputs, expected_output=self.expected_output
        )


def unit_id_of(example_id: str) -> str:
    """The id of the data unit that holds an example."""
    return derived_id("databit", "example", example_id)


def check_example(draft: ExampleDraft) -> None:
    """Raises `UserError` that says what is missing or malformed."""
    if not isinstance(draft.inputs, Mapping) or not draft.inputs:
        raise UserError(f"An example needs inputs: an object of at least one field, given: {draft.inputs!r:.80}")
    for name in draft.inputs:
        if not isinstance(name, str) or not name.strip():
            raise UserError(f"The name of an input field must be a text, given: {name!r:.80}")
    if not text_of_json(canonical_text(dict(draft.inputs))).strip():
        raise UserError("The inputs of an example must not be empty.")
    if draft.expected_output is None or draft.expected_output in ("", {}):
        raise UserError("An example needs an expected output: a text, or an object of output fields.")
    for label in (draft.function_name, draft.domain, *draft.tags):
        if label is not None and (not isinstance(label, str) or not label.strip()):
            raise UserError(f"Function, domain and tags must be texts that are not empty, given: {label!r:.80}")


def unit_draft(draft: ExampleDraft) -> Draft:
    """The data unit that holds the example. Raises `UserError` as `check_example`."""
    check_example(draft)
    example_id = draft.key_id()
    return Draft(
        databit_id=unit_id_of(example_id),
        content=unit_content(draft.inputs, draft.expected_output),
        creator=draft.creator,
        source=draft.source,
        license=draft.license,
        derived_from=draft.derived_from,
        modality=["text"],
        search_keys=search_keys(example_id, function_name=draft.function_name, domain=draft.domain, tags=draft.tags),
    )


def unit_content(inputs: Mapping[str, Any], expected_output: object) -> dict[str, Any]:
    """What the unit of an example holds."""
    return {"inputs": dict(inputs), "expected_output": expected_output}


def search_keys(example_id: str, *, function_name: str | None, domain: str | None, tags: Sequence[str]) -> list[str]:
    """The search keys of an example's unit, sorted."""
    keys = [f"{_ID_KEY}{example_id}", *(f"{_TAG_KEY}{tag.strip()}" for tag in tags)]
    if function_name is not None:
        keys.append(f"{_FUNCTION_KEY}{function_name}")
    if domain is not None:
        keys.append(f"{_DOMAIN_KEY}{domain}")
    return sorted(set(keys))


def example_id_of(keys: Sequence[str]) -> str | None:
    """The example that a unit with these search keys holds; None if it holds none."""
    return _labelled(keys, _ID_KEY)


def example_columns(unit: Mapping[str, Any]) -> dict[str, object]:
    """The columns of silver.examples that follow from a version of its unit (a row of silver.databits).

    Raises `UserError` when the unit does not hold an example.
    """
    keys = unit["search_keys"]
    example_id, content = example_id_of(keys), parse_content(unit["content"])
    if example_id is None or not isinstance(content, dict) or not isinstance(content.get("inputs"), dict):
        raise UserError(
            f"DataBit {unit['databit_id']}@{unit['version']} holds no example: its content must be "
            '{"inputs": {…}, "expected_output": …}.'
        )
    inputs = canonical_text(content["inputs"])
    output = content.get("expected_output")
    return {
        "example_id": example_id,
        "databit_id": unit["databit_id"],
        "databit_version": unit["version"],
        "inputs": inputs,
        "expected_output": output if isinstance(output, str) else canonical_text(output),
        "function_name": _labelled(keys, _FUNCTION_KEY),
        "domain": _labelled(keys, _DOMAIN_KEY),
        "tags": sorted(key.removeprefix(_TAG_KEY) for key in keys if key.startswith(_TAG_KEY)),
        "source": unit["attribution"]["source"],
        "license": unit["attribution"]["license"],
        "input_digest": input_digest(content["inputs"]),
        "text_digest": text_digest(text_of_json(inputs)),
        "updated_at": unit["created_at"],
        "updated_by": unit["created_by"],
        "is_deleted": unit["is_deleted"],
    }


def _labelled(keys: Sequence[str], label: str) -> str | None:
    return next((key.removeprefix(label) for key in keys if key.startswith(label)), None)
