"""Records of a file that llama.cpp or a script around it wrote: lines, or the elements of one list.

What belongs here: getting JSON records out of bytes. What they say is `llama_cpp_answers.py` and `llama_cpp_bench.py`.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from pipelines.runs.importers.lines import LineRecord, read_records
from pipelines.runs.json_parts import JsonCursor
from pipelines.runs.records import JsonObject, RecordError, parse_object
from pipelines.runs.redaction import redact_lines
from pipelines.runs.sources import Limits, SourceError, read_pieces

if TYPE_CHECKING:
    from collections.abc import Iterator

    from pipelines.runs.importers.frames import BatchBuilder

# A file may begin with requests that failed, whose answers say nothing about who gave them.
_HEAD_RECORDS = 50
_FILE_NAME = re.compile(r"[^/\\]*\.gguf$", re.IGNORECASE)


def model_name(given: object) -> str | None:
    """A model's name; of the path of a GGUF file its last part, which is the same on every machine."""
    if not isinstance(given, str) or not given:
        return None
    found = _FILE_NAME.search(given)
    return found[0] if found and found[0] else given


def is_list(start: bytes) -> bool:
    """Whether a file is one list rather than lines."""
    return start.lstrip().startswith(b"[")


def first_record(start: bytes) -> JsonObject | None:
    """The first record of a list or of lines, as far as the beginning of a file holds it."""
    if not is_list(start):
        return next(head_records(start), None)
    cursor = JsonCursor(iter((start,)), len(start))
    try:
        cursor.expect(b"[")
        return parse_object(cursor.take_value() or b"")[0]
    except (SourceError, RecordError):
        return None


def head_records(start: bytes) -> Iterator[JsonObject]:
    """The first lines of a file that are JSON objects."""
    for line in start.split(b"\n", _HEAD_RECORDS)[:_HEAD_RECORDS]:
        try:
            yield parse_object(line)[0]
        except RecordError:
            continue


def read_list_or_lines(builder: BatchBuilder, start: bytes, *, limits: Limits) -> Iterator[LineRecord]:
    """Records of the builder's file, redacted; what is none becomes its rejects."""
    if is_list(start):
        yield from _read_list(builder, limits)
    else:
        yield from read_records(builder, limits=limits)


def _read_list(builder: BatchBuilder, limits: Limits) -> Iterator[LineRecord]:
    index = 0
    try:
        cursor = JsonCursor(read_pieces(builder.file, limits=limits), limits.line_bytes)
        cursor.expect(b"[")
        while cursor.peek() != b"]":
            record = _parsed(cursor.take_value(), index, builder, limits)
            if record is not None:
                yield record
            index += 1
            if cursor.peek() != b",":
                break
            cursor.expect(b",")
        cursor.expect(b"]")
    except SourceError as error:
        builder.reject(error.rule, str(error), record_index=index)


def _parsed(raw: bytes | None, index: int, builder: BatchBuilder, limits: Limits) -> LineRecord | None:
    if raw is None:
        message = f"Record {index + 1} is longer than {limits.line_bytes:,} bytes and was left out."
        builder.reject("line_bytes", message, record_index=index)
        return None
    clean = redact_lines([raw])[0] or b""
    try:
        value, faults = parse_object(clean)
    except RecordError as error:
        builder.reject(error.rule, f"Record {index + 1}: {error}", record_index=index, raw=clean)
        return None
    return LineRecord(index, clean, value, faults)
