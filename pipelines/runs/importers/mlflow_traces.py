"""What an MLflow trace becomes: an output with scores, and the spans it was made of.

What belongs here: the mapping that both stores have in common. A trace is one request answered; feedback on it is a
score, an expectation is the reference. Reading them is `mlflow_trace_files.py` and `mlflow_database_traces.py`.
"""

from __future__ import annotations

import base64
import binascii
from collections import Counter
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from lake.identity import text_digest
from pipelines.runs.importers.frames import OutputRow, SpanRow
from pipelines.runs.metric_names import metric_row
from pipelines.runs.parameters import as_parameters
from pipelines.runs.records import (
    SHAPE_ERRORS,
    Fault,
    JsonObject,
    RecordError,
    as_count,
    as_instant,
    as_list,
    as_number,
    as_object,
    as_text,
    as_whole,
    parse_json,
)

if TYPE_CHECKING:
    import datetime as dt
    from collections.abc import Sequence

    from pipelines.runs.importers.frames import BatchBuilder
    from pipelines.runs.importers.mlflow_runs import TrackedRun

_STATUSES = {"OK": "ok", "ERROR": "error"}
# Judges answer in words; other words are categories, which are kept as tags.
_WORD_SCORES = {"yes": 1.0, "no": 0.0, "true": 1.0, "false": 0.0, "pass": 1.0, "fail": 0.0}
# The expectation whose value is the answer itself comes before those that only describe it.
_REFERENCES = ("expected_response", "expected_output", "ground_truth", "answer")
_MODEL_ATTRIBUTES = ("mlflow.llm.model", "gen_ai.request.model", "gen_ai.response.model", "model")
_SAMPLE_ID_LENGTH = 32


@dataclass(frozen=True, kw_only=True)
class Assessment:
    """What a person or a judge said of a trace."""

    name: str
    kind: str
    value: object
    source_id: str
    is_valid: bool


@dataclass(frozen=True, kw_only=True)
class TraceFacts:
    """A trace as read; `spans` are the objects that MLflow writes, in any order."""

    trace_id: str
    status: str
    started_at: dt.datetime
    latency_ms: object = None
    request: str | None = None
    response: str | None = None
    input_token_count: object = None
    output_token_count: object = None
    cost_usd: object = None
    tags: JsonObject = field(default_factory=dict)
    spans: Sequence[JsonObject] = ()
    assessments: Sequence[Assessment] = ()


@dataclass(kw_only=True)
class TracedRun:
    """A run whose traces are being read, in the order of their time."""

    run: TrackedRun
    span_count: int = 0
    cost_usd: float | None = None
    asked: Counter[str] = field(default_factory=Counter)


def add_trace(traced: TracedRun, trace: TraceFacts, builder: BatchBuilder, *, record_index: int) -> None:
    """Add the trace's output, if it has come to an end, and its spans; what cannot be used becomes rejects."""
    faults: list[Fault] = []
    try:
        _add(traced, trace, builder, faults)
    except SHAPE_ERRORS as error:
        faults.append(Fault("shape", f"It has an unexpected shape ({type(error).__name__})."))
    builder.note(faults, record_index=record_index, where=f"Trace {trace.trace_id}")


def _add(traced: TracedRun, trace: TraceFacts, builder: BatchBuilder, faults: list[Fault]) -> None:
    root = _root(trace.spans)
    request = _input_of(root) or trace.request
    # Traces have ids of their own in every run; what was asked is what two runs have in common.
    sample_id = text_digest(request)[:_SAMPLE_ID_LENGTH] if request else trace.trace_id
    spans = _span_rows(traced, trace, sample_id, faults)
    builder.spans.extend(spans)
    traced.span_count += len(spans)
    traced.run.learn_model(next((model for span in trace.spans if (model := _model(span))), None))
    if trace.status in _STATUSES:
        output = _output_row(traced, trace, root, request, sample_id, faults)
        builder.outputs.append(output)
        traced.asked[sample_id] += 1
    cost = as_number(trace.cost_usd, "cost", faults, minimum=0)
    if cost is not None:
        traced.cost_usd = (traced.cost_usd or 0.0) + cost


def finish_traces(traced: TracedRun, builder: BatchBuilder) -> None:
    """Add what is known of all traces together."""
    if traced.cost_usd is not None and traced.run.naming.name("cost_usd").metric == "cost_usd":
        builder.metrics.append(metric_row(traced.run.run_id, traced.run.run_date, "cost_usd", traced.cost_usd))


def parse_text(text: object) -> object:
    """The value of a text that MLflow wrote as JSON; the text itself if it is none."""
    if not isinstance(text, str):
        return text
    try:
        return parse_json(text.encode())[0]
    except (RecordError, *SHAPE_ERRORS):
        return text


def _output_row(
    traced: TracedRun, trace: TraceFacts, root: JsonObject, request: str | None, sample_id: str, faults: list[Fault]
) -> OutputRow:
    scores, labels = _scores(trace.assessments)
    attributes = as_object(root.get("attributes"))
    response = as_text(parse_text(attributes.get("mlflow.spanOutputs"))) if attributes else None
    labels += [f"{key}={text}" for key, text in trace.tags.items() if not key.startswith("mlflow.")]
    return OutputRow(
        run_id=traced.run.run_id,
        sample_id=sample_id,
        repeat_index=traced.asked[sample_id],
        run_date=traced.run.run_date,
        prompt=_plain(request),
        output=_answer(response or trace.response or None),
        reference=_reference(trace.assessments),
        status=_STATUSES[trace.status],
        finish_reason=None,
        input_token_count=as_count(trace.input_token_count, "input_tokens", faults),
        output_token_count=as_count(trace.output_token_count, "output_tokens", faults),
        latency_ms=as_number(trace.latency_ms, "execution_time_ms", faults, minimum=0),
        time_to_first_token_ms=None,
        scores=scores,
        tags=sorted(set(labels)),
        error_message=_error(trace, root),
        started_at=trace.started_at,
    )


def _scores(assessments: Sequence[Assessment]) -> tuple[list[tuple[str, float]], list[str]]:
    """Feedback as scores, and categories as labels. Of one source the last counts; several are told apart by name."""
    latest: dict[str, dict[str, object]] = {}
    for entry in assessments:
        if entry.kind == "feedback" and entry.is_valid:
            latest.setdefault(entry.name, {})[entry.source_id] = entry.value
    scores, labels = [], []
    for name, by_source in latest.items():
        for source_id, value in by_source.items():
            number = _score(value)
            if number is not None:
                scores.append((name if len(by_source) == 1 else f"{name},{source_id}", number))
            elif isinstance(value, str):
                labels.append(f"{name}={value}")
    return scores, labels


def _score(value: object) -> float | None:
    if isinstance(value, str):
        return _WORD_SCORES.get(value.strip().lower())
    return as_number(value, "value", []) if isinstance(value, bool | int | float) else None


def _reference(assessments: Sequence[Assessment]) -> str | None:
    expected = {entry.name: entry.value for entry in assessments if entry.kind == "expectation" and entry.is_valid}
    named = next((expected[name] for name in _REFERENCES if name in expected), None)
    return as_text(named if named is not None else next(iter(expected.values()), None))


def _error(trace: TraceFacts, root: JsonObject) -> str | None:
    if trace.status != "ERROR":
        return None
    return as_text(as_object(root.get("status")).get("message")) or None


def _root(spans: Sequence[JsonObject]) -> JsonObject:
    return next((span for span in spans if not span.get("parent_span_id")), {})


def _input_of(root: JsonObject) -> str | None:
    """What was asked in full: a trace's own preview is cut."""
    return as_text(as_object(root.get("attributes")).get("mlflow.spanInputs")) or None


def _plain(text: str | None) -> str | None:
    """A JSON text without its quotes; anything else as it is."""
    value = parse_text(text)
    return value if isinstance(value, str) else text


def _answer(text: str | None) -> str | None:
    """What was answered: of a chat completion the message, of a JSON text the text."""
    value = parse_text(text)
    if isinstance(value, dict):
        first = as_object(next(iter(as_list(value.get("choices"))), None))
        content = as_object(first.get("message")).get("content")
        return content if isinstance(content, str) else text
    return value if isinstance(value, str) else text


def _model(span: JsonObject) -> str | None:
    attributes = as_object(span.get("attributes"))
    found = (parse_text(attributes.get(key)) for key in _MODEL_ATTRIBUTES)
    return next((value for value in found if isinstance(value, str) and value), None)


def _span_rows(traced: TracedRun, trace: TraceFacts, sample_id: str, faults: list[Fault]) -> list[SpanRow]:
    """Spans by their start, with times from the start of the trace."""
    timed = []
    for span in trace.spans:
        start = as_whole(span.get("start_time_unix_nano"), "start_time_unix_nano", faults)
        end = as_whole(span.get("end_time_unix_nano"), "end_time_unix_nano", faults)
        if start is not None and end is not None and end >= start:
            timed.append((start, end, as_text(span.get("span_id")) or "", span))
    timed.sort(key=lambda entry: entry[:3])
    origin = timed[0][0] if timed else 0
    return [
        SpanRow(
            run_id=traced.run.run_id,
            span_index=traced.span_count + place,
            run_date=traced.run.run_date,
            name=as_text(span.get("name")) or "unnamed",
            start_ns=start - origin,
            duration_ns=end - start,
            span_id=_hex_id(span_id),
            parent_span_id=_hex_id(as_text(span.get("parent_span_id"))),
            trace_id=trace.trace_id,
            sample_id=sample_id,
            category=as_text(parse_text(as_object(span.get("attributes")).get("mlflow.spanType"))),
            started_at=as_instant(start / 1e9, "start_time_unix_nano", faults),
            status="error" if _is_failed(span) else "ok",
            attributes=_attributes(span),
        )
        for place, (start, end, span_id, span) in enumerate(timed)
    ]


def _is_failed(span: JsonObject) -> bool:
    code = as_object(span.get("status")).get("code", span.get("status"))
    return isinstance(code, str) and code.endswith("ERROR")


def _attributes(span: JsonObject) -> str | None:
    """Attributes, events and the status' message; the values of attributes are JSON in JSON."""
    attributes = {key: parse_text(value) for key, value in as_object(span.get("attributes")).items()}
    rest = {key: span[key] for key in ("events", "links", "status") if span.get(key)}
    return as_parameters({**attributes, **rest})


def _hex_id(span_id: str | None) -> str | None:
    """The id as OpenTelemetry writes it; MLflow keeps the same eight bytes in base64."""
    if not span_id:
        return None
    try:
        raw = base64.b64decode(span_id, validate=True)
    except (binascii.Error, ValueError):
        return span_id
    return raw.hex() if len(raw) == 8 else span_id  # noqa: PLR2004  # the length of a span's id
