import csv
import io
import json

import polars as pl
import pytest

from studio.rendering import as_csv, as_json, printable

HOSTILE = ["=1+1", "+cmd|' /C calc'!A0", "-2", "@SUM(A1)", "\tx", "\rx"]


@pytest.mark.parametrize("text", HOSTILE)
def test_a_csv_cell_cannot_become_a_formula(text: str) -> None:
    rows = list(csv.reader(io.StringIO(as_csv(pl.DataFrame({"output": [text]})))))
    assert rows == [["output"], ["'" + text]]


def test_numbers_stay_numbers_in_csv() -> None:
    assert as_csv(pl.DataFrame({"effect": [-0.5]})) == "effect\n-0.5\n"


def test_control_and_bidirectional_characters_are_shown_not_obeyed() -> None:
    assert printable("a\x1b[31mred\u202eleft") == "a\\x1b[31mred\\u202eleft"


def test_json_keeps_nested_values_dates_and_bytes() -> None:
    import datetime as dt

    rows = pl.DataFrame({"d": [dt.date(2026, 11, 21)], "s": [[{"scorer": "a", "value": 1.0}]], "b": [b"\xff"]})
    assert json.loads(as_json(rows)) == [{"d": "2026-11-21", "s": [{"scorer": "a", "value": 1.0}], "b": "/w=="}]
