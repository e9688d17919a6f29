"""Rows of a database as raw records: JSON with its secrets taken out, since a row has no bytes of its own.

What belongs here: keeping them. Which rows make a record is `mlflow_database.py` and `mlflow_database_traces.py`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from pipelines.runs.records import JsonObject, as_object, canonical_json, parse_json
from pipelines.runs.redaction import redact_lines

if TYPE_CHECKING:
    from pipelines.runs.importers.frames import BatchBuilder


def keep_record(
    record: JsonObject, builder: BatchBuilder, *, member: str, record_index: int, run_id: str | None = None
) -> JsonObject:
    """The record without its secrets, after it was kept as JSON."""
    raw = canonical_json(record).encode("utf-8", "replace")
    (clean,) = redact_lines([raw])
    assert clean is not None
    builder.keep(clean, member=member, record_index=record_index, run_id=run_id)
    return record if clean == raw else as_object(parse_json(clean)[0])
