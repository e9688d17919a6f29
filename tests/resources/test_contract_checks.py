"""The expectation suite that follows from a contract, on the rows that are new."""

import sys

import polars as pl
import pytest

from lake.expectations import expectations_of
from lake.store import Lake
from lake.tables import CONTRACTS
from resources.contract_checks import check_contract

CURSORS = "silver.cursors"


@pytest.fixture
def lake(tmp_path) -> Lake:
    return Lake.open(tmp_path / "lake")


def test_every_promise_of_a_contract_becomes_an_expectation() -> None:
    found = {(e.type.removeprefix("expect_"), e.column): e.parameters for e in expectations_of(CONTRACTS[CURSORS])}
    assert found == {
        ("column_values_to_not_be_null", "consumer"): {},
        ("column_values_to_not_be_null", "table"): {},
        ("column_values_to_not_be_null", "version"): {},
        ("column_values_to_be_between", "version"): {"min_value": -1.0},
        ("compound_columns_to_be_unique", ""): {"column_list": ["consumer", "table"]},
    }


@pytest.mark.parametrize("table", CONTRACTS)
def test_rows_that_the_store_admits_meet_every_expectation(lake: Lake, table: str) -> None:
    contract = CONTRACTS[table]
    lake.append(table, contract.sample(20), token="sample")
    outcome = check_contract(lake, table)
    broken = outcome.results.filter(pl.col("verdict") != "pass")
    assert broken.is_empty(), broken.to_dicts()
    assert outcome.checked_rows == 20
    assert outcome.results.height == len(expectations_of(contract))


def test_only_new_rows_are_checked_and_the_last_results_stand(lake: Lake) -> None:
    def cursor(version: int) -> pl.DataFrame:
        return pl.DataFrame({"consumer": ["c"], "table": ["t"], "version": [version]})

    assert check_contract(lake, CURSORS).verdict == "inconclusive"  # nothing was ever checked
    lake.upsert(CURSORS, cursor(1))
    assert check_contract(lake, CURSORS).checked_rows == 1
    # The check's own cursor lives in this table too, so it is new to the next check; after that nothing is.
    for _ in range(3):
        last = check_contract(lake, "silver.pins")
    assert last.checked_rows == 0
    lake.upsert(CURSORS, cursor(2))
    lake.upsert(CURSORS, cursor(3))
    rewritten = check_contract(lake, CURSORS)
    assert rewritten.verdict == "pass"  # three images of one key are one row, not three


def test_rows_written_past_the_store_are_found(lake: Lake) -> None:
    from deltalake import write_deltalake

    lake.upsert("gold.contract_results", CONTRACTS["gold.contract_results"].empty())
    lake.move_cursor("seed", {"t": 0})
    bad = pl.DataFrame({"consumer": ["x", "x"], "table": ["t", "t"], "version": [-7, 4]})
    write_deltalake(lake.table_uri(CURSORS), bad, mode="append")
    outcome = check_contract(lake, CURSORS)
    assert outcome.verdict == "fail"
    broken = outcome.results.filter(pl.col("verdict") == "fail")
    assert set(broken["expectation"]) == {
        "expect_column_values_to_be_between",
        "expect_compound_columns_to_be_unique",
    }


def test_the_library_is_not_loaded_to_say_that_nothing_is_new(tmp_path) -> None:
    import subprocess

    code = (
        "import sys\nfrom lake.store import Lake\nfrom resources.contract_checks import check_contract\n"
        f"check_contract(Lake.open({str(tmp_path)!r}), 'silver.runs')\n"
        "assert 'great_expectations' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
