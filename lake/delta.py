"""What the store does with one Delta table handle: how files are written, and how rows are found by key.

Every function works on a handle that `lake/store.py` opened for one attempt; opening, retrying and deciding what to
write are there.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import polars as pl
import pyarrow as pa
from deltalake import (
    ColumnProperties,
    CommitProperties,
    DeltaTable,
    PostCommitHookProperties,
    Schema,
    Transaction,
    WriterProperties,
)
from deltalake import write_deltalake as write_delta
from deltalake.table import TableMerger

from lake.contracts import TableContract
from lake.predicates import sql_literal, sql_predicate

# More values than this in one IN list plan slower than a range over the same column.
MAX_LISTED_KEYS = 500
# delta-rs copies each batch once to part it by partition: in pieces of this many rows the copy stays in the
# processor's cache, and an append of a million rows takes two thirds of the time (tests/benchmarks/bench_append.py).
_PIECE_ROWS = 32_768
# Readers prune by row group and fetch row groups side by side; one run in a file of a million rows is one of eight.
_ROW_GROUP_ROWS = 131_072
# A row of lists in lists (the tokens of an answer, ten alternatives each) takes 20 kB in memory where others take one.
_ROW_GROUP_NESTED_ROWS = 4_096
# A reader of a few keys decodes the whole page of each in every column: of 100,000 examples, twenty come in half the
# time that pages of the usual 20,000 rows take, at the same size and speed of writing.
_KEYED_PAGE_ROWS = 512
# Fail rather than rebase when another commit came first: the store computes again on a fresh handle.
EXCLUSIVE = CommitProperties(max_commit_retries=0)
# Log entries are never expired: pinned versions, cursors and time travel need them, and they are small.
HOOKS = PostCommitHookProperties(create_checkpoint=True, cleanup_expired_logs=False)


def recorded_rows(handle: DeltaTable) -> int:
    """Rows of a handle's version, summed from the log's statistics."""
    actions = pl.DataFrame(handle.get_add_actions(flatten=True))
    return 0 if actions.is_empty() else int(actions["num_records"].sum())


def writer_properties(contract: TableContract, *, compression_level: int = 1) -> WriterProperties:
    """How the files of a table are written: zstd, and statistics on the columns that are looked up by alone."""
    return WriterProperties(
        compression="ZSTD",
        compression_level=compression_level,
        max_row_group_size=_row_group_rows(contract),
        # Pages end between the batches in which rows are written, so both have to be small.
        data_page_row_count_limit=_KEYED_PAGE_ROWS if contract.is_read_by_key else None,
        write_batch_size=_KEYED_PAGE_ROWS if contract.is_read_by_key else None,
        default_column_properties=ColumnProperties(statistics_enabled="NONE"),
        column_properties={name: ColumnProperties(statistics_enabled="PAGE") for name in _indexed(contract)},
    )


def _row_group_rows(contract: TableContract) -> int:
    is_nested = any(_list_depth(dtype) > 1 for dtype in contract.dtypes.values())
    return _ROW_GROUP_NESTED_ROWS if is_nested else _ROW_GROUP_ROWS


def _list_depth(dtype: pl.DataType) -> int:
    """How many lists are inside one another."""
    if isinstance(dtype, pl.List):
        return 1 + _list_depth(dtype.inner)  # type: ignore[arg-type]  # stubs say DataTypeClass, values are instances
    if isinstance(dtype, pl.Struct):
        return max((_list_depth(field.dtype) for field in dtype.fields), default=0)  # type: ignore[arg-type]
    return 0


def _indexed(contract: TableContract) -> tuple[str, ...]:
    """Columns that rows are looked up by; statistics on long texts cost and never prune."""
    return tuple(
        name for name in dict.fromkeys((*contract.key, *contract.sort_by)) if name not in contract.partition_by
    )


def _in_pieces(rows: pl.DataFrame) -> pa.Table:
    """The rows as they are handed over for writing: in chunks of `_PIECE_ROWS`, with plain texts.

    Polars by itself hands over Arrow views, and files of views keep a query's filter on a text from being handed down
    (`lake.query`): a pair looked up by its ids took ten times as long. Merges of delta-rs still leave views.
    """
    if rows.height > _PIECE_ROWS:
        rows = pl.concat(list(rows.iter_slices(_PIECE_ROWS)), rechunk=False)
    return rows.to_arrow(compat_level=pl.CompatLevel.oldest())


def table_configuration(contract: TableContract) -> dict[str, str]:
    """Delta table properties: the change feed from version 0, statistics, checkpoints."""
    return {
        "delta.enableChangeDataFeed": "true",
        "delta.dataSkippingStatsColumns": ",".join(_indexed(contract)),
        "delta.checkpointInterval": "50",
    }


def add_new_columns(handle: DeltaTable, contract: TableContract) -> None:
    """Give the table the columns that its contract gained since it was created."""
    known = {field.name for field in handle.schema().fields}
    missing = [field for field in contract.arrow_schema if field.name not in known]
    if missing:
        new = contract.arrow_schema.empty_table().select([field.name for field in missing]).schema
        handle.alter.add_columns(list(Schema.from_arrow(new).fields))


def scan(handle: DeltaTable, contract: TableContract, columns: Sequence[str], predicate: str | None) -> pl.DataFrame:
    """Rows that meet a SQL predicate, with the contract's types; columns that the version lacks are null."""
    stored = {field.name for field in handle.schema().fields}
    frame = pl.DataFrame(
        handle.scan(columns=[name for name in columns if name in stored], predicate=predicate).read_all()
    )
    return frame.select(conformed(frame, name, contract.dtypes[name]) for name in columns)


def conformed(frame: pl.DataFrame, name: str, dtype: pl.DataType) -> pl.Expr:
    """The column in its contract type; null where an older version of the table lacks it."""
    if name not in frame.columns:
        return pl.lit(None, dtype=dtype).alias(name)
    return pl.col(name) if frame.schema[name] == dtype else pl.col(name).cast(dtype)


def ordered(contract: TableContract, rows: pl.DataFrame) -> pl.DataFrame:
    """Rows in the order in which the contract wants them inside a file."""
    return rows.sort(contract.sort_by) if contract.sort_by else rows


def rows_of_keys(
    handle: DeltaTable, contract: TableContract, keys: pl.DataFrame, *, columns: Sequence[str] | None = None
) -> pl.DataFrame:
    """Standing rows whose key occurs in `keys`, found through partitions and statistics of the key columns."""
    names = list(columns) if columns is not None else list(contract.dtypes)
    if keys.is_empty():
        return contract.empty().select(names)
    found = scan(handle, contract, names, f"{_key_predicate(contract, keys)}{_other_bounds(contract, keys)}")
    return found.join(keys.select(contract.key), on=contract.key, how="semi")


def standing_rows(handle: DeltaTable, contract: TableContract, rows: pl.DataFrame) -> pl.DataFrame:
    """`rows_of_keys` for a write: of a large batch, which is nearly always new, the keys alone are looked for first.

    A run of very many samples comes in batches with one run id, and each would read all that came before it whole.
    """
    if rows.height <= MAX_LISTED_KEYS:
        return rows_of_keys(handle, contract, rows)
    found = rows_of_keys(handle, contract, rows, columns=contract.key)
    return rows_of_keys(handle, contract, rows.join(found, on=contract.key, how="semi"))


def _key_predicate(contract: TableContract, keys: pl.DataFrame, *, alias: str = "") -> str:
    where: dict[str, list[str]] = {
        name: keys[name].unique().sort().to_list() for name in contract.partition_by if name in keys.columns
    }
    first = contract.key[0]
    values = keys[first].unique().sort()
    if values.len() <= MAX_LISTED_KEYS:
        return sql_predicate({**where, first: values.to_list()}, alias=alias)
    column = f"{alias}.{first}" if alias else first
    bounds = f"{column} BETWEEN {sql_literal(values[0])} AND {sql_literal(values[-1])}"
    return f"{sql_predicate(where, alias=alias)} AND {bounds}" if where else bounds


def _other_bounds(contract: TableContract, keys: pl.DataFrame) -> str:
    """The range of the key columns after the first: a batch from the middle of a run is looked for in its vicinity."""
    if keys.height <= MAX_LISTED_KEYS:
        return ""
    clauses = []
    for name in contract.key[1:]:
        low: Any = keys[name].min()
        high: Any = keys[name].max()
        if isinstance(low, str | int):
            clauses.append(f" AND {name} BETWEEN {sql_literal(low)} AND {sql_literal(high)}")
    return "".join(clauses)


def changed_rows(contract: TableContract, rows: pl.DataFrame, standing: pl.DataFrame) -> pl.DataFrame:
    """Rows that are new, or differ from the standing row of their key in any column."""
    if standing.is_empty() or rows.is_empty():
        return rows
    others = [name for name in contract.dtypes if name not in contract.key]
    beside = rows.join(
        standing.with_columns(__stands=pl.lit(value=True)), on=contract.key, how="left", suffix="__standing"
    )
    is_equal = pl.all_horizontal(
        pl.col("__stands").fill_null(value=False),
        *(pl.col(name).eq_missing(pl.col(f"{name}__standing")) for name in others),
    )
    return beside.filter(~is_equal).select(list(contract.dtypes))


def append_once(handle: DeltaTable, contract: TableContract, rows: pl.DataFrame, *, apps: Sequence[str]) -> None:
    """Append and record `apps` as app transactions; rebased over other commits, fails if one of them has an app."""
    write_delta(
        handle,
        _in_pieces(rows),
        mode="append",
        writer_properties=writer_properties(contract),
        commit_properties=CommitProperties(app_transactions=[Transaction(app, 1) for app in apps]),
        post_commithook_properties=HOOKS,
    )


def append_alone(handle: DeltaTable, contract: TableContract, rows: pl.DataFrame) -> None:
    """Append, but fail if anybody committed since the handle was opened: they may have inserted the same keys."""
    write_delta(
        handle,
        _in_pieces(ordered(contract, rows)),
        mode="append",
        writer_properties=writer_properties(contract),
        commit_properties=EXCLUSIVE,
        post_commithook_properties=HOOKS,
    )


def overwrite_slice(handle: DeltaTable, contract: TableContract, rows: pl.DataFrame, predicate: str) -> None:
    """Put `rows` in the place of those that meet `predicate`, in one commit."""
    if rows.is_empty():
        handle.delete(
            predicate,
            writer_properties=writer_properties(contract),
            commit_properties=EXCLUSIVE,
            post_commithook_properties=HOOKS,
        )
        return
    write_delta(
        handle,
        _in_pieces(ordered(contract, rows)),
        mode="overwrite",
        predicate=predicate,
        writer_properties=writer_properties(contract),
        commit_properties=EXCLUSIVE,
        post_commithook_properties=HOOKS,
    )


def merge_rows(handle: DeltaTable, contract: TableContract, rows: pl.DataFrame) -> None:
    """Update the rows whose key stands, insert the others."""
    merger = _merger(handle, contract, ordered(contract, rows))
    merger.when_matched_update_all().when_not_matched_insert_all().execute()


def delete_keys(handle: DeltaTable, contract: TableContract, keys: pl.DataFrame) -> None:
    """Delete the rows with these keys."""
    _merger(handle, contract, keys).when_matched_delete().execute()


def _merger(handle: DeltaTable, contract: TableContract, rows: pl.DataFrame) -> TableMerger:
    on_key = " AND ".join(f"target.{name} = source.{name}" for name in contract.key)
    return handle.merge(
        rows,
        predicate=f"{on_key} AND {_key_predicate(contract, rows, alias='target')}",
        source_alias="source",
        target_alias="target",
        writer_properties=writer_properties(contract),
        commit_properties=EXCLUSIVE,
        post_commithook_properties=HOOKS,
    )
