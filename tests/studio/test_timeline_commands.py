"""`benchlake timeline` as a user meets it."""

from __future__ import annotations

import datetime as dt
import json
from pathlib import Path

import pytest

from pipelines.runs.steps import import_paths
from pipelines.timelines.steps import summarise_timelines
from resources.installation import Installation
from tests.studio.command_line import type_words
from tests.timelines.spans import BASE_NS, steps_of, trace_file

NOW = dt.datetime(2026, 11, 21, tzinfo=dt.UTC)


@pytest.fixture
def ids(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The runs of two traces in the installation of the working folder."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("BENCHLAKE_HOME", str(tmp_path / ".benchlake"))
    monkeypatch.delenv("BENCHLAKE_LAKE", raising=False)
    trace_file(tmp_path / "first.json", [*steps_of([100, 110]), {"name": "\x1b[31mred", "at": (5, 1)}])
    trace_file(tmp_path / "second.json", steps_of([150, 160]), base_ns=BASE_NS + 10**9)
    lake = Installation(folder=tmp_path).lake
    import_paths(lake, [tmp_path / "first.json", tmp_path / "second.json"], now=NOW)
    summarise_timelines(lake, [dt.date(2026, 11, 20)])
    return lake.read("silver.runs").sort("started_at")["run_id"].to_list()


def test_diff_says_what_got_slower(ids: list[str], monkeypatch, capsys) -> None:
    said = type_words(monkeypatch, capsys, "timeline", "diff", ids[0], ids[1], "--charts", "pictures")
    assert said.returncode == 0
    assert "The step is 43% slower" in said.stdout
    assert "\x1b[31mred" not in said.stdout
    assert {path.name for path in Path("pictures").iterdir()} == {"waterfall.svg", "lanes.svg"}


def test_diff_for_programs(ids: list[str], monkeypatch, capsys) -> None:
    found = json.loads(type_words(monkeypatch, capsys, "timeline", "diff", ids[0], ids[1], "--json").stdout)
    assert found["repeat_kind"] == "step"
    forward = next(row for row in found["rows"] if (row["alignment"], row["name"]) == ("name", "forward"))
    assert (forward["baseline_total_ns"], forward["candidate_total_ns"]) == (210_000, 310_000)
    one = json.loads(type_words(monkeypatch, capsys, "timeline", "diff", *ids, "--step", "2", "--json").stdout)
    totals = {row["name"]: row["total_delta_ns"] for row in one["rows"] if row["alignment"] == "name"}
    assert totals["forward"] == 50_000
    assert "ProfilerStep#2" in totals


def test_diff_counts_the_warm_up_where_that_is_asked_for(ids: list[str], tmp_path: Path, monkeypatch, capsys) -> None:
    trace_file(tmp_path / "cold.json", steps_of([500, 120, 130], first=0), base_ns=BASE_NS + 2 * 10**9)
    lake = Installation(folder=tmp_path).lake
    import_paths(lake, [tmp_path / "cold.json"], now=NOW)
    cold = lake.read("silver.runs").sort("started_at")["run_id"][-1]
    said = type_words(monkeypatch, capsys, "timeline", "diff", ids[1], cold).stdout
    assert "18% faster" in said
    assert "Step 0 of the candidate is left out as warm-up." in " ".join(said.split())
    found = json.loads(type_words(monkeypatch, capsys, "timeline", "diff", ids[1], cold, "--warm-up", "--json").stdout)
    assert (found["candidate_warm_up_count"], found["slowdown_ratio"] > 0) == (0, True)


def test_show_and_list(ids: list[str], monkeypatch, capsys) -> None:
    rows = json.loads(type_words(monkeypatch, capsys, "timeline", "show", ids[0], "--json").stdout)
    assert {row["name"]: row["span_count"] for row in rows}["forward"] == 2
    listed = json.loads(type_words(monkeypatch, capsys, "timeline", "list", "--json").stdout)
    assert [row["run_id"] for row in listed] == ids[::-1]
    assert "forward" in type_words(monkeypatch, capsys, "timeline", "show", ids[0]).stdout


def test_a_trace_is_listed_as_soon_as_it_is_imported(ids: list[str], tmp_path: Path, monkeypatch, capsys) -> None:
    kernels = [{"name": "gemm", "cat": "kernel", "pid": 0, "tid": 7, "at": (10, 30)}]
    trace_file(tmp_path / "third.json", [*steps_of([50]), *kernels], base_ns=BASE_NS + 2 * 10**9)
    lake = Installation(folder=tmp_path).lake
    import_paths(lake, [tmp_path / "third.json"], now=NOW)
    rows = json.loads(type_words(monkeypatch, capsys, "timeline", "list", "--json").stdout)
    assert [(row["device"], row["span_count"], row["is_summed_up"], row["busy_ns"]) for row in rows[:2]] == [
        ("cpu", 3, False, None), ("gpu", 1, False, None),
    ]  # fmt: skip
    assert [row["run_id"] for row in rows[2:]] == ids[::-1]
    assert rows[0]["wall_ns"] == 60_000
    said = type_words(monkeypatch, capsys, "timeline", "list").stdout
    assert f"benchlake timeline show {rows[0]['run_id'][:8]}" in said
    summarise_timelines(lake, [dt.date(2026, 11, 20)])
    later = json.loads(type_words(monkeypatch, capsys, "timeline", "list", "--json").stdout)
    assert all(row["is_summed_up"] for row in later)
    assert [row["span_count"] for row in later] == [row["span_count"] for row in rows]


def test_export_writes_one_trace_of_both(ids: list[str], monkeypatch, capsys) -> None:
    said = type_words(monkeypatch, capsys, "timeline", "export", *ids, "-o", "out/both.json")
    assert said.returncode == 0
    assert "ui.perfetto.dev" in said.stdout
    assert len(json.loads(Path("out/both.json").read_bytes())["traceEvents"]) > 13


def test_mistakes_are_told_with_a_remedy(ids: list[str], tmp_path: Path, monkeypatch, capsys) -> None:
    said = type_words(monkeypatch, capsys, "timeline", "diff", ids[0], ids[1], "--step", "9")
    assert said.returncode == 3
    assert "no step 9; it has 1 to 2" in said.stderr
    (tmp_path / "bare.jsonl").write_text(
        '{"type": "run", "run_id": "bare", "suite": "s", "backend": "b", "model": "m"}'
    )
    import_paths(Installation(folder=tmp_path).lake, [tmp_path / "bare.jsonl"], now=NOW)
    said = type_words(monkeypatch, capsys, "timeline", "show", "bare")
    assert said.returncode == 3
    assert "has no spans" in said.stderr
