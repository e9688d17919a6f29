"""What a program hands in to be logged, as plain JSON values that the run format allows.

What belongs here: turning numbers and instants of Python and its number libraries into JSON's, and saying at the call
what cannot be. What each field may hold is declared in `run_format.py`.
"""

from __future__ import annotations

import datetime as dt
import math
from collections.abc import Mapping
from typing import Any

from lake.errors import UserError
from pipelines.runs.run_format import Departure, find_departures
from pipelines.runs.run_lines import Line, instant

_INT64_MIN, _UINT64_MAX = -(2**63), 2**64 - 1
_MAX_DEPTH = 100


def checked(call: str, line: Line) -> dict[str, Any]:
    """`line` in plain values; raises `UserError` naming each argument of `call` that the format does not allow."""
    plain: dict[str, Any] = {name: plain_value(value, f"{call}: {name}") for name, value in line.items()}
    departures = find_departures(plain)
    if departures:
        raise UserError(f"{call}: {' '.join(_in_words(departure, line) for departure in departures)}")
    return plain


def plain_value(value: object, place: str) -> Any:  # noqa: ANN401 - any JSON value
    """`value` as JSON holds it: also scalars of NumPy and torch, instants, tuples and other mappings.

    Raises `UserError` that begins with `place` for what JSON has no form for: other objects, numbers that are not
    finite or too large, names that are no text.
    """
    return _plain(value, place, 0)


def _plain(value: object, place: str, depth: int) -> Any:  # noqa: ANN401 - any JSON value
    if value is None or isinstance(value, bool | str):
        # Not str(value): of a member of an enumeration of texts that is its name.
        return str.__str__(value) if isinstance(value, str) else value
    if isinstance(value, int):
        if not _INT64_MIN <= value <= _UINT64_MAX:
            raise UserError(f"{place} is {value}; allowed: whole numbers of 64 bits. Write it as text.")
        return int(value)
    if isinstance(value, float):
        if not math.isfinite(value):
            raise UserError(f"{place} is {value}; allowed: a finite number. Leave it out, or write it as text.")
        return float(value)
    if isinstance(value, dt.datetime):
        return _instant(value, place)
    return _plain_parts(value, place, depth)


def _plain_parts(value: object, place: str, depth: int) -> Any:  # noqa: ANN401 - any JSON value
    if depth >= _MAX_DEPTH:
        raise UserError(f"{place} is nested deeper than {_MAX_DEPTH} levels, or contains itself.")
    if isinstance(value, Mapping):
        for name in value:
            if not isinstance(name, str):
                raise UserError(f"{place} has the name {name!r}; allowed: names that are text.")
        return {str(name): _plain(item, f"{place}.{name}", depth + 1) for name, item in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(item, f"{place}[{index}]", depth + 1) for index, item in enumerate(value)]
    if getattr(value, "shape", None) == () and callable(getattr(value, "item", None)):
        # A scalar of NumPy, torch or JAX knows its plain number.
        return _plain(value.item(), place, depth + 1)  # type: ignore[attr-defined]  # just looked for
    if isinstance(value, bytes):
        raise UserError(f"{place} is bytes; allowed: text. Decode it first.")
    kind = f"{type(value).__module__}.{type(value).__qualname__}".removeprefix("builtins.")
    raise UserError(f"{place} is a {kind}; allowed: text, numbers, true and false, None, and lists and dicts of these.")


def _instant(value: dt.datetime, place: str) -> str:
    if value.tzinfo is None:
        raise UserError(f"{place} is {value.isoformat()} without a time zone; use datetime.now(UTC).")
    return instant(value)


def _in_words(departure: Departure, line: Line) -> str:
    # A number of NumPy is shown as it was given.
    given = line.get(departure.path, departure.given)
    return Departure(departure.path, departure.allowed, given).message
