"""Timelines from files to rows: what a night leaves, once, whatever stands already."""

from __future__ import annotations

import datetime as dt
import json
from pathlib import Path

import polars as pl
import pytest

from lake.store import Lake
from pipelines.runs.steps import import_paths
from pipelines.timelines.charts import lanes_chart, waterfall_chart
from pipelines.timelines.listing import compare_timelines, list_timeline_diffs, spans_of, stretch_to_draw
from pipelines.timelines.perfetto import TraceSide, merged_trace
from pipelines.timelines.reading import read_slim_spans
from pipelines.timelines.staleness import stale_timeline_dates
from pipelines.timelines.steps import diff_timelines, summarise_timelines
from tests.evidence.rows import policy
from tests.runs.formats import shared
from tests.timelines.spans import BASE_NS, steps_of, trace_file

NOW = dt.datetime(2026, 11, 21, tzinfo=dt.UTC)
DAY_NS = 86_400_000_000_000
DATES = [dt.date(2026, 11, 20), dt.date(2026, 11, 21)]
PREVIOUS = policy("""
version: 1
comparisons:
  - {name: previous, baseline: previous}
gates: []
""")
TABLES = ("gold.timeline_summaries", "gold.timeline_devices", "gold.timeline_diffs")


@pytest.fixture
def lake(tmp_path: Path) -> Lake:
    """Two nights of one training: the second copies twice in each step, and its forward takes longer."""
    trace_file(tmp_path / "first.json", steps_of([100, 110, 120]))
    trace_file(tmp_path / "second.json", steps_of([130, 140, 150], copies=2), base_ns=BASE_NS + DAY_NS)
    lake = Lake.open(tmp_path / "lake")
    result = import_paths(lake, [tmp_path / "first.json", tmp_path / "second.json"], now=NOW)
    assert (result.runs, result.rejects) == (2, 0)
    return lake


def runs(lake: Lake) -> list[dict]:
    return lake.read("silver.runs").sort("started_at").to_dicts()


def test_a_night_sums_up_and_compares_once(lake: Lake) -> None:
    assert stale_timeline_dates(lake, PREVIOUS) == DATES
    summarised = summarise_timelines(lake, DATES)
    compared = diff_timelines(lake, PREVIOUS, DATES)
    assert (summarised.computed_count, summarised.rows_read, compared.computed_count) == (2, 9 + 12, 1)
    assert stale_timeline_dates(lake, PREVIOUS) == []
    versions = lake.versions(TABLES)
    assert summarise_timelines(lake, DATES).skipped_count == 2
    assert diff_timelines(lake, PREVIOUS, DATES).skipped_count == 1
    # A backfill that asks for everything computes it again and finds the same.
    assert summarise_timelines(lake, DATES, mode="all").computed_count == 2
    assert diff_timelines(lake, PREVIOUS, DATES, mode="all").rows_written == 0
    assert lake.versions(TABLES) == versions
    assert set(lake.read("gold.timeline_summaries")["name"]) == {"step", "forward", "aten::copy_"}


def test_each_date_can_be_worked_off_alone_and_in_any_order(lake: Lake) -> None:
    for date in reversed(DATES):
        summarise_timelines(lake, [date])
        diff_timelines(lake, PREVIOUS, [date])
    assert stale_timeline_dates(lake, PREVIOUS) == []
    assert lake.read("gold.timeline_diffs")["run_date"].unique().to_list() == [DATES[1]]


def test_the_answer_in_a_sentence(lake: Lake) -> None:
    diff_timelines(lake, PREVIOUS, DATES)
    ((ids, answer),) = list_timeline_diffs(lake, DATES)
    baseline, candidate = runs(lake)
    assert (ids["candidate_run_id"], ids["baseline_run_id"]) == (candidate["run_id"], baseline["run_id"])
    # 120 us a step, then 160 us: 30 of 40 us from the forward, 10 from one more copy of 10 us.
    assert answer.sentence == (
        "The step is 33% slower (0.12 ms -> 0.16 ms): 25 points from forward (+0.03 ms, same count), "
        "8 from aten::copy_ (+0.01 ms, 1 more)."
    )
    rows = lake.read("gold.timeline_diffs", where={"alignment": "name"})
    assert rows["wall_delta_ns"].sum() == pytest.approx(40_000)
    forward = rows.filter(name="forward").row(0, named=True)
    assert (forward["duration_change"], forward["effect_ns"]) == ("increased", pytest.approx(30_000))


def test_the_step_in_which_a_program_warms_up_is_left_out_and_that_is_said(tmp_path: Path) -> None:
    trace_file(tmp_path / "first.json", steps_of([900, 110, 120], first=0))
    trace_file(tmp_path / "second.json", steps_of([150, 160], first=7), base_ns=BASE_NS + DAY_NS)
    lake = Lake.open(tmp_path / "lake")
    import_paths(lake, [tmp_path / "first.json", tmp_path / "second.json"], now=NOW)
    diff_timelines(lake, PREVIOUS, DATES)
    ((_, answer),) = list_timeline_diffs(lake, DATES)
    # 125 us a step, then 165 us.
    assert answer.sentence == (
        "The step is 32% slower (0.125 ms -> 0.165 ms): 32 points from forward (+0.04 ms, same count). "
        "Step 0 of the baseline is left out as warm-up."
    )
    baseline, candidate = runs(lake)
    assert compare_timelines(lake, baseline=baseline, candidate=candidate).answer == answer
    kept = compare_timelines(lake, baseline=baseline, candidate=candidate, keep_warm_up=True).answer
    assert kept.baseline_wall_ms == pytest.approx((910 + 120 + 130) / 3 / 1000)
    assert "left out" not in kept.sentence
    # What a run spent its time on is all of it.
    summarise_timelines(lake, DATES)
    where = {"name": "forward", "run_id": baseline["run_id"]}
    assert lake.read("gold.timeline_summaries", where=where)["span_count"].to_list() == [3]


def test_a_run_that_lost_its_partner_loses_its_comparison(lake: Lake) -> None:
    diff_timelines(lake, PREVIOUS, DATES)
    lake.remove("silver.runs", lake.read("silver.runs", where={"run_date": DATES[0]}).select("run_id"))
    assert DATES[1] in stale_timeline_dates(lake, PREVIOUS)
    assert diff_timelines(lake, PREVIOUS, DATES).removed_count == 1
    assert lake.row_count("gold.timeline_diffs") == 0


def test_spans_that_an_older_release_imported_are_placed_when_they_are_read(lake: Lake) -> None:
    spans = lake.read("silver.spans")
    places = ("lane", "device", "span_kind", "step", "phase", "depth", "parent_span_index", "self_ns")
    bare = spans.with_columns(pl.lit(None, dtype=spans.schema[name]).alias(name) for name in places)
    lake.upsert("silver.spans", bare)
    run = runs(lake)[0]
    found = spans_of(lake, run)
    expected = spans.filter(run_id=run["run_id"]).select(found.columns).sort("span_index")
    assert found.sort("span_index").equals(expected)


def test_a_trace_that_was_cut_lands_as_far_as_it_goes(tmp_path: Path) -> None:
    path = trace_file(tmp_path / "cut.json", steps_of([100] * 20))
    path.write_bytes(path.read_bytes()[: path.stat().st_size * 2 // 3])
    lake = Lake.open(tmp_path / "lake")
    assert import_paths(lake, [path], now=NOW).rejects == 1
    assert lake.read("bronze.rejects")["rule"].to_list() == ["truncated"]
    assert 30 < lake.row_count("silver.spans") < 60
    assert lake.read("silver.spans")["self_ns"].null_count() == 0
    assert summarise_timelines(lake, DATES).computed_count == 1


def test_a_trace_that_is_read_in_parts_comes_out_the_same(lake: Lake, monkeypatch: pytest.MonkeyPatch) -> None:
    summarise_timelines(lake, DATES)
    diff_timelines(lake, PREVIOUS, DATES)
    versions = lake.versions(TABLES)
    for name in ("reading._SPANS_TOGETHER", "profiles._SPANS_TOGETHER"):
        monkeypatch.setattr(f"pipelines.timelines.{name}", 4)
    assert read_slim_spans(lake, run_id=runs(lake)[0]["run_id"], run_date=DATES[0]).n_chunks() > 1
    summarise_timelines(lake, DATES, mode="all")
    diff_timelines(lake, PREVIOUS, DATES, mode="all")
    assert lake.versions(TABLES) == versions


def test_both_timelines_as_one_trace(lake: Lake) -> None:
    baseline, candidate = runs(lake)
    sides = [TraceSide(title=side, spans=spans_of(lake, run)) for side, run in (("a", baseline), ("b", candidate))]
    merged = json.loads(b"".join(merged_trace(sides)))["traceEvents"]
    spans = [event for event in merged if event["ph"] == "X"]
    assert len(spans) == 21
    assert {event["pid"] for event in spans} == {1, 2}
    assert [min(event["ts"] for event in spans if event["pid"] == side) for side in (1, 2)] == [0, 0]
    titles = {event["pid"]: event["args"]["name"] for event in merged if event["name"] == "process_name"}
    assert titles == {1: "a", 2: "b"}
    assert sum(event["dur"] for event in spans if event["name"] == "forward") == 100 + 110 + 120 + 130 + 140 + 150


def test_a_merged_trace_is_imported_like_any_other(lake: Lake, tmp_path: Path) -> None:
    sides = [TraceSide(title=run["run_id"], spans=spans_of(lake, run)) for run in runs(lake)]
    (tmp_path / "both.json").write_bytes(b"".join(merged_trace(sides)))
    other = Lake.open(tmp_path / "other")
    assert import_paths(other, [tmp_path / "both.json"], now=NOW).rejects == 0
    totals = [
        found.read("silver.spans").group_by("name").agg(pl.col("duration_ns").sum()).sort("name")
        for found in (lake, other)
    ]
    assert totals[0].equals(totals[1])


def test_pictures(lake: Lake) -> None:
    baseline, candidate = runs(lake)
    found = compare_timelines(lake, baseline=baseline, candidate=candidate)
    waterfall = waterfall_chart(found.answer, title='a "title" & <b>')
    assert "forward" in waterfall
    assert "25.0 points" in waterfall
    before, after, stretch = stretch_to_draw(lake, baseline=baseline, candidate=candidate)
    assert stretch == "step 2"
    lanes = lanes_chart(before, after, title=stretch)
    assert lanes.startswith("<svg")
    assert all(word in lanes for word in ("baseline", "candidate", "forward", "aten::copy_"))
    with pytest.raises(ValueError, match="no spans"):
        lanes_chart(before.clear(), after.clear(), title="nothing")


def test_real_traces_from_import_to_answer(tmp_path: Path) -> None:
    lake = Lake.open(tmp_path / "lake")
    import_paths(lake, [shared("traces")], now=NOW)
    dates = stale_timeline_dates(lake, PREVIOUS)
    summarise_timelines(lake, dates)
    diff_timelines(lake, PREVIOUS, dates)
    ((_, answer),) = list_timeline_diffs(lake, dates)
    assert answer.sentence.startswith("The step is 60% slower (77.5 ms -> 124 ms): 28 points from")
    gpu = lake.read("gold.timeline_devices", where={"device": "gpu"}).sort("run_date").row(0, named=True)
    assert gpu["busy_ns"] + gpu["idle_ns"] == gpu["wall_ns"]
    assert 0 < gpu["communication_overlap_ratio"] < 1
