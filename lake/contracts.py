"""The table contract: one declaration from which the Delta table, checks, quarantine, docs and samples follow.

A contract is a dataframely schema (columns, types, bounds, key) plus what a schema cannot say: layer, grain,
partitioning, sort order. The contracts themselves live in `lake/tables/`; reading and writing is `lake/store.py`.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Literal

import dataframely as dy
import polars as pl
import pyarrow as pa

Layer = Literal["bronze", "silver", "gold"]
LAYERS: tuple[Layer, ...] = ("bronze", "silver", "gold")


@dataclass(frozen=True, kw_only=True)
class ColumnInfo:
    """What a reader needs to know of one column; `unit` is empty where there is none."""

    name: str
    dtype: str
    description: str
    unit: str
    is_key: bool
    is_nullable: bool
    rules: tuple[str, ...]


@dataclass(frozen=True, kw_only=True)
class TableContract:
    """What a table promises.

    `grain` is one sentence that starts with "One row per". `partition_by` columns become folders, `sort_by` is the
    order of rows inside a file and of compaction. `is_append_only` tables take `append` alone.
    `aligned_lists` are list columns of which a row's are all of one length. `is_read_by_key` says that rows are fetched
    a few at a time by their key, so that files are written in small pages.
    """

    name: str
    layer: Layer
    grain: str
    schema: type[dy.Schema]
    partition_by: tuple[str, ...] = ()
    sort_by: tuple[str, ...] = ()
    is_append_only: bool = False
    aligned_lists: tuple[str, ...] = ()
    is_read_by_key: bool = False

    @property
    def address(self) -> str:
        """`layer.name`, as it is written in SQL."""
        return f"{self.layer}.{self.name}"

    @cached_property
    def key(self) -> tuple[str, ...]:
        """The columns that tell two rows apart."""
        return tuple(self.schema.primary_key())

    @cached_property
    def dtypes(self) -> dict[str, pl.DataType]:
        """Polars type of every column, in the order of the table."""
        return {name: column.dtype for name, column in self.schema.columns().items()}

    @cached_property
    def nullable(self) -> frozenset[str]:
        """Columns that may be left out of a batch, or be null."""
        return frozenset(name for name, column in self.schema.columns().items() if column.nullable)

    @cached_property
    def arrow_schema(self) -> pa.Schema:
        """Arrow schema as stored: small offsets, microsecond UTC, the description as the column comment."""
        empty = pl.DataFrame(schema=self.dtypes).to_arrow()
        return pa.schema(
            [
                pa.field(
                    field.name,
                    stored_type(field.type),
                    nullable=field.name in self.nullable,
                    metadata={"comment": self._comment(field.name)},
                )
                for field in empty.schema
            ]
        )

    @cached_property
    def columns(self) -> tuple[ColumnInfo, ...]:
        """Column facts for docs, the Dagster column schema and the expectation suite."""
        infos = []
        for name, column in self.schema.columns().items():
            metadata = column.metadata or {}
            rules = tuple(rule for rule in column.validation_rules(pl.col(name)) if rule != "nullability")
            infos.append(
                ColumnInfo(
                    name=name,
                    dtype=type_name(self.arrow_schema.field(name).type),
                    description=column.description or "",
                    unit=str(metadata.get("unit", "")),
                    is_key=name in self.key,
                    is_nullable=column.nullable,
                    rules=rules,
                )
            )
        return tuple(infos)

    def empty(self) -> pl.DataFrame:
        """A frame with the right columns and no rows."""
        return pl.DataFrame(schema=self.dtypes)

    @property
    def row_rules(self) -> dict[str, pl.Expr]:
        """Conditions over several columns of a row, by name."""
        if not self.aligned_lists:
            return {}
        first, *others = (pl.col(name).list.len() for name in self.aligned_lists)
        return {"lists of equal length": pl.all_horizontal(first == other for other in others)}

    def sample(self, count: int) -> pl.DataFrame:
        """Random rows that keep the contract, for tests."""
        rows: pl.DataFrame = self.schema.sample(count)
        if not self.aligned_lists:
            return rows
        shortest = pl.min_horizontal(pl.col(name).list.len() for name in self.aligned_lists)
        return rows.with_columns(pl.col(name).list.head(shortest) for name in self.aligned_lists)

    def _comment(self, name: str) -> str:
        column = self.schema.columns()[name]
        unit = (column.metadata or {}).get("unit")
        return f"{column.description or ''}{f' Unit: {unit}.' if unit else ''}"


def stored_type(kind: pa.DataType) -> pa.DataType:
    """The Arrow type that Delta gives back for `kind` (views and large offsets become plain ones)."""
    if pa.types.is_large_string(kind) or pa.types.is_string_view(kind):
        return pa.string()
    if pa.types.is_large_binary(kind) or pa.types.is_binary_view(kind):
        return pa.binary()
    if pa.types.is_list(kind) or pa.types.is_large_list(kind):
        return pa.list_(stored_type(kind.value_type))
    if pa.types.is_struct(kind):
        return pa.struct([pa.field(field.name, stored_type(field.type)) for field in kind])
    return kind


def type_name(kind: pa.DataType) -> str:
    """The type in the words of SQL-minded readers: `list<struct<scorer: string, value: double>>`, never shortened."""
    if pa.types.is_list(kind):
        return f"list<{type_name(kind.value_type)}>"
    if pa.types.is_struct(kind):
        return f"struct<{', '.join(f'{field.name}: {type_name(field.type)}' for field in kind)}>"
    return str(kind)


def vocabulary(*values: str, description: str, nullable: bool = False, primary_key: bool = False) -> dy.String:
    """A text column with a closed set of values.

    A regular expression rather than an enumeration type: it is stored as plain text, can be sampled for tests, and
    a value outside the set is a rule that quarantine can name.
    """
    return dy.String(
        regex=f"^({'|'.join(values)})$",
        description=f"{description} One of: {', '.join(values)}.",
        metadata={"vocabulary": list(values)},
        nullable=nullable,
        primary_key=primary_key,
    )


def timestamp(description: str, *, nullable: bool = True) -> dy.Datetime:
    """A UTC timestamp with microseconds, the only kind of instant in the lake."""
    return dy.Datetime(time_unit="us", time_zone="UTC", nullable=nullable, description=description)


def measure(unit: str, description: str, *, nullable: bool = True, min: float | None = None) -> dy.Float64:  # noqa: A002 - as dataframely
    """A real number with a unit; NaN and infinity are not measurements and are rejected."""
    return dy.Float64(nullable=nullable, min=min, description=description, metadata={"unit": unit})


def count(description: str, *, nullable: bool = True) -> dy.Int64:
    """A number of things, never negative."""
    return dy.Int64(nullable=nullable, min=0, description=description)
