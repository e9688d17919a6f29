"""Events that tell more of a span than it says itself, and may lie far from it: log records and evaluations.

What belongs here: remembering them until their span is read. They may be in another file, before the span or after it,
and hold whole prompts, so they wait on disk.
"""

from __future__ import annotations

import tempfile
import zlib
from collections.abc import Iterator
from typing import IO, NamedTuple, Self

import orjson

from pipelines.runs.importers.otel_messages import DETAILS_EVENT, is_message_event
from pipelines.runs.importers.otel_values import attributes_of, identifier, plain_value
from pipelines.runs.records import JsonObject, as_list, as_object, as_text, canonical_json

EVALUATION_EVENT = "gen_ai.evaluation.result"


class SpanEvent(NamedTuple):
    """An event by its name, with its attributes; the body of a log record is the member `body`."""

    name: str
    attributes: JsonObject


class SpanKey(NamedTuple):
    """What a span is known by."""

    trace_id: str | None
    span_id: str | None


def events_of_span(span: JsonObject) -> list[SpanEvent]:
    """The events that are written in the span itself."""
    events = map(as_object, as_list(span.get("events")))
    return [SpanEvent(as_text(event.get("name")) or "", attributes_of(event.get("attributes"))) for event in events]


def event_of_log(log: JsonObject) -> SpanEvent:
    """A log record as an event; older ones have their name as an attribute."""
    attributes = attributes_of(log.get("attributes"))
    name = as_text(log.get("eventName") or attributes.get("event.name")) or ""
    return SpanEvent(name, attributes | {"body": plain_value(log.get("body"))})


def span_key(given: JsonObject) -> SpanKey:
    """The span that a span or a log record names."""
    return SpanKey(identifier(given.get("traceId")), identifier(given.get("spanId")))


def response_key(attributes: JsonObject) -> SpanKey | None:
    """A stand-in for the span whose answer has this id: what judges an answer later may know no more of it."""
    response_id = as_text(attributes.get("gen_ai.response.id"))
    return SpanKey(None, f"response:{response_id}") if response_id else None


def subject_key(event: SpanEvent, where: SpanKey, parent: SpanKey | None = None) -> SpanKey:
    """The span that an event found at `where` is about."""
    if event.name != EVALUATION_EVENT:
        return where
    return response_key(event.attributes) or parent or where


def is_told(event: SpanEvent) -> bool:
    """Whether an event tells something of an operation of a model."""
    return event.name in (DETAILS_EVENT, EVALUATION_EVENT) or is_message_event(event.name)


class EventStore:
    """Events by the span that they belong to, on disk."""

    def __init__(self) -> None:
        self._file: IO[bytes] | None = None
        self._places: dict[SpanKey, list[tuple[int, int]]] = {}
        self._taken: set[SpanKey] = set()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_exception: object) -> None:
        if self._file is not None:
            self._file.close()

    def add(self, key: SpanKey, event: SpanEvent, context: JsonObject) -> None:
        """Remember an event; `context` is what must be known of it if its span never comes."""
        if self._file is None:
            self._file = tempfile.TemporaryFile(prefix="benchlake-events-")  # noqa: SIM115  # closed by __exit__
        packed = zlib.compress(canonical_json([event.name, event.attributes, context]).encode(), level=1)
        place = self._file.seek(0, 2)
        self._file.write(packed)
        self._places.setdefault(key, []).append((place, len(packed)))

    def take(self, key: SpanKey) -> list[SpanEvent]:
        """The events of a span, which now has come."""
        if key not in self._places:
            return []
        self._taken.add(key)
        return [event for event, _ in self._read(key)]

    def left(self) -> Iterator[tuple[SpanKey, list[tuple[SpanEvent, JsonObject]]]]:
        """Events whose span never came."""
        for key in self._places:
            if key not in self._taken:
                yield key, list(self._read(key))

    def _read(self, key: SpanKey) -> Iterator[tuple[SpanEvent, JsonObject]]:
        assert self._file is not None
        for place, size in self._places[key]:
            self._file.seek(place)
            name, attributes, context = orjson.loads(zlib.decompress(self._file.read(size)))
            yield SpanEvent(name, attributes), context
