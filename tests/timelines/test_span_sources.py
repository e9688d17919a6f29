"""Spans of samples: transcripts of Inspect, and what Benchlake's own backends measure."""

from __future__ import annotations

import datetime as dt
import json
from pathlib import Path
from typing import Any

import pytest

from pipelines.runs.backends import phases_in_turn
from pipelines.runs.importers.benchlake_phases import read_phases
from pipelines.runs.importers.frames import OutputRow, span_frame
from pipelines.runs.importers.inspect_spans import read_spans
from pipelines.runs.records import Fault
from pipelines.runs.span_spool import place_frame
from tests.runs.formats import read, shared

STARTED = dt.datetime(2026, 3, 1, 10, tzinfo=dt.UTC)
OUTPUT = OutputRow(
    "r", "s1", 0, STARTED.date(), "p", "o", None, "ok", None, 1, 1, 100.0, 20.0, (), (), None, STARTED,
)  # fmt: skip


def at(milliseconds: int) -> str:
    return (STARTED + dt.timedelta(milliseconds=milliseconds)).isoformat()


def phases(value: Any, output: OutputRow = OUTPUT) -> tuple[list[tuple[str, float, float]], list[Fault]]:
    faults: list[Fault] = []
    spans = list(read_phases(value, output, first_index=7, faults=faults))
    first = spans[0].start_ns if spans else 0
    return [(span.name, (span.start_ns - first) / 1e6, span.duration_ns / 1e6) for span in spans], faults


def test_phases_become_spans_in_a_request() -> None:
    told = [
        {"phase": "prefill", "start_ms": 5, "duration_ms": 15.5},
        {"phase": "decode", "start_ms": 20.5, "duration_ms": 75},
    ]
    assert phases(told) == ([("request", 0, 100), ("prefill", 5, 15.5), ("decode", 20.5, 75)], [])
    rows = place_frame(span_frame(list(read_phases(told, OUTPUT, first_index=7, faults=[]))))
    assert rows.select("span_index", "parent_span_index", "span_kind", "depth", "self_ns").rows() == [
        (7, None, "request", 0, 9_500_000),
        (8, 7, "phase", 1, 15_500_000),
        (9, 7, "phase", 1, 75_000_000),
    ]


@pytest.mark.parametrize("bad", ["decode", [{"phase": "decode"}], [{"phase": "x", "start_ms": -1, "duration_ms": 1}]])
def test_phases_that_cannot_be_read_are_named(bad: Any) -> None:
    found, faults = phases(bad)
    assert [span for span in found if span[0] != "request"] == []
    assert faults


def test_a_request_lasts_until_its_last_phase_has_ended() -> None:
    told = [{"phase": "detokenise", "start_ms": 100, "duration_ms": 4}]
    assert phases(told)[0][0] == ("request", 0, 104)


def test_phases_follow_each_other_and_what_is_unknown_is_left_out() -> None:
    found = phases_in_turn(queue=-0.5, prefill=10.0, decode=None, detokenise=2.0)
    assert [(phase.phase, phase.start_ms, phase.duration_ms) for phase in found] == [
        ("queue", 0, 0),
        ("prefill", 0, 10),
        ("detokenise", 10, 2),
    ]


def test_a_transcript_is_spans() -> None:
    events = [
        {"event": "span_begin", "timestamp": at(0), "id": "a", "type": "solver", "name": "generate"},
        {"event": "model", "timestamp": at(10), "completed": at(60), "span_id": "a", "model": "openai/x"},
        {"event": "tool", "timestamp": at(60), "completed": at(80), "span_id": "a", "function": "search"},
        {"event": "span_end", "timestamp": at(90), "id": "a"},
        {"event": "span_begin", "timestamp": at(90), "id": "b", "type": "scorer", "name": "match"},
    ]
    spans = list(read_spans({"events": events}, OUTPUT, first_index=0))
    rows = place_frame(span_frame(spans)).select("name", "span_kind", "depth", "duration_ns", "self_ns").rows()
    # The scorer's span has no end: the log was cut there.
    assert rows == [
        ("sample", "phase", 0, 90_000_000, 0),
        ("generate", "phase", 1, 90_000_000, 20_000_000),
        ("generate", "request", 2, 50_000_000, 50_000_000),
        ("search", "operator", 2, 20_000_000, 20_000_000),
    ]
    assert json.loads(spans[2].attributes or "") == {"model": "openai/x"}


def test_steps_of_older_logs_nest() -> None:
    events = [
        {"event": "step", "action": "begin", "timestamp": at(0), "name": "outer", "type": "solver"},
        {"event": "step", "action": "begin", "timestamp": at(10), "name": "inner"},
        {"event": "step", "action": "end", "timestamp": at(30)},
        {"event": "step", "action": "end", "timestamp": at(40)},
    ]
    spans = list(read_spans({"events": events}, OUTPUT, first_index=0))
    assert place_frame(span_frame(spans)).select("name", "depth").rows() == [("sample", 0), ("outer", 1), ("inner", 2)]


@pytest.mark.parametrize("events", [None, "text", [1, None, {"event": 3}], [{"event": "model", "timestamp": "never"}]])
def test_hostile_transcripts_give_nothing(events: Any) -> None:
    assert list(read_spans({"events": events}, OUTPUT, first_index=0)) == []


def test_real_transcripts() -> None:
    (path,) = Path(shared("inspect")).glob("2025-05-12*.json")
    spans = read(path)["silver.spans"]
    counts = dict(spans.group_by("name").len().iter_rows())
    # Three samples; each went through init, a system message, generate with one model call, and its scorer.
    assert counts == {"sample": 3, "init": 3, "system_message": 3, "generate": 6, "match": 3}
