"""What is left of a run without the step in which it warms up."""

from __future__ import annotations

import polars as pl

from pipelines.timelines.profiles import profile_run
from pipelines.timelines.warm_up import without_warm_up
from tests.timelines.spans import kernel, op, placed

STEP = {"category": "user_annotation"}


def launched(number: int, at: int) -> dict:
    return op("cudaLaunchKernel", at, at + 2, category="cuda_runtime", attributes=f'{{"correlation": {number}}}')


def of_step(number: int, start: int, end: int) -> dict:
    return kernel("gemm", start, end, attributes=f'{{"correlation": {number}}}')


def test_what_the_step_launched_goes_with_it_and_what_lasts_longer_is_cut() -> None:
    # main    |------------------------------------------|  0..400: 100..400 stays, of it 300..400 its own
    # step      |--- 0 ---||------- 1 -------|              10..100, 110..300
    # forward      |--|          |-----|                    20..60, 150..250
    # GPU                 |---|      |---|                  90..130 of step 0, 200..280 of step 1
    spans = placed(
        op("main", 0, 400),
        op("ProfilerStep#0", 10, 100, **STEP),
        op("forward", 20, 60),
        launched(1, 55),
        op("ProfilerStep#1", 110, 300, **STEP),
        op("forward", 150, 250),
        launched(2, 160),
        of_step(1, 90, 130),
        of_step(2, 200, 280),
    )
    rest, count = without_warm_up(spans)
    assert count == 1
    told = {row["name"]: (row["start_ns"], row["duration_ns"], row["self_ns"]) for row in rest.to_dicts()}
    assert told == {
        "main": (100, 300, 300 - 190),
        "ProfilerStep#1": (110, 190, 90),
        "forward": (150, 100, 98),
        "cudaLaunchKernel": (160, 2, 2),
        "gemm": (200, 80, 80),
    }
    found = profile_run(rest, run_id="r", warm_up_count=count)
    assert (found.repeat_count, found.wall_ns, found.idle_ns) == (1, 300, 0)
    assert found.names["wall_ns"].sum() == 300


def test_a_run_of_step_0_alone_and_one_that_begins_later_keep_all() -> None:
    alone = placed(op("ProfilerStep#0", 0, 10, **STEP), op("forward", 0, 9))
    later = placed(*(op(f"ProfilerStep#{n}", 10 * n, 10 * n + 9, **STEP) for n in (1, 2)))
    unmarked = placed(op("forward", 0, 9))
    for spans in (alone, later, unmarked, unmarked.clear()):
        rest, count = without_warm_up(spans)
        assert (rest.equals(spans), count) == (True, 0)


def test_nothing_that_began_earlier_is_needed() -> None:
    steps = [op(f"ProfilerStep#{n}", 10 * n, 10 * n + 10, **STEP) for n in range(3)]
    rest, count = without_warm_up(placed(*steps))
    assert (rest["name"].to_list(), count) == (["ProfilerStep#1", "ProfilerStep#2"], 1)
    assert isinstance(rest, pl.DataFrame)
