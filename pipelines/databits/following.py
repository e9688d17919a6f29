"""Read a change feed piece by piece, so that a bulk import and a night of single acts both cost little.

What belongs here: how much of a feed is read at a time, and when the cursor moves. What is done with it is the step's.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import polars as pl

from lake.store import Lake

# About so many rows are held at a time; a bulk import commits some ten thousand versions each.
WINDOW_ROWS = 50_000
MAX_WINDOW_VERSIONS = 256


def follow(lake: Lake, table: str, consumer: str, *, columns: Sequence[str]) -> Iterator[pl.DataFrame]:
    """Rows that were inserted or updated since `consumer` came last, window by window of whole commits.

    The cursor moves past a window when the next one is asked for: a step that dies in between sees the window again,
    and must not mind. Windows grow while commits are small.
    """
    newest = lake.version(table)
    cursor = lake.cursor(consumer, table)
    width = 1
    while cursor < newest:
        until = min(cursor + width, newest)
        feed = lake.changes(table, cursor, until=until, columns=columns)
        yield feed.filter(pl.col("_change_type").is_in(["insert", "update_postimage"])).select(columns)
        lake.move_cursor(consumer, {table: until})
        cursor = until
        width = min(width * 2, MAX_WINDOW_VERSIONS) if feed.height < WINDOW_ROWS // 2 else max(width // 2, 1)
