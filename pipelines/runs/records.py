"""One record of a file: from bytes to a value, and from a value to a typed field.

What belongs here: JSON as other tools write it (NaN, lone surrogates), and reading a field that may hold anything.
Every reader returns None for what it cannot use and notes a `Fault`, so that the rest of the record still lands.
Where the bytes come from is `sources.py`; which fields a format has is `importers/`.
"""

from __future__ import annotations

import datetime as dt
import json
import math
import re
from dataclasses import dataclass
from typing import Any

import orjson

from lake.errors import UserError

JsonObject = dict[str, Any]

# What a value of the wrong shape can raise in code that reads it; one such record is refused, not the file.
SHAPE_ERRORS = (TypeError, ValueError, KeyError, AttributeError, IndexError, OverflowError, RecursionError)

_INT64_MAX = 2**63 - 1
_INT32_MAX = 2**31 - 1
_SURROGATES = re.compile("[\ud800-\udfff]")
_NOT_FINITE = object()


class RecordError(UserError):
    """A record that cannot be read; `rule` names what it broke."""

    def __init__(self, rule: str, message: str) -> None:
        super().__init__(message)
        self.rule = rule


@dataclass(frozen=True)
class Fault:
    """A field that could not be used while its record landed."""

    rule: str
    message: str
    raw: str | None = None


def parse_json(raw: bytes) -> tuple[Any, list[Fault]]:
    """The value of JSON bytes, with faults for NaN and infinity (null in the value) that name their field.

    orjson reads nearly everything; what it refuses is read again by the tolerant standard library. Raises
    `RecordError` when that cannot read it either.
    """
    try:
        return orjson.loads(raw), []
    except orjson.JSONDecodeError:
        return _parse_tolerantly(raw)


def parse_object(raw: bytes) -> tuple[JsonObject, list[Fault]]:
    """`parse_json` for a record that must be an object."""
    faults: list[Fault] = []
    try:
        value = orjson.loads(raw)
    except orjson.JSONDecodeError:
        value, faults = _parse_tolerantly(raw)
    if not isinstance(value, dict):
        raise RecordError("object", f"A record must be a JSON object, this is {_kind(value)}.")
    return value, faults


def _parse_tolerantly(raw: bytes) -> tuple[Any, list[Fault]]:
    try:
        text = raw.decode("utf-8")
    except UnicodeDecodeError as error:
        raise RecordError(
            "encoding", f"Byte {error.start} is not UTF-8 (0x{raw[error.start]:02x}). Write the file as UTF-8."
        ) from None
    faults: list[Fault] = []
    try:
        return _mend(json.loads(text, parse_constant=lambda _: _NOT_FINITE), "", faults), faults
    except RecursionError:
        raise RecordError("json", "The JSON is nested too deeply to be read.") from None
    except json.JSONDecodeError as error:
        raise RecordError("json", f"Not valid JSON: {error.msg} at character {error.pos}.") from None
    except ValueError as error:
        raise RecordError("json", f"Not valid JSON: {error}.") from None


def _mend(value: object, path: str, faults: list[Fault]) -> object:
    """Null for what is not finite, U+FFFD for lone surrogates, which neither Arrow nor UTF-8 can hold."""
    if value is _NOT_FINITE:
        faults.append(
            Fault(
                f"{path or 'value'}: finite",
                f"{path or 'The value'} is NaN or infinite, which is not a measurement; it is stored as null.",
            )
        )
        return None
    if isinstance(value, str):
        return _SURROGATES.sub("\ufffd", value)
    if isinstance(value, list):
        return [_mend(item, f"{path}[{index}]", faults) for index, item in enumerate(value)]
    if isinstance(value, dict):
        # The path too, which is told when something in the value cannot be used.
        members = ((_SURROGATES.sub("\ufffd", key), item) for key, item in value.items())
        return {key: _mend(item, f"{path}.{key}" if path else key, faults) for key, item in members}
    return value


def as_object(value: object) -> JsonObject:
    """`value` if it is an object, else an empty one: for optional parts of a record."""
    return value if isinstance(value, dict) else {}


def as_list(value: object) -> list[Any]:
    """`value` if it is a list, else an empty one."""
    return value if isinstance(value, list) else []


def as_text(value: object) -> str | None:
    """Text as it is; anything else as compact JSON, so that nothing is lost; None for null."""
    if value is None or isinstance(value, str):
        return value
    # Most ids are small integers, and this is what JSON makes of them too.
    return str(value) if type(value) is int else canonical_json(value)


def canonical_json(value: object) -> str:
    """Compact JSON with sorted keys, the text form of open-ended columns."""
    try:
        return orjson.dumps(value, option=orjson.OPT_SORT_KEYS | orjson.OPT_NON_STR_KEYS).decode()
    except (TypeError, ValueError):
        # Integers beyond 64 bits.
        return json.dumps(value, sort_keys=True, separators=(",", ":"), default=str)


def as_number(value: object, field: str, faults: list[Fault], *, minimum: float | None = None) -> float | None:
    """A finite number, also from a numeric text or a truth value (1 or 0)."""
    if value is None:
        return None
    # Nearly every number is read by this line; NaN and infinity less themselves are no zero.
    if type(value) is float and value - value == 0 and (minimum is None or value >= minimum):
        return value
    try:
        number = float(value) if isinstance(value, int | float | str) else math.nan
    except (ValueError, OverflowError):
        number = math.nan
    if not math.isfinite(number):
        faults.append(_fault(field, "finite", "must be a finite number", value))
        return None
    if minimum is not None and number < minimum:
        faults.append(_fault(field, f"min {minimum:g}", f"must not be below {minimum:g}", value))
        return None
    return number


def as_scaled(value: object, field: str, faults: list[Fault], *, by: float) -> float | None:
    """A number from 0 in another unit, for instance seconds `by=1000` as milliseconds; still finite after that."""
    number = as_number(value, field, faults, minimum=0)
    return None if number is None else as_number(number * by, field, faults)


def as_count(value: object, field: str, faults: list[Fault], *, maximum: int = _INT64_MAX) -> int | None:
    """A whole number from 0 to `maximum`, also written as a float."""
    if value is None:
        return None
    if type(value) is int and 0 <= value <= maximum:
        return value
    number = int(value) if isinstance(value, float) and value.is_integer() else value
    if isinstance(number, bool) or not isinstance(number, int) or not 0 <= number <= maximum:
        faults.append(_fault(field, "count", f"must be a whole number from 0 to {maximum}", value))
        return None
    return number


def as_whole(value: object, field: str, faults: list[Fault]) -> int | None:
    """A whole number of 64 bits, of either sign, also written as a float."""
    if value is None:
        return None
    number = int(value) if isinstance(value, float) and value.is_integer() else value
    if isinstance(number, bool) or not isinstance(number, int) or not -_INT64_MAX <= number <= _INT64_MAX:
        faults.append(_fault(field, "whole", "must be a whole number of 64 bits", value))
        return None
    return number


def as_index(value: object, field: str, faults: list[Fault]) -> int | None:
    """A position that fits 32 bits, from 0."""
    return as_count(value, field, faults, maximum=_INT32_MAX)


def as_instant(value: object, field: str, faults: list[Fault]) -> dt.datetime | None:
    """A UTC instant from ISO 8601 text (no offset means UTC) or seconds since 1970."""
    if value is None:
        return None
    try:
        if isinstance(value, str):
            moment = dt.datetime.fromisoformat(value)
        elif isinstance(value, int | float) and not isinstance(value, bool):
            moment = dt.datetime.fromtimestamp(value, tz=dt.UTC)
        else:
            moment = None
        if moment is not None:
            return moment.replace(tzinfo=dt.UTC) if moment.tzinfo is None else moment.astimezone(dt.UTC)
    except (ValueError, OverflowError, OSError):
        pass
    faults.append(_fault(field, "instant", "must be an ISO 8601 instant or seconds since 1970", value))
    return None


def as_bytes(value: object, field: str, faults: list[Fault]) -> bytes | None:
    """Bytes that JSON holds as a list of whole numbers."""
    if value is None:
        return None
    try:
        if isinstance(value, list):
            return bytes(value)
    except (TypeError, ValueError):
        pass
    faults.append(_fault(field, "bytes", "must be a list of whole numbers from 0 to 255", value))
    return None


def as_flag(value: object) -> bool | None:
    """A truth value; anything else is unknown."""
    return value if isinstance(value, bool) else None


def as_tags(value: object) -> list[str]:
    """Labels, sorted and without repeats; entries that are no text are written as JSON."""
    return sorted({text for item in as_list(value) if (text := as_text(item)) is not None})


def _fault(field: str, rule: str, requirement: str, value: object) -> Fault:
    shown = canonical_json(value)[:200] if not isinstance(value, float) else repr(value)
    return Fault(f"{field}: {rule}", f"{field} {requirement}, not {shown[:80]}; it is stored as null.", shown)


def _kind(value: object) -> str:
    names = {list: "a list", str: "text", bool: "a truth value", int: "a number", float: "a number", type(None): "null"}
    return names.get(type(value), type(value).__name__)
