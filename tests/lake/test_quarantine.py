"""A bad row never hides a good one, and never goes silently."""

from __future__ import annotations

import datetime as dt
from collections.abc import Mapping
from typing import Any

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lake import validation
from lake.errors import ContractError, UserError
from lake.store import REJECTS, Lake
from lake.tables import contract_of
from lake.validation import RAW_CHARACTERS, Reject, reject_rows, validate
from tests.lake.rows import DAY, METRICS, OUTPUTS, metrics, outputs, values_of

CONTRACT = contract_of(METRICS)
GOOD = {
    "run_id": "r",
    "metric": "accuracy",
    "variant": "",
    "step": 0,
    "repeat_index": 0,
    "run_date": DAY,
    "value": 0.5,
    "unit": "1",
    "standard_error": 0.1,
    "is_higher_better": True,
}


def batch(*changes: Mapping[str, Any]) -> pl.DataFrame:
    """Good metrics with these changes, one row each, keys made different by `step` unless it is changed."""
    rows = [{**GOOD, "step": place, **change} for place, change in enumerate(changes)]
    return pl.DataFrame(rows, strict=False, infer_schema_length=None)


@pytest.mark.parametrize(
    ("change", "rule"),
    [
        ({"value": float("nan")}, "value: nan"),
        ({"value": float("-inf")}, "value: inf"),
        ({"value": None}, "value: nullability"),
        ({"run_id": None}, "run_id: nullability"),
        ({"repeat_index": -1}, "repeat_index: min"),
        ({"standard_error": -0.1}, "standard_error: min"),
        ({"step": 0.5}, "step: type"),
        ({"step": "three"}, "step: type"),
        ({"step": 2**64}, "step: type"),
    ],
)
def test_a_bad_value_is_named_by_its_rule(change: dict[str, Any], rule: str) -> None:
    parted = validate(CONTRACT, batch(change))
    assert parted.good.is_empty()
    assert parted.rejects["rule"].to_list() == [rule]
    assert rule in parted.rejects["message"].item()
    assert "docs/tables/silver.run_metrics.md" in parted.rejects["message"].item()


def test_values_that_mean_the_same_are_cast() -> None:
    rows = batch({"step": 3.0, "value": 1}, {"step": 4.0, "value": 2}).with_columns(
        pl.col("run_id").cast(pl.Categorical)
    )
    parted = validate(CONTRACT, rows)
    assert parted.rejects.is_empty()
    assert parted.good.schema == pl.Schema(CONTRACT.dtypes)
    assert parted.good["step"].to_list() == [3, 4]


@pytest.mark.parametrize(
    ("column", "values"),
    [
        ("run_date", [5]),
        ("run_date", ["2026-11-20"]),
        ("value", [DAY]),
        ("run_id", [[1]]),
        ("run_id", [b"\xff"]),
        ("step", [{"a": 1}]),
        ("step", pl.Series([object()], dtype=pl.Object)),
    ],
    ids=["number as date", "text as date", "date as number", "list as text", "bytes as text", "struct", "object"],
)
def test_a_column_of_another_kind_is_nobodys_row(column: str, values: Any) -> None:
    rows = batch({}).drop(column).with_columns(pl.Series(column, values))
    with pytest.raises(ContractError, match=f"Column '{column}' of rows for silver.run_metrics is .* wants"):
        validate(CONTRACT, rows)


def test_missing_and_unknown_columns_are_nobodys_row() -> None:
    with pytest.raises(ContractError, match=r"lack the column\(s\) unit, value"):
        validate(CONTRACT, batch({}).drop("value", "unit"))
    with pytest.raises(ContractError, match=r"unknown column.* valeu.*Did you mean 'value'"):
        validate(CONTRACT, batch({}).with_columns(valeu=1.0))
    assert validate(CONTRACT, batch({}).drop("standard_error")).good["standard_error"].to_list() == [None]


def test_nested_values_are_checked_too() -> None:
    scores = [
        [{"scorer": "f1", "value": 0.5}],
        [{"scorer": "f1", "value": float("nan")}],
        [{"scorer": None, "value": 1.0}],
    ]
    rows = outputs("r", range(3)).with_columns(scores=pl.Series(scores))
    parted = validate(contract_of(OUTPUTS), rows)
    assert parted.good["sample_id"].to_list() == ["0"]
    assert parted.rejects["rule"].to_list() == [
        "scores: inner_inner_value_nan",
        "scores: inner_inner_scorer_nullability",
    ]


def test_the_first_good_row_of_a_key_stands() -> None:
    rows = batch({"step": 0, "value": None}, {"step": 0, "value": 1.0}, {"step": 0, "value": 2.0}, {"step": 1})
    parted = validate(CONTRACT, rows)
    assert parted.good["value"].to_list() == [1.0, 0.5]
    assert parted.rejects["rule"].to_list() == ["value: nullability", "key: repeated in the batch"]


def test_the_good_rows_land_and_the_bad_ones_are_kept_with_their_reason(lake_anywhere: Lake) -> None:
    lake = lake_anywhere
    rows = batch({}, {"value": None, "unit": "it's ü"}, {}, {"repeat_index": -4})
    result = lake.upsert(METRICS, rows, source_uri="file:///runs/1.jsonl")
    assert (result.rows_in, result.rows_written, result.rows_rejected) == (4, 2, 2)
    assert lake.read(METRICS)["step"].sort().to_list() == [0, 2]
    rejects = lake.read(REJECTS).sort("rule")
    assert rejects.select("table", "source_uri", "rule").rows() == [
        (METRICS, "file:///runs/1.jsonl", "repeat_index: min"),
        (METRICS, "file:///runs/1.jsonl", "value: nullability"),
    ]
    assert '"unit":"it\'s ü"' in rejects["raw"][1]


@pytest.mark.parametrize("verb", ["append", "upsert", "replace"])
def test_the_same_batch_again_makes_no_new_rejects(lake: Lake, verb: str) -> None:
    rows = batch({}, {"value": None})
    call = {
        "append": lambda: lake.append(METRICS, rows, token="t"),
        "upsert": lambda: lake.upsert(METRICS, rows),
        "replace": lambda: lake.replace(METRICS, rows, where={"metric": "accuracy"}),
    }[verb]
    first = call()
    versions = lake.versions([METRICS, REJECTS])
    again = call()
    assert first.rows_rejected == again.rows_rejected == lake.row_count(REJECTS) == 1
    assert again.rows_written == 0
    assert lake.versions([METRICS, REJECTS]) == versions


def test_a_batch_of_bad_rows_only_leaves_the_table_as_it_was(lake: Lake) -> None:
    lake.upsert(METRICS, metrics({"a": 1}))
    result = lake.upsert(METRICS, batch({"value": None}, {"value": None}))
    assert (result.rows_written, result.rows_rejected, result.version) == (0, 2, 1)
    assert values_of(lake) == {"a": 1}


def test_bytes_are_left_out_of_the_raw_value(lake: Lake) -> None:
    rows = contract_of("bronze.raw_records").sample(1).with_columns(file_sha256=pl.lit("not a digest"))
    result = lake.append("bronze.raw_records", rows, token="t")
    assert result.rows_rejected == 1
    assert '"raw"' not in lake.read(REJECTS)["raw"].item()


def test_long_raw_values_are_cut_but_told_apart() -> None:
    long = "x" * (2 * RAW_CHARACTERS)
    rejects = validate(
        CONTRACT, batch({"unit": f"{long}1", "value": None}, {"unit": f"{long}2", "value": None})
    ).rejects
    assert rejects.height == 2
    assert rejects["raw"].str.len_chars().to_list() == [RAW_CHARACTERS] * 2


def test_a_reject_must_keep_its_own_contract(lake: Lake) -> None:
    entry = Reject(record_index=-1, rule="r", message="m", raw=None)
    with pytest.raises(UserError, match="does not keep its own contract"):
        lake.upsert(REJECTS, reject_rows(table=METRICS, source_uri="", entries=[entry]))


NUMBERS = st.sampled_from([0, 1, 2, -1, 0.5, "1", "x", None, float("nan"), float("inf"), 2**70, True])
TEXTS = st.sampled_from(["a", "b", "", None, "it's", "\x00"])
ROWS = st.fixed_dictionaries(
    {
        "run_id": TEXTS,
        "step": NUMBERS,
        "value": NUMBERS,
        "standard_error": NUMBERS,
        "unit": TEXTS,
        "is_higher_better": st.sampled_from([True, False, None]),
    }
)


def columns(rows: list[dict[str, Any]]) -> pl.DataFrame:
    """Each column of the kind that its values have in common, as a reader of messy files would make it."""
    series = []
    for name in {**GOOD, **rows[0]}:
        values = [{**GOOD, **row}[name] for row in rows]
        if any(isinstance(value, str) for value in values):
            values = [value if value is None or isinstance(value, str) else str(value) for value in values]
        elif any(isinstance(value, float) for value in values):
            values = [None if value is None else float(value) for value in values]
        series.append(pl.Series(name, values, strict=False))
    return pl.DataFrame(series)


@settings(deadline=None, max_examples=60)
@given(rows=st.lists(ROWS, min_size=1, max_size=8))
def test_the_fast_path_and_the_slow_path_agree(rows: list[dict[str, Any]]) -> None:
    frame = columns(rows)
    with pytest.MonkeyPatch.context() as patch:
        fast = validate(CONTRACT, frame)
        patch.setattr(validation, "_is_clean", lambda *_: False)
        slow = validate(CONTRACT, frame)
    assert fast.good.equals(slow.good)
    assert fast.rejects.equals(slow.rejects)
    assert fast.good.is_empty() or validation._is_clean(CONTRACT, fast.good, validation._rules(CONTRACT))


@settings(deadline=None, max_examples=40)
@given(rows=st.lists(ROWS, min_size=1, max_size=6))
def test_a_row_is_judged_as_if_it_stood_alone_but_for_its_key(rows: list[dict[str, Any]]) -> None:
    frame = columns(rows)
    alone = [validate(CONTRACT, frame[place]) for place in range(frame.height)]
    good = pl.concat([parted.good for parted in alone]).unique(CONTRACT.key, keep="first", maintain_order=True)
    together = validate(CONTRACT, frame)
    assert together.good.equals(good)
    rules = [parted.rejects["rule"].item() for parted in alone if parted.rejects.height]
    assert set(together.rejects["rule"]) - {"key: repeated in the batch"} == set(rules)


def test_an_instant_in_another_zone_is_the_same_instant() -> None:
    started = dt.datetime(2026, 11, 20, 23, 30, tzinfo=dt.timezone(dt.timedelta(hours=-5)))
    rows = outputs("r", [0]).with_columns(started_at=pl.Series([started]).dt.convert_time_zone("America/New_York"))
    good = validate(contract_of(OUTPUTS), rows).good
    assert good["started_at"].item() == dt.datetime(2026, 11, 21, 4, 30, tzinfo=dt.UTC)


def test_a_row_whose_lists_are_not_equally_long_is_refused(lake: Lake) -> None:
    """Aligned lists are read by position: one that is shorter would give every later token another's probability."""
    rows = (
        contract_of("silver.output_tokens")
        .sample(1)
        .with_columns(
            tokens=pl.lit(["a", "b"]),
            token_ids=pl.lit([1, 2], dtype=pl.List(pl.Int64)),
            token_bytes=pl.lit([b"a", b"b"], dtype=pl.List(pl.Binary)),
            logprobs=pl.lit([-0.1], dtype=pl.List(pl.Float64)),
            top_k=pl.lit([None, None], dtype=contract_of("silver.output_tokens").dtypes["top_k"]),
        )
    )
    result = lake.upsert("silver.output_tokens", rows)
    assert (result.rows_written, result.rows_rejected) == (0, 1)
    assert lake.read("bronze.rejects")["rule"].to_list() == ["lists of equal length"]
