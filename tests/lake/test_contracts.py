"""Every contract says what it must, in the words of docs/naming.md."""

from __future__ import annotations

import re

import dataframely as dy
import polars as pl
import pytest

from lake.contracts import LAYERS, TableContract, stored_type
from lake.tables import CONTRACTS, contract_of
from tests.conftest import ROOT

COLUMNS = [(address, column) for address, contract in CONTRACTS.items() for column in contract.columns]
NAMES = [f"{address}.{column.name}" for address, column in COLUMNS]


def fields(dtype: pl.DataType, path: str) -> list[tuple[str, pl.DataType]]:
    """Every named field inside a type, however deep."""
    if isinstance(dtype, pl.List):
        return fields(dtype.inner, path)
    if isinstance(dtype, pl.Struct):
        return [
            found
            for field in dtype.fields
            for found in ((field.name, field.dtype), *fields(field.dtype, f"{path}.{field.name}"))
        ]
    return []


NAMED = sorted(
    {
        (name, str(dtype))
        for contract in CONTRACTS.values()
        for column, kind in contract.dtypes.items()
        for name, dtype in ((column, kind), *fields(kind, column))
    }
)


@pytest.mark.parametrize("contract", CONTRACTS.values(), ids=CONTRACTS)
def test_a_contract_is_whole(contract: TableContract) -> None:
    assert contract.layer in LAYERS
    # A closure is one thing; "closures" would be several graphs.
    shape = r"[a-z][a-z0-9]*(_[a-z0-9]+)*(s|_closure)"
    assert re.fullmatch(shape, contract.name), "plural noun in snake case"
    assert contract.grain.startswith("One row per ")
    assert contract.grain.endswith(".")
    assert contract.key
    assert not contract.nullable & set(contract.key)
    assert set(contract.partition_by) | set(contract.sort_by) <= set(contract.dtypes)
    assert not contract.nullable & set(contract.partition_by)
    assert contract.schema.__doc__


@pytest.mark.parametrize(("address", "column"), COLUMNS, ids=NAMES)
def test_a_column_explains_itself(address: str, column) -> None:
    assert len(column.description.split()) >= 2, "a description of one word is the name again"
    assert column.description.endswith(".")
    comment = contract_of(address).arrow_schema.field(column.name).metadata[b"comment"].decode()
    assert column.description in comment
    assert column.unit in comment


@pytest.mark.parametrize(("name", "dtype"), NAMED, ids=[name for name, _ in NAMED])
def test_a_name_keeps_the_naming_law(name: str, dtype: str) -> None:
    assert re.fullmatch(r"[a-z][a-z0-9]*(_[a-z0-9]+)*", name), "snake case"
    shapes = [
        (r".*_at$", "Datetime", name.endswith("_at")),
        (r".*_date$", "Date", name.endswith("_date")),
        (r".*_count$", "Int64", name.endswith("_count")),
        # One truth a row, or a list of them, one a place.
        (
            r"(is|has)_.*",
            "List(Boolean)" if dtype.startswith("List") else "Boolean",
            re.match(r"(is|has)_", name) is not None,
        ),
        # Ids are text, except those that a tokenizer gives its tokens.
        (r".*_ids$", "List(Int64)" if name == "token_ids" else "List(String)", name.endswith("_ids")),
        (r".*_(digest|sha256)$", "String", re.search(r"_(digest|sha256)$", name) is not None),
        (r".*_(ms|ratio)$", "Float64", re.search(r"_(ms|ratio)$", name) is not None),
    ]
    for pattern, wanted, applies in shapes:
        if applies:
            assert dtype.startswith(wanted), f"{pattern} is {wanted}"
    if dtype == "Boolean":
        assert re.match(r"(is|has)_", name)
    if dtype.startswith("Datetime"):
        assert name.endswith("_at")
        assert "UTC" in dtype
    if dtype == "Date":
        assert name.endswith("_date")


# From the column "not" of docs/naming.md, where the word can be told apart in a name.
FORBIDDEN = [
    "job",
    "experiment",
    "eval",
    "benchmark",
    "dataset",
    "doc",
    "epoch",
    "response",
    "completion",
    "gold",
    "provider",
    "server",
    "runtime",
    "framework",
    "match",
    "config",
    "tolerance",
    "inbox",
    "watermark",
    "lock",
    "ts",
    "time",
    "timestamp",
    "datetime",
    "num",
    "cnt",
]
# Words of the law itself, or of a source, in which a forbidden word is part of another.
ALLOWED = {"time_to_first_token_ms", "is_commit_time", "dataset_digest"}


@pytest.mark.parametrize("name", sorted({name for name, _ in NAMED} | {c.name for c in CONTRACTS.values()}))
def test_no_name_uses_a_word_that_the_law_replaces(name: str) -> None:
    if name not in ALLOWED:
        assert set(name.split("_")) & set(FORBIDDEN) == set()


def test_the_closed_vocabularies_are_those_of_the_law() -> None:
    law = ROOT.joinpath("docs", "naming.md").read_text("utf-8")
    listed = dict(re.findall(r"^\| `(\w+\.\w+\.\w+)` \| (.+) \|$", law, re.MULTILINE))
    declared = {
        f"{address}.{name}": (column.metadata or {})["vocabulary"]
        for address, contract in CONTRACTS.items()
        for name, column in contract.schema.columns().items()
        if "vocabulary" in (column.metadata or {})
    }
    assert listed
    for place, words in listed.items():
        assert re.findall(r"`([^`]+)`", words) == declared[place], place


def test_addresses_are_those_of_the_contracts() -> None:
    assert all(address == contract.address for address, contract in CONTRACTS.items())


def test_stored_types_have_no_views_and_no_large_offsets() -> None:
    for contract in CONTRACTS.values():
        kinds = str(contract.arrow_schema.types)
        assert "large" not in kinds
        assert "view" not in kinds


def test_stored_type_reaches_into_structs_and_lists() -> None:
    frame = pl.DataFrame({"x": [[{"a": "b", "c": b"d"}]]})
    assert str(stored_type(frame.to_arrow().schema.field("x").type)) == "list<item: struct<a: string, c: binary>>"


def test_partition_columns_follow_from_the_run() -> None:
    """An upsert looks for a key in the batch's partitions alone, so the partition must not change for a key."""
    for contract in CONTRACTS.values():
        assert set(contract.partition_by) <= {"run_date"}


def test_samples_keep_their_own_contract() -> None:
    for contract in CONTRACTS.values():
        assert isinstance(contract.schema.validate(contract.sample(3)), dy.DataFrame | pl.DataFrame)
