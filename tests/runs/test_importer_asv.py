from __future__ import annotations

import datetime as dt
import json
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from lake.store import Lake
from pipelines.runs.steps import import_paths
from tests.runs.declared.asv import benchmark, header, result_file
from tests.runs.formats import Tables, raw_text, read, read_bytes, rules, shared

NOW = dt.datetime(2026, 3, 5, 12, tzinfo=dt.UTC)
NAN, INFINITY = float("nan"), float("inf")


def read_file(folder: Path, *records: dict[str, Any], **changes: object) -> Tables:
    return read_bytes(folder, "c0ffee00-env.json", result_file(list(records), **changes))


def values(tables: Tables, *columns: str) -> list[tuple[Any, ...]]:
    rows = tables["silver.run_metrics"].filter(pl.col("metric") != "wall_time_ms")
    return rows.select(columns or ("metric", "variant", "value", "unit", "is_higher_better")).rows()


def test_a_run_is_a_commit_in_an_environment_on_a_machine(tmp_path: Path) -> None:
    tables = read_file(tmp_path, benchmark(2), benchmark(0))
    (run,) = tables["silver.runs"].to_dicts()
    assert (run["suite"], run["backend"], run["status"]) == ("asv", "virtualenv-py3.11-numpy", "success")
    assert run["code_version"]["commit"] == "c0ffee" + "0" * 34
    # The first benchmark began at 10:00:00, the last at 10:00:02 and took two seconds.
    assert run["started_at"] == dt.datetime(2026, 3, 1, 10, tzinfo=dt.UTC)
    assert run["ended_at"] == dt.datetime(2026, 3, 1, 10, 0, 4, tzinfo=dt.UTC)
    assert json.loads(run["fingerprint"]["hardware"]) == {"cpu": "any", "machine": "box"}
    assert json.loads(run["parameters"]) == {
        "env_name": "virtualenv-py3.11-numpy",
        "python": "3.11",
        "requirements": {"numpy": "2.0"},
    }
    assert json.loads(run["environment"])["committed_at"] == "2026-03-01T09:00:00+00:00"
    durations = (
        tables["silver.run_metrics"].filter(pl.col("metric") == "wall_time_ms").select("variant", "value").rows()
    )
    assert durations == [("suite.time_2", 2000.0), ("suite.time_0", 2000.0), ("<build>", 1500.0)]
    again = read_file(tmp_path / "more", benchmark(0), benchmark(1), benchmark(2))
    assert again["silver.runs"]["run_id"].to_list() == [run["run_id"]]
    elsewhere = read_file(tmp_path / "other", benchmark(0), params={"machine": "other"})
    assert elsewhere["silver.runs"]["run_id"].to_list() != [run["run_id"]]


def test_combinations_of_parameters_are_variants(tmp_path: Path) -> None:
    record = {"name": "m.S.time_x", "result": [1, 2, 3, 4, 5, 6], "params": [["10", "100"], ["'a'", "'b'", "None"]]}
    assert values(read_file(tmp_path, record), "variant", "value") == [
        ("10,'a'", 1000.0),
        ("10,'b'", 2000.0),
        ("10,None", 3000.0),
        ("100,'a'", 4000.0),
        ("100,'b'", 5000.0),
        ("100,None", 6000.0),
    ]


def test_units_and_directions(tmp_path: Path) -> None:
    names = ("time_a", "timeraw_b", "mem_c", "peakmem_d", "track_e", "TimeF", "odd")
    tables = read_file(tmp_path, *({"name": f"m.S.{name}", "result": [0.5], "params": []} for name in names))
    assert values(tables) == [
        ("m.S.time_a", "", 500.0, "ms", False),
        ("m.S.timeraw_b", "", 500.0, "ms", False),
        ("m.S.mem_c", "", 0.5, "bytes", False),
        ("m.S.peakmem_d", "", 0.5, "bytes", False),
        ("m.S.track_e", "", 0.5, "1", None),
        ("m.S.TimeF", "", 500.0, "ms", False),
        ("m.S.odd", "", 0.5, "1", None),
    ]


def test_failed_and_skipped_have_no_value_and_failed_is_said(tmp_path: Path) -> None:
    records = [
        {"name": "m.time_failed", "result": None, "params": []},
        {"name": "m.time_some", "result": [0.5, NAN, None], "params": [["1", "2", "3"]]},
        {"name": "m.time_skipped", "result": [NAN], "params": []},
    ]
    tables = read_file(tmp_path, *records)
    assert values(tables, "metric", "variant", "value") == [("m.time_some", "1", 500.0)]
    (run,) = tables["silver.runs"].to_dicts()
    assert (run["status"], run["error_message"]) == ("success", "2 of 3 benchmarks failed: m.time_failed, m.time_some.")
    assert rules(tables) == []
    (run,) = read_file(tmp_path, records[0])["silver.runs"].to_dicts()
    assert run["status"] == "error"


def test_spread_is_given_where_it_is_known(tmp_path: Path) -> None:
    record = {
        "name": "m.time_x",
        "result": [0.5, 0.5, 0.5],
        "params": [["1", "2", "3"]],
        # 2 x 2.5758293 standard errors wide; without bounds; unknown.
        "stats_ci_99_a": [0.5 - 2.5758293035489004e-3, -INFINITY, None],
        "stats_ci_99_b": [0.5 + 2.5758293035489004e-3, INFINITY, None],
        "stats_repeat": [10, 1, None],
        # Deviation of 1, 2, 3 and 0 is the root of 5/3.
        "samples": [None, [1.0, 2.0, 3.0, 0.0], None],
    }
    tables = read_file(tmp_path, record)
    (first, second, third) = values(tables, "standard_error", "standard_deviation", "sample_count")
    assert first == (pytest.approx(1.0), None, 10)
    assert second == (None, pytest.approx(1000 * (5 / 3) ** 0.5), 4)
    assert third == (None, None, None)
    assert rules(tables) == []


def test_a_result_that_does_not_fit_its_parameters_is_said(tmp_path: Path) -> None:
    tables = read_file(tmp_path, {"name": "m.time_x", "result": [1, 2, 3], "params": [["1", "2"]]}, benchmark(0))
    assert rules(tables) == ["result: length"]
    assert len(values(tables)) == 4
    huge = {"name": "m.time_y", "result": [1, 2], "params": [list(range(1_000))] * 9}
    assert rules(read_file(tmp_path, huge)) == ["result: length"]


def test_the_first_version_of_the_file(tmp_path: Path) -> None:
    results = {
        "m.time_plain": 0.25,
        "m.time_null": None,
        "m.time_params": {"result": [0.5, 0.75], "params": [["1", "2"]], "stats": [None, None]},
    }
    content = json.dumps(header() | {"version": 1, "results": results, "profiles": {}}).encode()
    tables = read_bytes(tmp_path, "old.json", content)
    assert values(tables, "metric", "variant", "value") == [
        ("m.time_plain", "", 250.0),
        ("m.time_params", "1", 500.0),
        ("m.time_params", "2", 750.0),
    ]
    (run,) = tables["silver.runs"].to_dicts()
    # Without a time of its own the commit's is what there is.
    assert run["started_at"] == dt.datetime(2026, 3, 1, 9, tzinfo=dt.UTC)
    assert run["error_message"] == "1 of 3 benchmarks failed: m.time_null."


def test_pretty_printed_and_sorted_is_the_same(tmp_path: Path) -> None:
    value = json.loads(result_file([benchmark(0), benchmark(1)]))
    tables = read_bytes(tmp_path, "x.json", json.dumps(value, indent=1, sort_keys=True).encode())
    assert values(tables) == values(read_file(tmp_path, benchmark(0), benchmark(1)))


def results_folder(folder: Path) -> Path:
    """A project with its configuration, and results as asv lays them out."""
    machine = folder / "project" / "results" / "box"
    machine.mkdir(parents=True)
    (folder / "project" / "asv.conf.json").write_text('{\n  // What it is called.\n  "project": "tiny",\n}')
    units = {"m.track_x": {"unit": "widgets", "type": "track", "name": "m.track_x"}, "version": 2}
    (machine.parent / "benchmarks.json").write_text(json.dumps(units))
    (machine / "machine.json").write_text(json.dumps({"machine": "box", "version": 1}))
    (machine / "c0ffee00-env.json").write_bytes(result_file([{"name": "m.track_x", "result": [5], "params": []}]))
    return folder / "project"


def test_what_asv_keeps_beside_its_results_is_used_and_no_reject(tmp_path: Path) -> None:
    lake = Lake.open(tmp_path / "lake")
    result = import_paths(lake, [results_folder(tmp_path)], now=NOW)
    assert (result.runs, result.rejects, result.files) == (1, 0, 1)
    assert lake.read("silver.runs")["suite"].to_list() == ["tiny"]
    assert lake.read("silver.run_metrics", where={"metric": "m.track_x"})["unit"].to_list() == ["widgets"]


def test_nothing_outside_the_imported_folder_is_looked_at(tmp_path: Path) -> None:
    lake = Lake.open(tmp_path / "lake")
    result = import_paths(lake, [results_folder(tmp_path) / "results" / "box"], now=NOW)
    assert (result.runs, result.rejects) == (1, 0)
    assert lake.read("silver.runs")["suite"].to_list() == ["asv"]
    assert lake.read("silver.run_metrics", where={"metric": "m.track_x"})["unit"].to_list() == ["1"]


def test_a_file_that_was_measured_again_updates_its_run(tmp_path: Path) -> None:
    lake = Lake.open(tmp_path / "lake")
    path = tmp_path / "c0ffee00-env.json"
    for value in (1.0, 2.0):
        path.write_bytes(result_file([{"name": "m.time_x", "result": [value], "params": []}]))
        import_paths(lake, [path], now=NOW)
    assert lake.read("silver.runs").height == 1
    assert lake.read("silver.run_metrics", where={"metric": "m.time_x"})["value"].to_list() == [2000.0]


def test_real_result_files() -> None:
    tables = read(shared("asv") / "raw_3da42862_py3.9.json.gz")
    (run,) = tables["silver.runs"].to_dicts()
    assert run["started_at"] == dt.datetime(2022, 5, 28, 0, 47, 22, 644_000, tzinfo=dt.UTC)
    assert (run["code_version"]["commit"] or "").startswith("3da42862")
    assert run["error_message"].startswith("8 of 309 benchmarks failed: ")
    linkage = tables["silver.run_metrics"].filter(pl.col("metric") == "cluster.HierarchyLinkage.time_linkage")
    # 0.05745996248151641 s in the file; the interval is 0.057337 to 0.057708 s.
    assert linkage.select("variant", "value").row(0) == ("'single'", pytest.approx(57.45996248151641))
    assert linkage["standard_error"][0] == pytest.approx(0.371 / (2 * 2.5758293035489004), rel=1e-6)
    assert linkage.height == 7
    assert rules(tables) == []
    assert "time_find_best_blas_type" in raw_text(tables)


def test_a_real_list_of_benchmarks_is_no_reject(tmp_path: Path) -> None:
    result = import_paths(Lake.open(tmp_path / "lake"), [shared("asv")], now=NOW)
    assert (result.runs, result.rejects, result.unchanged_files) == (2, 0, 1)
