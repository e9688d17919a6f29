"""Traces in the database of an MLflow tracking server: requests with their spans and what was said of them.

What belongs here: which rows make a trace, and which run it belongs to. What they mean is `mlflow_traces.py`.
"""

from __future__ import annotations

import datetime as dt
from itertools import chain, groupby
from typing import TYPE_CHECKING

from pipelines.runs.importers.frames import BatchBuilder, ImportBatch
from pipelines.runs.importers.mlflow_records import keep_record
from pipelines.runs.importers.mlflow_runs import TrackedRun, read_time, traces_run
from pipelines.runs.importers.mlflow_tables import BROKEN, OrderedRows, Tables, listed, reason_of
from pipelines.runs.importers.mlflow_traces import (
    Assessment,
    TracedRun,
    TraceFacts,
    add_trace,
    finish_traces,
    parse_text,
)
from pipelines.runs.records import Fault, JsonObject, as_list, as_object, as_text

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from pipelines.runs.importers.protocol import SourceGroup

# Which run a trace belongs to, as rows of (trace, run): the one that was open, or one that it was put to later.
_LINKS = {
    "trace_request_metadata": (
        "select request_id as trace_id, value as run_id from trace_request_metadata where key = 'mlflow.sourceRun'"
    ),
    "entity_associations": (
        "select source_id as trace_id, destination_id as run_id from entity_associations "
        "where source_type = 'trace' and destination_type = 'run'"
    ),
}
# What a trace's spans may hold together; an agent's longest day is below it.
_SPANS_LENGTH = 64 << 20
_NO_LINKS = "select null as trace_id, null as run_id"
_SPAN_COLUMNS = ("name", "span_id", "parent_span_id", "start_time_unix_nano", "end_time_unix_nano")
_BESIDE = {"metadata": "trace_request_metadata", "tags": "trace_tags"}


class DatabaseTraces:
    """Traces of one database: those of a run when it is read, the rest after all runs."""

    def __init__(self, tables: Tables, group: SourceGroup, builder: BatchBuilder) -> None:
        self._tables, self._group, self._builder = tables, group, builder
        self._has_traces = "request_id" in tables.columns("trace_info")
        self._linked = OrderedRows(self._rows(is_linked=True))
        self._record_count = 0

    def read_linked(self, run: TrackedRun) -> Iterator[ImportBatch]:
        """Batches of the traces of a run; asked for in the order of the runs' ids."""
        yield from self._add(self._linked.of(run.run_id), run)

    def read_loose(self) -> Iterator[ImportBatch]:
        """Batches of the traces that belong to no run of the database, as one run an experiment and day."""
        rows = OrderedRows(self._rows(is_linked=False))
        for (experiment_id, day), together in groupby(rows.of(""), key=self._day_of):
            first = next(together)
            experiment = next(iter(self._tables.find("experiments", experiment_id=experiment_id)), {})
            started_at = read_time(first.get("timestamp_ms"), "timestamp_ms", []) or self._group.files[0].modified_at
            run = traces_run(experiment or {"experiment_id": experiment_id}, day, started_at, self._group)
            yield from self._add(chain([first], together), run)  # noqa: B031  # the rest of the same pass
            self._builder.runs.append(run.row)
        for problem in (rows.problem, self._linked.problem):
            if problem:
                self._builder.reject("trace_info: database", f"The table trace_info ends early: {problem}.")

    def _day_of(self, row: JsonObject) -> tuple[object, dt.date]:
        moment = read_time(row.get("timestamp_ms"), "timestamp_ms", []) or self._group.files[0].modified_at
        return row.get("experiment_id"), moment.date()

    def _rows(self, *, is_linked: bool) -> Iterator[tuple[str, JsonObject]]:
        """Traces by run and time."""
        columns = self._tables.columns("trace_info")
        if not self._has_traces:
            return iter(())
        links = " union all ".join(query for table, query in _LINKS.items() if self._tables.columns(table))
        chosen = f"(select trace_id, min(run_id) as run_id from ({links or _NO_LINKS}) group by trace_id)"  # noqa: S608  # fixed texts
        order = [name for name in ("experiment_id", "timestamp_ms", "request_id") if name in columns]
        return self._tables.keyed(
            f"select coalesce(cast(r.run_uuid as text), '') collate binary, {listed(columns, of='t')} "  # noqa: S608  # names are quoted
            f"from trace_info t left join {chosen} l on l.trace_id = t.request_id "
            f"left join runs r on r.run_uuid = l.run_id where r.run_uuid is {'not ' if is_linked else ''}null "
            f"order by 1, {listed(order, of='t')}",
            columns,
        )

    def _add(self, rows: Iterable[JsonObject], run: TrackedRun) -> Iterator[ImportBatch]:
        traced = TracedRun(run=run)
        for row in rows:
            faults: list[Fault] = []
            trace = self._read(row, run, faults)
            self._builder.note(faults, record_index=self._record_count - 1, where=f"Trace {trace.trace_id}")
            add_trace(traced, trace, self._builder, record_index=self._record_count - 1)
            if self._builder.is_full:
                yield self._builder.flush()
        finish_traces(traced, self._builder)

    def _read(self, row: JsonObject, run: TrackedRun, faults: list[Fault]) -> TraceFacts:
        """One trace with everything beside it, kept as one record."""
        trace_id = row.get("request_id")
        record: JsonObject = {
            "trace": row,
            "assessments": self._found("assessments", faults, trace_id=trace_id),
            "spans": self._spans(trace_id, faults),
        }
        for name, table in _BESIDE.items():
            found = self._found(table, faults, request_id=trace_id)
            record[name] = {as_text(pair.get("key")) or "": pair.get("value") for pair in found}
        clean = keep_record(
            record, self._builder, member="trace_info", record_index=self._record_count, run_id=run.run_id
        )
        self._record_count += 1
        return _facts(clean, run)

    def _spans(self, trace_id: object, faults: list[Fault]) -> list[JsonObject]:
        found, length = [], 0
        for row in self._found("spans", faults, trace_id=trace_id):
            length += len(as_text(row.get("content")) or "")
            if length > _SPANS_LENGTH:
                faults.append(Fault("cell_length", f"Its spans are longer than {_SPANS_LENGTH:,} characters."))
                break
            found.append(row)
        return found

    def _found(self, table: str, faults: list[Fault], **equals: object) -> list[JsonObject]:
        """Rows beside a trace; a table that cannot be read costs the trace what it held."""
        try:
            return self._tables.find(table, **equals)
        except BROKEN as error:
            faults.append(Fault(f"{table}: database", f"The table {table} cannot be read: {reason_of(error)}."))
            return []


def _facts(record: JsonObject, run: TrackedRun) -> TraceFacts:
    row, metadata = as_object(record.get("trace")), as_object(record.get("metadata"))
    usage = as_object(parse_text(metadata.get("mlflow.trace.tokenUsage")))
    assessments = [as_object(entry) for entry in as_list(record.get("assessments"))]
    return TraceFacts(
        trace_id=as_text(row.get("request_id")) or "",
        status=as_text(row.get("status")) or "",
        started_at=read_time(row.get("timestamp_ms"), "timestamp_ms", []) or run.row["started_at"],
        latency_ms=row.get("execution_time_ms"),
        request=as_text(row.get("request_preview")) or as_text(metadata.get("mlflow.traceInputs")),
        response=as_text(row.get("response_preview")) or as_text(metadata.get("mlflow.traceOutputs")),
        input_token_count=row.get("input_tokens", usage.get("input_tokens")),
        output_token_count=row.get("output_tokens", usage.get("output_tokens")),
        cost_usd=row.get("total_cost"),
        tags=as_object(record.get("tags")),
        spans=[_span(as_object(span)) for span in as_list(record.get("spans"))],
        assessments=[_assessment(entry) for entry in sorted(assessments, key=_written_at)],
    )


def _span(row: JsonObject) -> JsonObject:
    """The span as MLflow wrote it; what has a column of its own is taken from there."""
    content = as_object(parse_text(row.get("content")))
    named = {key: row[key] for key in _SPAN_COLUMNS if row.get(key) is not None}
    attributes = dict(as_object(content.get("attributes")))
    for key, column in (("mlflow.llm.model", "model_name"), ("mlflow.spanType", "type")):
        if row.get(column) is not None:
            attributes.setdefault(key, row[column])
    status = content.get("status") or {"code": row.get("status")}
    return {**content, **named, "attributes": attributes, "status": status}


def _assessment(row: JsonObject) -> Assessment:
    return Assessment(
        name=as_text(row.get("name")) or "unnamed",
        kind=as_text(row.get("assessment_type")) or "",
        value=parse_text(row.get("value")),
        source_id=as_text(row.get("source_id")) or "",
        is_valid=row.get("valid") not in (0, False),
    )


def _written_at(row: JsonObject) -> float:
    written = row.get("created_timestamp")
    return float(written) if isinstance(written, int | float) else 0.0
