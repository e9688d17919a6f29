"""Nothing that a value holds is ever read as anything but a value."""

from __future__ import annotations

import datetime as dt
from itertools import pairwise
from typing import TYPE_CHECKING

import dataframely as dy
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lake.contracts import TableContract
from lake.errors import UserError
from lake.predicates import KeyRange, polars_predicate, sql_literal, sql_predicate
from lake.store import Lake
from tests.lake.rows import METRICS, metric_keys, metrics, values_of

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

HOSTILE = [
    "it's",
    "''",
    '"quoted"',
    "'; DROP TABLE runs; --",
    "' OR '1'='1",
    "back\\slash",
    "line\nbreak\ttab",
    "nul\x00inside",
    "ünïcode 漢字 😀",
    "e\u0301",
    "\u202eright to left",
    "%41/../..",
    "a=b&c",
    " ",
    "",
    "A",
    "a",
    "x" * 20_000,
    "x" * 19_999 + "y",
]


def test_hostile_keys_survive_every_verb(lake_anywhere: Lake) -> None:
    lake = lake_anywhere
    lake.upsert(METRICS, metrics(dict.fromkeys(HOSTILE, 1.0)))
    assert lake.upsert(METRICS, metrics(dict.fromkeys(HOSTILE, 1.0))).rows_written == 0
    assert lake.upsert(METRICS, metrics(dict.fromkeys(HOSTILE, 2.0))).rows_written == len(HOSTILE)
    for key in HOSTILE:
        assert lake.read(METRICS, columns=["run_id"], where={"run_id": key})["run_id"].to_list() == [key]
    assert lake.read(METRICS, where={"run_id": HOSTILE[:9]}).height == 9
    for place, key in enumerate(HOSTILE[:9]):
        lake.replace(METRICS, metrics({key: float(place)}), where={"run_id": key})
    lake.remove(METRICS, metric_keys(HOSTILE[9:]))
    assert values_of(lake) == {key: float(place) for place, key in enumerate(HOSTILE[:9])}


def test_more_keys_than_fit_an_in_list_are_found_by_their_range(lake: Lake) -> None:
    many = {f"{'é' if number % 2 else 'run'}-{number:05d}": 1.0 for number in range(1_200)}
    lake.upsert(METRICS, metrics({**many, "!before": 0.0, "~after": 0.0}))
    assert lake.upsert(METRICS, metrics(many)).rows_written == 0
    assert lake.upsert(METRICS, metrics(dict.fromkeys(many, 2.0))).rows_written == 1_200
    assert lake.remove(METRICS, metric_keys(many)).rows_written == 1_200
    assert set(values_of(lake)) == {"!before", "~after"}


class Places(dy.Schema):
    place = dy.String(primary_key=True, description="A key that is a partition as well.")
    day = dy.Date(primary_key=True, description="A second one.")
    value = dy.Int64(description="A value.")


PLACES = TableContract(
    name="test_places", layer="silver", grain="One row per place.", schema=Places, partition_by=("place", "day")
)


def test_partitions_may_have_any_name(lake_anywhere: Lake, register: Callable[[TableContract], str]) -> None:
    table = register(PLACES)
    # An object store's key and a file's name have room for 1,024 and 255 bytes.
    names = [name for name in HOSTILE if 0 < len(name) < 100 and "\x00" not in name]
    days = [dt.date(1, 1, 1), dt.date(1969, 12, 31), dt.date(9999, 12, 31)]
    rows = pl.DataFrame({"place": names}).join(pl.DataFrame({"day": days}), how="cross").with_columns(value=1)
    lake_anywhere.upsert(table, rows)
    assert lake_anywhere.upsert(table, rows).rows_written == 0
    assert lake_anywhere.upsert(table, rows.with_columns(value=2)).rows_written == rows.height
    for name in names:
        lake_anywhere.replace(
            table, rows.filter(place=name, day=days[0]).with_columns(value=3), where={"place": name, "day": days[0]}
        )
    expected = rows.with_columns(value=pl.when(pl.col("day") == days[0]).then(3).otherwise(2).cast(pl.Int64))
    assert lake_anywhere.read(table).sort("place", "day").equals(expected.sort("place", "day"))


def test_a_folder_may_have_almost_any_name(tmp_path: Path) -> None:
    lake = Lake.open(tmp_path / "a b%c#d?é'e")
    lake.upsert(METRICS, metrics({"a": 1}))
    assert values_of(lake) == {"a": 1}
    assert lake.sql(f"select run_id from {METRICS}")["run_id"].to_list() == ["a"]
    with pytest.raises(UserError, match=r"a%20b.*taken for an escape"):
        Lake.open(tmp_path / "a%20b")


@settings(deadline=None, max_examples=200)
@given(text=st.text())
def test_a_literal_cannot_leave_its_quotes(text: str) -> None:
    literal = sql_literal(text)
    assert literal[0] == literal[-1] == "'"
    assert literal[1:-1].replace("''", "") == text.replace("'", "")
    assert literal[1:-1].count("'") == 2 * text.count("'")


def test_predicates_of_every_type() -> None:
    where = {"text": "a", "number": [1, 2], "flag": True, "day": dt.date(2026, 11, 20), "none": []}
    assert sql_predicate({name: where[name] for name in ("text", "number", "flag", "day")}, alias="t") == (
        "t.text = 'a' AND t.number IN (1, 2) AND t.flag = true AND t.day = CAST('2026-11-20' AS DATE)"
    )
    assert sql_predicate(where) == "false"
    assert sql_predicate({}) == "true"
    frame = pl.DataFrame({"number": [1, 2, 3, None]})
    assert frame.filter(polars_predicate({"number": [1, 3]}))["number"].to_list() == [1, 3]
    assert frame.filter(~polars_predicate({"number": [1, 3]}))["number"].to_list() == [2, None]
    with pytest.raises(UserError, match="2026-11-20T12:00:00"):
        sql_literal(dt.datetime(2026, 11, 20, 12, tzinfo=dt.UTC))


def test_ranges_cover_a_column_without_gap_or_overlap() -> None:
    frame = pl.DataFrame({"text": ["", "a", "b", "b'c", "\u00e9", "\U0001f600", None]})
    ranges = [KeyRange(stop="b"), KeyRange(start="b", stop="\u00e9"), KeyRange(start="\u00e9")]
    parts = [frame.filter(polars_predicate({"text": part}))["text"].to_list() for part in ranges]
    assert parts == [["", "a"], ["b", "b'c"], ["\u00e9", "\U0001f600"]]
    assert frame.filter(polars_predicate({"text": KeyRange()})).height == 6
    assert sql_predicate({"text": ranges[1], "number": KeyRange(stop=3)}, alias="t") == (
        "t.text >= 'b' AND t.text < '\u00e9' AND t.number < 3"
    )
    assert sql_predicate({"text": KeyRange()}) == "text IS NOT NULL"


def test_a_table_is_read_and_replaced_by_ranges_of_hostile_keys(lake_anywhere: Lake) -> None:
    lake = lake_anywhere
    lake.upsert(METRICS, metrics(dict.fromkeys(HOSTILE, 1.0)))
    ordered = sorted(HOSTILE)
    ends = [None, ordered[5], ordered[12], None]
    for start, stop in pairwise(ends):
        part = KeyRange(start=start, stop=stop)
        keys = [key for key in ordered if (start is None or key >= start) and (stop is None or key < stop)]
        assert sorted(lake.read(METRICS, columns=["run_id"], where={"run_id": part})["run_id"]) == keys
        lake.replace(METRICS, metrics(dict.fromkeys(keys[1:], 2.0)), where={"run_id": part})
    gone = {ordered[0], ordered[5], ordered[12]}
    assert values_of(lake) == {key: 2.0 for key in HOSTILE if key not in gone}
