"""Spans of OpenTelemetry as rows: every one a span, operations of a model outputs too.

What belongs here: one span, with the events that belong to it. Which run it is part of is `otel_runs.py`.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

from lake.identity import text_digest
from pipelines.runs.importers.frames import OutputRow, SpanRow
from pipelines.runs.importers.otel_events import EVALUATION_EVENT, SpanEvent, SpanKey
from pipelines.runs.importers.otel_files import Item
from pipelines.runs.importers.otel_messages import (
    DETAILS_EVENT,
    Choice,
    is_message_event,
    is_message_key,
    read_conversation,
)
from pipelines.runs.importers.otel_operations import (
    finish_reasons_of,
    first_chunk_ms,
    is_failed,
    operation_of,
    outcome_of,
    sample_of,
    scores_of,
    usage_of,
)
from pipelines.runs.importers.otel_runs import OtelRun, instant, service_of
from pipelines.runs.importers.otel_values import attributes_of, nanoseconds
from pipelines.runs.records import Fault, JsonObject, as_list, as_object, as_text, canonical_json

_KINDS = {1: "internal", 2: "server", 3: "client", 4: "producer", 5: "consumer"}
# A chunk of a streamed answer, in the words of those who do not write the time to the first one.
_CHUNK_EVENTS = frozenset({"gen_ai.content.completion.chunk", "llm.content.completion.chunk", "gen_ai.first_token"})
_ATTRIBUTE_CHARACTERS = 1 << 16


@dataclass(frozen=True, kw_only=True)
class OtelSpan:
    """A span that has a time; nanoseconds since 1970."""

    key: SpanKey
    parent_id: str | None
    resource: JsonObject
    scope: str | None
    value: JsonObject
    attributes: JsonObject
    start_ns: int
    end_ns: int


@dataclass(kw_only=True)
class Samples:
    """Which repeat of its sample an output is."""

    _counts: dict[tuple[str, str], int] = field(default_factory=dict)

    def next_repeat(self, run_id: str, sample_id: str) -> int:
        """The first free repeat."""
        repeat_index = self._counts.get((run_id, sample_id), 0)
        self._counts[run_id, sample_id] = repeat_index + 1
        return repeat_index


def read_span(item: Item, key: SpanKey, parent_id: str | None) -> OtelSpan | None:
    """The span in an item, None if it has no usable time."""
    start_ns = nanoseconds(item.value.get("startTimeUnixNano"))
    end_ns = nanoseconds(item.value.get("endTimeUnixNano"))
    if start_ns is None or end_ns is None or end_ns < start_ns:
        return None
    return OtelSpan(
        key=key,
        parent_id=parent_id,
        resource=item.resource,
        scope=item.scope,
        value=item.value,
        attributes=attributes_of(item.value.get("attributes")),
        start_ns=start_ns,
        end_ns=end_ns,
    )


def span_row(
    span: OtelSpan, run: OtelRun, *, index: int, first_ns: int, sample_id: str | None, faults: list[Fault]
) -> SpanRow:
    """The row of silver.spans; its start is from the first of all spans."""
    operation = operation_of(span.attributes)
    return SpanRow(
        run_id=run.run_id,
        span_index=index,
        run_date=run.run_date,
        name=as_text(span.value.get("name")) or "",
        start_ns=span.start_ns - first_ns,
        duration_ns=span.end_ns - span.start_ns,
        span_id=span.key.span_id,
        parent_span_id=span.parent_id,
        trace_id=span.key.trace_id,
        sample_id=sample_id,
        category=operation or _kind(span.value.get("kind")),
        process=service_of(span.resource),
        thread=as_text(span.attributes.get("thread.name") or span.attributes.get("thread.id")),
        started_at=instant(span.start_ns),
        status="error" if is_failed(as_object(span.value.get("status"))) else "ok",
        attributes=_attributes(span, faults),
    )


def output_rows(
    span: OtelSpan, events: Sequence[SpanEvent], run: OtelRun, samples: Samples, faults: list[Fault]
) -> Iterator[OutputRow]:
    """An output for every answer of an operation, one without text where nothing came back."""
    details = [event.attributes for event in events if event.name == DETAILS_EVENT]
    attributes = span.attributes
    for told in details:
        attributes = told | attributes
    conversation = read_conversation(attributes, [(event.name, event.attributes) for event in events])
    prompt = conversation.prompt
    status, message = outcome_of(span.value, attributes, [event.attributes for event in events])
    usage, reasons = usage_of(attributes, faults), finish_reasons_of(attributes)
    sample_id = sample_of(attributes) or (f"prompt-{text_digest(prompt)[:16]}" if prompt else span.key.span_id)
    is_ok = status == "ok"
    choices = conversation.choices or [Choice(output=None, finish_reason=None)]
    for index, choice in enumerate(choices):
        sample = sample_id or f"span-{span.start_ns}"
        yield OutputRow(
            run_id=run.run_id,
            sample_id=sample,
            repeat_index=samples.next_repeat(run.run_id, sample),
            run_date=run.run_date,
            prompt=prompt,
            output=choice.output,
            reference=None,
            status=status,
            finish_reason=choice.finish_reason or (reasons[index] if index < len(reasons) else None),
            input_token_count=usage[0],
            output_token_count=usage[1] if len(choices) == 1 else None,
            latency_ms=(span.end_ns - span.start_ns) / 1_000_000 if is_ok else None,
            time_to_first_token_ms=_first_ms(span, attributes, faults) if is_ok else None,
            scores=scores_of([event.attributes for event in events if event.name == EVALUATION_EVENT]),
            tags=(),
            error_message=message,
            started_at=instant(span.start_ns),
        )


def _first_ms(span: OtelSpan, attributes: JsonObject, faults: list[Fault]) -> float | None:
    """What the span says, else when the first chunk of a streamed answer came."""
    told = first_chunk_ms(attributes, faults)
    if told is not None:
        return told
    chunks = (
        event for event in map(as_object, as_list(span.value.get("events"))) if event.get("name") in _CHUNK_EVENTS
    )
    times = [time for event in chunks if (time := nanoseconds(event.get("timeUnixNano"))) is not None]
    return (min(times) - span.start_ns) / 1_000_000 if times and min(times) >= span.start_ns else None


def _kind(given: object) -> str | None:
    if isinstance(given, int):
        return _KINDS.get(given)
    text = as_text(given)
    return text.removeprefix("SPAN_KIND_").lower() if text else None


def _attributes(span: OtelSpan, faults: list[Fault]) -> str | None:
    """What the span says beyond the columns and its messages, with its events."""
    said: JsonObject = {key: value for key, value in span.attributes.items() if not is_message_key(key)}
    events = [
        {"name": event.get("name"), "attributes": attributes_of(event.get("attributes"))}
        for event in map(as_object, as_list(span.value.get("events")))
        if not is_message_event(as_text(event.get("name")) or "") and event.get("name") not in _CHUNK_EVENTS
    ]
    message = as_object(span.value.get("status")).get("message")
    beside = {"events": events, "status.message": message, "otel.scope.name": span.scope}
    said |= {key: value for key, value in beside.items() if value}
    text = canonical_json(said) if said else None
    if text is not None and len(text) > _ATTRIBUTE_CHARACTERS:
        told = f"The attributes have more than {_ATTRIBUTE_CHARACTERS:,} characters; they are in the raw record alone."
        faults.append(Fault("attributes: bytes", told))
        return None
    return text
