"""Benchlake's own run file: JSON lines, one run a file (docs/formats/benchlake.md).

The first line is the run, then outputs, metrics, parameters and spans in any order, then the end. A file without an
end is a run that is still going on or was killed: what it holds lands and its status stays `started`. What the lines
may hold is declared in `pipelines/runs/run_format.py`; here they are read tolerantly, and what departs is named.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from lake.identity import derived_id
from lake.tables.runs import OUTPUT_STATUSES, RUN_STATUSES, SPAN_STATUSES
from pipelines.runs.importers.benchlake_phases import read_phases
from pipelines.runs.importers.frames import (
    BatchBuilder,
    ImportBatch,
    MetricRow,
    OutputRow,
    SpanRow,
    TokenRow,
    TopToken,
)
from pipelines.runs.importers.lines import LineRecord, read_records
from pipelines.runs.importers.protocol import FileImporter
from pipelines.runs.records import (
    SHAPE_ERRORS,
    Fault,
    JsonObject,
    as_bytes,
    as_count,
    as_flag,
    as_index,
    as_instant,
    as_list,
    as_number,
    as_object,
    as_tags,
    as_text,
    as_whole,
    canonical_json,
)
from pipelines.runs.run_format import LINES, SCHEMA_VERSION, find_departures

if TYPE_CHECKING:
    import datetime as dt
    from collections.abc import Iterator

    from pipelines.runs.importers.guide import FormatGuide
    from pipelines.runs.importers.protocol import SourceGroup
    from pipelines.runs.sources import FileHead, Limits

UNKNOWN = "unknown"
# What tells a line of each type from JSON lines of other tools that have a `type` too.
_TELLING = {
    "run": "type",
    "output": "sample_id",
    "metric": "metric",
    "param": "parameter",
    "span": "duration_ns",
    "end": "status",
}


class BenchlakeImporter(FileImporter):
    """Reads files that the suite runner, or anybody who follows the format, wrote."""

    source_kind = "benchlake"
    version = 2

    @property
    def guide(self) -> FormatGuide:
        """What the docs say about the format."""
        from pipelines.runs.importers.guides.benchlake import GUIDE

        return GUIDE

    def detects(self, head: FileHead) -> bool:
        """A record of one of the six types, with what that type must have."""
        record = head.record or {}
        kind = record.get("type")
        return head.packing != "zip" and isinstance(kind, str) and _TELLING.get(kind, "") in record

    def read(self, group: SourceGroup, *, limits: Limits) -> Iterator[ImportBatch]:
        """Batches of the file; the run's own row comes with the last."""
        (file,) = group.files
        builder = BatchBuilder(file=file)
        run: _Run | None = None
        for record in read_records(builder, limits=limits):
            if run is None:
                run = _begin(record, group, builder)
            run_id, sample_id = run.run_id, None
            if record.value.get("type") == "output":
                sample_id = as_text(record.value.get("sample_id"))
            builder.keep(record.raw, record_index=record.record_index, run_id=run_id, sample_id=sample_id)
            _take(record, run, builder)
            if builder.is_full:
                yield builder.flush()
        if run is not None:
            builder.runs.append(run.finished_row())
        yield builder.flush()


@dataclass(kw_only=True)
class _Run:
    """The run that is being read."""

    run_id: str
    run_date: dt.date
    row: JsonObject
    header_index: int
    seen: set[tuple[str, int]] = field(default_factory=set)
    metrics: set[tuple[str, str, int, int]] = field(default_factory=set)
    parameters: JsonObject = field(default_factory=dict)
    added: JsonObject = field(default_factory=dict)
    units: dict[str, str] = field(default_factory=dict)
    span_count: int = 0
    span_ids: set[str] = field(default_factory=set)

    def finished_row(self) -> JsonObject:
        """The row of silver.runs, now that every line is read."""
        if not self.added:
            return self.row
        return self.row | {
            "parameters": canonical_json(self.parameters | self.added),
            "parameter_units": self.units,
        }


def _begin(record: LineRecord, group: SourceGroup, builder: BatchBuilder) -> _Run:
    """The run from its line; from any other line, a run of which nothing is known, so that its outputs still land."""
    (file,) = group.files
    is_header = record.value.get("type") == "run"
    header = record.value if is_header else {}
    if not is_header:
        builder.reject(
            "header",
            "The file's first readable line is no run: its outputs landed under a run whose suite, backend and model "
            f"are {UNKNOWN!r}. Mend the line and import the file again.",
        )
    faults: list[Fault] = list(record.faults) if is_header else []
    started_at = as_instant(header.get("started_at"), "started_at", faults) or file.modified_at
    run_id = as_text(header.get("run_id")) or derived_id("run", group.source_kind, file.sha256)
    names = {name: _name(header, name, faults if is_header else []) for name in ("suite", "backend", "model")}
    row = {
        "run_id": run_id,
        "run_date": started_at.date(),
        "source_kind": group.source_kind,
        "source_run_id": as_text(header.get("run_id")),
        "file_sha256": file.sha256,
        "content_digest": group.content_digest,
        **names,
        "engine": as_text(header.get("engine")),
        "engine_version": as_text(header.get("engine_version")),
        "parameters": _json(header.get("parameters")),
        "environment": _json(header.get("environment")),
        "fingerprint": _fingerprint(as_object(header.get("fingerprint")), faults),
        "code_version": _code_version(as_object(header.get("code_version"))),
        "tags": as_tags(header.get("tags")),
        "started_at": started_at,
        "status": "started",
        "expected_sample_count": as_count(header.get("expected_sample_count"), "expected_sample_count", faults),
    }
    if is_header:
        _note_departures(header, faults)
    version = header.get("schema_version", SCHEMA_VERSION)
    if version != SCHEMA_VERSION:
        faults.append(
            Fault(
                "schema_version", f"schema_version is {version!r}; it was read as {SCHEMA_VERSION}, the only one known."
            )
        )
    builder.note(faults, record_index=record.record_index, where=f"Line {record.record_index + 1}")
    return _Run(
        run_id=run_id,
        run_date=started_at.date(),
        row=row,
        header_index=record.record_index,
        parameters=_members(header.get("parameters")),
    )


def _take(record: LineRecord, run: _Run, builder: BatchBuilder) -> None:
    """Put one record where its type belongs."""
    kind, faults = record.value.get("type"), record.faults
    try:
        if kind == "run" and record.record_index == run.header_index:
            return
        take = _TAKERS.get(kind) if isinstance(kind, str) else None
        if take is None:
            faults.append(Fault("type", f"type must be one of {', '.join(LINES)}, with run first alone."))
        else:
            take(record.value, run, builder, faults)
            _note_departures(record.value, faults)
    except SHAPE_ERRORS as error:
        faults.append(Fault("shape", f"The record has an unexpected shape ({type(error).__name__}) and was left out."))
    builder.note(faults, record_index=record.record_index, where=f"Line {record.record_index + 1}")


def _note_departures(value: JsonObject, faults: list[Fault]) -> None:
    """Name what departs from the declared format and was taken all the same, unless a reader has named it."""
    # Tokens are by far the most fields, and their readers name everything by themselves.
    told = {_root(fault.rule) for fault in faults} | {"tokens", "schema_version"}
    departures = find_departures({key: item for key, item in value.items() if key != "tokens"})
    faults.extend(
        Fault(f"{departure.path}: type", f"{departure.message} It was read as far as it can be.")
        for departure in departures
        if _root(departure.path) not in told
    )


def _root(path: str) -> str:
    """The field of the line that a rule or a path is about."""
    return re.split(r"[.\[:]", path, maxsplit=1)[0]


def _take_output(value: JsonObject, run: _Run, builder: BatchBuilder, faults: list[Fault]) -> None:
    sample_id = as_text(value.get("sample_id"))
    repeat_index = as_index(value.get("repeat_index", 0), "repeat_index", faults)
    if sample_id is None or repeat_index is None:
        faults.append(Fault("sample_id", "An output needs a sample_id and a repeat_index; it was left out."))
        return
    if (sample_id, repeat_index) in run.seen:
        faults.append(
            Fault("duplicate", f"Sample {sample_id}, repeat {repeat_index} came before; the first one counts.")
        )
        return
    run.seen.add((sample_id, repeat_index))
    error_message = as_text(value.get("error_message"))
    row = OutputRow(
        run_id=run.run_id,
        sample_id=sample_id,
        repeat_index=repeat_index,
        run_date=run.run_date,
        prompt=as_text(value.get("prompt")),
        output=as_text(value.get("output")),
        reference=as_text(value.get("reference")),
        status=_output_status(value.get("status"), error_message, faults),
        finish_reason=as_text(value.get("finish_reason")),
        input_token_count=as_count(value.get("input_token_count"), "input_token_count", faults),
        output_token_count=as_count(value.get("output_token_count"), "output_token_count", faults),
        latency_ms=as_number(value.get("latency_ms"), "latency_ms", faults, minimum=0),
        time_to_first_token_ms=as_number(
            value.get("time_to_first_token_ms"), "time_to_first_token_ms", faults, minimum=0
        ),
        scores=_scores(value.get("scores"), faults),
        tags=as_tags(value.get("tags")),
        error_message=error_message,
        started_at=as_instant(value.get("started_at"), "started_at", faults),
    )
    builder.outputs.append(row)
    tokens = [
        token
        for index, item in enumerate(_list(value.get("tokens"), "tokens", faults))
        if (token := _token(item, index, faults))
    ]
    if tokens:
        builder.tokens.append((row, tokens))
    spans = list(read_phases(value.get("phases"), row, first_index=run.span_count, faults=faults))
    builder.spans.extend(spans)
    run.span_count += len(spans)


def _output_status(value: object, error_message: str | None, faults: list[Fault]) -> str:
    """The status; an absent one is ok unless there is an error message, an unknown one is never ok."""
    if value is None:
        return "error" if error_message else "ok"
    return _status(value, OUTPUT_STATUSES, "error", faults)


def _scores(value: object, faults: list[Fault]) -> list[tuple[str, float]]:
    if value is not None and not isinstance(value, dict):
        faults.append(Fault("scores: type", "scores must be an object of scorer to number; they were left out."))
    scores = as_object(value)
    named = ((name, as_number(value, f"scores.{name}", faults)) for name, value in scores.items())
    return [(name, value) for name, value in named if value is not None]


def _token(item: object, index: int, faults: list[Fault]) -> TokenRow | None:
    value, place = as_object(item), f"tokens[{index}]"
    if not value:
        faults.append(Fault(f"{place}: object", f"{place} must be an object; it was left out."))
        return None
    tops = value.get("top_k")
    return TokenRow(
        token_id=as_count(value.get("token_id"), f"{place}.token_id", faults),
        token=_token_text(value.get("token"), place, faults),
        bytes=as_bytes(value.get("bytes"), f"{place}.bytes", faults),
        logprob=as_number(value.get("logprob"), f"{place}.logprob", faults),
        top_k=None
        if tops is None
        else [top for entry in _list(tops, f"{place}.top_k", faults) if (top := _top(entry, place, faults))],
    )


def _top(item: object, place: str, faults: list[Fault]) -> TopToken | None:
    value = as_object(item)
    logprob = as_number(value.get("logprob"), f"{place}.top_k.logprob", faults)
    if logprob is None:
        if value.get("logprob") is None:
            faults.append(Fault(f"{place}.top_k: logprob", f"{place}.top_k has a token without logprob; left out."))
        return None
    token_id = as_count(value.get("token_id"), f"{place}.top_k.token_id", faults)
    return TopToken(token_id, _token_text(value.get("token"), f"{place}.top_k", faults), logprob)


def _token_text(value: object, place: str, faults: list[Fault]) -> str:
    if not isinstance(value, str):
        faults.append(Fault(f"{place}.token: type", f"{place}.token must be text; other JSON is kept as JSON text."))
    return as_text(value) or ""


def _list(value: object, place: str, faults: list[Fault]) -> list[object]:
    if value is not None and not isinstance(value, list):
        faults.append(Fault(f"{place}: type", f"{place} must be a list; it was left out."))
    return as_list(value)


def _take_metric(value: JsonObject, run: _Run, builder: BatchBuilder, faults: list[Fault]) -> None:
    metric, variant = as_text(value.get("metric")), as_text(value.get("variant")) or ""
    step = as_count(value.get("step", 0), "step", faults)
    repeat_index = as_count(value.get("repeat_index", 0), "repeat_index", faults)
    number = as_number(value.get("value"), "value", faults)
    if metric is None or step is None or repeat_index is None or number is None:
        faults.append(Fault("metric", "A metric needs a name, a step and a finite value; it was left out."))
        return
    if (metric, variant, step, repeat_index) in run.metrics:
        faults.append(
            Fault("duplicate", f"Metric {metric} {variant} {step} {repeat_index} came before; the first one counts.")
        )
        return
    run.metrics.add((metric, variant, step, repeat_index))
    builder.metrics.append(
        MetricRow(
            run.run_id,
            metric,
            variant,
            step,
            run.run_date,
            number,
            as_text(value.get("unit")) or "1",
            as_number(value.get("standard_error"), "standard_error", faults, minimum=0),
            as_flag(value.get("is_higher_better")),
            repeat_index,
            as_number(value.get("standard_deviation"), "standard_deviation", faults, minimum=0),
            as_count(value.get("sample_count"), "sample_count", faults),
            as_instant(value.get("recorded_at"), "recorded_at", faults),
        )
    )


def _take_param(value: JsonObject, run: _Run, _builder: BatchBuilder, faults: list[Fault]) -> None:
    """A parameter joins those of the run line; of two with one name the first counts."""
    name = as_text(value.get("parameter"))
    if name is None or "value" not in value:
        faults.append(Fault("parameter", "A param needs a parameter, its name, and a value; it was left out."))
        return
    if name in run.parameters or name in run.added:
        faults.append(Fault("duplicate", f"Parameter {name} came before; the first one counts."))
        return
    run.added[name] = value["value"]
    unit = as_text(value.get("unit"))
    if unit:
        run.units[name] = unit


def _take_span(value: JsonObject, run: _Run, builder: BatchBuilder, faults: list[Fault]) -> None:
    name, span_id = as_text(value.get("name")), as_text(value.get("span_id"))
    start_ns = as_whole(value.get("start_ns"), "start_ns", faults)
    duration_ns = as_count(value.get("duration_ns"), "duration_ns", faults)
    if name is None or start_ns is None or duration_ns is None:
        faults.append(Fault("span", "A span needs a name, a start_ns and a duration_ns; it was left out."))
        return
    if span_id in run.span_ids:
        faults.append(Fault("duplicate", f"Span {span_id} came before; the first one counts."))
        return
    if span_id is not None:
        run.span_ids.add(span_id)
    attributes = value.get("attributes")
    builder.spans.append(
        SpanRow(
            run_id=run.run_id,
            span_index=run.span_count,
            run_date=run.run_date,
            name=name,
            start_ns=start_ns,
            duration_ns=duration_ns,
            span_id=span_id,
            parent_span_id=as_text(value.get("parent_span_id")),
            trace_id=as_text(value.get("trace_id")),
            sample_id=as_text(value.get("sample_id")),
            category=as_text(value.get("category")),
            process=as_text(value.get("process")),
            thread=as_text(value.get("thread")),
            started_at=as_instant(value.get("started_at"), "started_at", faults),
            status="ok" if value.get("status") is None else _status(value["status"], SPAN_STATUSES, "error", faults),
            attributes=None if attributes is None else canonical_json(attributes),
        )
    )
    run.span_count += 1


def _take_end(value: JsonObject, run: _Run, _builder: BatchBuilder, faults: list[Fault]) -> None:
    run.row["status"] = _status(value.get("status"), RUN_STATUSES, "error", faults)
    run.row["ended_at"] = as_instant(value.get("ended_at"), "ended_at", faults)
    run.row["error_message"] = as_text(value.get("error_message"))


_TAKERS: dict[str, Callable[[JsonObject, _Run, BatchBuilder, list[Fault]], None]] = {
    "output": _take_output,
    "metric": _take_metric,
    "param": _take_param,
    "span": _take_span,
    "end": _take_end,
}


def _status(value: object, known: tuple[str, ...], otherwise: str, faults: list[Fault]) -> str:
    if isinstance(value, str) and value in known:
        return value
    if value is not None:
        faults.append(Fault("status: vocabulary", f"status must be one of {', '.join(known)}; taken as {otherwise}."))
    return otherwise


def _name(header: JsonObject, name: str, faults: list[Fault]) -> str:
    text = as_text(header.get(name))
    if text is None and header:
        faults.append(Fault(f"{name}: missing", f"The run names no {name}; taken as {UNKNOWN!r}."))
    return text or UNKNOWN


def _members(parameters: object) -> JsonObject:
    """Parameters by name; what is no object, and so has no names, is one of them."""
    if isinstance(parameters, dict):
        return dict(parameters)
    return {} if parameters is None else {"value": parameters}


def _json(value: object) -> str | None:
    return None if value is None else canonical_json(value)


def _fingerprint(value: JsonObject, faults: list[Fault]) -> JsonObject:
    concurrency = as_count(value.get("concurrency"), "fingerprint.concurrency", faults)
    return {name: as_text(item) for name, item in value.items() if name != "concurrency"} | {"concurrency": concurrency}


def _code_version(value: JsonObject) -> JsonObject:
    return {name: as_text(item) for name, item in value.items() if name != "is_dirty"} | {
        "is_dirty": as_flag(value.get("is_dirty"))
    }
