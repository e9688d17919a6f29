"""Columns of CSV files as they come: with and without a header, with holes, in other separators."""

from __future__ import annotations

import math

import pytest

from lake.errors import UserError
from pipelines.trends.csv_series import read_series


@pytest.mark.parametrize(
    ("text", "column", "values"),
    [
        ("a,b\n1,10\n2,20\n", "b", [10, 20]),
        ("1\n2\n3\n", None, [1, 2, 3]),
        ("1\n2\n3\n", "anything", [1, 2, 3]),
        ("latency\n1\n2\n", None, [1, 2]),
        ("t,value\nx,1\ny,2\n", None, [1, 2]),
        ("t;v\n1;2.5\n3;4\n", "v", [2.5, 4]),
        ("t\tv\n1\t2.5\n", "1", [2.5]),
        ("\ufeffv\r\n1\r\n2\r\n", "v", [1, 2]),
        ("# made by a tool\nv\n1\n", "v", [1]),
        ("", "v", []),
        ("v\n", "v", []),
        ('"v","w"\n"1","2"\n', "w", [2]),
    ],
)
def test_a_column(tmp_path, text, column, values):
    path = tmp_path / "x.csv"
    path.write_text(text, encoding="utf-8")
    assert read_series(path, column=column) == values


def test_cells_without_a_number_keep_their_rows(tmp_path):
    path = tmp_path / "x.csv"
    path.write_text("v,w\n1,a\n,b\nNaN,c\noops,d\n1e400,e\n2\n\n")
    values = read_series(path, column="v")
    assert [None if math.isnan(value) else value for value in values] == [1, None, None, None, None, 2]


@pytest.mark.parametrize(
    ("text", "column", "message"),
    [("a,b\n1,2\n", None, "2 columns with numbers: a, b"), ("a,b\n1,2\n", "c", "Known: a, b"), ("\0\0", None, "text")],
)
def test_what_cannot_be_told_is_asked(tmp_path, text, column, message):
    path = tmp_path / "x.csv"
    path.write_text(text)
    with pytest.raises(UserError, match=message):
        read_series(path, column=column)


def test_no_file(tmp_path):
    with pytest.raises(UserError, match=r"none\.csv cannot be read"):
        read_series(tmp_path / "none.csv")
