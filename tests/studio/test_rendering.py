import csv
import datetime as dt
import io
import json

import polars as pl
import pytest

from studio.rendering import as_csv, as_json, print_table, printable

HOSTILE = ["=1+1", "+cmd|' /C calc'!A0", "-2+3", "@SUM(A1)", "\tx", "\rx"]


@pytest.mark.parametrize("text", HOSTILE)
def test_a_csv_cell_cannot_become_a_formula(text: str) -> None:
    rows = list(csv.reader(io.StringIO(as_csv(pl.DataFrame({"output": [text]})))))
    assert rows == [["output"], ["'" + text]]


def test_numbers_stay_numbers_in_csv() -> None:
    assert as_csv(pl.DataFrame({"effect": [-0.5]})) == "effect\n-0.5\n"
    assert as_csv(pl.DataFrame({"output": ["-5", "+1.5e3"]})) == "output\n-5\n+1.5e3\n"


def test_nested_values_in_csv_are_their_own_json_and_controls_are_visible() -> None:
    rows = pl.DataFrame({"l": [[1, 2]], "s": [{"a": 1}], "t": ["\x1b[31mred\u202e"]})
    cells = list(csv.reader(io.StringIO(as_csv(rows))))[1]
    assert cells == ["[1,2]", '{"a":1}', "\\x1b[31mred\\u202e"]


def test_control_and_bidirectional_characters_are_shown_not_obeyed() -> None:
    assert printable("a\x1b[31mred\u202eleft") == "a\\x1b[31mred\\u202eleft"


def test_json_keeps_nested_values_dates_and_bytes() -> None:
    rows = pl.DataFrame({"d": [dt.date(2026, 11, 21)], "s": [[{"scorer": "a", "value": 1.0}]], "b": [b"\xff"]})
    assert json.loads(as_json(rows)) == [{"d": "2026-11-21", "s": [{"scorer": "a", "value": 1.0}], "b": "/w=="}]


def test_rows_that_do_not_fit_the_terminal_become_records(capsys, monkeypatch) -> None:
    monkeypatch.setenv("COLUMNS", "40")
    wide = pl.DataFrame({f"column_{number}": ["x" * 10] for number in range(9)})
    print_table(wide)
    lines = [line.split() for line in capsys.readouterr().out.splitlines() if line.strip()]
    assert lines == [[f"column_{number}", "x" * 10] for number in range(9)]


def test_rows_that_fit_are_a_table_and_markup_in_them_is_text(capsys, monkeypatch) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    print_table(pl.DataFrame({"verdict": ["fail"], "output": ["[bold]not bold[/bold]\x1b[2J"], "n": [3]}))
    out = capsys.readouterr().out
    assert "verdict" in out.splitlines()[1]
    assert "[bold]not bold[/bold]\\x1b[2J" in out


def test_people_see_instants_to_the_minute_ids_by_their_beginning_and_words_whole(capsys, monkeypatch) -> None:
    monkeypatch.setenv("COLUMNS", "60")
    uuid = "0b57ffa4-4cf1-58be-bae3-360393c8b7bc"
    at = dt.datetime(2026, 11, 21, 14, 42, 37, 774641, tzinfo=dt.UTC)
    rows = pl.DataFrame({"run_id": [uuid], "other_id": [uuid], "designated_at": [at], "is_deleted": [False]})
    print_table(rows)
    out = capsys.readouterr().out
    assert [line.split() for line in out.splitlines() if "0b57ffa4" in line] == [
        ["0b57ffa4", "0b57ffa4", "2026-11-21", "14:42", "no"]
    ]
    # Names of columns break behind underscores alone.
    assert [word for word in out.split() if word.startswith("is")] == ["is_"]
    assert "deleted" in out
    monkeypatch.setenv("COLUMNS", "200")
    print_table(rows, is_exact=True)
    exact = capsys.readouterr().out
    assert all(word in exact for word in (uuid, "14:42:37.774641+00:00", "False", "is_deleted"))


def test_long_results_say_how_many_rows_are_not_shown(capsys) -> None:
    print_table(pl.DataFrame({"n": range(130)}))
    assert "30 more rows" in capsys.readouterr().out
