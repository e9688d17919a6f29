"""Rows of a database that somebody else wrote, in order, with bounds on what reading them may cost.

What belongs here: SQL, and surviving what a file may hold: missing tables and columns, cells of any size and type,
pages that point in circles. What a row means is `mlflow_database.py`.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from pipelines.runs.records import JsonObject
from pipelines.runs.sources import open_database

if TYPE_CHECKING:
    from pipelines.runs.sources import SourceFile

# Steps of SQLite's machine that a file may cost, by its size. Reading all rows of a real one in order takes less than
# one a byte; without a bound, a few pages that point at each other are read for ever.
_STEPS_PER_BYTE = 20
_LEAST_STEPS = 20_000_000
_STEPS_PER_CALL = 100_000
# A cell beyond this is left out; SQLite itself refuses to load one beyond the second.
_CELL_LENGTH = 1 << 20
_LOADED_BYTES = 256 << 20
# Rows that one question may bring.
_MOST_FOUND = 100_000
# What table_xinfo calls a column that is computed when read, which nobody's rows need and which may cost anything.
_COMPUTED = 2
_NUMBERS = frozenset({int, float, type(None)})
_HAS_TEXT = "coalesce(cast({} as text), '') <> ''"
# What a broken file raises; its own words in SQLite's message need not be text.
BROKEN = (sqlite3.Error, UnicodeDecodeError)
_MAGIC = b"SQLite format 3\0"


def is_database(file: SourceFile) -> bool:
    """Whether the file begins like an SQLite database."""
    try:
        with file.path.open("rb") as stream:
            return stream.read(len(_MAGIC)) == _MAGIC
    except OSError:
        return False


class Tables:
    """The tables of one open database. Iterating raises one of `BROKEN` where the file is."""

    def __init__(self, database: sqlite3.Connection) -> None:
        self._database = database
        self._columns: dict[str, tuple[str, ...]] = {}
        self.oversize_count = 0

    def columns(self, table: str) -> tuple[str, ...]:
        """Columns of a table, none if it is absent or is a view."""
        if table not in self._columns:
            self._columns[table] = self._read_columns(table)
        return self._columns[table]

    def rows(self, table: str, *, by: str, then: Iterable[str] = ()) -> Iterator[tuple[str, JsonObject]]:
        """Rows with the text of their column `by`, in the order of its bytes and then of other columns."""
        columns = self.columns(table)
        if by not in columns:
            return iter(())
        order = ", ".join(["1", *(_quoted(name) for name in then if name in columns)])
        return self.keyed(
            f"select cast({_quoted(by)} as text) collate binary, {listed(columns)} from {_quoted(table)} "  # noqa: S608  # names are quoted
            f"where {_HAS_TEXT.format(_quoted(by))} order by {order}",
            columns,
        )

    def count_without(self, table: str, column: str) -> int:
        """Rows that `rows` leaves out because they have no key."""
        if column not in self.columns(table):
            return 0
        query = f"select count(*) from {_quoted(table)} where not {_HAS_TEXT.format(_quoted(column))}"  # noqa: S608  # names are quoted
        return int(self._database.execute(query).fetchone()[0])

    def find(self, table: str, **equals: object) -> list[JsonObject]:
        """The rows, up to `_MOST_FOUND`, whose columns have these values; none if a column is absent."""
        columns = self.columns(table)
        if not set(equals) <= set(columns):
            return []
        where = " and ".join(f"{_quoted(name)} = ?" for name in equals)
        query = f"select '', {listed(columns)} from {_quoted(table)} where {where} limit {_MOST_FOUND}"  # noqa: S608  # as above
        return [row for _, row in self.keyed(query, columns, tuple(equals.values()))]

    def keyed(
        self, query: str, columns: tuple[str, ...], values: tuple[object, ...] = ()
    ) -> Iterator[tuple[str, JsonObject]]:
        """Rows of a query whose first column is a key and whose others are `columns`."""
        for key, *cells in self._database.execute(query, values):
            yield (
                key,
                {
                    name: cell if type(cell) in _NUMBERS else self._cell(cell)
                    for name, cell in zip(columns, cells, strict=True)
                },
            )

    def _cell(self, value: object) -> object:
        if isinstance(value, str | bytes) and len(value) > _CELL_LENGTH:
            self.oversize_count += 1
            return None
        return value.decode("utf-8", "replace") if isinstance(value, bytes) else value

    def _read_columns(self, table: str) -> tuple[str, ...]:
        """Stored columns alone."""
        is_table = "select 1 from sqlite_master where type = 'table' and name = ?"
        if self._database.execute(is_table, (table,)).fetchone() is None:
            return ()
        described = self._database.execute(f"pragma table_xinfo({_quoted(table)})")
        return tuple(row[1] for row in described if row[6] != _COMPUTED)


@contextmanager
def open_tables(file: SourceFile) -> Iterator[Tables]:
    """The tables of a database; raises one of `BROKEN` for a file that cannot be read at all."""
    left = [_LEAST_STEPS + _STEPS_PER_BYTE * file.size_bytes]

    def spend() -> int:
        left[0] -= _STEPS_PER_CALL
        return int(left[0] < 0)

    with open_database(file.path) as database:
        database.text_factory = lambda raw: raw.decode("utf-8", "replace")
        database.setlimit(sqlite3.SQLITE_LIMIT_LENGTH, _LOADED_BYTES)
        database.set_progress_handler(spend, _STEPS_PER_CALL)
        yield Tables(database)


class OrderedRows:
    """Rows of one table beside those of another: both come in the order of the same key.

    What is asked for must come in that order too. `problem` says why the rows ended early, `strays` how many had a
    key that nobody asked for.
    """

    def __init__(self, rows: Iterator[tuple[str, JsonObject]]) -> None:
        self._rows = rows
        self.problem: str | None = None
        self.strays = 0
        self._next = self._advance()

    def of(self, key: str) -> Iterator[JsonObject]:
        """The rows of a key; those of smaller keys are passed over."""
        while self._next is not None and self._next[0] < key:
            self.strays += 1
            self._next = self._advance()
        while self._next is not None and self._next[0] == key:
            yield self._next[1]
            self._next = self._advance()

    def finish(self) -> None:
        """Pass over what is left."""
        while self._next is not None:
            self.strays += 1
            self._next = self._advance()

    def _advance(self) -> tuple[str, JsonObject] | None:
        try:
            return next(self._rows, None)
        except BROKEN as error:
            self.problem = reason_of(error)
            return None


def reason_of(error: Exception) -> str:
    """Why reading ended, in words."""
    if "interrupted" in str(error):
        return "reading it takes far longer than a database of its size needs, so its pages point in circles"
    return str(error)


def _quoted(name: str) -> str:
    return '"' + name.replace('"', '""') + '"'


def listed(columns: Iterable[str], *, of: str | None = None) -> str:
    """Columns as they stand in a query, of the table that is called `of` there."""
    prefix = f"{of}." if of else ""
    return ", ".join(prefix + _quoted(name) for name in columns)
