"""JSON objects one after the other in a file, each on a line of its own or pretty printed over many.

What belongs here: finding where an object begins in files that tools append to. Strictly one object a line is
`lines.py`, one large object is `pipelines.runs.json_parts`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from pipelines.runs.importers.lines import LineRecord
from pipelines.runs.records import RecordError, parse_object
from pipelines.runs.redaction import redact_lines
from pipelines.runs.sources import Limits, SourceError, read_lines, read_pieces

if TYPE_CHECKING:
    from collections.abc import Iterator

    from pipelines.runs.importers.frames import BatchBuilder


def read_objects(builder: BatchBuilder, *, limits: Limits) -> Iterator[LineRecord]:
    """Objects of the builder's file by their number; what is none becomes its rejects, and so does a cut end.

    An object begins where a line begins with `{`. So one that breaks off, because its writer was killed, costs none
    of those that were appended after it. Each may be as long as `limits.member_bytes`.
    """
    for index, raw in enumerate(_pieces_of(builder, limits)):
        if raw is None:
            message = f"Object {index + 1} is longer than {limits.member_bytes:,} bytes and was left out."
            builder.reject("member_bytes", message, record_index=index)
            continue
        clean = redact_lines([raw])[0] or b""
        try:
            value, faults = parse_object(clean)
        except RecordError as error:
            rule = error.rule if clean.rstrip().endswith(b"}") or error.rule != "json" else "truncated"
            reason = "ends in the middle" if rule == "truncated" else str(error)
            builder.reject(rule, f"Object {index + 1}: {reason}", record_index=index, raw=clean)
            continue
        yield LineRecord(index, clean, value, faults)


def _pieces_of(builder: BatchBuilder, limits: Limits) -> Iterator[bytes | None]:
    """The text of each object; None for one over the limit."""
    lines: list[bytes] = []
    size = 0
    for line in _lines(builder, limits):
        if line is None or line.startswith(b"{"):
            yield from _joined(lines, size, limits)
            lines, size = [], 0
        size += limits.member_bytes + 1 if line is None else len(line) + 1
        # What is beyond the limit is left out anyway and must not fill the memory.
        if line is not None and size <= limits.member_bytes:
            lines.append(line)
    yield from _joined(lines, size, limits)


def _joined(lines: list[bytes], size: int, limits: Limits) -> Iterator[bytes | None]:
    if size > limits.member_bytes:
        yield None
    elif any(line.strip() for line in lines):
        yield b"\n".join(lines)


def _lines(builder: BatchBuilder, limits: Limits) -> Iterator[bytes | None]:
    """Lines of the file, None for one over the limit; a file that breaks off is rejected, what came before counts."""
    try:
        for block in read_lines(read_pieces(builder.file, limits=limits), line_bytes=limits.member_bytes):
            yield from block.lines
    except SourceError as error:
        builder.reject(error.rule, str(error))
