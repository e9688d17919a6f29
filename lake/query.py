"""Read-only SQL over the lake by DuckDB, with time travel.

DuckDB's own Delta reader downloads an extension at first use, so each table that a query names is handed over as an
Arrow dataset: projections and filters are pushed down, and files are pruned by the log's statistics.
"""

from __future__ import annotations

import datetime as dt
import re
from collections.abc import Mapping
from typing import TYPE_CHECKING, Literal

import duckdb
import polars as pl
import pyarrow as pa

from lake.contracts import LAYERS
from lake.errors import QueryError, UserError, nearest_names
from lake.tables import CONTRACTS, contract_of
from lake.views import VIEWS

if TYPE_CHECKING:
    import pyarrow.dataset as pads

    from lake.store import Lake

Texts = Literal["plain", "views"]
# How Arrow says that it cannot compare what a filter asks it to.
_NO_COMPARISON = "has no kernel matching input types"
# How DuckDB says that it knows no such table.
_UNKNOWN_TABLE = re.compile(r'Table with name ("?[^"!\s]+"?) does not exist')
At = dt.datetime | Mapping[str, int]

# A superset of the tables that a query names: a match inside a string literal only opens a table needlessly.
_TABLE_NAME = re.compile(rf"\b({'|'.join(LAYERS)})\"?\s*\.\s*\"?(\w+)", re.IGNORECASE)


def run_query(lake: Lake, query: str, *, at: At | None = None) -> pl.DataFrame:
    """Run one SELECT (or DESCRIBE, SUMMARIZE, EXPLAIN) and give its rows.

    `at` is an instant for every table, or a version per address; tables not named in it are read at their newest
    version. Instants are compared with when the storage received each version: to the second in object storage. Raises
    `QueryError` for anything but one reading statement, an unknown table, or invalid SQL.
    """
    for table in at if isinstance(at, Mapping) else ():
        contract_of(table)
    try:
        try:
            return _run(lake, query, at, texts="plain")
        except duckdb.Error as error:
            if _NO_COMPARISON not in str(error):
                raise
            # A filter on a text met a file whose texts are views; see `_as_views`.
            return _run(lake, query, at, texts="views")
    except pl.exceptions.DuplicateError as error:
        raise QueryError(f"Two columns of the result have one name; give one another name with AS. {error}") from error
    except duckdb.Error as error:
        if at is not None and "No such file" in str(error):
            raise QueryError(
                f"The state at {at} cannot be read any more: maintenance has removed its files. Ask for a later one, "
                "or pin versions that must stay readable."
            ) from error
        raise _explained(error, query) from error


def _explained(error: duckdb.Error, query: str) -> QueryError:
    """What DuckDB says, but for an unknown table, of which it knows no more than those that the query names."""
    message = str(error).strip()
    unknown = _UNKNOWN_TABLE.search(message)
    if unknown:
        given = unknown[1].strip('"')
        # DuckDB leaves the layer away where it knows it.
        name = next((name for name in _names(query) if name.endswith(f".{given.lower()}")), given)
        near = nearest_names(name.lower(), [*CONTRACTS, *VIEWS])
        meant = f" Did you mean {' or '.join(near)}?" if near else ""
        return QueryError(
            f"There is no table {name}.{meant} All of them:  benchlake tables   (their columns: docs/tables/)"
        )
    if isinstance(error, duckdb.BinderException):
        table = next(iter(_named_tables(query)), "silver.runs")
        return QueryError(f"{message}\nColumns of a table:  benchlake sql 'describe {table}'")
    return QueryError(message)


def _run(lake: Lake, query: str, at: At | None, *, texts: Texts) -> pl.DataFrame:
    connection = duckdb.connect(":memory:")
    try:
        _refuse_unless_reading(connection, query)
        for table in _named_tables(query):
            _register(connection, lake, table, at, texts=texts)
        for view in _named_views(query):
            connection.execute(f"CREATE VIEW {view} AS {VIEWS[view].query}")
        # Instants are shown in UTC wherever the query runs.
        connection.execute("SET TimeZone = 'UTC'")
        # From here on the query can reach neither files, nor network, nor Python variables, nor change that.
        connection.execute("SET python_enable_replacements = false")
        connection.execute("SET enable_external_access = false")
        connection.execute("SET lock_configuration = true")
        result = connection.sql(query)
        return pl.DataFrame() if result is None else pl.DataFrame(result.to_arrow_table())
    finally:
        connection.close()


def _refuse_unless_reading(connection: duckdb.DuckDBPyConnection, query: str) -> None:
    statements = connection.extract_statements(query)
    reading = {duckdb.StatementType.SELECT, duckdb.StatementType.EXPLAIN}
    if len(statements) != 1 or statements[0].type not in reading:
        raise QueryError(
            "Only one SELECT statement is run; the lake is written by its importers and assets alone. "
            f"Given: {len(statements)} statement(s)."
        )


def _named_tables(query: str) -> list[str]:
    beneath = (table for view in _named_views(query) for table in VIEWS[view].tables)
    return [name for name in dict.fromkeys((*_names(query), *beneath)) if name in CONTRACTS]


def _named_views(query: str) -> list[str]:
    return [name for name in _names(query) if name in VIEWS]


def _names(query: str) -> list[str]:
    return list(dict.fromkeys(f"{layer}.{name}".lower() for layer, name in _TABLE_NAME.findall(query)))


def _register(connection: duckdb.DuckDBPyConnection, lake: Lake, table: str, at: At | None, *, texts: Texts) -> None:
    layer, name = table.split(".")
    connection.execute(f"CREATE SCHEMA IF NOT EXISTS {layer}")
    connection.register(f"__{layer}_{name}", _dataset(lake, table, at, texts=texts))
    # Layer and name are those of a contract, never the caller's text.
    connection.execute(f'CREATE VIEW {layer}."{name}" AS SELECT * FROM "__{layer}_{name}"')  # noqa: S608


def _dataset(lake: Lake, table: str, at: At | None, *, texts: Texts) -> pads.Dataset:
    version = at.get(table) if isinstance(at, Mapping) else at
    schema = CONTRACTS[table].arrow_schema
    handle = lake.handle(table, at=version)
    if handle is None:
        if isinstance(version, int):
            raise UserError(f"{table} does not exist yet, so it has no version {version}.")
        import pyarrow.dataset as pads

        # A dataset in either case, so that DuckDB meets one kind of table.
        return pads.dataset(schema.empty_table())
    # Columns that the contract gained after this version are null, as they are in `Lake.read`.
    return handle.to_pyarrow_dataset(schema=schema if texts == "plain" else _as_views(schema))


def _as_views(schema: pa.Schema) -> pa.Schema:
    """The schema with texts and bytes as Arrow views, which is how delta-rs writes what it merges.

    With plain texts DuckDB hands filters down to Arrow, which prunes files and row groups; but Arrow compares the
    literal in the file's type with the column in the dataset's, and has no comparison of a view with what is none.
    With views DuckDB keeps every filter for itself: right for all queries, with less pruned.
    """
    return pa.schema([field.with_type(_as_view(field.type)) for field in schema])


def _as_view(kind: pa.DataType) -> pa.DataType:
    if pa.types.is_string(kind):
        return pa.string_view()
    if pa.types.is_binary(kind):
        return pa.binary_view()
    if pa.types.is_list(kind):
        return pa.list_(kind.value_field.with_type(_as_view(kind.value_type)))
    if pa.types.is_struct(kind):
        return pa.struct([member.with_type(_as_view(member.type)) for member in kind])
    return kind
