"""Where exchanges are found: the kinds of files they are kept in, and the files that belong to one batch.

What belongs here: getting records out of files, and a batch's requests to where their answers are read. What a record
says is `openai_exchange.py`.
"""

from __future__ import annotations

import gzip
import re
import tempfile
import zlib
from typing import IO, TYPE_CHECKING, Literal, Self

import orjson

from pipelines.runs.importers.lines import LineRecord, read_records
from pipelines.runs.importers.objects import read_objects
from pipelines.runs.json_parts import JsonCursor
from pipelines.runs.records import JsonObject, RecordError, as_object, canonical_json, parse_object
from pipelines.runs.redaction import redact, redact_lines
from pipelines.runs.sources import Limits, SourceError, read_head, read_lines, read_pieces

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from pipelines.runs.importers.frames import BatchBuilder

BatchMark = Literal["input", "output", "errors"]

_MARKS: dict[str, BatchMark] = {
    "input": "input",
    "inputs": "input",
    "request": "input",
    "requests": "input",
    "output": "output",
    "outputs": "output",
    "result": "output",
    "results": "output",
    "response": "output",
    "responses": "output",
    "error": "errors",
    "errors": "errors",
}
_NAME = re.compile(r"^(?P<stem>.*?)(?P<ending>\.jsonl?(?:\.gz)?)$")
_WORD = re.compile(r"(?:^|(?<=[-_. ]))(?:" + "|".join(sorted(_MARKS, key=len, reverse=True)) + r")(?=$|[-_. ])")
_HEAD_BYTES = 1 << 16
_PRETTY = re.compile(rb"^\s*\{\s*\n")
_EVENTS = re.compile(rb"^\s*(?:data|event|id|retry)?:")


class RequestStore:
    """Bodies of a batch's requests by custom_id, on disk: a batch may hold more prompts than fit into memory."""

    def __init__(self) -> None:
        self._file: IO[bytes] | None = None
        self._places: dict[str, tuple[int, int]] = {}
        self._counts: dict[str, int] = {}

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_exception: object) -> None:
        if self._file is not None:
            self._file.close()

    def add(self, custom_id: str, body: JsonObject) -> None:
        """Remember a request; of two with one id the first counts, as it does for the service."""
        if custom_id in self._places:
            return
        if self._file is None:
            self._file = tempfile.TemporaryFile(prefix="benchlake-requests-")  # noqa: SIM115  # closed by __exit__
        packed = zlib.compress(canonical_json(body).encode(), level=1)
        place = self._file.seek(0, 2)
        self._file.write(packed)
        self._places[custom_id] = (place, len(packed))
        model = body.get("model")
        if isinstance(model, str):
            self._counts[model] = self._counts.get(model, 0) + 1

    def find(self, custom_id: str) -> JsonObject | None:
        """The request with the id, or None."""
        place = self._places.get(custom_id)
        if place is None or self._file is None:
            return None
        self._file.seek(place[0])
        return as_object(orjson.loads(zlib.decompress(self._file.read(place[1]))))

    def count_of(self, model: str | None) -> int | None:
        """How many requests ask the model, or any; None for none."""
        return (len(self._places) if model is None else self._counts.get(model)) or None


def read_file_records(builder: BatchBuilder, *, limits: Limits) -> Iterator[LineRecord]:
    """Records of a file of any kind: lines, pretty printed objects, one list, or an event stream."""
    try:
        start = read_head(builder.file, limits=limits).start
    except (SourceError, OSError):
        start = b""
    if _PRETTY.match(start):
        yield from read_objects(builder, limits=limits)
    elif start.lstrip().startswith(b"["):
        yield from _read_list(builder, limits)
    elif _EVENTS.match(start):
        yield from _read_events(builder, limits)
    else:
        yield from read_records(builder, limits=limits)


def _read_list(builder: BatchBuilder, limits: Limits) -> Iterator[LineRecord]:
    """Elements of a list, which come one at a time."""
    index = 0
    try:
        cursor = JsonCursor(read_pieces(builder.file, limits=limits), limits.member_bytes)
        cursor.expect(b"[")
        while cursor.peek() != b"]":
            raw = cursor.take_value()
            if raw is None:
                message = f"Record {index + 1} is longer than {limits.member_bytes:,} bytes and was left out."
                builder.reject("member_bytes", message, record_index=index)
            else:
                yield from _parsed(redact(raw), index, builder)
            index += 1
            if cursor.peek() != b",":
                break
            cursor.expect(b",")
        cursor.expect(b"]")
    except SourceError as error:
        builder.reject(error.rule, str(error))


def _read_events(builder: BatchBuilder, limits: Limits) -> Iterator[LineRecord]:
    """Data of an event stream; the lines around it say nothing."""
    try:
        for block in read_lines(read_pieces(builder.file, limits=limits), line_bytes=limits.line_bytes):
            for offset, raw in enumerate(redact_lines(block.lines)):
                data = (raw or b"").strip()
                if data.startswith(b"data:") and data[5:].strip() != b"[DONE]":
                    yield from _parsed(data[5:].strip(), block.first_index + offset, builder)
    except SourceError as error:
        builder.reject(error.rule, str(error))


def _parsed(raw: bytes, index: int, builder: BatchBuilder) -> Iterator[LineRecord]:
    try:
        value, faults = parse_object(raw)
    except RecordError as error:
        builder.reject(error.rule, f"Record {index + 1}: {error}", record_index=index, raw=raw)
        return
    yield LineRecord(index, raw, value, faults)


def batch_mark(name: str) -> BatchMark | None:
    """Which part of a batch a file's name says it is."""
    match = _WORD.search(name)
    return _MARKS[match[0]] if match else None


def name_without_mark(name: str) -> str | None:
    """What the names of a batch's files have in common; None for a name without a mark."""
    match = _NAME.match(name)
    if match is None or batch_mark(name) is None:
        return None
    return _WORD.sub("", match["stem"], count=1).strip("-_. ")


def find_batch_parts(path: Path) -> list[Path]:
    """Files beside `path` whose names differ in the mark alone and which hold lines of a batch."""
    bare = name_without_mark(path.name)
    if bare is None or not is_batch_file(path):
        return []
    beside = (other for other in sorted(path.parent.iterdir()) if other != path and not other.name.startswith("."))
    return [other for other in beside if name_without_mark(other.name) == bare and is_batch_file(other)]


def is_batch_file(path: Path) -> bool:
    """Whether the beginning of a file has lines of a batch."""
    try:
        with path.open("rb") as stream:
            packed = stream.read(2) == b"\x1f\x8b"
        with gzip.open(path) if packed else path.open("rb") as stream:
            return b'"custom_id"' in stream.read(_HEAD_BYTES)
    except (OSError, EOFError, zlib.error):
        return False
