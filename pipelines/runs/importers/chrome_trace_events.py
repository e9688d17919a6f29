"""Events of a Chrome trace as spans: a block of them as columns, or each by itself where a block is not plain.

What belongs here: what one event says. Spans that are written as a begin and an end are `chrome_trace_pairs.py`, names,
totals and the run are `chrome_trace_runs.py`, finding blocks in a file is `pipelines.runs.json_blocks`.
"""

from __future__ import annotations

import re
import struct
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from operator import itemgetter
from typing import Any, NamedTuple

import orjson
import polars as pl
import pyarrow as pa
import pyarrow.compute as pc

from pipelines.runs.importers.chrome_trace_times import (
    nanosecond_column,
    nanoseconds,
    needs_text,
    times_as_written,
)
from pipelines.runs.json_blocks import Block
from pipelines.runs.records import Fault, JsonObject, RecordError, as_text, canonical_json, parse_json

COMPLETE, BEGIN, END, METADATA = "X", "B", "E", "M"
ASYNC_BEGIN, ASYNC_END = frozenset("bS"), frozenset("eF")
# Kept in the raw record and counted. Steps of async spans, samples, objects, memory dumps and clocks are not counted.
COUNTED_PHASES = {"i": "instant", "I": "instant", "R": "instant", "n": "instant", "C": "counter"} | dict.fromkeys(
    "stf", "flow"
)
_PAIRED = frozenset({BEGIN, END, METADATA}) | ASYNC_BEGIN | ASYNC_END
_PHASES = frozenset({COMPLETE, *_PAIRED, *COUNTED_PHASES, *"TpPNODvVc()"})
# What a span by itself always has, beside its phase; what it may have more is its category and arguments.
_ALWAYS = ("name", "ts", "dur", "pid", "tid")
_ALWAYS_OF = itemgetter(*_ALWAYS)
_KNOWN = frozenset({"ph", "cat", "args", *_ALWAYS})
_NUMBERS = ("span_index", "start_ns", "duration_ns")
_LINE_END = orjson.Fragment(b"\n")
# An argument may be a whole tensor; beyond this it stays in the raw record alone.
ATTRIBUTE_BYTES = 1 << 16
_NAME_LINE = re.compile(rb'^(\s*"name":\s*")(.*)(",\s*)$', re.MULTILINE)
_BARE_QUOTE = re.compile(rb'(?<!\\)"')
_LEFT_OUT = "it was left out"


class Span(NamedTuple):
    """One span, times in nanoseconds of the trace's own clock."""

    span_index: int
    name: str
    category: str | None
    process: str | None
    thread: str | None
    start_ns: int
    duration_ns: int
    span_id: str | None
    attributes: str | None


class PlacedFault(NamedTuple):
    """A fault and the number of the event that has it; None for the trace as a whole."""

    event_index: int | None
    fault: Fault


@dataclass(frozen=True)
class TimedEvent:
    """An event that is not a span by itself; `time_ns` is None where it has no usable time."""

    event_index: int
    phase: str
    value: JsonObject
    time_ns: int | None


@dataclass(kw_only=True)
class BlockEvents:
    """What a block holds: whole spans, events that make spans together or name things, and what could not be used."""

    spans: pl.DataFrame
    others: list[TimedEvent] = field(default_factory=list)
    phases: list[str] = field(default_factory=list)
    faults: list[PlacedFault] = field(default_factory=list)


def read_block(block: Block) -> BlockEvents:
    """The events of a block. Never raises for what they hold."""
    if block.values is None:
        return _read_singly(_parse_parts(block))
    events = _read_columns(block, block.values)
    if events is not None:
        return events
    times = times_as_written(block.raw, block.values)
    return _read_singly(
        _Parsed(block.first_index + offset, value, time, ())
        for offset, (value, time) in enumerate(zip(block.values, times, strict=True))
    )


def span_frame(spans: Sequence[Span]) -> pl.DataFrame:
    """Spans as columns."""
    columns = zip(*spans, strict=True) if spans else ((),) * len(Span._fields)
    types = dict.fromkeys(Span._fields, pa.string()) | dict.fromkeys(_NUMBERS, pa.int64())
    return _frame({name: pa.array(column, types[name]) for name, column in zip(Span._fields, columns, strict=True)})


def attributes_of(event: JsonObject, index: int, faults: list[PlacedFault]) -> str | None:
    """What an event says beyond the columns, as canonical JSON: its arguments, and members that we do not know."""
    args = event.get("args")
    own = args if isinstance(args, dict) else {} if args is None else {"args": args}
    if not event.keys() <= _KNOWN:
        own = {key: value for key, value in event.items() if key not in _KNOWN} | own
    if not own:
        return None
    text = canonical_json(own)
    if len(text) > ATTRIBUTE_BYTES:
        message = f"The arguments have more than {ATTRIBUTE_BYTES:,} characters; they are in the raw record alone."
        faults.append(PlacedFault(index, Fault("attributes: bytes", message)))
        return None
    return text


def text_or_none(value: object) -> str | None:
    """A process, thread or category; tracers write numbers as well as texts."""
    return as_text(value) if isinstance(value, str | int | float) else None


# A block whose events are all as they should be: columns at once.


def _read_columns(block: Block, values: Sequence[Any]) -> BlockEvents | None:
    """All events, or None if one of them is not plain."""
    try:
        phases = [event["ph"] for event in values]
        if not set(phases) <= _PHASES:
            return None
        plain = [event for event in values if event["ph"] == COMPLETE]
        fields = zip(*map(_ALWAYS_OF, plain), strict=True) if plain else ((),) * len(_ALWAYS)
        columns = dict(zip(_ALWAYS, fields, strict=True))
        columns["cat"] = tuple(event.get("cat") for event in plain)
    except (TypeError, KeyError):
        return None
    kinds = {key: set(map(type, column)) for key, column in columns.items()}
    if not _are_plain(kinds):
        return None
    are_coarse = float in kinds["ts"] and any(map(needs_text, columns["ts"]))
    written = times_as_written(block.raw, values) if are_coarse else None
    starts = _starts(columns["ts"], phases, written)
    durations = nanosecond_column(columns["dur"])
    if starts is None or durations is None or (durations.len() and durations.min() < 0):  # type: ignore[operator]
        return None
    faults: list[PlacedFault] = []
    first = block.first_index
    indexes = [first + offset for offset, phase in enumerate(phases) if phase == COMPLETE]
    attributes = _attribute_column(plain, columns["cat"])
    if attributes is None:
        found = [attributes_of(event, index, faults) for event, index in zip(plain, indexes, strict=True)]
        attributes = pa.array(found, pa.string())
    spans = {
        "span_index": pa.array(indexes, pa.int64()),
        "name": pa.array(columns["name"], pa.string()),
        "category": pa.array(columns["cat"], pa.string()),
        "process": _text_column(columns["pid"], kinds["pid"]),
        "thread": _text_column(columns["tid"], kinds["tid"]),
        "start_ns": starts.to_arrow(),
        "duration_ns": durations.to_arrow(),
        "span_id": pa.nulls(len(plain), pa.string()),
        "attributes": attributes,
    }
    others = [
        TimedEvent(first + offset, phase, values[offset], _time_of(values[offset], written, offset))
        for offset, phase in enumerate(phases)
        if phase in _PAIRED
    ]
    return BlockEvents(spans=_frame(spans), others=others, phases=phases, faults=faults)


def _are_plain(kinds: dict[str, set[type]]) -> bool:
    return (
        kinds["name"] <= {str}
        and kinds["cat"] <= {str, type(None)}
        and kinds["pid"] | kinds["tid"] <= {int, str}
        and kinds["ts"] | kinds["dur"] <= {int, float}
    )


def _starts(times: Sequence[Any], phases: list[str], written: list[object] | None) -> pl.Series | None:
    if written is None:
        return nanosecond_column(times)
    exact = [nanoseconds(time) for time, phase in zip(written, phases, strict=True) if phase == COMPLETE]
    return None if None in exact else pl.Series(exact, dtype=pl.Int64)


def _time_of(event: JsonObject, written: list[object] | None, offset: int) -> int | None:
    return nanoseconds(event.get("ts") if written is None else written[offset])


def _text_column(values: Sequence[Any], kinds: set[type]) -> pa.Array:
    """Numbers and texts as texts; numbers alone are written by Arrow."""
    try:
        if kinds <= {int}:
            return pa.array(values, pa.int64()).cast(pa.string())
    except OverflowError:
        pass
    return pa.array([str(value) for value in values], pa.string())


def _attribute_column(plain: Sequence[JsonObject], categories: Sequence[str | None]) -> pa.Array | None:
    """`attributes_of` of events that have nothing but small arguments; None if one of them has more.

    All are written by one call, with line ends between, which JSON text has none of.
    """
    given = [event.get("args") for event in plain]
    known = len(_KNOWN) * len(plain) - categories.count(None) - given.count(None)
    if sum(map(len, plain)) != known or not set(map(type, given)) <= {dict, type(None)}:
        return None
    if not plain:
        return pa.nulls(0, pa.string())
    parted: list[Any] = [_LINE_END] * (2 * len(given) - 1)
    parted[::2] = given
    try:
        text = orjson.dumps(parted, option=orjson.OPT_SORT_KEYS)
    except orjson.JSONEncodeError:
        return None
    ends = pa.py_buffer(struct.pack("<2q", 1, len(text) - 1))
    whole = pa.Array.from_buffers(pa.large_string(), 1, [None, ends, pa.py_buffer(text)])
    texts = pc.split_pattern(whole, ",\n,").flatten()
    if pc.max(pc.binary_length(texts)).as_py() > ATTRIBUTE_BYTES:
        return None
    return texts if all(given) else pc.if_else(pa.array(map(bool, given), pa.bool_()), texts, None)


def _frame(columns: dict[str, pa.Array]) -> pl.DataFrame:
    """Columns that Arrow made of lists, several times as fast as Polars does."""
    frame = pl.from_arrow(pa.table(list(columns.values()), names=list(columns)))
    assert isinstance(frame, pl.DataFrame)
    return frame


# Event by event.


class _Parsed(NamedTuple):
    event_index: int
    value: Any
    time: object
    faults: Sequence[Fault]


class _Refusal(Exception):  # noqa: N818  # only leads out of reading one event
    def __init__(self, rule: str, requirement: str) -> None:
        super().__init__(f"{rule} {requirement}; {_LEFT_OUT}.")
        self.rule = rule


def _parse_parts(block: Block) -> Iterable[_Parsed | PlacedFault]:
    for offset, part in enumerate(block.parts):
        index = block.first_index + offset
        if part is None:
            yield PlacedFault(index, Fault("event_bytes", f"The event is too long; {_LEFT_OUT}."))
            continue
        try:
            value, faults = _parse_event(part)
        except RecordError as error:
            yield PlacedFault(index, Fault(error.rule, str(error), part[:200].decode("utf-8", "replace")))
            continue
        yield _Parsed(index, value, times_as_written(part, [value])[0], faults)


def _parse_event(part: bytes) -> tuple[Any, list[Fault]]:
    """The event's value. PyTorch writes quotes in the names of `record_function` as they are; those are mended."""
    try:
        return parse_json(part)
    except RecordError:
        mended = _NAME_LINE.sub(_escape_quotes, part, count=1)
        value, faults = parse_json(mended)
    message = "The quotes in the event's name were not escaped; the name was read from its whole line."
    return value, [*faults, Fault("name: quotes", message)]


def _escape_quotes(line: re.Match[bytes]) -> bytes:
    return line[1] + _BARE_QUOTE.sub(rb'\\"', line[2]) + line[3]


def _read_singly(events: Iterable[_Parsed | PlacedFault]) -> BlockEvents:
    spans: list[Span] = []
    read = BlockEvents(spans=pl.DataFrame())
    for event in events:
        if isinstance(event, PlacedFault):
            read.faults.append(event)
            continue
        read.faults.extend(PlacedFault(event.event_index, fault) for fault in event.faults)
        try:
            _take(event, spans, read)
        except _Refusal as refusal:
            fault = Fault(f"event: {refusal.rule}", f"The event's {refusal}", _shown(event.value))
            read.faults.append(PlacedFault(event.event_index, fault))
    read.spans = span_frame(spans)
    return read


def _take(event: _Parsed, spans: list[Span], read: BlockEvents) -> None:
    if not isinstance(event.value, dict):
        raise _Refusal("type", "must be an object")
    phase = event.value.get("ph")
    if not isinstance(phase, str) or phase not in _PHASES:
        raise _Refusal("ph", "must be a phase of the trace-event format")
    read.phases.append(phase)
    if phase == COMPLETE:
        spans.append(_span(event, read.faults))
    elif phase in _PAIRED:
        read.others.append(TimedEvent(event.event_index, phase, event.value, nanoseconds(event.time)))


def _span(event: _Parsed, faults: list[PlacedFault]) -> Span:
    value = event.value
    start_ns, duration_ns = nanoseconds(event.time), nanoseconds(value.get("dur"))
    if not isinstance(value.get("name"), str):
        raise _Refusal("name", "must be text")
    if start_ns is None:
        raise _Refusal("ts", "must be a number of microseconds")
    if duration_ns is None or duration_ns < 0:
        raise _Refusal("dur", "must be a number of microseconds from 0")
    return Span(
        span_index=event.event_index,
        name=value["name"],
        category=text_or_none(value.get("cat")),
        process=text_or_none(value.get("pid")),
        thread=text_or_none(value.get("tid")),
        start_ns=start_ns,
        duration_ns=duration_ns,
        span_id=None,
        attributes=attributes_of(value, event.event_index, faults),
    )


def _shown(value: object) -> str:
    return canonical_json(value)[:200]
