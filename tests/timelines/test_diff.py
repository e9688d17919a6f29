"""Profiles of runs and how they differ."""

from __future__ import annotations

import json
import random
from typing import Any

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipelines.runs.span_spool import place_frame
from pipelines.timelines.diff import changed, diff_profiles
from pipelines.timelines.profiles import Profile, profile_run
from pipelines.timelines.telling import tell_difference
from tests.runs.formats import read, shared
from tests.timelines.spans import copied, kernel, op, placed, span_rows

STEP = {"category": "user_annotation"}
DELTAS = ("count_delta", "total_delta_ns", "self_delta_ns", "wall_delta_ns", "effect_ns")
OPPOSITE = {"added": "removed", "removed": "added", "increased": "decreased", "decreased": "increased"}


def profile(*rows: dict[str, Any], run_id: str = "r") -> Profile:
    return profile_run(placed(*rows, run_id=run_id), run_id=run_id)


def by_name(diff: pl.DataFrame) -> dict[str, dict[str, Any]]:
    return {row["name"]: row for row in diff.filter(alignment="name").to_dicts()}


def test_wall_time_goes_to_whom_one_waits_for() -> None:
    # CPU     |-------- mm --------|            0..100, alone 0..20 and 60..100
    # GPU 7       |-- gemm --|                  20..50: all of it
    # GPU 8           |---- nccl ----|          30..60: 50..60, the rest is hidden
    # GPU 9                        |copy|       90..120: 90..120, which the CPU's 90..100 hides behind
    # nothing                           | |     120..130
    # CPU                                 |x|   130..140
    found = profile(
        op("mm", 0, 100),
        kernel("gemm", 20, 50),
        kernel("ncclKernel_AllReduce", 30, 60, stream=8),
        copied(90, 120),
        op("x", 130, 140),
    )
    shares = dict(found.names.select("name", "wall_ns").iter_rows())
    assert shares == {"mm": 50, "gemm": 30, "ncclKernel_AllReduce": 10, "Memcpy HtoD": 30, "x": 10}
    assert (found.idle_ns, found.wall_ns) == (10, 140)


def test_those_that_run_at_once_share() -> None:
    found = profile(op("a", 0, 30), op("b", 10, 30, thread="u"))
    assert dict(found.names.select("name", "wall_ns").iter_rows()) == {"a": 20, "b": 10}


def test_sums_by_name_and_by_path() -> None:
    found = profile(op("f", 0, 100), op("mm", 10, 30), op("g", 40, 90), op("mm", 50, 60))
    row = found.names.filter(name="mm").row(0, named=True)
    assert (row["span_count"], row["total_ns"], row["self_ns"], row["mean_ns"], row["p50_ns"]) == (2, 30, 30, 15, 15)
    paths = diff_profiles(found, found).filter(alignment="call_path")
    totals = {" > ".join(path): total for path, total in paths.select("call_path", "candidate_total_ns").iter_rows()}
    assert totals == {"f": 100, "f > mm": 20, "f > g": 50, "f > g > mm": 10}


def test_what_was_added_removed_and_done_more_often() -> None:
    before = profile(op("gone", 0, 10), op("same", 10, 20), op("often", 20, 30), op("longer", 30, 40))
    after = profile(
        op("same", 0, 10), op("often", 10, 20), op("often", 20, 30), op("longer", 30, 45), op("new", 45, 50)
    )
    rows = by_name(diff_profiles(before, after))
    assert {name: (row["count_change"], row["duration_change"]) for name, row in rows.items()} == {
        "gone": ("removed", "removed"),
        "same": ("unchanged", "unchanged"),
        "often": ("increased", "increased"),
        "longer": ("unchanged", "increased"),
        "new": ("added", "added"),
        "idle": ("unchanged", "unchanged"),
    }
    assert rows["longer"]["slowdown_ratio"] == pytest.approx(5 / 40)
    assert sum(row["change_share_ratio"] for row in rows.values()) == pytest.approx(1)


def test_a_renamed_kernel_is_the_same_kernel_and_so_is_what_is_below_a_renamed_call() -> None:
    before = profile(
        kernel("gemm_64x64_nn", 0, 10), op("DataLoader#_SingleProcessIter.__next__", 0, 50), op("read", 10, 40)
    )
    after = profile(
        kernel("gemm_128x64_nn", 0, 30), op("DataLoader#_MultiProcessIter.__next__", 0, 50), op("read", 10, 20)
    )
    rows = by_name(diff_profiles(before, after))
    assert (rows["gemm_128x64_nn"]["baseline_name"], rows["gemm_128x64_nn"]["total_delta_ns"]) == ("gemm_64x64_nn", 20)
    assert rows["read"]["baseline_name"] is None
    paths = diff_profiles(before, after).filter(alignment="call_path", name="read")
    assert paths.select("call_path", "total_delta_ns").rows() == [
        (["DataLoader#_MultiProcessIter.__next__", "read"], -20)
    ]
    told_apart = by_name(diff_profiles(before, after, find_renames=False))
    assert told_apart["gemm_64x64_nn"]["count_change"] == "removed"


def test_something_done_far_more_often_is_no_rename() -> None:
    before = profile(op("aten::add", 0, 10))
    after = profile(*(op("aten::add_", 10 * place, 10 * place + 10) for place in range(3)))
    assert by_name(diff_profiles(before, after))["aten::add_"]["count_change"] == "added"


def steps(*durations: int) -> Profile:
    rows, at = [], 0
    for number, duration in enumerate(durations):
        rows += [op(f"ProfilerStep#{number}", at, at + duration, **STEP), op("forward", at, at + duration)]
        at += duration
    return profile(*rows)


def test_steps_give_an_interval_by_welch() -> None:
    # forward: 10, 12, 14 (mean 12, variance 4) and 20, 22, 24, 26 (mean 23, variance 20/3).
    # Error^2 = 4/3 + 5/3 = 3; degrees = 9 / ((4/3)^2/2 + (5/3)^2/3) = 9 / (8/9 + 25/27) = 4.959; t = 2.5768.
    rows = by_name(diff_profiles(steps(10, 12, 14), steps(20, 22, 24, 26)))
    row = rows["forward"]
    assert (row["repeat_kind"], row["candidate_repeat_count"], row["baseline_repeat_count"]) == ("step", 4, 3)
    assert row["effect_ns"] == pytest.approx(11)
    assert row["interval_low_ns"] == pytest.approx(11 - 2.5768 * 3**0.5, abs=1e-3)
    assert row["interval_high_ns"] == pytest.approx(11 + 2.5768 * 3**0.5, abs=1e-3)
    # Once a step on both sides, though four times and three times in all.
    assert row["count_change"] == "unchanged"


def test_noise_between_steps_is_no_change() -> None:
    assert by_name(diff_profiles(steps(10, 30, 20), steps(31, 12, 23)))["forward"]["duration_change"] == "unchanged"


def test_what_belongs_to_no_step_is_told_by_its_share_and_without_an_interval() -> None:
    # Two steps a side. The kernel has no correlation id, so that no step has it: 6 ns a step, then 10 ns.
    def run(*lengths: int) -> Profile:
        marks = [op(f"ProfilerStep#{n}", 100 * n, 100 * n + 90, **STEP) for n in (1, 2)]
        kernels = [kernel("gemm", 100 * n, 100 * n + length) for n, length in enumerate(lengths, start=1)]
        return profile(*marks, *kernels)

    before, after = run(6, 6), run(10, 10)
    row = by_name(diff_profiles(before, after))["gemm"]
    assert (row["repeat_kind"], row["duration_change"], row["effect_ns"]) == ("step", "increased", 4)
    assert (row["interval_low_ns"], row["interval_high_ns"]) == (None, None)
    assert row["wall_delta_ns"] == 4
    back = by_name(diff_profiles(after, before))["gemm"]
    assert (back["duration_change"], back["effect_ns"]) == ("decreased", -4)
    answer = tell_difference(diff_profiles(before, after))
    assert answer is not None
    part = next(part for part in answer.contributions if part.family == "matrix multiplication kernels")
    assert (part.delta_ms, part.is_sure) == (4e-6, False)


def test_an_interval_reaches_over_what_belongs_to_no_step() -> None:
    # forward in steps: 10 and 12 (mean 11, variance 2), then 30 and 32; the later run does 8 more before the first.
    # Error^2 = 2/2 + 2/2 = 2, degrees 4 / (1 + 1) = 2, t = 4.30265: half = 6.0849. 8 / 2 steps = 4 belong to none.
    def run(*lengths: int, early: int) -> Profile:
        marks = [op(f"ProfilerStep#{n}", 100 * n, 100 * n + 90, **STEP) for n in (1, 2)]
        forwards = [op("forward", 100 * n, 100 * n + length) for n, length in enumerate(lengths, start=1)]
        return profile(*marks, *forwards, op("forward", 0, early))

    row = by_name(diff_profiles(run(10, 12, early=0), run(30, 32, early=8)))["forward"]
    assert row["effect_ns"] == pytest.approx(24)
    assert row["interval_low_ns"] == pytest.approx(20 - 6.0849, abs=1e-3)
    assert row["interval_high_ns"] == pytest.approx(24 + 6.0849, abs=1e-3)
    assert row["duration_change"] == "increased"


def test_call_paths_have_intervals_of_their_own() -> None:
    # mm below f: 10, 12 then 30, 32 as above; mm below g: 5 always.
    def run(*lengths: int) -> Profile:
        rows = []
        for number, length in enumerate(lengths, start=1):
            at = 100 * number
            rows += [op(f"ProfilerStep#{number}", at, at + 90, **STEP), op("f", at, at + 40), op("g", at + 50, at + 60)]
            rows += [op("mm", at, at + length), op("mm", at + 50, at + 55)]
        return profile(*rows)

    found = diff_profiles(run(10, 12), run(30, 32)).filter(alignment="call_path", name="mm")
    rows = {row["call_path"][1]: row for row in found.to_dicts()}
    assert rows["f"]["effect_ns"] == pytest.approx(20)
    assert rows["f"]["interval_low_ns"] == pytest.approx(20 - 6.0849, abs=1e-3)
    assert rows["f"]["duration_change"] == "increased"
    assert (rows["g"]["interval_low_ns"], rows["g"]["interval_high_ns"]) == (0, 0)
    assert rows["g"]["duration_change"] == "unchanged"


def asked(*decodes: int) -> Profile:
    rows, at = [], 0
    for number, decode in enumerate(decodes):
        known = {"sample_id": f"s{number}", "process": "backend"}
        root = {"span_id": f"s{number}/0", "category": "request", **known}
        rows.append(op("request", at, at + 5 + decode, **root))
        for place, (name, low, high) in enumerate((("prefill", 0, 5), ("decode", 5, 5 + decode)), start=1):
            ids = {"span_id": f"s{number}/0/{place}", "parent_span_id": f"s{number}/0", "category": "phase"}
            rows.append(op(name, at + low, at + high, **ids, **known))
        at += 5 + decode
    return profile(*rows)


def test_samples_are_pairs() -> None:
    # decode: differences 2, 4, 6: mean 4, standard deviation 2, half = 4.30265 * 2 / sqrt(3) = 4.968.
    row = by_name(diff_profiles(asked(100, 10, 50), asked(102, 14, 56)))["decode"]
    assert (row["repeat_kind"], row["effect_ns"]) == ("sample", pytest.approx(4))
    assert row["interval_high_ns"] - row["effect_ns"] == pytest.approx(4.30265 * 2 / 3**0.5, abs=1e-4)
    assert row["duration_change"] == "unchanged"
    answer = tell_difference(diff_profiles(asked(100, 10, 50), asked(150, 20, 80)))
    assert answer is not None
    # 175 ns for three samples, then 265: all of it decoding.
    assert answer.sentence.startswith("The sample is 51% slower")
    assert [part.family for part in answer.contributions] == ["decode"]


OPS = st.lists(
    st.tuples(
        st.sampled_from(["aten::mm", "aten::add", "step_a", "step_b", "gemm_64", "gemm_32"]),
        st.integers(0, 400),
        st.integers(0, 60),
        st.sampled_from(["cpu_op", "kernel", "gpu_memcpy"]),
        st.sampled_from([None, "s1", "s2", "s3"]),
    ),
    max_size=25,
)


def drawn(spans: list[tuple[str, int, int, str, str | None]], *, run_id: str, seed: int | None = None) -> Profile:
    rows = [
        op(name, start, start + length, category=category, sample_id=sample)
        for name, start, length, category, sample in spans
    ]
    if seed is not None:
        random.Random(seed).shuffle(rows)
    return profile_run(place_frame(span_rows(rows, run_id=run_id)), run_id=run_id)


@settings(deadline=None, max_examples=20)
@given(OPS)
def test_a_run_does_not_differ_from_itself(spans: Any) -> None:
    one = drawn(spans, run_id="a")
    found = diff_profiles(one, one)
    assert changed(found).is_empty()
    assert found.select(pl.sum_horizontal(pl.col(name).abs().sum() for name in DELTAS)).item() == 0


@settings(deadline=None, max_examples=20)
@given(OPS, OPS)
def test_swapping_the_sides_turns_every_sign(spans: Any, others: Any) -> None:
    one, other = drawn(spans, run_id="a"), drawn(others, run_id="b")
    forth, back = diff_profiles(one, other), diff_profiles(other, one)
    assert forth.height == back.height
    totals = [found.filter(alignment="name").select(DELTAS).sum() for found in (forth, back)]
    assert totals[0].row(0) == pytest.approx(tuple(-value for value in totals[1].row(0)))
    turned = {
        (row["alignment"], row["span_kind"], row["baseline_name"] or row["name"], row["device"], row["category"],
         len(row["call_path"]), row["baseline_total_ns"], row["candidate_total_ns"]): row
        for row in back.to_dicts()
    }  # fmt: skip
    for row in forth.to_dicts():
        key = (row["alignment"], row["span_kind"], row["name"], row["device"], row["category"],
               len(row["call_path"]), row["candidate_total_ns"], row["baseline_total_ns"])  # fmt: skip
        mirrored = turned[key] if row["alignment"] == "name" else turned.get(key)
        if mirrored is None:
            continue
        assert OPPOSITE.get(row["count_change"], "unchanged") == mirrored["count_change"]
        assert OPPOSITE.get(row["duration_change"], "unchanged") == mirrored["duration_change"]
        for name in DELTAS:
            assert row[name] == pytest.approx(-mirrored[name], abs=1e-6)
        if row["interval_low_ns"] is not None:
            assert row["interval_low_ns"] == pytest.approx(-mirrored["interval_high_ns"], abs=1e-6)


@settings(deadline=None, max_examples=20)
@given(OPS, OPS, st.integers(0, 1000), st.integers(-(10**9), 10**9))
def test_neither_the_order_of_spans_nor_when_they_began_matters(spans: Any, others: Any, seed: int, shift: int) -> None:
    moved = [(name, start + shift, length, category, sample) for name, start, length, category, sample in spans]
    expected = diff_profiles(drawn(spans, run_id="a"), drawn(others, run_id="b"))
    found = diff_profiles(drawn(moved, run_id="a"), drawn(others, run_id="b"))
    assert found.equals(expected)
    shuffled = drawn(spans, run_id="a", seed=seed)
    # Spans that begin and end together are nested in the order of the file, so only what is outside of that is equal.
    assert shuffled.names.drop("self_ns", "wall_ns").equals(drawn(spans, run_id="a").names.drop("self_ns", "wall_ns"))


@settings(deadline=None, max_examples=20)
@given(OPS)
def test_shares_and_idle_time_add_up_to_the_wall_time(spans: Any) -> None:
    found = drawn(spans, run_id="a")
    assert found.names["wall_ns"].sum() + found.idle_ns == pytest.approx(found.wall_ns)
    ends = [start + length for _, start, length, _, _ in spans]
    assert found.wall_ns == (max(ends) - min(start for _, start, *_ in spans) if spans else 0)


@settings(deadline=None, max_examples=20)
@given(OPS, st.integers(1, 7))
def test_wall_time_is_shared_out_alike_in_few_or_many_parts(spans: Any, size: int) -> None:
    expected = drawn(spans, run_id="a")
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr("pipelines.timelines.wall_time._TOGETHER", size)
        found = drawn(spans, run_id="a")
    assert found.idle_ns == expected.idle_ns
    assert found.names["wall_ns"].to_list() == pytest.approx(expected.names["wall_ns"].to_list())
    assert found.paths.drop("wall_ns").equals(expected.paths.drop("wall_ns"))


CHANGES = {"added": "added", "deleted": "removed", "increased": "increased", "decreased": "decreased",
           "unchanged": "unchanged"}  # fmt: skip


def test_differences_of_real_traces_are_those_of_holistic_trace_analysis() -> None:
    folder = shared("traces")
    expected = json.loads((folder / "hta_expected_diff.json").read_text())["hta_control_vs_test"]
    profiles = []
    for name, number in zip(("hta_control", "hta_test"), expected["CPU"]["iteration"], strict=True):
        spans = place_frame(read(folder / f"{name}.pt.trace.json.gz")["silver.spans"])
        chosen = spans.filter(pl.col("step") == number)
        profiles.append(profile_run(chosen, run_id=name, keep_step_names=True))
    found = diff_profiles(profiles[0], profiles[1], find_renames=False, with_paths=False)
    for device in ("CPU", "GPU"):
        rows = found.filter(device=device.lower())
        assert rows["name"].n_unique() == rows.height
        ours = {
            row["name"]: (
                row["baseline_count"], row["candidate_count"], row["count_delta"],
                row["baseline_total_ns"] / 1000, row["candidate_total_ns"] / 1000, row["total_delta_ns"] / 1000,
            )
            for row in rows.to_dicts()
        }  # fmt: skip
        theirs = {
            row["name"]: (
                row["base_counts"], row["new_counts"], row["diff_counts"],
                row["base_total_duration"], row["new_total_duration"], row["diff_duration"],
            )
            for row in expected[device]["rows"]
        }  # fmt: skip
        assert ours == theirs
        for word, change in CHANGES.items():
            assert sorted(rows.filter(count_change=change)["name"]) == sorted(expected[device]["ops_diff"][word])
