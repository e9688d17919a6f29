"""A slice of a table as data, and as the SQL predicate that delta-rs understands.

A slice is a mapping from column to the value, or the list of values, that the column may have. Nobody writes SQL
text by hand, so no value can leave its quotes.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Mapping, Sequence

import polars as pl

from lake.errors import UserError

Scalar = str | int | bool | dt.date
Slice = Mapping[str, Scalar | Sequence[Scalar]]


def allowed_values(value: Scalar | Sequence[Scalar]) -> list[Scalar]:
    """The values that a slice entry allows, without repeats, in order."""
    values: list[Scalar] = [value] if isinstance(value, str | int | bool | dt.date) else list(dict.fromkeys(value))
    return values


def sql_literal(value: Scalar) -> str:
    """`value` as a DataFusion literal."""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, int):
        return str(value)
    if isinstance(value, dt.datetime):
        raise UserError(f"A slice by instant ({value.isoformat()}) is not supported; slice by date.")
    if isinstance(value, dt.date):
        return f"CAST('{value.isoformat()}' AS DATE)"
    return "'" + value.replace("'", "''") + "'"


def sql_predicate(where: Slice, *, alias: str = "") -> str:
    """`where` as SQL; `false` when a column allows no value at all."""
    prefix = f"{alias}." if alias else ""
    parts = []
    for column, value in where.items():
        values = allowed_values(value)
        if not values:
            return "false"
        if len(values) == 1:
            parts.append(f"{prefix}{column} = {sql_literal(values[0])}")
        else:
            parts.append(f"{prefix}{column} IN ({', '.join(map(sql_literal, values))})")
    return " AND ".join(parts) or "true"


def polars_predicate(where: Slice) -> pl.Expr:
    """`where` as a Polars expression."""
    return pl.all_horizontal(
        pl.lit(value=True),
        *(pl.col(column).is_in(allowed_values(value)).fill_null(value=False) for column, value in where.items()),
    )
