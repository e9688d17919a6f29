"""Microseconds of a trace as whole nanoseconds, without rounding errors.

Traces write microseconds with three decimals. Up to 101 days a float is near enough to its text to tell which
thousandth was written; beyond (microseconds since 1970, as some versions of PyTorch write) it is not, and the text is
read instead.
"""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from decimal import ROUND_HALF_EVEN, Decimal, InvalidOperation
from typing import Any

import numpy as np
import polars as pl

# Up to here neighbouring floats are less than a thousandth apart, so that no two thousandths share one.
_EXACT_MICROSECONDS = 2**43
# A start, a base and a duration below this add up within 64 bits; it is the year 2115 in nanoseconds since 1970.
_MAX_NANOSECONDS = 2**62
_TIME = re.compile(rb'"ts"\s*:\s*(-?\d+(?:\.\d+)?(?:[eE][-+]?\d+)?)')


def nanoseconds(value: object) -> int | None:
    """One time in nanoseconds, from a number or a numeric text; None if it is none, or none that fits."""
    if isinstance(value, bool) or not isinstance(value, int | float | str | Decimal):
        return None
    try:
        # The shortest text of a float is the one that was written.
        exact = value if isinstance(value, Decimal) else Decimal(str(value))
    except InvalidOperation:
        return None
    if not exact.is_finite() or abs(exact) > _MAX_NANOSECONDS // 1000:
        return None
    return int((exact * 1000).to_integral_value(ROUND_HALF_EVEN))


def nanosecond_column(values: Sequence[int | float]) -> pl.Series | None:
    """Many times in nanoseconds; None if one of them needs its text, is not finite or too large."""
    if set(map(type, values)) <= {int}:
        return _whole_column(values)
    try:
        given = np.array(values, dtype=np.float64)
    except OverflowError:
        return None
    if not (np.abs(given) < _EXACT_MICROSECONDS).all():
        return None
    near = np.rint(given * 1000)
    found = near.copy()
    # Divided by NumPy, because Polars multiplies by the inverse, which is another float for one time in thousands.
    for step in (-1, 1, 0):
        np.copyto(found, near + step, where=(near + step) / 1000 == given)
    return pl.Series(found.astype(np.int64))


def _whole_column(values: Sequence[int | float]) -> pl.Series | None:
    if values and max(map(abs, values)) > _MAX_NANOSECONDS // 1000:
        return None
    return pl.Series(values, dtype=pl.Int64) * 1000


def needs_text(value: object) -> bool:
    """Whether a time was read into a float that is too coarse for it."""
    return isinstance(value, float) and abs(value) >= _EXACT_MICROSECONDS


def times_as_written(raw: bytes, events: Sequence[Any]) -> list[object]:
    """The `ts` of each event, exact, from the text that the events were parsed from; None where there is none."""
    texts = _TIME.findall(raw)
    given = [event.get("ts") if isinstance(event, dict) else None for event in events]
    if len(texts) == len(given) and all(_is_text_of(text, value) for text, value in zip(texts, given, strict=True)):
        return [Decimal(text.decode()) for text in texts]
    try:
        parsed = json.loads(b"[" + raw + b"]", parse_float=Decimal)
    except (ValueError, RecursionError):
        return given
    return [event.get("ts") if isinstance(event, dict) else None for event in parsed]


def _is_text_of(text: bytes, value: object) -> bool:
    return isinstance(value, int | float) and float(text) == value
