"""Spans and traces made in code."""

from __future__ import annotations

import datetime as dt
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import polars as pl

from lake.tables import contract_of
from pipelines.runs.span_spool import place_frame

SPANS = contract_of("silver.spans")
RUN_DATE = dt.date(2026, 11, 20)
BASE_NS = 1_795_140_000_000_000_000  # 2026-11-20T02:00:00Z


def span_rows(rows: Sequence[dict[str, Any]], *, run_id: str = "r") -> pl.DataFrame:
    """Rows of silver.spans without their places: name, start and end in ns, and what else is given."""
    filled = [
        {
            "run_id": run_id,
            "span_index": place,
            "run_date": RUN_DATE,
            "name": row["name"],
            "start_ns": row["at"][0],
            "duration_ns": row["at"][1] - row["at"][0],
            "status": "ok",
            "process": "p",
            "thread": "t",
            "category": "cpu_op",
        }
        | {key: value for key, value in row.items() if key != "at"}
        for place, row in enumerate(rows)
    ]
    return pl.DataFrame(
        [pl.Series(name, [row.get(name) for row in filled], dtype=dtype) for name, dtype in SPANS.dtypes.items()]
    )


def placed(*rows: dict[str, Any], run_id: str = "r") -> pl.DataFrame:
    return place_frame(span_rows(rows, run_id=run_id))


def op(name: str, start: int, end: int, **known: Any) -> dict[str, Any]:
    return {"name": name, "at": (start, end), **known}


def kernel(name: str, start: int, end: int, *, stream: int = 7, **known: Any) -> dict[str, Any]:
    return {"name": name, "at": (start, end), "category": "kernel", "process": "0", "thread": str(stream), **known}


def copied(start: int, end: int, **known: Any) -> dict[str, Any]:
    return kernel("Memcpy HtoD", start, end, stream=9, **known) | {"category": "gpu_memcpy"}


def trace_file(path: Path, events: Sequence[dict[str, Any]], *, base_ns: int = BASE_NS) -> Path:
    """A PyTorch trace; `events` have name, start and duration in microseconds under `at`, and maybe cat, tid, args."""
    written = [
        {"ph": "X", "cat": "cpu_op", "pid": 1, "tid": 1, "ts": event["at"][0], "dur": event["at"][1]}
        | {key: value for key, value in event.items() if key != "at"}
        for event in events
    ]
    header = {"schemaVersion": 1, "deviceProperties": [], "baseTimeNanoseconds": base_ns, "traceName": "tiny.json"}
    path.write_text(json.dumps(header | {"traceEvents": written}))
    return path


def steps_of(durations_us: Sequence[float], *, copies: int = 1, first: int = 1) -> list[dict[str, Any]]:
    """A trace of steps numbered from `first`, each with one forward of this duration and so many copies of 10 us."""
    events, at = [], 0.0
    for number, duration in enumerate(durations_us, start=first):
        length = duration + 10 * copies
        events.append({"name": f"ProfilerStep#{number}", "cat": "user_annotation", "at": (at, length)})
        events.append({"name": "forward", "at": (at, duration)})
        events += [{"name": "aten::copy_", "at": (at + duration + 10 * place, 10)} for place in range(copies)]
        at += length
    return events
