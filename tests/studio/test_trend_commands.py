"""The commands of trends, in a folder of their own."""

from __future__ import annotations

import json

import polars as pl
import pytest

from pipelines.trends.series import IDENTITY
from resources.installation import Installation
from tests.evidence.rows import code_version
from tests.studio.command_line import type_words
from tests.trends.series import put_runs, stepped


@pytest.fixture
def say(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("BENCHLAKE_HOME", str(tmp_path / "home"))
    monkeypatch.delenv("BENCHLAKE_LAKE", raising=False)
    return lambda *words: type_words(monkeypatch, capsys, "trends", *words)


def test_the_detector_on_any_csv(say, tmp_path):
    (tmp_path / "a.csv").write_text("t,y\n" + "\n".join(f"{t},{y}" for t, y in enumerate(stepped((30, 10), (30, 13)))))
    (tmp_path / "b.csv").write_text("y\n5\n5\n5\n")
    answer = say("detect", "a.csv", "b.csv", "--value", "y", "--json")
    first, second = json.loads(answer.stdout)["series"]
    [point] = first["change_points"]
    assert (first["file"], first["n"]) == ("a.csv", 60)
    assert (point["index"], point["state"]) == (30, "confirmed")
    assert (point["before"], point["after"]) == pytest.approx((10, 13), abs=0.3)
    # Two series, one of which has no change: two tests.
    assert point["q"] == pytest.approx(2 * point["p"])
    assert second == {"file": "b.csv", "n": 3, "period": 0, "change_points": [], "outliers": []}


def test_a_file_that_is_not_there_does_not_spoil_the_others(say, tmp_path):
    (tmp_path / "a.csv").write_text("1\n2\n3\n")
    answer = say("detect", "none.csv", "a.csv", "--json")
    assert answer.returncode == 3
    assert "none.csv cannot be read" in answer.stderr
    assert [series["file"] for series in json.loads(answer.stdout)["series"]] == ["a.csv"]


def test_from_nothing_to_an_acknowledged_change(say, tmp_path):
    assert "benchlake trends seed" in say().stdout
    assert "720 rows" in say("seed").stdout
    assert "there already" in say("seed").stdout
    rows = json.loads(say("--regressions", "--state", "confirmed", "--json").stdout)
    assert [row["metric"] for row in rows] == ["peak_memory_bytes"]
    assert say("--regressions", "--exit-code").returncode == 1
    assert say("--regressions", "--exit-code", "--no-samples").returncode == 0
    change = rows[0]["change_id"][:8]
    assert "now acknowledged" in say("acknowledge", change, "--reason", "more cache", "--by", "ada").stdout
    assert say("--regressions", "--exit-code").returncode == 0
    assert "acknowledged" in say("--metric", "peak*").stdout
    assert say("show", change, "--svg", "x.svg", "--json").returncode == 0
    assert (tmp_path / "x.svg").read_text().startswith("<svg")
    assert len(json.loads(say("series", "--json").stdout)) == 6
    assert "720 rows" in say("seed", "--remove").stdout


def test_series_are_found_by_what_they_are_of_and_when(say, tmp_path):
    lake = Installation(folder=tmp_path).lake
    for branch, model, first in (("main", "small", 0), ("main", "big", 100), ("topic", "big", 200)):
        named = {"model": model, "code_version": code_version() | {"branch": branch}}
        put_runs(lake, [1.0, 2.0, 3.0], first=first, metric="latency_ms", **named)
    found = lambda *words: json.loads(say("series", *words, "--json").stdout)  # noqa: E731  # short and local
    assert {(row["branch"], row["model"], row["run_count"]) for row in found()} == {
        ("main", "small", 3), ("main", "big", 3), ("topic", "big", 3),
    }  # fmt: skip
    assert [row["model"] for row in found("--branch", "main", "--model", "s*")] == ["small"]
    assert found("--metric", "other") == []
    # The runs of the second series are of days 100 to 102 of 2026: 11 to 13 April.
    [row] = found("--since", "2026-04-12", "--until", "2026-05-01")
    assert (row["model"], row["branch"], row["run_count"], row["newest_value"]) == ("big", "main", 2, 3.0)
    assert "No series that you ask for" in say("series", "--suite", "other").stdout


def test_a_long_list_of_series_is_cut_for_people_only(say, tmp_path, monkeypatch):
    monkeypatch.setenv("COLUMNS", "80")
    lake = Installation(folder=tmp_path).lake
    put_runs(lake, [1.0])
    metric = lake.read("silver.run_metrics")
    lake.upsert("silver.run_metrics", pl.concat(metric.with_columns(metric=pl.lit(f"m{n:02}")) for n in range(32)))
    rows = json.loads(say("series", "--json").stdout)
    assert len(rows) == 33
    assert rows == sorted(rows, key=lambda row: [row[name] for name in IDENTITY])
    said = say("series").stdout
    assert "30 of 33 series" in said
    assert "3 more series" in said
    # A row a series: neither cut nor laid out as a field a line.
    assert len(said.splitlines()) < 70
    assert "more series" not in say("series", "--limit", "33").stdout
    assert len(json.loads(say("series", "--limit", "2", "--json").stdout)) == 2


def test_words_that_mean_nothing(say):
    assert "Known: acknowledged, confirmed" in say("--state", "odd").stderr
    assert "No change has an id" in say("acknowledge", "zz", "--reason", "x").stderr
    assert "no series" in say("show", "zz").stderr.lower()
    assert "backend" in say("seed", "--runs", "2", "--backend", "none").stderr
