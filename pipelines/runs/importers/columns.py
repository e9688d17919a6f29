"""Columns from lists of Python values.

What belongs here: the fastest way that we know for each type. Which columns a table has is its contract, which rows a
batch has is `frames.py`.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Collection, Sequence
from itertools import accumulate
from typing import Any

import polars as pl
import pyarrow as pa

_EPOCH = dt.datetime(1970, 1, 1, tzinfo=dt.UTC)
_MICROSECOND = dt.timedelta(microseconds=1)


def as_series(name: str, values: Sequence[Any], dtype: pl.DataType) -> pl.Series:
    """A column of flat values. Raises a Polars or Arrow error, or `TypeError`, for a value that is not of the type."""
    if isinstance(dtype, pl.Datetime):
        # Polars takes six times as long over instants with a time zone as over numbers.
        micros = [None if value is None else (value - _EPOCH) // _MICROSECOND for value in values]
        return pl.Series(name, micros, dtype=pl.Int64).cast(dtype)
    try:
        series = pl.Series(name, values, dtype=dtype, strict=True)
    except TypeError:
        # Arrow is slower, but takes 3.0 for a whole number.
        series = pl.Series(name, pa.array(values, pl.Series([], dtype=dtype).to_arrow().type))
    return series if series.dtype == dtype else series.cast(dtype)


def as_lists(name: str, items: pl.Series, rows: Sequence[Collection[Any] | None]) -> pl.Series:
    """A column of lists from all their items one after the other, cut as long as `rows` are; None for no list.

    Building lists of lists by Polars takes ten times as long.
    """
    ends = accumulate((0 if row is None else len(row) for row in rows), initial=0)
    offsets = pl.Series(list(ends), dtype=pl.Int32).to_arrow()
    is_absent = [row is None for row in rows]
    mask = pl.Series(is_absent, dtype=pl.Boolean).to_arrow() if any(is_absent) else None
    return pl.Series(name, pa.ListArray.from_arrays(offsets, items.to_arrow(), mask=mask))


def columns_of(rows: Sequence[tuple[Any, ...]], width: int) -> list[list[Any]]:
    """Rows of `width` values turned into as many lists."""
    # Not zip(*rows): an iterator for each row at once wakes the garbage collector, which looks at all that is alive.
    return [[row[place] for row in rows] for place in range(width)]
