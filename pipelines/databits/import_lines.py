"""What a line of an imported file says about a unit. Pure: lines in, rows and refusals out.

What belongs here: members and their shapes. Whether a row becomes a version is `importing.py`.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import polars as pl
import pyarrow as pa

from lake.errors import UserError
from lake.identity import text_digest
from lake.tables import contract_of
from lake.tables.databits import MODALITIES
from pipelines.databits.import_files import Line
from pipelines.databits.units import DATABITS, canonical_text, guess_modality, parse_content, unit_id
from pipelines.databits.writing import DRAFT_SCHEMA

_TYPES = contract_of(DATABITS).dtypes
LINE_SCHEMA: dict[str, pl.DataType] = DRAFT_SCHEMA | {
    "line_index": pl.Int64(),
    "version": _TYPES["version"],
    "is_deleted": pl.Boolean(),
    "change_note": pl.String(),
    "created_at": _TYPES["created_at"],
    "created_by": pl.String(),
}
_ARROW_SCHEMA = pl.DataFrame(schema=LINE_SCHEMA).to_arrow(compat_level=pl.CompatLevel.oldest()).schema
# The whole line is the content.
WHOLE_LINE = "."


@dataclass(frozen=True, kw_only=True)
class ImportOptions:
    """How lines become units.

    `content_member` holds the content; `.` is the whole line. `id_member` holds what tells units of this source apart,
    so that a line that changed is a new version; without it a unit is known by its content. What a line does not say
    of itself is taken from `creator`, `license` and `search_keys`. `source` names where the units are from.
    """

    source: str
    content_member: str = "content"
    id_member: str | None = None
    creator: str | None = None
    license: str | None = None
    search_keys: tuple[str, ...] = ()


class Refusal(NamedTuple):
    """A line that cannot be a version: its number, which rule it breaks, and what to do about it."""

    line_index: int
    rule: str
    message: str
    raw: str | None = None


class _BadLineError(Exception):
    """Why a line is no unit; caught per line."""


def parse_lines(lines: Sequence[Line], options: ImportOptions) -> tuple[pl.DataFrame, list[Refusal]]:
    """Rows of `LINE_SCHEMA`, and the lines that are no units with the reason."""
    columns: dict[str, list[Any]] = {name: [] for name in LINE_SCHEMA}
    refusals = []
    for line in lines:
        try:
            row = _parse(line, options)
        except (_BadLineError, UserError) as error:
            refusals.append(Refusal(line.number, "unit", str(error), line.raw))
            continue
        for name, values in columns.items():
            values.append(row[name])
    # Arrow builds lists of structs a hundred times as fast as Polars does from Python objects.
    arrays = [pa.array(columns[field.name], type=field.type) for field in _ARROW_SCHEMA]
    return pl.DataFrame(pa.table(arrays, schema=_ARROW_SCHEMA)).cast(pl.Schema(LINE_SCHEMA)), refusals


def _parse(line: Line, options: ImportOptions) -> dict[str, Any]:
    if line.problem is not None:
        raise _BadLineError(line.problem)
    value = line.value
    if not isinstance(value, dict):
        raise _BadLineError("it is no JSON object; write one unit a line, as an object with the member content")
    content, text = _content(line, options)
    given = {} if options.content_member == WHOLE_LINE else value
    attribution: Mapping[str, Any] = given["attribution"] if isinstance(given.get("attribution"), dict) else given
    databit_id, source = _identity(value, given, attribution, text, options)
    return {
        "line_index": line.number,
        "databit_id": databit_id,
        "content": text,
        "content_digest": text_digest(text),
        "modality": _modality(given.get("modality"), content),
        "attribution": {
            "creator": _text(attribution, "creator") or options.creator,
            "source": source,
            "license": _text(attribution, "license") or options.license,
            "derived_from": _derived_from(attribution.get("derived_from")),
        },
        "quality_scores": _scores(given.get("quality_scores")),
        "search_keys": sorted({*_words(given.get("search_keys")), *options.search_keys}),
        "version": _version(given.get("version")),
        "is_deleted": given.get("is_deleted") is True,
        "change_note": _text(given, "change_note"),
        "created_at": _instant(given.get("created_at")),
        "created_by": _text(given, "created_by"),
    }


def _content(line: Line, options: ImportOptions) -> tuple[Any, str]:
    if options.content_member == WHOLE_LINE:
        return line.value, canonical_text(line.value)
    if options.content_member not in line.value:
        members = ", ".join(list(line.value)[:8]) or "none"
        raise _BadLineError(
            f"it has no member {options.content_member!r} (it has: {members}); name the one that holds the content "
            "with --content MEMBER, or --content . for the whole line"
        )
    content = line.value[options.content_member]
    if not line.is_json_text or not isinstance(content, str):
        return content, canonical_text(content)
    try:
        parsed = parse_content(content)
    except ValueError as error:
        raise _BadLineError(f"its content is no JSON text: {error}") from error
    return parsed, canonical_text(parsed)


def _identity(
    value: Mapping[str, Any],
    given: Mapping[str, Any],
    attribution: Mapping[str, Any],
    text: str,
    options: ImportOptions,
) -> tuple[str, str | None]:
    """The unit's id and where it is from."""
    source = _text(attribution, "source")
    own_id = _text(given, "databit_id")
    if own_id is not None:
        # A line that this package wrote says where the unit is from, also when that is nowhere.
        return own_id, source if "attribution" in given else source or options.source
    if options.id_member is not None:
        tail = value.get(options.id_member)
        if not isinstance(tail, str | int) or tail == "":
            raise _BadLineError(f"its member {options.id_member!r} holds no text or whole number to know the unit by")
        place = f"{options.source}#{tail}"
        return unit_id(source=place, content=text), place
    return unit_id(source=source, content=text), source or options.source


def _text(members: Mapping[str, Any], name: str) -> str | None:
    value = members.get(name)
    if value is None or isinstance(value, str):
        return value or None
    raise _BadLineError(f"{name} must be a text, not {value!r:.60}")


def _modality(value: object, content: object) -> list[str]:
    if value is None:
        return list(guess_modality(content))
    words = _words(value)
    unknown = [word for word in words if word not in MODALITIES]
    if unknown or not words:
        raise _BadLineError(f"modality must be some of {', '.join(MODALITIES)}, not {value!r:.60}")
    return words


def _words(value: object) -> list[str]:
    if value is None:
        return []
    if isinstance(value, list) and all(isinstance(word, str) and word for word in value):
        return value
    raise _BadLineError(f"a list of texts was expected, not {value!r:.60}")


def _scores(value: object) -> list[dict[str, Any]]:
    """Scores as an object of numbers, or as the list of scorer and value that a table has."""
    if value is None:
        return []
    pairs: list[tuple[Any, Any]] | None = list(value.items()) if isinstance(value, dict) else None
    if isinstance(value, list) and all(isinstance(one, dict) and {"scorer", "value"} <= one.keys() for one in value):
        pairs = [(one["scorer"], one["value"]) for one in value]
    if pairs is None or not all(isinstance(number, int | float) and isinstance(name, str) for name, number in pairs):
        raise _BadLineError(f"quality_scores must be an object of numbers, not {value!r:.60}")
    return [{"scorer": name, "value": float(number)} for name, number in sorted(pairs)]


def _derived_from(value: object) -> list[dict[str, Any]]:
    if value is None:
        return []
    if isinstance(value, list):
        keys = [
            {"databit_id": one["databit_id"], "version": one["version"]}
            for one in value
            if isinstance(one, dict)
            and isinstance(one.get("databit_id"), str)
            and isinstance(one.get("version"), int)
            and one["version"] > 0
        ]
        if len(keys) == len(value):
            return keys
    raise _BadLineError(
        f'derived_from must be a list of {{"databit_id": TEXT, "version": NUMBER FROM 1}}, not {value!r:.60}'
    )


def _version(value: object) -> int | None:
    if value is None or (isinstance(value, int) and not isinstance(value, bool) and value > 0):
        return value
    raise _BadLineError(f"version must be a whole number from 1, not {value!r:.60}")


def _instant(value: object) -> dt.datetime | None:
    if value is None or isinstance(value, dt.datetime):
        return value
    try:
        instant = dt.datetime.fromisoformat(str(value))
    except ValueError:
        raise _BadLineError(f"created_at must be an ISO 8601 instant, not {value!r:.60}") from None
    return instant if instant.tzinfo else instant.replace(tzinfo=dt.UTC)
