"""A slice of a table as data, and as the SQL predicate that delta-rs understands.

A slice is a mapping from column to the value, the list of values, or the range that the column may have. Nobody
writes SQL text by hand, so no value can leave its quotes.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import polars as pl

from lake.errors import UserError

Scalar = str | int | bool | dt.date


@dataclass(frozen=True, kw_only=True)
class KeyRange:
    """Values from `start` up to, but without, `stop`; None leaves that end open. Texts are ordered by code point.

    Ranges that share their ends cover a column without gap or overlap, so a large slice can be read and replaced in
    parts.
    """

    start: Scalar | None = None
    stop: Scalar | None = None


Slice = Mapping[str, Scalar | Sequence[Scalar] | KeyRange]


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
        if isinstance(value, KeyRange):
            ends = [f"{prefix}{column} {sign} {sql_literal(end)}" for sign, end in _ends(value)]
            parts.extend(ends or [f"{prefix}{column} IS NOT NULL"])
            continue
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
        *(_allowed(pl.col(column), value).fill_null(value=False) for column, value in where.items()),
    )


def _allowed(column: pl.Expr, value: Scalar | Sequence[Scalar] | KeyRange) -> pl.Expr:
    if not isinstance(value, KeyRange):
        return column.is_in(allowed_values(value))
    compare = {">=": column.ge, "<": column.lt}
    # A null is in no range, not even in one that is open at both ends.
    return pl.all_horizontal(column.is_not_null(), *(compare[sign](end) for sign, end in _ends(value)))


def _ends(value: KeyRange) -> list[tuple[Literal[">=", "<"], Scalar]]:
    ends: list[tuple[Literal[">=", "<"], Scalar | None]] = [(">=", value.start), ("<", value.stop)]
    return [(sign, end) for sign, end in ends if end is not None]
