"""A table contract as Dagster shows it: key, grain, group, owners, kinds, column schema, row count."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from functools import cache

import dagster as dg

from lake.contracts import ColumnInfo
from lake.store import Lake
from lake.tables import CONTRACTS, ROOMS, contract_of

# Modules whose tables people look for in another room than the module's own.
_ROOM_OF_MODULE = {"suites": "runs", "remarks": "runs"}


@cache
def room_of(table: str) -> str:
    """The room whose module declares the table."""
    if table == "bronze.rejects":
        # Kept by the lake for every room, but made by imports; that is where people look for it.
        return "runs"
    module = next(room for room in ROOMS if any(contract.address == table for contract in room.TABLES))
    name = module.__name__.rpartition(".")[2]
    return _ROOM_OF_MODULE.get(name, name)


def asset_key(table: str) -> dg.AssetKey:
    """`layer.name` as an asset key."""
    return dg.AssetKey(table.split("."))


def table_spec(
    table: str,
    *,
    deps: Sequence[str | dg.AssetKey] = (),
    partitions_def: dg.PartitionsDefinition[str] | None = None,
    skippable: bool = False,
) -> dg.AssetSpec:
    """The asset spec of a table; everything it says comes from the contract."""
    contract = contract_of(table)
    return dg.AssetSpec(
        key=asset_key(table),
        deps=[asset_key(dep) if isinstance(dep, str) else dep for dep in deps],
        description=contract.grain,
        group_name=room_of(table),
        owners=[f"team:{room_of(table)}"],
        kinds={"deltalake", contract.layer},
        partitions_def=partitions_def,
        skippable=skippable,
        metadata={
            "dagster/column_schema": column_schema(table),
            "dagster/table_name": contract.address,
            "layer": contract.layer,
            "key": ", ".join(contract.key),
        },
    )


def column_schema(table: str) -> dg.TableSchema:
    """Columns with type, unit, description and constraints."""
    contract = contract_of(table)
    return dg.TableSchema(
        columns=[_column(info) for info in contract.columns],
        constraints=dg.TableConstraints(other=[f"unique ({', '.join(contract.key)})"]),
    )


def table_metadata(lake: Lake, tables: Iterable[str]) -> dict[str, dict[str, dg.MetadataValue | int | str]]:
    """Row count, version and place of each table, for its materialisation."""
    return {
        table: {
            "dagster/row_count": lake.row_count(table),
            "dagster/uri": lake.table_uri(table),
            "delta_version": lake.version(table),
        }
        for table in tables
        if table in CONTRACTS
    }


# Rules that say nothing a reader needs: a vocabulary is in the description, and every number here is finite.
_UNSAID = ("regex", "inf", "nan")


def _column(info: ColumnInfo) -> dg.TableColumn:
    unit = f" ({info.unit})" if info.unit else ""
    rules = [rule for rule in info.rules if not rule.endswith(_UNSAID)]
    return dg.TableColumn(
        name=info.name,
        type=info.dtype,
        description=f"{info.description}{unit}",
        constraints=dg.TableColumnConstraints(
            nullable=info.is_nullable, unique=False, other=(["key"] if info.is_key else []) + rules
        ),
    )
