"""Content as people type it: a text, JSON, or standard input."""

from __future__ import annotations

import sys
from typing import Any


def read_content(text: str | None, *, is_json: bool) -> Any:  # noqa: ANN401 - any JSON value
    """The content that a command was given; `-` reads standard input. Raises `UserError` when there is none."""
    from lake.errors import UserError
    from pipelines.databits.units import parse_json

    if text is None:
        raise UserError("Give the content, or - to read it from standard input.")
    given = sys.stdin.read() if text == "-" else text
    if not is_json:
        return given
    try:
        return parse_json(given.encode())
    except ValueError as error:
        raise UserError(f"The content is no JSON: {error}. Without --content-json it is taken as a text.") from error
