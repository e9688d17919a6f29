"""Chrome trace-event files and PyTorch profiler traces: every interval a span (docs/formats.md).

One file is one run. What belongs here: recognising and reading the file, block by block, in memory that does not grow
with it. What an event says is `chrome_trace_events.py`, what the trace as a whole says `chrome_trace_runs.py`.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import polars as pl

from lake.tables import CONTRACTS
from pipelines.runs.importers.chrome_trace_events import PlacedFault, read_block, span_frame
from pipelines.runs.importers.chrome_trace_pairs import PairedSpans
from pipelines.runs.importers.chrome_trace_runs import TraceRun
from pipelines.runs.importers.frames import BatchBuilder, ImportBatch
from pipelines.runs.importers.protocol import FileImporter
from pipelines.runs.json_blocks import Block, collection_paused, split_blocks
from pipelines.runs.json_parts import JsonCursor, Part, key_text
from pipelines.runs.records import RecordError, as_object, parse_json
from pipelines.runs.redaction import is_suspect, redact, redact_lines
from pipelines.runs.sources import SourceError, read_pieces

if TYPE_CHECKING:
    from pipelines.runs.importers.guide import FormatGuide
    from pipelines.runs.importers.protocol import SourceGroup
    from pipelines.runs.sources import FileHead, Limits

_EVENTS = "traceEvents"
# Blocks' spans that are handed in together.
WAITING_FRAMES = 16
_SPAN_DTYPES = pl.Schema(CONTRACTS["silver.spans"].dtypes)


class ChromeTraceImporter(FileImporter):
    """Reads one trace a file."""

    source_kind = "chrome_trace"
    version = 2

    @property
    def guide(self) -> FormatGuide:
        """What the docs say about the format."""
        from pipelines.runs.importers.guides.chrome_trace import GUIDE

        return GUIDE

    def detects(self, head: FileHead) -> bool:
        """An object with `traceEvents`, or an array whose first element is an event."""
        if head.packing == "zip" or not head.start:
            return False
        cursor = JsonCursor(iter((head.start,)), len(head.start))
        try:
            return _is_event_array(cursor) if cursor.peek() == b"[" else _has_events(cursor)
        except (SourceError, RecordError):
            return False

    def read(self, group: SourceGroup, *, limits: Limits) -> Iterator[ImportBatch]:
        """Batches of the trace; the run's own row comes with the last."""
        reading = _Reading(run=TraceRun(group=group), builder=BatchBuilder(file=group.files[0]))
        pieces = read_pieces(reading.builder.file, limits=limits)
        try:
            parts = split_blocks(pieces, opened=_EVENTS, part_bytes=limits.line_bytes, clean=_redact_block)
            while reading.take_next(parts):
                if reading.builder.is_full:
                    reading.land_waiting()
                    yield reading.builder.flush()
        except SourceError as error:
            reading.run.is_truncated = error.rule == "truncated"
            reading.builder.reject(error.rule, str(error), record_index=reading.next_index)
        reading.finish()
        yield reading.builder.flush()


@dataclass(kw_only=True)
class _Reading:
    """The trace that is being read."""

    run: TraceRun
    builder: BatchBuilder
    pairs: PairedSpans = field(default_factory=PairedSpans)
    next_index: int = 0
    _waiting: list[pl.DataFrame] = field(default_factory=list)

    def take_next(self, parts: Iterator[Part | Block]) -> bool:
        """The next part of the trace; False when there is none."""
        with collection_paused():
            part = next(parts, None)
            if isinstance(part, Block):
                self.add_block(part)
                # Freed before collection goes on.
                part = None
                return True
            if part is not None:
                self.add_member(part)
        return part is not None

    def add_block(self, block: Block) -> None:
        """The events of a block; they are kept as one record, since a record an event would cost more than spans do."""
        self.builder.keep(block.raw, record_index=block.first_index, run_id=self.run.run_id)
        events = read_block(block)
        self.run.add(events)
        paired = [span for event in events.others if (span := self.pairs.take(event))]
        self._waiting.extend((events.spans, span_frame(paired)) if paired else (events.spans,))
        if len(self._waiting) >= WAITING_FRAMES:
            self.land_waiting()
        self._note(events.faults)
        self.next_index = block.end_index

    def land_waiting(self) -> None:
        """Hand in the spans of the last blocks, many at a time: a frame costs as much as a thousand spans."""
        filled = [frame for frame in self._waiting if frame.height]
        self._waiting.clear()
        if filled:
            spans = pl.concat(filled)
            self.run.add_spans(spans)
            self._land(spans)

    def add_member(self, part: Part) -> None:
        """A member of the trace beside its events."""
        self.land_waiting()
        if part.raw is None:
            self.builder.reject("member_bytes", f"Member {part.key} of the trace is too long and was left out.")
            return
        self.builder.keep(part.raw, member=part.key, record_index=0, run_id=self.run.run_id)
        try:
            value, faults = parse_json(part.raw)
        except RecordError as error:
            self.builder.reject(error.rule, f"Member {part.key} of the trace: {error}", raw=part.raw)
            return
        self.builder.note(faults, record_index=0, where=f"Member {part.key}")
        if self.run.run_date is not None and part.key == "baseTimeNanoseconds":
            message = "baseTimeNanoseconds comes after the events, whose times were read without it."
            self.builder.reject("base_time", message, raw=part.raw)
        else:
            self.run.header.setdefault(part.key, value)

    def finish(self) -> None:
        """Hand in the run, its totals and what never ended."""
        self.land_waiting()
        self._note(list(self.pairs.close()))
        self.builder.runs.append(self.run.row())
        self.builder.metrics.extend(self.run.metrics())

    def _land(self, spans: pl.DataFrame) -> None:
        if spans.is_empty():
            return
        base = self.run.wall_base_ns
        wall_ns = pl.lit(None, dtype=pl.Int64) if base is None else pl.col("start_ns") + base
        frame = spans.with_columns(
            run_id=pl.lit(self.run.run_id),
            run_date=pl.lit(self.run.run_date),
            started_at=(pl.when(wall_ns >= 0).then(wall_ns) // 1000).cast(pl.Datetime("us", "UTC")),
            status=pl.lit("ok"),
        )
        absent = [pl.lit(None, dtype=_SPAN_DTYPES[name]).alias(name) for name in _SPAN_DTYPES if name not in frame]
        self.builder.span_frames.append(frame.with_columns(absent).select(list(_SPAN_DTYPES)).cast(_SPAN_DTYPES))

    def _note(self, faults: list[PlacedFault]) -> None:
        for index, fault in faults:
            where = "Trace" if index is None else f"Event {index}"
            self.builder.note([fault], record_index=index, where=where)


def _is_event_array(cursor: JsonCursor) -> bool:
    cursor.expect(b"[")
    value, _ = parse_json(cursor.take_value() or b"")
    event = as_object(value)
    return isinstance(event.get("ph"), str) and bool({"ts", "pid", "args"} & event.keys())


def _has_events(cursor: JsonCursor) -> bool:
    """Whether one of the members is the events, as far as the head of the file goes."""
    cursor.expect(b"{")
    while cursor.peek() != b"}":
        key = key_text(cursor.take_value())
        cursor.expect(b":")
        if key == _EVENTS:
            return cursor.peek() == b"["
        cursor.take_value()
        cursor.expect(b",")
    return False


def _redact_block(raw: bytes) -> bytes:
    """`redact` for many events at once; where there may be a secret, event by event, since few will have one."""
    if not is_suspect(raw):
        return raw
    try:
        return b",\n".join(event or b"" for event in redact_lines(_events_of(raw)))
    except SourceError:
        return redact(raw)


def _events_of(raw: bytes) -> list[bytes | None]:
    cursor = JsonCursor(iter((raw, b"]")), len(raw))
    events = []
    while cursor.peek() != b"]":
        events.append(cursor.take_value())
        if cursor.peek() == b",":
            cursor.expect(b",")
    return events
