"""Where spans stand: lanes, depths, parents and self times."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipelines.runs.importers.frames import BatchBuilder
from pipelines.runs.sources import SourceFile
from pipelines.runs.span_places import NONE, OUTERMOST, SpanTimes, place_spans
from pipelines.runs.span_spool import SpanSpool, with_places
from tests.timelines.spans import RUN_DATE, kernel, op, placed, span_rows

PLACES = ("lane", "depth", "parent_span_index", "self_ns")


def places(*rows, columns=PLACES):
    return placed(*rows).select(columns).rows()


def test_calls_enclose_each_other() -> None:
    # 0         100
    # |--- a ---|      self 100 - 60 - 10 = 30
    #  |- b -| |c|     b 20..80: self 60 - 30 = 30; c 85..95: 10
    #    |d|           d 30..60: 30
    found = places(op("a", 0, 100), op("d", 30, 60), op("b", 20, 80), op("c", 85, 95))
    assert found == [("p/t", 0, None, 30), ("p/t", 2, 2, 30), ("p/t", 1, 0, 30), ("p/t", 1, 0, 10)]


def test_an_end_that_was_rounded_up_is_still_inside() -> None:
    # Microseconds: the child ends 1 us behind its parent, which is what rounding does; beyond that they only overlap.
    assert places(op("a", 0, 10_000), op("b", 4_000, 11_000), columns=("depth", "self_ns")) == [(0, 4_000), (1, 7_000)]
    assert places(op("a", 0, 10_000), op("b", 4_000, 11_001), columns=("lane", "depth")) == [("p/t", 0), ("p/t #2", 0)]


def test_kernels_that_overlap_enclose_nothing() -> None:
    found = places(kernel("x", 0, 100), kernel("y", 10, 20), kernel("z", 100, 110))
    assert found == [("0/7", 0, None, 100), ("0/7 #2", 0, None, 10), ("0/7", 0, None, 10)]


def test_parents_that_the_source_names_count_more_than_times() -> None:
    ids = [{"span_id": str(place)} for place in range(4)]
    found = places(
        op("request", 0, 100, **ids[0]),
        op("first", 10, 60, parent_span_id="0", **ids[1]),
        op("at once", 20, 70, parent_span_id="0", **ids[2]),
        # Inside the request by its times, yet another request.
        op("other", 30, 90, **ids[3]),
    )
    # The two children cover 10..70 together, so that 40 are the request's own.
    assert found == [
        ("p/t", 0, None, 40),
        ("p/t", 1, 0, 50),
        ("p/t #2", 1, 0, 50),
        ("p/t #3", 0, None, 60),
    ]


def test_parents_in_a_circle_are_none() -> None:
    found = places(
        op("a", 0, 10, span_id="a", parent_span_id="b"), op("b", 2, 8, span_id="b", parent_span_id="a"),
        op("c", 3, 4, span_id="c", parent_span_id="b"), columns=("depth", "parent_span_index"),
    )  # fmt: skip
    # Those of the circle have none; what hangs on it keeps its own, or loses it with them.
    assert found in ([(0, None), (0, None), (1, 1)], [(0, None), (0, None), (0, None)])


def test_steps_are_told_by_time_on_the_cpu_and_by_the_launch_on_the_gpu() -> None:
    step = {"category": "user_annotation"}
    launch = {"category": "cuda_runtime", "attributes": '{"correlation":5}'}
    found = placed(
        op("ProfilerStep#3", 0, 100, **step),
        op("ProfilerStep#4", 100, 200, **step),
        op("cudaLaunchKernel", 90, 95, **launch),
        kernel("gemm", 120, 150, attributes='{"correlation":5}'),
        op("autograd", 150, 160, thread="u"),
        op("after", 200, 210),
    )
    assert found["step"].to_list() == [3, 4, 3, 3, 4, None]
    assert found["span_kind"].to_list() == ["step", "step", "runtime", "kernel", "operator", "operator"]
    assert found["device"].to_list() == ["cpu", "cpu", "cpu", "gpu", "cpu", "cpu"]


def test_a_phase_is_the_nearest_one_around() -> None:
    note = {"category": "user_annotation"}
    found = placed(op("train", 0, 100, **note), op("forward", 10, 50, **note), op("mm", 20, 30), op("x", 60, 70))
    assert found["phase"].to_list() == ["train", "forward", "forward", "train"]


@pytest.mark.parametrize(
    ("category", "name", "kind"),
    [
        ("kernel", "ncclDevKernel_AllReduce_Sum_f32", "communication"),
        ("kernel", "ampere_sgemm_32x32_nn", "kernel"),
        ("gpu_memset", "Memset (Device)", "copy"),
        ("model", "generate", "request"),
        ("phase", "prefill", "phase"),
        (None, "whatever", "other"),
    ],
)
def test_kinds(category: str | None, name: str, kind: str) -> None:
    assert placed(op(name, 0, 1, category=category))["span_kind"].to_list() == [kind]


@st.composite
def calls(draw: st.DrawFn) -> list[tuple[int, int]]:
    """Intervals that nest, as calls of one thread do."""
    found: list[tuple[int, int]] = []

    def fill(start: int, end: int, depth: int) -> None:
        at = start
        while depth < 4 and end - at > 2 and draw(st.booleans()):
            low = draw(st.integers(at, end - 1))
            high = draw(st.integers(low + 1, end))
            found.append((low, high))
            fill(low, high, depth + 1)
            at = high

    fill(0, 200, 0)
    return found


@settings(deadline=None, max_examples=40)
@given(calls(), st.randoms(use_true_random=False))
def test_self_times_of_nested_calls_add_up_to_the_time_that_any_runs(
    intervals: list[tuple[int, int]], random: object
) -> None:
    shuffled = list(intervals)
    random.shuffle(shuffled)  # type: ignore[attr-defined]
    found = placed(*(op(str(place), *at) for place, at in enumerate(shuffled)))
    covered = {moment for start, end in intervals for moment in range(start, end)}
    assert found["self_ns"].sum() == len(covered)
    if found.height:
        assert found["lane"].unique().to_list() == ["p/t"]
        # The slow way: around a span is whatever covers it and is longer, or as long and stands before it.
        for index, (start, end) in enumerate(shuffled):
            around = [
                other
                for other, (low, high) in enumerate(shuffled)
                if low <= start and high >= end and (high - low, -other) > (end - start, -index)
            ]
            assert found["depth"][index] == len(around)


@settings(deadline=None, max_examples=40)
@given(st.lists(st.tuples(st.integers(0, 50), st.integers(0, 20), st.integers(0, 2)), max_size=20), st.data())
def test_rows_never_hold_spans_that_only_overlap(spans: list[tuple[int, int, int]], data: st.DataObject) -> None:
    count = len(spans)
    parents = data.draw(st.lists(st.integers(OUTERMOST, count - 1), min_size=count, max_size=count))
    start, length, lane = (np.array([span[place] for span in spans], dtype=np.int64) for place in range(3))
    # Scaled, so that no overlap is small enough to be taken for rounding.
    start, length = start * 10_000, length * 10_000
    named = np.array([NONE if parent == place else parent for place, parent in enumerate(parents)], dtype=np.int64)
    found = place_spans(
        SpanTimes(
            start=start,
            duration=length,
            lane=lane.astype(np.int32),
            can_enclose=np.ones(count, dtype=bool),
            parent=named,
        )
    )
    assert (found.self_time >= 0).all()
    assert (found.self_time <= length).all()
    assert (found.depth[found.parent < 0] == 0).all()
    inner = np.flatnonzero(found.parent >= 0)
    assert (found.depth[inner] == found.depth[found.parent[inner]] + 1).all()
    for one in range(count):
        for other in range(one):
            if (lane[one], found.row[one]) == (lane[other], found.row[other]):
                low, high = sorted((one, other), key=lambda place: (start[place], -length[place]))
                ends = start + length
                assert start[high] >= ends[low] or ends[high] <= ends[low]


def test_places_do_not_depend_on_how_much_waits_on_disk(monkeypatch: pytest.MonkeyPatch) -> None:
    rows = span_rows([op(f"op{place % 3}", 10 * place, 10 * place + 9) for place in range(500)])
    with SpanSpool() as spool:
        spool.add(rows)
        expected = pl.concat(spool.placed())
    monkeypatch.setattr("pipelines.runs.span_spool.HELD_ROWS", 60)
    with SpanSpool() as spool:
        for part in rows.iter_slices(50):
            spool.add(part)
        assert len(spool._sizes) == 5
        assert pl.concat(spool.placed()).equals(expected)


@pytest.mark.skipif(not hasattr(signal, "SIGKILL"), reason="needs a signal that cannot be caught")
def test_a_killed_import_leaves_nothing_in_the_temporary_folder(tmp_path: Path) -> None:
    code = """
import os, pathlib, signal, tempfile
from pipelines.runs import span_spool
from tests.timelines.spans import op, span_rows
span_spool.HELD_ROWS = 1
with span_spool.SpanSpool() as spool:
    spool.add(span_rows([op("a", 0, 9)]))
    assert spool._file.tell() > 0
    assert tempfile.gettempdir() == os.environ["TMPDIR"]
    os.kill(os.getpid(), signal.SIGKILL)
"""
    environ = os.environ | {"TMPDIR": str(tmp_path), "PYTHONPATH": os.pathsep.join(sys.path)}
    done = subprocess.run([sys.executable, "-c", code], env=environ, check=False)
    assert done.returncode == -signal.SIGKILL
    assert list(tmp_path.iterdir()) == []


def test_a_run_comes_after_its_spans_and_batches_keep_their_numbers_apart(tmp_path) -> None:
    path = tmp_path / "x.json"
    path.write_text("{}")
    file = SourceFile(path=path, root=tmp_path, sha256="0" * 64, size_bytes=2, modified_ns=0)
    builder = BatchBuilder(file=file)
    builder.span_frames.append(span_rows([op("a", 0, 10)]))
    first = builder.flush()
    builder.runs.append({"run_id": "r", "run_date": RUN_DATE, "suite": "s"})
    second = builder.flush()
    given_batches = list(with_places([first, second]))
    assert [batch.spans.height for batch in given_batches] == [0, 0, 1, 0]
    assert [batch.runs.height for batch in given_batches] == [0, 0, 0, 1]
    assert [batch.chunk for batch in given_batches] == [0, 1, 2, 3]
