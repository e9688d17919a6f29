"""OTLP's JSON as plain values: attributes, identifiers, instants.

What belongs here: the encoding alone (int64 as text, values wrapped by their type). What an attribute means is
`otel_messages.py` and `otel_spans.py`.
"""

from __future__ import annotations

import base64
import binascii
import re
from typing import Any

from pipelines.runs.records import JsonObject, as_list, as_object, as_text

_HEX = re.compile(r"^(?:[0-9a-fA-F]{16}|[0-9a-fA-F]{32})$")
# Eight or sixteen bytes, as encoders of Protobuf that do not know OTLP write them.
_BASE64 = re.compile(r"^(?:[A-Za-z0-9+/]{11}=|[A-Za-z0-9+/]{22}==)$")
_NO_ID = re.compile(r"^0*$")
# 2262 is the last year whose nanoseconds fit.
_LATEST_NS = 2**63 - 1


def attributes_of(given: object) -> JsonObject:
    """Attributes as an object; of two with one key the last counts."""
    if isinstance(given, dict):
        return given
    return {
        key: plain_value(pair.get("value"))
        for pair in map(as_object, as_list(given))
        if isinstance(key := pair.get("key"), str)
    }


def plain_value(given: object) -> Any:  # noqa: ANN401  # JSON
    """The value that is wrapped in its type; bytes stay base64 text."""
    value = as_object(given)
    if not value and not isinstance(given, dict):
        return given
    for kind, item in value.items():
        if kind == "intValue":
            return _whole(item)
        if kind == "arrayValue":
            return [plain_value(entry) for entry in as_list(as_object(item).get("values"))]
        if kind == "kvlistValue":
            return attributes_of(as_list(as_object(item).get("values")))
        if kind in ("stringValue", "boolValue", "doubleValue", "bytesValue"):
            return item
    return None


def identifier(given: object) -> str | None:
    """A trace's or span's id in lower-case hex; other texts as they are, and none for zeros."""
    text = as_text(given) if isinstance(given, str | int) else None
    if text is None or _NO_ID.match(text):
        return None
    if _HEX.match(text):
        return text.lower()
    if _BASE64.match(text):
        try:
            return base64.b64decode(text, validate=True).hex()
        except binascii.Error:
            return text
    return text


def nanoseconds(given: object) -> int | None:
    """Nanoseconds since 1970, which JSON holds as text; None for nothing, 0 and what does not fit."""
    number = _whole(given)
    is_time = isinstance(number, int) and not isinstance(number, bool) and 0 < number <= _LATEST_NS
    return number if is_time else None


def _whole(given: object) -> Any:  # noqa: ANN401  # JSON
    # More digits would be no 64-bit number, and Python refuses to read thousands of them.
    if isinstance(given, str) and len(given) <= 20 and given.lstrip("-").isascii() and given.lstrip("-").isdigit():  # noqa: PLR2004
        return int(given)
    return int(given) if isinstance(given, float) and given.is_integer() and abs(given) <= _LATEST_NS else given
