"""Parameters of a run, from the JSON that its source wrote to typed rows.

What belongs here: flattening and typing. Which settings a format has is each importer's business.
"""

from __future__ import annotations

import datetime as dt
import math
from collections.abc import Iterator, Mapping
from typing import NamedTuple

import orjson

from pipelines.runs.records import JsonObject, canonical_json

# Beyond this depth an object is kept as JSON: nobody looks for a parameter there.
_MAX_DEPTH = 6
# Endings of names that tell a unit, the longer ones first.
UNITS_BY_ENDING = {
    "_per_second": "1/s",
    "_seconds": "s",
    "_secs": "s",
    "_sec": "s",
    "_ms": "ms",
    "_us": "us",
    "_ns": "ns",
    "_bytes": "bytes",
    "_mb": "MB",
    "_gb": "GB",
    "_gib": "GiB",
    "_tokens": "tokens",
}


class ParamRow(NamedTuple):
    """One row of silver.run_params."""

    run_id: str
    parameter: str
    run_date: dt.date
    value: str | None
    value_type: str
    number: float | None
    unit: str | None


def read_parameters(
    run_id: str, run_date: dt.date, parameters: str | None, *, units: Mapping[str, str] | None = None
) -> list[ParamRow]:
    """Rows of one run from the JSON text in silver.runs; of two names that flatten alike the first counts."""
    if parameters is None:
        return []
    rows: dict[str, ParamRow] = {}
    for name, value in _flat("", orjson.loads(parameters), 0):
        text, value_type, number = _typed(value)
        unit = ((units or {}).get(name) or unit_of(name)) if number is not None else None
        rows.setdefault(name, ParamRow(run_id, name, run_date, text, value_type, number, unit))
    return list(rows.values())


def unit_of(name: str) -> str | None:
    """The unit that a name ends with, or None."""
    lowered = name.lower()
    return next((unit for ending, unit in UNITS_BY_ENDING.items() if lowered.endswith(ending)), None)


def _flat(prefix: str, value: object, depth: int) -> Iterator[tuple[str, object]]:
    if isinstance(value, dict) and value and depth < _MAX_DEPTH:
        for key, item in value.items():
            yield from _flat(f"{prefix}.{key}" if prefix else str(key), item, depth + 1)
    else:
        yield prefix or "value", value


def _typed(value: object) -> tuple[str | None, str, float | None]:
    """Text, type and number of a JSON value; a numeric text (as MLflow and model arguments have) is a number too."""
    if value is None:
        return None, "null", None
    if isinstance(value, bool):
        return ("true", "boolean", 1.0) if value else ("false", "boolean", 0.0)
    if isinstance(value, int | float):
        return canonical_json(value), "number", float(value) if math.isfinite(value) else None
    if isinstance(value, str):
        return value, "text", _number(value)
    return canonical_json(value), "json", None


def _number(text: str) -> float | None:
    try:
        number = float(text)
    except ValueError:
        return None
    return number if math.isfinite(number) else None


def as_parameters(value: JsonObject) -> str | None:
    """Canonical JSON for silver.runs.parameters; None for nothing at all."""
    return canonical_json(value) if value else None
