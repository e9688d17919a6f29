"""Benchlake's own run file: JSON lines, one run a file (docs/formats.md).

The first line is the run, then outputs and metrics in any order, then the end. A file without an end is a run that
is still going on or was killed: what it holds lands and its status stays `started`.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from lake.identity import derived_id
from lake.tables.runs import OUTPUT_STATUSES, RUN_STATUSES
from pipelines.runs.importers.frames import BatchBuilder, ImportBatch, MetricRow, OutputRow, TokenRow, TopToken
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
    canonical_json,
)

if TYPE_CHECKING:
    import datetime as dt
    from collections.abc import Iterator

    from pipelines.runs.importers.protocol import SourceGroup
    from pipelines.runs.sources import FileHead, Limits

_TYPES = frozenset({"run", "output", "metric", "end"})
SCHEMA_VERSION = 1
UNKNOWN = "unknown"


class BenchlakeImporter(FileImporter):
    """Reads files that the suite runner, or anybody who follows the format, wrote."""

    source_kind = "benchlake"
    version = 1

    def detects(self, head: FileHead) -> bool:
        """A record of one of the four types, with what that type must have."""
        record = head.record or {}
        kind = record.get("type")
        needed = {"run": "type", "output": "sample_id", "metric": "metric", "end": "status"}
        return head.packing != "zip" and isinstance(kind, str) and needed.get(kind, "") in record

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
            builder.runs.append(run.row)
        yield builder.flush()


@dataclass(kw_only=True)
class _Run:
    """The run that is being read."""

    run_id: str
    run_date: dt.date
    row: JsonObject
    header_index: int
    seen: set[tuple[str, int]] = field(default_factory=set)
    metrics: set[tuple[str, str, int]] = field(default_factory=set)


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
    faults: list[Fault] = []
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
    version = header.get("schema_version", SCHEMA_VERSION)
    if version != SCHEMA_VERSION:
        faults.append(
            Fault(
                "schema_version", f"schema_version is {version!r}; it was read as {SCHEMA_VERSION}, the only one known."
            )
        )
    builder.note(faults, record_index=record.record_index, where=f"Line {record.record_index + 1}")
    return _Run(run_id=run_id, run_date=started_at.date(), row=row, header_index=record.record_index)


def _take(record: LineRecord, run: _Run, builder: BatchBuilder) -> None:
    """Put one record where its type belongs."""
    kind, faults = record.value.get("type"), record.faults
    try:
        if kind == "output":
            _take_output(record.value, run, builder, faults)
        elif kind == "metric":
            _take_metric(record.value, run, builder, faults)
        elif kind == "end":
            _take_end(record.value, run, faults)
        elif kind != "run" or record.record_index != run.header_index:
            faults.append(Fault("type", f"type must be one of {', '.join(sorted(_TYPES))}, with run first alone."))
    except SHAPE_ERRORS as error:
        faults.append(Fault("shape", f"The record has an unexpected shape ({type(error).__name__}) and was left out."))
    builder.note(faults, record_index=record.record_index, where=f"Line {record.record_index + 1}")


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
        token for index, item in enumerate(as_list(value.get("tokens"))) if (token := _token(item, index, faults))
    ]
    if tokens:
        builder.tokens.append((row, tokens))


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
        token=as_text(value.get("token")) or "",
        bytes=as_bytes(value.get("bytes"), f"{place}.bytes", faults),
        logprob=as_number(value.get("logprob"), f"{place}.logprob", faults),
        top_k=None if tops is None else [top for entry in as_list(tops) if (top := _top(entry, place, faults))],
    )


def _top(item: object, place: str, faults: list[Fault]) -> TopToken | None:
    value = as_object(item)
    logprob = as_number(value.get("logprob"), f"{place}.top_k.logprob", faults)
    if logprob is None:
        return None
    token_id = as_count(value.get("token_id"), f"{place}.top_k.token_id", faults)
    return TopToken(token_id, as_text(value.get("token")) or "", logprob)


def _take_metric(value: JsonObject, run: _Run, builder: BatchBuilder, faults: list[Fault]) -> None:
    metric, variant = as_text(value.get("metric")), as_text(value.get("variant")) or ""
    step = as_count(value.get("step", 0), "step", faults)
    number = as_number(value.get("value"), "value", faults)
    if metric is None or step is None or number is None:
        faults.append(Fault("metric", "A metric needs a name, a step and a finite value; it was left out."))
        return
    if (metric, variant, step) in run.metrics:
        faults.append(Fault("duplicate", f"Metric {metric} {variant} {step} came before; the first one counts."))
        return
    run.metrics.add((metric, variant, step))
    error = as_number(value.get("standard_error"), "standard_error", faults, minimum=0)
    unit, is_higher_better = as_text(value.get("unit")) or "1", as_flag(value.get("is_higher_better"))
    builder.metrics.append(
        MetricRow(run.run_id, metric, variant, step, run.run_date, number, unit, error, is_higher_better)
    )


def _take_end(value: JsonObject, run: _Run, faults: list[Fault]) -> None:
    run.row["status"] = _status(value.get("status"), RUN_STATUSES, "error", faults)
    run.row["ended_at"] = as_instant(value.get("ended_at"), "ended_at", faults)
    run.row["error_message"] = as_text(value.get("error_message"))


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


def _json(value: object) -> str | None:
    return None if value is None else canonical_json(value)


def _fingerprint(value: JsonObject, faults: list[Fault]) -> JsonObject:
    concurrency = as_count(value.get("concurrency"), "fingerprint.concurrency", faults)
    return {name: as_text(item) for name, item in value.items() if name != "concurrency"} | {"concurrency": concurrency}


def _code_version(value: JsonObject) -> JsonObject:
    return {name: as_text(item) for name, item in value.items() if name != "is_dirty"} | {
        "is_dirty": as_flag(value.get("is_dirty"))
    }
