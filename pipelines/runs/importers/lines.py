"""Reading a file of JSON lines record by record, with what cannot be read put aside.

What belongs here: the loop that the line formats share. What a record means is each format's module.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from pipelines.runs.records import Fault, JsonObject, RecordError, parse_object
from pipelines.runs.redaction import redact_suspects
from pipelines.runs.scanning import scan_ahead
from pipelines.runs.sources import Limits, LineBlock, SourceError, read_lines, read_pieces

if TYPE_CHECKING:
    from collections.abc import Iterator

    from pipelines.runs.importers.frames import BatchBuilder


class LineRecord(NamedTuple):
    """A line that is a JSON object; `raw` is redacted and `value` was read from it."""

    record_index: int
    raw: bytes
    value: JsonObject
    faults: list[Fault]


def read_records(builder: BatchBuilder, *, limits: Limits) -> Iterator[LineRecord]:
    """Records of the builder's file; lines that are none become its rejects, and so does a file that breaks off."""
    try:
        blocks = read_lines(read_pieces(builder.file, limits=limits), line_bytes=limits.line_bytes)
        for block, may_hold_secrets in scan_ahead(blocks, text=_text):
            lines = block.lines
            if may_hold_secrets:
                redact_suspects(lines)
            last = len(lines) - 1
            for offset, raw in enumerate(lines):
                index = block.first_index + offset
                if raw is None:
                    builder.reject(
                        "line_bytes",
                        f"Line {index + 1} is longer than {limits.line_bytes:,} bytes and was left out.",
                        record_index=index,
                    )
                    continue
                try:
                    value, faults = parse_object(raw)
                except RecordError as error:
                    if raw.strip():
                        _refuse(builder, error, index, raw, is_cut=block.is_cut and offset == last)
                    continue
                yield LineRecord(index, raw, value, faults)
    except SourceError as error:
        builder.reject(error.rule, str(error))


def _text(block: LineBlock) -> bytes:
    return b"\n".join([line for line in block.lines if line is not None])


def _refuse(builder: BatchBuilder, error: RecordError, index: int, raw: bytes, *, is_cut: bool) -> None:
    if is_cut:
        message = f"Line {index + 1}, the last, ends in the middle: the file was cut or is still being written."
        builder.reject("truncated", message, record_index=index, raw=raw)
    else:
        builder.reject(error.rule, f"Line {index + 1}: {error}", record_index=index, raw=raw)
