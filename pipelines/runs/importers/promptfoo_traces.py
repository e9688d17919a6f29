"""Traces that promptfoo collected while it evaluated, as spans of the run and sample that they belong to."""

from __future__ import annotations

import datetime as dt
import re
from typing import TYPE_CHECKING

from pipelines.runs.importers.frames import SpanRow
from pipelines.runs.records import (
    Fault,
    JsonObject,
    as_count,
    as_list,
    as_number,
    as_object,
    as_text,
    canonical_json,
)

if TYPE_CHECKING:
    from collections.abc import Iterator

    from pipelines.runs.importers.promptfoo_runs import PromptRun

_TEST_CASE = re.compile(r"^(\d{1,9})-(\d{1,9})$")
_ERROR_CODE = 2
# Times are milliseconds since 1970; from here on they are micro- or nanoseconds.
_MILLISECONDS_BELOW = 1e14
_LATEST_MS = 7e12


def place_of_trace(trace: JsonObject) -> tuple[int | None, int | None]:
    """The test and the column that a trace is of, from its metadata or the name of its test case."""
    metadata = as_object(trace.get("metadata"))
    ignored: list[Fault] = []
    own = [as_count(metadata.get(key), key, ignored) for key in ("testIdx", "promptIdx")]
    named = _TEST_CASE.match(as_text(trace.get("testCaseId")) or "")
    if None in own and named:
        return int(named[1]), int(named[2])
    return own[0], own[1]


def read_spans(trace: JsonObject, run: PromptRun, sample_id: str | None, faults: list[Fault]) -> Iterator[SpanRow]:
    """The spans of a trace, whose clock begins with the first of them."""
    spans = [as_object(item) for item in as_list(trace.get("spans"))]
    starts = [_ms(span.get("startTime"), "startTime", faults) for span in spans]
    origin = min((start for start in starts if start is not None), default=None)
    for span, start in zip(spans, starts, strict=True):
        if start is None or origin is None:
            faults.append(Fault("startTime", "A span needs a start; it was left out."))
            continue
        end = _ms(span.get("endTime"), "endTime", faults)
        duration = end - start if end is not None and end >= start else 0.0
        attributes = as_object(span.get("attributes"))
        yield SpanRow(
            run_id=run.run_id,
            span_index=run.span_count,
            run_date=run.run_date,
            name=as_text(span.get("name")) or "unknown",
            start_ns=round((start - origin) * 1e6),
            duration_ns=round(duration * 1e6),
            span_id=as_text(span.get("spanId")),
            parent_span_id=as_text(span.get("parentSpanId")),
            trace_id=as_text(trace.get("traceId")),
            sample_id=sample_id,
            started_at=dt.datetime(1970, 1, 1, tzinfo=dt.UTC) + dt.timedelta(milliseconds=start),
            status="error" if span.get("statusCode") == _ERROR_CODE else "ok",
            attributes=canonical_json(_with_message(attributes, span)) if attributes else None,
        )
        run.span_count += 1


def _with_message(attributes: JsonObject, span: JsonObject) -> JsonObject:
    message = as_text(span.get("statusMessage"))
    return attributes | {"status_message": message} if message else attributes


def _ms(value: object, field: str, faults: list[Fault]) -> float | None:
    number = as_number(value, field, faults, minimum=0)
    while number is not None and number >= _MILLISECONDS_BELOW:
        number /= 1000
    return number if number is None or number < _LATEST_MS else None
