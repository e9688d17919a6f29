"""Traces in an MLflow file store: a folder each, with trace_info.yaml, small files of tags, and the spans as JSON.

What belongs here: reading the parts. What they mean is `mlflow_traces.py`.
"""

from __future__ import annotations

import datetime as dt
from typing import TYPE_CHECKING

from pipelines.runs.importers.mlflow_files import parse_yaml, read_small, read_whole
from pipelines.runs.importers.mlflow_folders import SPANS_FILE, TRACE_INFO
from pipelines.runs.importers.mlflow_runs import TrackedRun, read_time
from pipelines.runs.importers.mlflow_traces import (
    Assessment,
    TracedRun,
    TraceFacts,
    add_trace,
    finish_traces,
    parse_text,
)
from pipelines.runs.records import (
    Fault,
    JsonObject,
    RecordError,
    as_instant,
    as_list,
    as_object,
    as_text,
    parse_object,
)
from pipelines.runs.redaction import redact
from pipelines.runs.sources import Limits, SourceError, SourceFile

if TYPE_CHECKING:
    from collections.abc import Iterator

    from pipelines.runs.importers.frames import BatchBuilder, ImportBatch

# The parts of one trace by their path in it, each with its name to tell of it.
TraceParts = dict[str, tuple[str, SourceFile]]


def trace_folders(parts: list[tuple[str, SourceFile]], *, below: str) -> dict[str, TraceParts]:
    """The traces in the folder `below`, which ends with a slash or is empty, by their ids."""
    folders: dict[str, TraceParts] = {}
    for name, part in parts:
        trace_id, _, inside = name.removeprefix(below).partition("/")
        if name.startswith(below) and inside:
            folders.setdefault(trace_id, {})[inside] = (name, part)
    return {trace_id: found for trace_id, found in folders.items() if TRACE_INFO in found}


def read_traces(
    folders: dict[str, TraceParts], run: TrackedRun, builder: BatchBuilder, *, limits: Limits
) -> Iterator[ImportBatch]:
    """Batches of the traces of a run, in the order of their time."""
    traced = TracedRun(run=run)
    times = {trace_id: started_at(parts, limits=limits) for trace_id, parts in folders.items()}
    for trace_id in sorted(folders, key=lambda name: (times[name] or run.row["started_at"], name)):
        trace = _read_trace(trace_id, folders[trace_id], times[trace_id] or run.row["started_at"], builder, limits)
        add_trace(traced, trace, builder, record_index=0)
        if builder.is_full:
            yield builder.flush()
    finish_traces(traced, builder)


def started_at(parts: TraceParts, *, limits: Limits) -> dt.datetime | None:
    """When a trace began; None if it does not say."""
    try:
        info = as_object(parse_yaml(read_whole(parts[TRACE_INFO][1], limits=limits)))
    except SourceError:
        return None
    return _time_of(info, [])


def _time_of(info: JsonObject, faults: list[Fault]) -> dt.datetime | None:
    """Today's request_time is ISO text, which YAML may have read already; earlier it was milliseconds."""
    moment = info.get("request_time")
    if isinstance(moment, dt.datetime):
        return moment.replace(tzinfo=dt.UTC) if moment.tzinfo is None else moment.astimezone(dt.UTC)
    return as_instant(moment, "request_time", faults) or read_time(info.get("timestamp_ms"), "timestamp_ms", faults)


def _read_trace(
    trace_id: str, parts: TraceParts, begun_at: dt.datetime, builder: BatchBuilder, limits: Limits
) -> TraceFacts:
    """Every part of the trace, each kept as a raw record."""
    texts: dict[str, JsonObject] = {"tags": {}, "request_metadata": {}}
    assessments, info, spans = list[JsonObject](), JsonObject(), list[JsonObject]()
    for inside, (name, part) in sorted(parts.items()):
        if inside == SPANS_FILE:
            spans = _read_spans(name, part, builder, limits)
            continue
        value = read_small(name, part, builder, run_id=None, limits=limits).value
        kind, _, key = inside.partition("/")
        if inside == TRACE_INFO:
            info = as_object(value)
        elif kind == "assessments":
            assessments.append(as_object(value))
        elif kind in texts and value is not None:
            texts[kind][key] = value
    usage = as_object(parse_text(texts["request_metadata"].get("mlflow.trace.tokenUsage")))
    return TraceFacts(
        trace_id=trace_id,
        status=as_text(info.get("state") or info.get("status")) or "",
        started_at=begun_at,
        latency_ms=info.get("execution_duration_ms", info.get("execution_time_ms")),
        request=as_text(info.get("request_preview")) or as_text(texts["request_metadata"].get("mlflow.traceInputs")),
        response=as_text(info.get("response_preview")) or as_text(texts["request_metadata"].get("mlflow.traceOutputs")),
        input_token_count=usage.get("input_tokens"),
        output_token_count=usage.get("output_tokens"),
        cost_usd=as_object(parse_text(texts["request_metadata"].get("mlflow.trace.cost"))).get("total_cost"),
        tags=texts["tags"],
        spans=spans,
        assessments=[_assessment(entry) for entry in sorted(assessments, key=_written_at)],
    )


def _read_spans(name: str, part: SourceFile, builder: BatchBuilder, limits: Limits) -> list[JsonObject]:
    try:
        raw = redact(read_whole(part, limits=limits))
        value, faults = parse_object(raw)
    except RecordError as error:
        builder.reject(f"{name}: {error.rule}", f"{name}: {error}")
        return []
    builder.keep(raw, record_index=0, member=name)
    builder.note(faults, record_index=0, where=name)
    return [as_object(span) for span in as_list(value.get("spans"))]


def _assessment(entry: JsonObject) -> Assessment:
    kind = "feedback" if "feedback" in entry else "expectation" if "expectation" in entry else ""
    return Assessment(
        name=as_text(entry.get("assessment_name") or entry.get("name")) or "unnamed",
        kind=kind,
        value=as_object(entry.get(kind)).get("value"),
        source_id=as_text(as_object(entry.get("source")).get("source_id")) or "",
        is_valid=entry.get("valid") is not False,
    )


def _written_at(entry: JsonObject) -> str:
    return as_text(entry.get("create_time")) or ""
