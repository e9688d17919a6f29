"""The phases of an output of Benchlake's own run file as spans: one for the request, and one for each phase in it.

What belongs here: nothing but that. Other fields of an output are read in `benchlake.py`.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterator

from pipelines.runs.importers.frames import OutputRow, SpanRow
from pipelines.runs.records import Fault, as_number, as_object, as_text

REQUEST, PHASE = "request", "phase"
_EPOCH = dt.datetime(1970, 1, 1, tzinfo=dt.UTC)
_NS_PER_MS = 1_000_000
# Beyond a day, a phase is a mistake of units.
_MAX_MS = 86_400_000.0


def read_phases(value: object, output: OutputRow, *, first_index: int, faults: list[Fault]) -> Iterator[SpanRow]:
    """Spans of an output, numbered from `first_index`; times are nanoseconds since 1970, so that a run can be resumed.

    A request lasts as long as its latency, and at least until its last phase has ended.
    """
    if value is None:
        return
    if not isinstance(value, list) or output.started_at is None:
        faults.append(Fault("phases", "phases must be a list, beside a started_at; they were left out."))
        return
    begin_ns = (output.started_at - _EPOCH) // dt.timedelta(microseconds=1) * 1000
    phases = [phase for place, item in enumerate(value) if (phase := _phase(item, place, faults))]
    latency_ns = round(min(output.latency_ms or 0.0, _MAX_MS) * _NS_PER_MS)
    end_ns = max([latency_ns, *(start_ns + duration_ns for _, start_ns, duration_ns in phases)])
    request_id = f"{output.sample_id}/{output.repeat_index}"
    parts = [(REQUEST, 0, end_ns), *phases]
    for place, (name, start_ns, duration_ns) in enumerate(parts):
        yield SpanRow(
            run_id=output.run_id,
            span_index=first_index + place,
            run_date=output.run_date,
            name=name,
            start_ns=begin_ns + start_ns,
            duration_ns=duration_ns,
            span_id=f"{request_id}/{place}" if place else request_id,
            parent_span_id=request_id if place else None,
            sample_id=output.sample_id,
            category=PHASE if place else REQUEST,
            process="backend",
            started_at=_EPOCH + dt.timedelta(microseconds=(begin_ns + start_ns) // 1000),
            status="ok" if output.status in ("ok", "assert_fail") else "error",
        )


def _phase(item: object, place: int, faults: list[Fault]) -> tuple[str, int, int] | None:
    given = as_object(item)
    name = as_text(given.get("phase"))
    start_ms = as_number(given.get("start_ms"), f"phases[{place}].start_ms", faults, minimum=0)
    duration_ms = as_number(given.get("duration_ms"), f"phases[{place}].duration_ms", faults, minimum=0)
    if name is None or start_ms is None or duration_ms is None or max(start_ms, duration_ms) > _MAX_MS:
        faults.append(Fault("phases", f"phases[{place}] needs a phase, a start_ms and a duration_ms; it was left out."))
        return None
    return name, round(start_ms * _NS_PER_MS), round(duration_ms * _NS_PER_MS)
