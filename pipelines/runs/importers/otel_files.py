"""Exports of OpenTelemetry in files: one a line, or one large object that may be pretty printed.

What belongs here: getting spans, log records and metrics out of bytes, each with the resource it came from, and which
files lie beside each other because one program wrote them. What they say is `otel_spans.py`.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from itertools import count
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from pipelines.runs.importers.lines import LineRecord, read_records
from pipelines.runs.importers.otel_values import attributes_of
from pipelines.runs.json_parts import JsonCursor, key_text
from pipelines.runs.records import Fault, JsonObject, RecordError, as_list, as_object, as_text, parse_json, parse_object
from pipelines.runs.redaction import redact_lines
from pipelines.runs.sources import Limits, SourceError, read_lines, read_pieces

if TYPE_CHECKING:
    from pipelines.runs.importers.frames import BatchBuilder

Signal = Literal["span", "log", "metric"]

# Where each signal lies: the list of resources, the lists of scopes in it (the second by its old name), the list there.
_PATHS: dict[str, tuple[Signal, tuple[str, ...], str]] = {
    "resourceSpans": ("span", ("scopeSpans", "instrumentationLibrarySpans"), "spans"),
    "resourceLogs": ("log", ("scopeLogs", "instrumentationLibraryLogs"), "logRecords"),
    "resourceMetrics": ("metric", ("scopeMetrics", "instrumentationLibraryMetrics"), "metrics"),
}
_WORD = re.compile(r"(?:^|(?<=[-_. ]))(?P<word>traces?|spans?|logs?|events?|metrics?)(?=$|[-_. ])", re.IGNORECASE)
_NAME = re.compile(r"^(?P<stem>.*?)(?P<ending>\.(?:jsonl?|ndjson)(?:\.gz)?)$")
# Lines that are looked at to tell lines from one large object.
_MOST_LINES = 1_000


@dataclass(frozen=True, kw_only=True)
class Item:
    """A span, log record or metric, with the attributes of its resource and the name of its scope."""

    signal: Signal
    resource: JsonObject
    scope: str | None
    value: JsonObject


@dataclass(frozen=True, kw_only=True)
class Export:
    """A record of a file and the items in it."""

    record_index: int
    raw: bytes
    items: list[Item] = field(default_factory=list)
    faults: list[Fault] = field(default_factory=list)


def is_export(record: JsonObject) -> bool:
    """Whether an object has one of the signals."""
    return any(isinstance(record.get(key), list) for key in _PATHS)


def begins_export(start: bytes) -> bool:
    """Whether the first object of a file has one of the signals, as far as the beginning of the file holds it."""
    cursor = JsonCursor(iter((start,)), len(start))
    try:
        cursor.expect(b"{")
        while True:
            key = key_text(cursor.take_value())
            cursor.expect(b":")
            if key in _PATHS:
                return cursor.peek() == b"["
            cursor.take_value()
            cursor.expect(b",")
    except SourceError:
        return False


def name_without_signal(path: Path) -> str | None:
    """A file's name without the word for its signal, which files of one program share; None without such a word."""
    name = _NAME.match(path.name)
    bare, replaced = _WORD.subn("*", name["stem"], count=1) if name else ("", 0)
    return f"{bare}{name['ending']}" if name and replaced else None


def signal_word(path: Path) -> str:
    """The word for the signal in a file's name, empty without one."""
    found = _WORD.search(path.name)
    return found["word"].lower().removesuffix("s") if found else ""


def read_exports(builder: BatchBuilder, *, limits: Limits) -> Iterator[Export]:
    """Exports of the builder's file; what cannot be read becomes its rejects."""
    if _is_lines(builder, limits):
        for record in read_records(builder, limits=limits):
            yield _line(record)
    else:
        yield from _Walk(builder, limits).exports()


def _is_lines(builder: BatchBuilder, limits: Limits) -> bool:
    """Whether some line is a whole export, so that bad lines can be told from good ones."""
    seen = size = 0
    try:
        for block in read_lines(read_pieces(builder.file, limits=limits), line_bytes=limits.line_bytes):
            for line in block.lines:
                if line and line.lstrip().startswith(b"{") and _is_whole_export(line):
                    return True
                size += len(line or b"")
            seen += len(block.lines)
            if seen > _MOST_LINES or size > limits.line_bytes:
                return False
    except SourceError:
        pass
    return False


def _is_whole_export(line: bytes) -> bool:
    try:
        return is_export(parse_object(line)[0])
    except RecordError:
        return False


def _line(record: LineRecord) -> Export:
    items: list[Item] = []
    for key, (signal, scopes, last) in _PATHS.items():
        for group in map(as_object, as_list(record.value.get(key))):
            resource = attributes_of(as_object(group.get("resource")).get("attributes"))
            for name in scopes:
                for scope in map(as_object, as_list(group.get(name))):
                    named = _scope_name(scope)
                    values = (value for value in as_list(scope.get(last)) if isinstance(value, dict))
                    items.extend(Item(signal=signal, resource=resource, scope=named, value=value) for value in values)
    if not is_export(record.value):
        record.faults.append(Fault("export", "The line is no export of spans, logs or metrics; it was left out."))
    return Export(record_index=record.record_index, raw=record.raw, items=items, faults=record.faults)


def _scope_name(scope: JsonObject) -> str | None:
    return as_text(as_object(scope.get("scope", scope.get("instrumentationLibrary"))).get("name"))


# What is done with a member of an object or an element of an array, when the cursor stands before its value.
_Take = Callable[[str], Iterator["Export"]]


class _Walk:
    """One large object, walked through: each item is a record, and so is everything beside the items."""

    def __init__(self, builder: BatchBuilder, limits: Limits) -> None:
        self._builder = builder
        self._limits = limits
        self._cursor = JsonCursor(read_pieces(builder.file, limits=limits), limits.line_bytes)
        self._numbers = count()

    def exports(self) -> Iterator[Export]:
        """The records of all objects of the file, one after the other."""
        try:
            while not self._is_at_end():
                yield from self._members(self._top)
        except SourceError as error:
            self._builder.reject(error.rule, str(error))

    def _is_at_end(self) -> bool:
        try:
            self._cursor.peek()
        except SourceError as error:
            if error.rule == "truncated":
                return True
            raise
        return False

    def _members(self, take: _Take) -> Iterator[Export]:
        """Members of the object that starts here, each handed to `take`."""
        cursor = self._cursor
        cursor.expect(b"{")
        while cursor.peek() != b"}":
            key = key_text(cursor.take_value())
            cursor.expect(b":")
            yield from take(key)
            if cursor.peek() != b",":
                break
            cursor.expect(b",")
        cursor.expect(b"}")

    def _elements(self, take: _Take) -> Iterator[Export]:
        """Elements of the array that starts here."""
        cursor = self._cursor
        cursor.expect(b"[")
        while cursor.peek() != b"]":
            yield from take("")
            if cursor.peek() != b",":
                break
            cursor.expect(b",")
        cursor.expect(b"]")

    def _top(self, key: str) -> Iterator[Export]:
        if key in _PATHS and self._cursor.peek() == b"[":
            yield from self._elements(lambda _: self._group(key))
        else:
            yield from self._other(None)

    def _group(self, path: str) -> Iterator[Export]:
        """One resource with its scopes."""
        if self._cursor.peek() != b"{":
            yield from self._other(None)
            return
        signal, scopes, last = _PATHS[path]
        about: JsonObject = {}

        def member(key: str) -> Iterator[Export]:
            if key in scopes and self._cursor.peek() == b"[":
                yield from self._elements(lambda _: self._scope(signal, last, about))
            else:
                yield from self._other(about, key)

        yield from self._members(member)

    def _scope(self, signal: Signal, last: str, about: JsonObject) -> Iterator[Export]:
        if self._cursor.peek() != b"{":
            yield from self._other(None)
            return
        scope: JsonObject = {}

        def member(key: str) -> Iterator[Export]:
            if key == last and self._cursor.peek() == b"[":
                yield from self._elements(lambda _: self._item(signal, about, scope))
            else:
                yield from self._other(scope, key)

        yield from self._members(member)

    def _item(self, signal: Signal, about: JsonObject, scope: JsonObject) -> Iterator[Export]:
        record = self._take()
        if record is None:
            return
        index, raw, value, faults = record
        items = []
        if isinstance(value, dict):
            resource = attributes_of(as_object(about.get("resource")).get("attributes"))
            items = [Item(signal=signal, resource=resource, scope=_scope_name(scope), value=value)]
        else:
            faults.append(Fault("object", f"A {signal} must be an object; it was left out."))
        yield Export(record_index=index, raw=raw, items=items, faults=faults)

    def _other(self, into: JsonObject | None, key: str = "") -> Iterator[Export]:
        """What lies beside the items: kept, and remembered where it tells about them."""
        record = self._take()
        if record is None:
            return
        index, raw, value, faults = record
        if into is not None:
            into[key] = value
        yield Export(record_index=index, raw=raw, faults=faults)

    def _take(self) -> tuple[int, bytes, object, list[Fault]] | None:
        index, raw = next(self._numbers), self._cursor.take_value()
        if raw is None:
            message = f"Record {index + 1} is longer than {self._limits.line_bytes:,} bytes and was left out."
            self._builder.reject("line_bytes", message, record_index=index)
            return None
        clean = redact_lines([raw])[0] or b""
        try:
            value, faults = parse_json(clean)
        except RecordError as error:
            self._builder.reject(error.rule, f"Record {index + 1}: {error}", record_index=index, raw=clean)
            return None
        return index, clean, value, faults
