"""The last lines of a night, from rows."""

import datetime as dt
import re
from pathlib import Path

import polars as pl

from pipelines.evidence.listing import exit_code_of
from pipelines.trends.listing import trend_night
from pipelines.trends.steps import update_changes, update_series
from resources.installation import Installation
from resources.state import State
from studio.summary import print_night, readable_runs
from tests.trends.series import put_runs, stepped


def verdicts(*pairs: tuple[str, str]) -> pl.DataFrame:
    return pl.DataFrame(list(pairs), schema=["severity", "verdict"], orient="row")


def test_the_exit_code_follows_the_blocking_verdicts_alone() -> None:
    assert exit_code_of(verdicts(("block", "pass"), ("warn", "fail"))) == 0
    assert exit_code_of(verdicts(("block", "pass"), ("block", "fail"), ("block", "inconclusive"))) == 1
    assert exit_code_of(verdicts(("block", "pass"), ("block", "inconclusive"))) == 2
    assert exit_code_of(verdicts(("block", "incomparable"))) == 2
    assert exit_code_of(verdicts()) == 2  # missing evidence is never a pass


def test_a_night_without_runs_still_says_where_to_look(tmp_path, capsys) -> None:
    installation = Installation(folder=tmp_path, state=State(home=tmp_path / "s", lake_uri=str(tmp_path / "l")))
    print_night(installation, date=dt.date(2026, 11, 21), seconds=3, page="http://127.0.0.1:3000/runs/x")
    out = capsys.readouterr().out
    assert "0 runs, 0 samples, 0 of 0 pairs differ, 0 rejects, 3 s." in out
    assert "http://127.0.0.1:3000/runs/x" in out
    assert "Trends: no series got a point.\n" in out


def test_runs_of_an_optimisation_say_which_program_was_asked_and_the_report_is_named_from_here(
    tmp_path, capsys, monkeypatch
) -> None:
    monkeypatch.setenv("COLUMNS", "120")
    rows = pl.DataFrame(
        {
            "suite": ["starter", "orders test", "orders test"],
            "tags": ["nightly", "best, optimization", "optimization, start"],
            **dict.fromkeys(("backend", "status"), "x"),
            **dict.fromkeys(("output_count", "failed_count", "mean_score", "median_latency_ms"), 0),
        }
    )
    assert readable_runs(rows)["suite"].to_list() == ["starter", "orders test (best)", "orders test (start)"]
    installation = Installation(folder=tmp_path, state=State(home=tmp_path / "s", lake_uri=str(tmp_path / "l")))
    report = installation.state.reports / "2026-11-21" / "night.html"
    report.parent.mkdir(parents=True)
    report.write_text("<html>")
    print_night(installation, date=dt.date(2026, 11, 21), seconds=3, page="x")
    assert "Read:  s/reports/2026-11-21/night.html\n" in capsys.readouterr().out


def test_a_night_says_what_the_trends_say(tmp_path, capsys) -> None:
    installation = Installation(folder=tmp_path, state=State(home=tmp_path / "s", lake_uri=str(tmp_path / "l")))
    lake = installation.lake
    put_runs(lake, stepped((7, 100)))
    update_series(lake)
    assert trend_night(lake, dt.date(2026, 1, 7)).headline == (
        "Trends: 1 series got a point; none has the 8 runs that a change needs."
    )
    put_runs(lake, stepped((13, 100), (14, 120), seed=4), first=7)
    put_runs(lake, [5.0], first=33, metric="other_ms")
    update_series(lake)
    night = dt.datetime(2026, 2, 3, 2, tzinfo=dt.UTC)
    update_changes(lake, now=night)
    # The runs are of days 0 to 33 of 2026: the last is of 3 February.
    print_night(installation, date=night.date(), seconds=3, page="x")
    told = (
        "Trends: 2 series got a point, 1 still short of the 8 runs that a change needs; "
        "regressions: 0 newly suspected, 1 newly confirmed.\n"
    )
    assert told in capsys.readouterr().out
    update_changes(lake, now=night + dt.timedelta(days=1))
    assert trend_night(lake, dt.date(2026, 2, 4)).headline == "Trends: no series got a point."


def test_the_readme_shows_every_line_that_a_night_ends_with(tmp_path, capsys) -> None:
    readme = (Path(__file__).parents[2] / "README.md").read_text("utf-8")
    shown = readme.partition("```text\nRuns of")[2].partition("```")[0]
    installation = Installation(folder=tmp_path, state=State(home=tmp_path / "s", lake_uri=str(tmp_path / "l")))
    print_night(installation, date=dt.date(2026, 11, 21), seconds=3, page="x")
    printed = [line for line in capsys.readouterr().out.splitlines() if line.strip()]
    # A table's title and its columns, and the first word of a line that says something.
    titles = [line.split(" (")[0].rstrip() for line in printed if line.startswith(("Outputs", "Gates"))]
    words = [line.split()[0] for line in printed if re.match(r"[A-Z]\w+: ", line)]
    assert {"Trends:", "Ask:", "Look:"} <= set(words)
    assert [part for part in [*titles, *words, "Tokens:", "Read:", " rejects, "] if part not in shown] == []
