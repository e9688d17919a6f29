"""A contract may gain a nullable column; what was written before stays readable, at any version, as it was."""

from __future__ import annotations

from typing import TYPE_CHECKING

import dataframely as dy
import polars as pl

from lake.contracts import TableContract
from tests.lake import workers as other
from tests.lake.rows import replay

if TYPE_CHECKING:
    from collections.abc import Callable
    from concurrent.futures import ProcessPoolExecutor

    from lake.store import Lake


class Before(dy.Schema):
    name = dy.String(primary_key=True, description="Name.")
    value = dy.Int64(description="Value.")


class After(dy.Schema):
    name = dy.String(primary_key=True, description="Name.")
    notes = dy.List(
        dy.Struct({"by": dy.String(), "text": dy.String(nullable=True)}), nullable=True, description="Notes."
    )
    value = dy.Int64(description="Value.")
    unit = dy.String(nullable=True, description="Unit.")


def contract(schema: type[dy.Schema]) -> TableContract:
    return TableContract(name="test_grows", layer="silver", grain="One row per name.", schema=schema)


def test_a_column_is_added_and_old_rows_have_none(
    lake_anywhere: Lake, register: Callable[[TableContract], str]
) -> None:
    lake = lake_anywhere
    table = register(contract(Before))
    lake.upsert(table, pl.DataFrame({"name": ["a", "b"], "value": [1, 2]}))
    register(contract(After))
    # Reading needs no write first.
    assert lake.read(table).sort("name").rows() == [("a", None, 1, None), ("b", None, 2, None)]
    assert lake.sql(f"select unit, value from {table} order by name").rows() == [(None, 1), (None, 2)]
    note = [{"by": "me", "text": None}]
    lake.upsert(table, pl.DataFrame({"name": ["b", "c"], "value": [2, 3], "unit": ["ms", None], "notes": [None, note]}))
    now = [("a", None, 1, None), ("b", None, 2, "ms"), ("c", note, 3, None)]
    assert lake.read(table).sort("name").rows() == now
    assert lake.upsert(table, pl.DataFrame({"name": ["a"], "value": [1]})).rows_written == 0
    assert lake.read(table, at=1).sort("name").rows() == [("a", None, 1, None), ("b", None, 2, None)]
    assert lake.sql(f"select name, notes, unit from {table} order by name", at={table: 1}).rows() == [
        ("a", None, None),
        ("b", None, None),
    ]
    assert replay(lake, table).rows() == now
    lake.maintain(table, retention_hours=0)
    assert lake.read(table).sort("name").rows() == now


def test_an_older_program_still_reads_a_table_that_grew(lake: Lake, register: Callable[[TableContract], str]) -> None:
    table = register(contract(After))
    lake.upsert(table, pl.DataFrame({"name": ["a"], "value": [1], "unit": ["ms"]}))
    register(contract(Before))
    assert lake.read(table).rows() == [("a", 1)]
    assert lake.sql(f"select * from {table}").rows() == [("a", 1)]


def test_four_processes_meet_a_table_that_lacks_a_column(lake_anywhere: Lake, workers: ProcessPoolExecutor) -> None:
    """The table was created by a version of Benchlake whose contract had two columns fewer."""
    from deltalake import DeltaTable

    from lake.tables import contract_of

    table = "silver.run_metrics"
    fields = [field for field in contract_of(table).arrow_schema if field.name not in {"standard_error", "recorded_at"}]
    import pyarrow as pa

    DeltaTable.create(
        lake_anywhere.table_uri(table),
        pa.schema(fields),
        configuration={"delta.enableChangeDataFeed": "true"},
        storage_options=lake_anywhere.storage_options or None,
    )
    runs = [workers.submit(other.insert_own, lake_anywhere, writer, 2) for writer in range(4)]
    assert [run.result() for run in runs] == [2] * 4
    assert lake_anywhere.row_count(table) == 8
    handle = lake_anywhere.handle(table)
    assert handle is not None
    assert [field.name for field in handle.schema().fields][-2:] == ["standard_error", "recorded_at"]
