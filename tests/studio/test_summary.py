"""The last lines of a night, from rows."""

import datetime as dt

import polars as pl

from pipelines.evidence.listing import exit_code_of
from resources.installation import Installation
from resources.state import State
from studio.summary import print_night


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
