"""Cells of a CSV file as values: numbers, steps and instants, in the ways that people write them.

What belongs here: one cell. Which columns hold what is `metrics_csv_shape.py`.
"""

from __future__ import annotations

import datetime as dt
import math
import re

from pipelines.runs.records import as_instant

# What tools write for nothing.
_MISSING = frozenset({"", "na", "n/a", "null", "none", "-", "--"})
_DECIMAL_COMMA = re.compile(r"^[+-]?\d+,\d+$")
_INSTANT = re.compile(
    r"^(?P<year>\d{4})[-./](?P<month>\d{1,2})[-./](?P<day>\d{1,2})"
    r"(?:[T ]+(?P<hour>\d{1,2}):(?P<minute>\d{2})(?::(?P<second>\d{2}(?:[.,]\d{1,9})?))?"
    r"\s*(?P<zone>Z|UTC|GMT|[+-]\d{2}:?\d{2})?)?$"
)
# Epochs by their size: seconds from 1973, then milliseconds, microseconds and nanoseconds, all until the year 2286.
_EPOCHS = ((1e8, 1e10, 1.0), (1e11, 1e13, 1e3), (1e14, 1e16, 1e6), (1e17, 1e19, 1e9))
_LARGEST_STEP = 2**63 - 1


def is_missing(cell: str) -> bool:
    """Whether a cell says that there is nothing."""
    return cell.strip().lower() in _MISSING


def read_number(cell: str, *, has_decimal_comma: bool = False) -> float | None:
    """The number in a cell, NaN and infinity too; None for what is none."""
    text = cell.strip()
    if has_decimal_comma and _DECIMAL_COMMA.match(text):
        text = text.replace(",", ".")
    try:
        return None if "_" in text else float(text)
    except ValueError:
        return None


def is_number(cell: str) -> bool:
    """Whether a cell holds a number, with a point or a comma."""
    return read_number(cell, has_decimal_comma=True) is not None


def read_step(cell: str) -> int | None:
    """A whole number, also written 10.0."""
    number = read_number(cell)
    if number is None or not math.isfinite(number) or not number.is_integer() or abs(number) > _LARGEST_STEP:
        return None
    text = cell.strip()
    step = int(text) if text.lstrip("+-").isdecimal() else int(number)
    return step if abs(step) <= _LARGEST_STEP else None


def is_whole(cell: str) -> bool:
    """Whether a cell can be a step."""
    return read_step(cell) is not None


def read_instant(cell: str) -> dt.datetime | None:
    """A UTC instant: year first, with any of the usual separators, or an epoch; without an offset it is UTC."""
    text = cell.strip()
    match = _INSTANT.match(text)
    if match is None:
        number = read_number(text)
        scale = next((scale for low, high, scale in _EPOCHS if number is not None and low <= number < high), None)
        return None if number is None or scale is None else as_instant(number / scale, "time", [])
    parts = match.groupdict()
    day = f"{parts['year']}-{int(parts['month']):02}-{int(parts['day']):02}"
    if parts["hour"] is None:
        return as_instant(day, "time", [])
    clock = f"{int(parts['hour']):02}:{parts['minute']}:{(parts['second'] or '00').replace(',', '.')}"
    zone = parts["zone"] or "Z"
    return as_instant(f"{day}T{clock}{'Z' if zone in ('UTC', 'GMT') else zone}", "time", [])
