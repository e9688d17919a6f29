"""What tells examples apart: the digest of their input fields; and the texts by which they are found.

Nothing here reads a lake. DSPy rebuilds bootstrapped demos without their extra keys, so the digest covers the
signature's input fields alone; it is the one link from a demo back to its example.
"""

from __future__ import annotations

import json
from collections.abc import Mapping

import orjson

from lake.errors import UserError
from lake.identity import derived_id, text_digest

_OPTIONS = orjson.OPT_SORT_KEYS | orjson.OPT_NON_STR_KEYS


def canonical_json(value: object) -> str:
    """`value` as JSON text with sorted keys and no white space; raises `UserError` for what JSON cannot say."""
    try:
        return orjson.dumps(value, option=_OPTIONS).decode()
    except orjson.JSONEncodeError:
        pass
    # Numbers beyond 64 bits and lone surrogates, which orjson refuses.
    try:
        return json.dumps(value, sort_keys=True, ensure_ascii=False, separators=(",", ":"), allow_nan=False)
    except (TypeError, ValueError) as error:
        raise UserError(f"{value!r:.200} cannot be written as JSON: {error}.") from error


def input_digest(inputs: Mapping[str, object]) -> str:
    """SHA-256 of the canonical JSON of the input fields: the same for the same fields in any order."""
    return text_digest(canonical_json(dict(inputs)))


def example_id(*, function_name: str | None, digest: str, expected_output: str) -> str:
    """The id that an example gets when it is created: the same content for the same function is the same example.

    It stays when the example is edited, so that importing a file again finds what was made of it.
    """
    return derived_id("example", function_name or "", digest, text_digest(expected_output))


def input_text(inputs: Mapping[str, object]) -> str:
    """The inputs as the text that is embedded: the value alone where there is one field, else `name: value` lines."""
    texts = {name: value if isinstance(value, str) else canonical_json(value) for name, value in inputs.items()}
    if len(texts) == 1:
        return next(iter(texts.values()))
    return "\n".join(f"{name}: {text}" for name, text in texts.items())


def fields_of(text: str) -> dict[str, object]:
    """Input fields from the JSON text of silver.examples."""
    fields = orjson.loads(text)
    if not isinstance(fields, dict):
        raise UserError(f"Inputs must be a JSON object of fields, given: {text:.80}")
    return fields
