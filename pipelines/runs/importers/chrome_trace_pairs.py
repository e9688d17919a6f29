"""Spans of a Chrome trace that are written as two events: a begin and an end.

What belongs here: which end belongs to which begin. On a thread they nest (`B`, `E`); async ones (`b`, `e`, in old
traces `S`, `F`) belong together by category, scope and id, and nest among those of one id.
"""

from __future__ import annotations

from collections.abc import Hashable, Iterator
from dataclasses import dataclass, field

from pipelines.runs.importers.chrome_trace_events import (
    ASYNC_BEGIN,
    ASYNC_END,
    BEGIN,
    END,
    PlacedFault,
    Span,
    TimedEvent,
    attributes_of,
    text_or_none,
)
from pipelines.runs.records import Fault, as_object, as_text

# A begin without an end is kept until the trace has been read.
MAX_OPEN_SPANS = 500_000
# Each is told by its place up to here, the others are counted.
MAX_LISTED = 100


@dataclass(kw_only=True)
class PairedSpans:
    """Begins that wait for their end, over all blocks of a trace."""

    faults: list[PlacedFault] = field(default_factory=list)
    unpaired_count: int = 0
    _open: dict[Hashable, list[TimedEvent]] = field(default_factory=dict)
    _open_count: int = 0

    def take(self, event: TimedEvent) -> Span | None:
        """The span that ends with this event, if one does."""
        if event.phase in ASYNC_BEGIN or event.phase == BEGIN:
            self._begin(event)
            return None
        if event.phase in ASYNC_END or event.phase == END:
            return self._end(event)
        return None

    def close(self) -> Iterator[PlacedFault]:
        """What never ended, and how many unpaired events there were beyond those that were told."""
        waiting = sorted(
            (event for events in self._open.values() for event in events), key=lambda event: event.event_index
        )
        for event in waiting:
            self._refuse(event, "has no end", "The trace ends before it.")
        yield from self.faults
        self.faults = []
        if self.unpaired_count > MAX_LISTED:
            more = self.unpaired_count - MAX_LISTED
            yield PlacedFault(None, Fault("event: unpaired", f"{more:,} more begins or ends have no counterpart."))
        self._open, self._open_count = {}, 0

    def _begin(self, event: TimedEvent) -> None:
        if event.time_ns is None or not isinstance(event.value.get("name"), str):
            self._refuse(event, "has no usable name or time", "")
        elif self._open_count >= MAX_OPEN_SPANS:
            self._refuse(event, "is one too many", f"More than {MAX_OPEN_SPANS:,} spans are open at once.")
        else:
            self._open.setdefault(_lane(event), []).append(event)
            self._open_count += 1

    def _end(self, event: TimedEvent) -> Span | None:
        lane = _lane(event)
        waiting = self._open.get(lane)
        if not waiting:
            self._refuse(event, "has no begin", "The span began before the trace did, or its begin was lost.")
            return None
        begin = waiting.pop()
        self._open_count -= 1
        if not waiting:
            del self._open[lane]
        if begin.time_ns is None or event.time_ns is None or event.time_ns < begin.time_ns:
            self._refuse(event, "has no usable time", "An end must not lie before its begin.")
            return None
        return self._span(begin, event, event.time_ns - begin.time_ns)

    def _span(self, begin: TimedEvent, end: TimedEvent, duration_ns: int) -> Span:
        assert begin.time_ns is not None
        value = begin.value
        is_async = begin.phase in ASYNC_BEGIN
        # What the end adds counts more: results are known then.
        args = as_object(value.get("args")) | as_object(end.value.get("args"))
        return Span(
            span_index=begin.event_index,
            name=value["name"],
            category=text_or_none(value.get("cat")),
            process=text_or_none(value.get("pid")),
            thread=text_or_none(value.get("tid")),
            start_ns=begin.time_ns,
            duration_ns=duration_ns,
            span_id=_async_id(value) if is_async else None,
            attributes=attributes_of(value | {"args": args}, begin.event_index, self.faults),
        )

    def _refuse(self, event: TimedEvent, problem: str, reason: str) -> None:
        self.unpaired_count += 1
        if self.unpaired_count <= MAX_LISTED:
            message = f"The event (phase {event.phase}) {problem}; it was left out. {reason}".rstrip()
            self.faults.append(PlacedFault(event.event_index, Fault("event: unpaired", message)))


def _lane(event: TimedEvent) -> Hashable:
    """What two events must share to be begin and end of one span."""
    value = event.value
    if event.phase in (BEGIN, END):
        return text_or_none(value.get("pid")), text_or_none(value.get("tid"))
    local = as_object(value.get("id2")).get("local")
    process = text_or_none(value.get("pid")) if local is not None else None
    return text_or_none(value.get("cat")), text_or_none(value.get("scope")), _async_id(value), process, local is None


def _async_id(value: dict[str, object]) -> str | None:
    second = as_object(value.get("id2"))
    given = (value.get("id"), second.get("global"), second.get("local"))
    return as_text(next((name for name in given if name is not None), None))
