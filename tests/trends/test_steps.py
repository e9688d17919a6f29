"""Series and changes in a lake: incremental, in any order, followed over nights."""

from __future__ import annotations

import datetime as dt

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lake.errors import UserError
from lake.store import Lake
from pipelines.trends.listing import (
    ChangeQuery,
    list_changes,
    list_series,
    open_regressions,
    readable_changes,
    readable_series,
)
from pipelines.trends.sample_history import NIGHTS, remove_sample_history, seed_sample_history
from pipelines.trends.steps import acknowledge, update_changes, update_series
from tests.evidence.rows import FINGERPRINT, code_version, output, output_rows, run, run_rows
from tests.trends.series import START, put_runs, stepped

NOW = dt.datetime(2026, 6, 1, tzinfo=dt.UTC)
VALUES = stepped((20, 100), (14, 120))


def look(lake: Lake, *, now: dt.datetime = NOW):
    update_series(lake)
    return update_changes(lake, now=now)


def changes(lake: Lake) -> pl.DataFrame:
    return lake.read("gold.trend_regressions").sort("changed_at")


def test_a_change_is_followed_from_suspicion_to_recovery(lake):
    put_runs(lake, VALUES[:26])
    look(lake)
    first = changes(lake).row(0, named=True)
    assert (first["state"], first["direction"], first["first_run_id"]) == ("confirmed", "regression", "run-0020")
    assert first["last_run_id"] == "run-0019"
    assert first["change_ratio"] == pytest.approx(0.2, abs=0.02)
    put_runs(lake, stepped((12, 100), seed=9), first=26)
    look(lake, now=NOW + dt.timedelta(days=1))
    back = changes(lake).row(0, named=True)
    assert back["change_id"] == first["change_id"]
    assert (back["state"], back["recovered_at"]) == ("recovered", NOW + dt.timedelta(days=1))
    assert back["suspected_at"] == NOW
    assert changes(lake)["direction"].to_list() == ["regression", "improvement"]


def test_a_suspicion_that_is_not_borne_out_goes(lake):
    values = stepped((60, 100), (5, 102))
    put_runs(lake, values)
    look(lake)
    assert changes(lake)["state"].to_list() == ["suspected"]
    put_runs(lake, stepped((20, 100), seed=8), first=65)
    assert look(lake).dismissed_count == 1
    assert changes(lake).is_empty()


def test_nothing_new_costs_nothing(lake):
    put_runs(lake, VALUES)
    look(lake)
    before = lake.versions(["gold.trend_series", "gold.change_points", "gold.trend_regressions"])
    assert update_series(lake).run_count == 0
    assert update_changes(lake, now=NOW + dt.timedelta(days=3)).series_count == 0
    assert lake.versions(list(before)) == before


def test_only_series_with_a_new_point_are_looked_at(lake):
    put_runs(lake, VALUES, backend="a")
    put_runs(lake, VALUES, first=100, backend="b")
    assert look(lake).series_count == 2
    put_runs(lake, [100.0], first=34, backend="a")
    assert look(lake).series_count == 1


@settings(deadline=None, max_examples=3)
@given(order=st.permutations(range(4)))
def test_any_order_of_arrival_ends_the_same(tmp_path_factory, order):
    together, apart = (Lake.open(tmp_path_factory.mktemp("lake")) for _ in range(2))
    put_runs(together, VALUES)
    look(together)
    for part in order:
        put_runs(apart, VALUES[part * 9 : part * 9 + 9], first=part * 9)
        look(apart)
    keys = ["series_id", "run_id"]
    for table in ("gold.trend_series", "gold.change_points"):
        assert apart.read(table).sort(keys).equals(together.read(table).sort(keys))
    told = ["first_run_id", "last_run_id", "state", "direction", "before", "after", "p_value"]
    current = pl.col("is_current")
    assert changes(apart).filter(current).select(told).equals(changes(together).filter(current).select(told))


def test_a_killed_step_is_run_again(lake, monkeypatch):
    put_runs(lake, VALUES)
    with monkeypatch.context() as patch:
        patch.setattr(Lake, "move_cursor", lambda *_: pytest.fail("killed"))
        with pytest.raises(pytest.fail.Exception):
            look(lake)
    look(lake)
    assert lake.row_count("gold.trend_series") == len(VALUES)
    assert changes(lake).height == 1


def test_a_run_that_is_gone_leaves_its_series(lake):
    put_runs(lake, VALUES)
    look(lake)
    lake.remove("silver.runs", pl.DataFrame({"run_id": ["run-0003"]}))
    look(lake)
    assert lake.row_count("gold.trend_series") == len(VALUES) - 1


def test_acknowledged_with_who_and_why(lake):
    put_runs(lake, VALUES)
    look(lake)
    [change_id] = changes(lake)["change_id"]
    assert open_regressions(lake, since=START)["group"].to_list() == ["speed"]
    row = acknowledge(lake, change_id[:8], author="ada", reason="worth it", now=NOW)
    assert (row["state"], row["acknowledged_by"], row["acknowledged_reason"]) == ("acknowledged", "ada", "worth it")
    assert open_regressions(lake, since=START).is_empty()
    later = NOW + dt.timedelta(hours=1)
    assert acknowledge(lake, change_id, author="ada", reason="no", now=later, is_withdrawn=True)["state"] == "confirmed"
    assert lake.row_count("silver.trend_acknowledgements") == 2
    with pytest.raises(UserError, match="No change"):
        acknowledge(lake, "zzz", author="ada", reason="x", now=NOW)
    with pytest.raises(UserError, match="--reason"):
        acknowledge(lake, change_id, author="ada", reason=" ", now=NOW)


def test_changes_at_a_change_of_environment_are_one_event(lake):
    new = FINGERPRINT | {"hardware": "four cores"}
    for backend, first in (("a", 0), ("b", 100)):
        model = {"backend": "shared", "engine": "shared", "suite": backend}
        put_runs(lake, VALUES[:20], first=first, **model)
        put_runs(lake, VALUES[20:], first=first + 20, **model, fingerprint=new)
    look(lake)
    events = changes(lake)["event_id"]
    assert events.null_count() == 0
    assert events.n_unique() == 1


def test_the_order_is_that_of_commits(lake):
    put_runs(lake, [5.0], first=9, environment='{"committed_at": "2026-01-01T00:00:00+00:00"}')
    put_runs(lake, [1.0, 2.0], first=3, code_version=code_version("c2"))
    look(lake)
    series = lake.read("gold.trend_series").sort("ordered_at")
    assert series.filter(pl.col("commit").is_null())["is_commit_time"].to_list() == [True]
    assert series["value"].to_list()[0] == 5.0


def test_outputs_become_series_by_slice(lake):
    row = run("r")
    outputs = [
        output(row, index, "text" if index else None, sample_id=f"fact-{index}", tags=["t"], output_token_count=10)
        for index in range(20)
    ]
    lake.upsert("silver.outputs", output_rows(outputs))
    lake.upsert("silver.runs", run_rows(row))
    update_series(lake)
    rows = lake.read("gold.trend_series")
    told = {(r["slice_kind"], r["slice_value"], r["metric"], r["variant"]): r for r in rows.iter_rows(named=True)}
    assert {key[:2] for key in told} == {("run", ""), ("tag", "t"), ("prompt_group", "fact")}
    # 1 of 20 failed; Wilson's 95 % interval of 1/20 is [0.0089, 0.2361].
    failed = told["run", "", "failure_ratio", ""]
    assert failed["value"] == 0.05
    assert (failed["interval_low"], failed["interval_high"]) == pytest.approx((0.0089, 0.2361), abs=1e-4)
    assert told["run", "", "mean_score", "exact_match"]["value"] == 1.0
    # 10 tokens in 100 ms each.
    assert told["tag", "t", "output_tokens_per_s", ""]["value"] == pytest.approx(100)
    assert told["run", "", "latency_ms", "median"]["value"] == 100
    # The 95th percentile of 19 is the slowest one.
    assert ("run", "", "latency_ms", "p95") not in told


def test_the_sample_history_is_told_as_one(lake):
    assert seed_sample_history(lake, now=NOW) == 6 * NIGHTS
    assert seed_sample_history(lake, now=NOW + dt.timedelta(days=9)) == 0
    look(lake)
    rows = list_changes(lake, ChangeQuery())
    assert rows["is_sample"].all()
    assert {"regression", "improvement"} == set(rows["direction"])
    assert rows["state"].is_in(["confirmed", "recovered"]).all()
    assert set(rows["metric"]) == {"latency_ms", "output_tokens_per_s", "mean_score", "peak_memory_bytes"}
    assert readable_changes(rows)["series"].str.contains("(sample)", literal=True).all()
    is_memory = pl.col("metric") == "peak_memory_bytes"
    assert readable_changes(rows.filter(is_memory))["level"][0] == "514.8 to 537.2 MiB (+4.4%)"
    assert readable_series(list_series(lake).filter(is_memory))["newest"][0].endswith(" MiB")
    assert open_regressions(lake, since=START).is_empty()
    assert list_series(lake)["is_sample"].all()
    assert remove_sample_history(lake) == 6 * NIGHTS
    look(lake)
    assert not lake.read("gold.trend_regressions")["is_current"].any()
