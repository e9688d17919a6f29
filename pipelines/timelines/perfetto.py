"""Both timelines as one file that ui.perfetto.dev and chrome://tracing open: two processes on one clock.

Pure: spans in, lines out. The format is Chrome's trace events (https://ui.perfetto.dev reads it); each run is a
process, each lane a thread, and both begin at 0, so that they can be laid over each other by eye.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import orjson
import polars as pl

_COLUMNS = ("name", "category", "lane", "start_ns", "duration_ns", "span_kind", "step", "sample_id", "self_ns")
_SLICE_ROWS = 50_000


@dataclass(frozen=True, kw_only=True)
class TraceSide:
    """One run of a merged trace; `spans` are rows of silver.spans with their places."""

    title: str
    spans: pl.DataFrame


def merged_trace(sides: Sequence[TraceSide]) -> Iterator[bytes]:
    """The file in pieces, in the order in which they are to be written."""
    yield b'{"displayTimeUnit":"ms","traceEvents":[\n'
    separator = b""
    for process, side in enumerate(sides, start=1):
        for event in _events(process, side):
            yield separator + orjson.dumps(event)
            separator = b",\n"
    yield b"\n]}\n"


def _events(process: int, side: TraceSide) -> Iterator[dict[str, object]]:
    yield _name(process, 0, "process_name", {"name": side.title})
    yield _name(process, 0, "process_sort_index", {"sort_index": process})
    lanes = side.spans.select("device", "lane").unique().sort("device", "lane")
    threads = {lane: number for number, lane in enumerate(lanes["lane"], start=1)}
    for device, lane in lanes.iter_rows():
        yield _name(process, threads[lane], "thread_name", {"name": f"{str(device).upper()} {lane}"})
        yield _name(process, threads[lane], "thread_sort_index", {"sort_index": threads[lane]})
    if side.spans.is_empty():
        return
    first_ns = int(side.spans["start_ns"].min())  # type: ignore[arg-type]  # a number
    ordered = side.spans.select(_COLUMNS).sort("lane", "start_ns", "duration_ns", descending=[False, False, True])
    for rows in ordered.iter_slices(_SLICE_ROWS):
        for name, category, lane, start_ns, duration_ns, *told in rows.iter_rows():
            yield {
                "ph": "X",
                "name": name,
                "cat": category or told[0],
                "pid": process,
                "tid": threads[lane],
                # Microseconds, with the nanoseconds behind the point.
                "ts": (start_ns - first_ns) / 1000,
                "dur": duration_ns / 1000,
                "args": {key: value for key, value in zip(_COLUMNS[5:], told, strict=True) if value is not None},
            }


def _name(process: int, thread: int, name: str, args: dict[str, object]) -> dict[str, object]:
    return {"ph": "M", "name": name, "pid": process, "tid": thread, "args": args}
