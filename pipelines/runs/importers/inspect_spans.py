"""The transcript of an Inspect sample as spans: the sample, what it went through, model calls and tool calls.

What belongs here: events that last. Scores, states and messages of a transcript stay in the raw record.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import NamedTuple

from pipelines.runs.importers.frames import OutputRow, SpanRow
from pipelines.runs.records import JsonObject, as_list, as_number, as_object, as_text, canonical_json

_EPOCH = dt.datetime(1970, 1, 1, tzinfo=dt.UTC)
_NS_PER_SECOND = 1_000_000_000
SAMPLE = "sample"
# Name, category and the member that names the thing, of events that say when they were completed.
_CALLS = {"model": ("generate", None), "tool": (None, "function"), "subtask": (None, "name")}


class _Open(NamedTuple):
    """A span of which the end has not come."""

    name: str
    category: str
    start_ns: int
    parent_id: str | None


@dataclass(kw_only=True)
class _Transcript:
    """Spans of one sample as they are found, in order of their begin."""

    root_id: str
    open: dict[str, _Open] = field(default_factory=dict)
    # Logs before spans (0.3.85) have steps, which nest and have no ids.
    steps: list[str] = field(default_factory=list)
    found: list[tuple[str, _Open, int, JsonObject]] = field(default_factory=list)

    def take(self, place: int, event: JsonObject) -> None:
        """Take one event in."""
        kind, at_ns = event.get("event"), _instant_ns(event.get("timestamp"))
        if at_ns is None or not isinstance(kind, str):
            return
        if kind == "span_begin":
            parent_id = as_text(event.get("parent_id")) or self.root_id
            self._begin(as_text(event.get("id")) or f"#{place}", event, at_ns, parent_id)
        elif kind == "span_end":
            self._end(as_text(event.get("id")) or "", at_ns)
        elif kind == "step" and event.get("action") == "begin":
            self._begin(f"#{place}", event, at_ns, self.steps[-1] if self.steps else self.root_id)
            self.steps.append(f"#{place}")
        elif kind == "step" and self.steps:
            self._end(self.steps.pop(), at_ns)
        elif kind in _CALLS:
            self._call(place, kind, event, at_ns)

    def _begin(self, span_id: str, event: JsonObject, at_ns: int, parent_id: str) -> None:
        name = as_text(event.get("name")) or "span"
        self.open.setdefault(span_id, _Open(name, as_text(event.get("type")) or "phase", at_ns, parent_id))

    def _end(self, span_id: str, at_ns: int) -> None:
        began = self.open.pop(span_id, None)
        if began is not None and at_ns >= began.start_ns:
            self.found.append((span_id, began, at_ns, {}))

    def _call(self, place: int, kind: str, event: JsonObject, at_ns: int) -> None:
        fixed, member = _CALLS[kind]
        seconds = as_number(event.get("working_time"), "working_time", [], minimum=0)
        end_ns = _instant_ns(event.get("completed"))
        if end_ns is None and seconds is not None:
            end_ns = at_ns + round(seconds * _NS_PER_SECOND)
        if end_ns is None or end_ns < at_ns:
            return
        name = fixed or as_text(event.get(member or "")) or kind
        parent_id = as_text(event.get("span_id")) or (self.steps[-1] if self.steps else self.root_id)
        told = {key: event[key] for key in ("model", "working_time", "retries") if event.get(key) is not None}
        if event.get("error"):
            told["error"] = as_text(as_object(event.get("error")).get("message")) or as_text(event.get("error"))
        self.found.append((f"#{place}", _Open(name, kind, at_ns, parent_id), end_ns, told))


def read_spans(value: JsonObject, output: OutputRow, *, first_index: int) -> Iterator[SpanRow]:
    """Spans of a sample, numbered from `first_index`; none where the log keeps no events.

    Times are nanoseconds since 1970. A span without an end is left out: the log was cut there, and how long it took
    nobody knows.
    """
    root_id = f"{output.sample_id}/{output.repeat_index}"
    transcript = _Transcript(root_id=root_id)
    for place, event in enumerate(as_list(value.get("events"))):
        transcript.take(place, as_object(event))
    if not transcript.found:
        return
    start_ns = min(began.start_ns for _, began, _, _ in transcript.found)
    end_ns = max(end_ns for _, _, end_ns, _ in transcript.found)
    root = (root_id, _Open(SAMPLE, SAMPLE, start_ns, None), end_ns, dict[str, object]())
    ordered = sorted(transcript.found, key=lambda found: (found[1].start_ns, -found[2]))
    for place, (span_id, began, ended_ns, told) in enumerate((root, *ordered)):
        yield SpanRow(
            run_id=output.run_id,
            span_index=first_index + place,
            run_date=output.run_date,
            name=began.name,
            start_ns=began.start_ns,
            duration_ns=ended_ns - began.start_ns,
            span_id=f"{root_id}:{span_id}" if began.parent_id else root_id,
            parent_span_id=_parent_id(began.parent_id, root_id),
            sample_id=output.sample_id,
            category=began.category,
            process="inspect",
            started_at=_EPOCH + dt.timedelta(microseconds=began.start_ns // 1000),
            status="error" if told.get("error") else "ok",
            attributes=canonical_json(told) if told else None,
        )


def _parent_id(parent_id: str | None, root_id: str) -> str | None:
    return parent_id if parent_id in (None, root_id) else f"{root_id}:{parent_id}"


def _instant_ns(value: object) -> int | None:
    if not isinstance(value, str):
        return None
    try:
        moment = dt.datetime.fromisoformat(value)
    except ValueError:
        return None
    aware = moment.replace(tzinfo=dt.UTC) if moment.tzinfo is None else moment
    try:
        return (aware - _EPOCH) // dt.timedelta(microseconds=1) * 1000
    except OverflowError:
        return None
