"""OpenTelemetry in OTLP's JSON: traces, and the logs and metrics beside them (docs/formats.md).

A run is one service and the model that it asked. What belongs here: recognising files, finding those that belong
together, and reading them twice: first for what must be known before any row is made, then for the rows.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from pipelines.runs.importers.frames import BatchBuilder, ImportBatch
from pipelines.runs.importers.otel_events import (
    EVALUATION_EVENT,
    EventStore,
    SpanEvent,
    SpanKey,
    event_of_log,
    events_of_span,
    is_told,
    response_key,
    span_key,
    subject_key,
)
from pipelines.runs.importers.otel_files import (
    Export,
    Item,
    begins_export,
    is_export,
    name_without_signal,
    read_exports,
    signal_word,
)
from pipelines.runs.importers.otel_messages import DETAILS_EVENT
from pipelines.runs.importers.otel_metrics import RunMetrics
from pipelines.runs.importers.otel_operations import is_inference
from pipelines.runs.importers.otel_runs import Runs
from pipelines.runs.importers.otel_spans import OtelSpan, Samples, output_rows, read_span, span_row
from pipelines.runs.importers.otel_values import identifier, nanoseconds
from pipelines.runs.records import SHAPE_ERRORS, Fault, JsonObject
from pipelines.runs.sources import Limits, SourceError, SourceFile, identify, read_head

if TYPE_CHECKING:
    from pipelines.runs.importers.guide import FormatGuide
    from pipelines.runs.importers.protocol import SourceGroup
    from pipelines.runs.sources import FileHead

# Events without a span are told by their place up to here.
_MOST_LEFT = 100


class OtelImporter:
    """Reads exports of spans, logs and metrics; the files of one program together."""

    source_kind = "otel"
    version = 1

    @property
    def guide(self) -> FormatGuide:
        """What the docs say about the format."""
        from pipelines.runs.importers.guides.otel import GUIDE

        return GUIDE

    def detects(self, head: FileHead) -> bool:
        """An object with the spans, logs or metrics of resources."""
        if head.packing == "zip" or head.tables:
            return False
        return (head.record is not None and is_export(head.record)) or begins_export(head.start)

    def claims(self, _path: Path, /) -> None:
        """Nothing: a file speaks for itself."""

    def group_key(self, file: SourceFile) -> str:
        """Files in one folder whose names differ in the word for the signal alone: traces, logs, metrics."""
        bare = name_without_signal(file.path)
        return file.sha256 if bare is None else f"{file.path.parent}\x1f{bare}"

    def companions(self, path: Path, /) -> list[Path]:
        """The other signals of the same program beside `path`."""
        bare = name_without_signal(path)
        if bare is None or not path.parent.is_dir() or not _is_otel(path):
            return []
        return sorted(other for other in path.parent.iterdir() if name_without_signal(other) == bare and other != path)

    def read(self, group: SourceGroup, *, limits: Limits) -> Iterator[ImportBatch]:
        """Batches of each file, traces first; the runs' own rows come with the last."""
        order = {"trace": 0, "span": 0, "": 1}
        files = sorted(group.files, key=lambda file: order.get(signal_word(file.path), 2))
        with EventStore() as events:
            reading = _Reading(runs=Runs(group=group, file=files[0]), events=events)
            for file in files:
                for export in read_exports(BatchBuilder(file=file), limits=limits):
                    reading.learn(export)
            reading.runs.settle()
            for file in files:
                builder = BatchBuilder(file=file)
                yield from reading.take_file(builder, limits)
                if file is files[-1]:
                    reading.finish(builder)
                yield builder.flush()


@dataclass(kw_only=True)
class _Reading:
    """What is known of the group, and which spans have come."""

    runs: Runs
    events: EventStore
    metrics: RunMetrics = field(init=False)
    samples: Samples = field(default_factory=Samples)
    seen: set[SpanKey] = field(default_factory=set)
    next_index: int = 0
    is_cut: bool = False

    def __post_init__(self) -> None:
        self.metrics = RunMetrics(runs=self.runs)

    def learn(self, export: Export) -> None:
        """The first reading: which runs there are, and events that their spans will need."""
        for item in export.items:
            try:
                if item.signal == "span":
                    self._learn_span(item)
                elif item.signal == "log":
                    self._learn_log(item)
            except SHAPE_ERRORS:
                # The second reading says so.
                continue

    def take_file(self, builder: BatchBuilder, limits: Limits) -> Iterator[ImportBatch]:
        """The second reading of a file: its rows."""
        for export in read_exports(builder, limits=limits):
            run_ids: set[str] = set()
            for item in export.items:
                try:
                    run_ids |= self._take(item, builder, export)
                except SHAPE_ERRORS as error:
                    told = f"A {item.signal} has an unexpected shape ({type(error).__name__})."
                    export.faults.append(Fault("shape", told))
            run_id = run_ids.pop() if len(run_ids) == 1 else None
            builder.keep(export.raw, record_index=export.record_index, run_id=run_id)
            builder.note(export.faults, record_index=export.record_index, where=f"Record {export.record_index + 1}")
            if builder.is_full:
                yield builder.flush()
        self.is_cut |= any(reject.rule == "truncated" for reject in builder.rejects)

    def finish(self, builder: BatchBuilder) -> None:
        """Hand in what came without a span, the runs and their metrics."""
        self._take_left(builder)
        for run in self.runs.found.values():
            builder.runs.append(run.row(self.runs.group, is_cut=self.is_cut))
            builder.metrics.extend(run.metrics())
        builder.metrics.extend(self.metrics.rows())
        if not self.runs.found:
            builder.reject("empty", "The file holds no span, and no log or metric of an operation of a model.")

    def _learn_span(self, item: Item) -> None:
        key, parent_id = span_key(item.value), identifier(item.value.get("parentSpanId"))
        span = read_span(item, key, parent_id)
        if span is None:
            return
        self.runs.learn(item.resource, span.attributes, _identity(key), span.start_ns, span.end_ns)
        parent = SpanKey(key.trace_id, parent_id) if parent_id else None
        about = None if is_inference(span.attributes) else parent
        for event in events_of_span(item.value):
            subject = subject_key(event, key, about)
            if event.name == EVALUATION_EVENT and subject != key:
                self.events.add(subject, event, {})

    def _learn_log(self, item: Item) -> None:
        event, key = event_of_log(item.value), span_key(item.value)
        if not is_told(event):
            return
        time_ns = nanoseconds(item.value.get("timeUnixNano")) or nanoseconds(item.value.get("observedTimeUnixNano"))
        context: JsonObject = {"resource": item.resource, "scope": item.scope, "time_ns": time_ns}
        self.events.add(subject_key(event, key), event, context)
        if event.name == DETAILS_EVENT and is_inference(event.attributes):
            run = self.runs.learn_operation(item.resource, event.attributes, _identity(key))
            if run is not None and time_ns is not None:
                run.extend(time_ns)

    def _take(self, item: Item, builder: BatchBuilder, export: Export) -> set[str]:
        """Rows of one item; returns the runs that it is part of."""
        if item.signal == "metric":
            self.metrics.learn(item)
            self.metrics.take(item)
            return set()
        if item.signal == "log":
            return set()
        key = span_key(item.value)
        span = read_span(item, key, identifier(item.value.get("parentSpanId")))
        index, self.next_index = self.next_index, self.next_index + 1
        if span is None:
            told = "A span needs a start and, not before it, an end; it was left out."
            export.faults.append(Fault("span: time", told))
            return set()
        if key.span_id is not None and key in self.seen:
            export.faults.append(Fault("duplicate", f"Span {key.span_id} came before; the first one counts."))
            return set()
        self.seen.add(key)
        return self._take_span(span, index, builder, export.faults)

    def _take_span(self, span: OtelSpan, index: int, builder: BatchBuilder, faults: list[Fault]) -> set[str]:
        run = self.runs.run_of(span.resource, span.attributes)
        if run is None or self.runs.first_ns is None:
            faults.append(Fault("runs", "The file names too many services and models; the span was left out."))
            return set()
        sample_id = None
        if is_inference(span.attributes):
            answer = response_key(span.attributes)
            events = [*events_of_span(span.value), *self.events.take(span.key)]
            events += self.events.take(answer) if answer else []
            rows = list(output_rows(span, events, run, self.samples, faults))
            builder.outputs.extend(rows)
            sample_id = rows[0].sample_id
        row = span_row(span, run, index=index, first_ns=self.runs.first_ns, sample_id=sample_id, faults=faults)
        builder.spans.append(row)
        run.span_counts[row.category or ""] += 1
        return {run.run_id}

    def _take_left(self, builder: BatchBuilder) -> None:
        """Operations that were only logged become outputs; other events without their span are told."""
        lost = 0
        for key, told in self.events.left():
            detail = next((pair for pair in told if pair[0].name == DETAILS_EVENT), None)
            if detail is not None and is_inference(detail[0].attributes):
                self._take_logged(key, detail[1], [event for event, _ in told], builder)
                continue
            lost += 1
            if lost <= _MOST_LEFT:
                names = ", ".join(sorted({event.name for event, _ in told}))
                builder.reject("event: span", f"Span {key.span_id}, to which {names} belongs, is not in the files.")
        if lost > _MOST_LEFT:
            builder.reject(
                "event: span", f"{lost - _MOST_LEFT:,} more events belong to spans that are not in the files."
            )

    def _take_logged(self, key: SpanKey, context: JsonObject, events: list[SpanEvent], builder: BatchBuilder) -> None:
        """An output of an operation whose span was not kept; how long it took is not known."""
        attributes = next(event.attributes for event in events if event.name == DETAILS_EVENT)
        run = self.runs.run_of(context["resource"], attributes)
        if run is None:
            return
        time_ns = context["time_ns"] or run.start_ns or 1
        span = OtelSpan(
            key=key,
            parent_id=None,
            resource=context["resource"],
            scope=context["scope"],
            value={},
            attributes=attributes,
            start_ns=time_ns,
            end_ns=time_ns,
        )
        faults: list[Fault] = []
        builder.outputs.extend(
            row._replace(latency_ms=None) for row in output_rows(span, events, run, self.samples, faults)
        )
        builder.note(faults, record_index=None, where=f"Operation {key.span_id}")


def _identity(key: SpanKey) -> str:
    return f"{key.trace_id} {key.span_id}"


def _is_otel(path: Path) -> bool:
    try:
        head = read_head(identify(path, root=path.resolve().parent, limits=Limits()), limits=Limits())
    except (OSError, SourceError):
        return False
    return OtelImporter().detects(head)
