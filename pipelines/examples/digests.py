"""What tells examples apart: the digest of their input fields, and the id that follows from their content.

Nothing here reads a lake. DSPy rebuilds bootstrapped demos without their extra keys, so the digest covers the
signature's input fields alone; it is the one link from a demo back to its example.
"""

from __future__ import annotations

from collections.abc import Mapping

from lake.identity import derived_id, text_digest
from pipelines.databits.units import canonical_text


def input_digest(inputs: Mapping[str, object]) -> str:
    """SHA-256 of the canonical JSON of the input fields: the same for the same fields in any order.

    Raises `UserError` for what JSON cannot say.
    """
    return text_digest(canonical_text(dict(inputs)))


def derived_example_id(*, function_name: str | None, inputs: Mapping[str, object], expected_output: object) -> str:
    """The id of an example that brings none: the same content for the same function is the same example.

    It stays when the example is edited, so that importing a file again finds what was made of it.
    """
    return derived_id(
        "example", function_name or "", input_digest(inputs), text_digest(canonical_text(expected_output))
    )
