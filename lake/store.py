"""The only writer of the lake: five idempotent verbs, the change feed, cursors and pins.

What belongs here: opening tables, deciding what a verb writes, and trying again after a conflict. What is done with
one open Delta handle is `lake/delta.py`, checking rows `lake/validation.py`, SQL `lake/query.py`, compaction and
vacuum `lake/maintenance.py`.

Two rules keep rows from being lost or doubled, both seen to be needed with delta-rs 1.6 (docs/decisions/0001):
every commit that may remove files works on a handle opened for this attempt and forbids delta-rs to rebase it
(`max_commit_retries=0`), and an append that must land once carries an app transaction that is looked up first.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import polars as pl
from deltalake import DeltaTable
from deltalake.exceptions import CommitFailedError, DeltaError, TableNotFoundError
from tenacity import RetryError, Retrying, retry_if_exception_type, stop_after_attempt, wait_random_exponential

from lake.contracts import TableContract
from lake.delta import (
    add_new_columns,
    append_alone,
    append_once,
    changed_rows,
    conformed,
    delete_keys,
    merge_rows,
    overwrite_slice,
    recorded_rows,
    rows_of_keys,
    scan,
    standing_rows,
    table_configuration,
)
from lake.errors import ConflictError, UserError
from lake.handles import ReadHandles, newest_commit
from lake.predicates import Slice, polars_predicate, sql_predicate
from lake.tables import CONTRACTS, contract_of
from lake.validation import validate

if TYPE_CHECKING:
    import datetime as dt
    from contextlib import AbstractContextManager

    from lake.maintenance import MaintenanceResult
    from lake.query import At

NO_VERSION = -1
# Twenty tries with jitter up to two seconds outlast eight writers that commit to one table without pause.
MAX_TRIES = 20
MAX_WAIT_SECONDS = 2.0
REJECTS = "bronze.rejects"
CURSORS = "silver.cursors"
PINS = "silver.pins"


@dataclass(frozen=True, kw_only=True)
class WriteResult:
    """What a verb did: rows handed in, rows that reached the table, rows put in quarantine, version afterwards."""

    table: str
    version: int
    rows_in: int
    rows_written: int
    rows_rejected: int


class Lake:
    """A folder, or a prefix of an object store, that holds one Delta table per contract.

    Cheap to make and safe to share between threads: every call sees the newest version, since a handle that is kept
    for reading serves only until the next commit (`lake/handles.py`), and each attempt to write opens one of its own.
    """

    def __init__(self, uri: str, storage_options: Mapping[str, str] | None = None) -> None:
        self.uri = uri.rstrip("/")
        self.storage_options = dict(storage_options or {})
        self._handles = ReadHandles()

    @classmethod
    def open(cls, uri: str | Path, *, storage_options: Mapping[str, str] | None = None) -> Lake:
        """A lake at a local path or an object-store URI (`s3://…`). Tables are created when first written."""
        text = os.fspath(uri)
        if "://" not in text:
            return cls(_local_folder(text), storage_options)
        if text.startswith("s3"):
            # Without a conditional put two writers could both create the same version.
            storage_options = {"aws_conditional_put": "etag", **(storage_options or {})}
        return cls(text, storage_options)

    def __repr__(self) -> str:
        return f"Lake({self.uri!r})"

    def __reduce__(self) -> tuple[type[Lake], tuple[str, dict[str, str]]]:
        """Another process opens its own handles."""
        return Lake, (self.uri, self.storage_options)

    # Reading

    def table_uri(self, table: str) -> str:
        """Where the Delta table of `layer.name` is, for any other engine."""
        contract = contract_of(table)
        return f"{self.uri}/{contract.layer}/{contract.name}"

    def exists(self, table: str) -> bool:
        """Whether the table has ever been written."""
        return self.version(table) != NO_VERSION

    def tables(self) -> list[str]:
        """Addresses of the tables that exist, in the order of their contracts."""
        return [address for address in CONTRACTS if self.exists(address)]

    def version(self, table: str) -> int:
        """Newest Delta version, or -1 if the table does not exist yet."""
        contract = contract_of(table)
        if "://" not in self.uri:
            # Consumers that look for news do this all the time.
            newest = newest_commit(Path(self.table_uri(table)))
            if newest is not None:
                return newest.version
        handle = self._open_existing(contract)
        return NO_VERSION if handle is None else handle.version()

    def versions(self, tables: Sequence[str]) -> dict[str, int]:
        """Newest versions of several tables, for recording what a result was computed from."""
        return {table: self.version(table) for table in tables}

    def row_count(self, table: str) -> int:
        """Rows of the newest version, from the log alone."""
        handle = self._open_for_reading(contract_of(table))
        return 0 if handle is None else recorded_rows(handle)

    def handle(self, table: str, *, at: int | dt.datetime | None = None) -> DeltaTable | None:
        """A read-only handle for use inside `lake/`, at a version or instant; None if the table does not exist."""
        contract = contract_of(table)
        handle = self._open_for_reading(contract)
        if handle is None or at is None or at == handle.version():
            return handle
        if isinstance(at, int) and not 0 <= at <= handle.version():
            raise UserError(f"{table} has no version {at}; it has 0 to {handle.version()}.")
        # One of its own: the other is shared.
        moved = self._open_existing(contract)
        if moved is not None:
            moved.load_as_version(at)
        return moved

    def read(
        self, table: str, *, columns: Sequence[str] | None = None, where: Slice | None = None, at: int | None = None
    ) -> pl.DataFrame:
        """Rows of a slice, with partition and statistics pruning; an absent table gives no rows, not an error."""
        contract = contract_of(table)
        names = list(columns) if columns is not None else list(contract.dtypes)
        for name in {*names, *(where or {})} - set(contract.dtypes):
            raise UserError.unknown(f"column of {table}", name, contract.dtypes)
        handle = self.handle(table, at=at)
        if handle is None:
            return contract.empty().select(names)
        return scan(handle, contract, names, sql_predicate(where) if where else None)

    def changes(
        self, table: str, since: int, *, until: int | None = None, columns: Sequence[str] | None = None
    ) -> pl.DataFrame:
        """Change-feed rows of the versions after `since` up to `until` (newest when None), of `columns` or all.

        Adds `_change_type` (insert, update_preimage, update_postimage, delete) and `_commit_version`. Compaction
        makes no changes. Raises `UserError` when maintenance has removed a version that is asked for.
        """
        contract = contract_of(table)
        names = list(columns) if columns is not None else list(contract.dtypes)
        for name in set(names) - set(contract.dtypes):
            raise UserError.unknown(f"column of {table}", name, contract.dtypes)
        handle = self._open_for_reading(contract)
        newest = NO_VERSION if handle is None else handle.version()
        last = newest if until is None else min(until, newest)
        if handle is None or since >= last:
            return (
                contract.empty()
                .select(names)
                .with_columns(_change_type=pl.lit(None, dtype=pl.String), _commit_version=pl.lit(None, dtype=pl.Int64))
            )
        try:
            reader = handle.load_cdf(
                starting_version=max(since + 1, 0),
                ending_version=last,
                columns=None if columns is None else [*_stored(handle, names), "_change_type", "_commit_version"],
            )
            feed = pl.DataFrame(reader.read_all())
        except Exception as error:  # the Arrow stream raises a bare Exception for a file that is gone
            if "not found" not in str(error).lower():
                raise
            raise UserError(
                f"The change feed of {table} after version {since} cannot be read any more ({error}). "
                f"Rebuild the consumer from the whole table and set its cursor to {newest}."
            ) from error
        return feed.select(
            *(conformed(feed, name, contract.dtypes[name]) for name in names),
            "_change_type",
            pl.col("_commit_version").cast(pl.Int64),
        )

    def sql(self, query: str, *, at: At | None = None) -> pl.DataFrame:
        """One read-only SELECT by DuckDB over every table, named `layer.table`; see `lake.query.run_query`."""
        from lake.query import run_query

        return run_query(self, query, at=at)

    # Writing

    def append(self, table: str, rows: pl.DataFrame, *, token: str, source_uri: str = "") -> WriteResult:
        """Add rows; a second call with the same token adds nothing, whoever makes it and whatever died between."""
        return self.append_batches(table, {token: rows}, source_uri=source_uri)

    def append_batches(self, table: str, batches: Mapping[str, pl.DataFrame], *, source_uri: str = "") -> WriteResult:
        """Add several batches in one commit, each once by its token."""
        contract = contract_of(table)
        good: dict[str, pl.DataFrame] = {}
        rejected = 0
        for token, rows in batches.items():
            good[token], count = self._admit(contract, rows, source_uri)
            rejected += count

        def attempt(handle: DeltaTable) -> int:
            landing = {token: rows for token, rows in good.items() if handle.transaction_version(_app(token)) is None}
            if not landing:
                return 0
            rows = next(iter(landing.values())) if len(landing) == 1 else pl.concat(landing.values())
            if rows.is_empty():
                return 0
            append_once(handle, contract, rows, apps=[_app(token) for token in landing])
            return rows.height

        written, version = self._commit(contract, "append", attempt)
        return WriteResult(
            table=table,
            version=version,
            rows_in=sum(rows.height for rows in batches.values()),
            rows_written=written,
            rows_rejected=rejected,
        )

    def upsert(self, table: str, rows: pl.DataFrame, *, source_uri: str = "") -> WriteResult:
        """Insert rows whose key is new and rewrite those that differ; equal rows leave no trace in the change feed.

        Partition columns must follow from the key: the rows of a key are looked for in the batch's partitions alone.
        """
        contract = _keyed(contract_of(table))
        good, rejected = self._admit(contract, rows, source_uri)

        def attempt(handle: DeltaTable) -> int:
            standing = standing_rows(handle, contract, good)
            changed = changed_rows(contract, good, standing)
            if changed.is_empty():
                return 0
            if changed.join(standing, on=contract.key, how="semi").is_empty():
                append_alone(handle, contract, changed)
            else:
                merge_rows(handle, contract, changed)
            return changed.height

        written, version = self._commit(contract, "upsert", attempt)
        return WriteResult(
            table=table, version=version, rows_in=rows.height, rows_written=written, rows_rejected=rejected
        )

    def insert(self, table: str, rows: pl.DataFrame, *, source_uri: str = "") -> WriteResult:
        """Add the rows whose key is new and leave those that stand as they are, whatever else they say.

        For rows that are never changed, such as numbered versions: of two writers that give the same number to
        different things one inserts, and the other sees fewer rows written than it handed in.
        """
        contract = _keyed(contract_of(table))
        good, rejected = self._admit(contract, rows, source_uri)

        def attempt(handle: DeltaTable) -> int:
            standing = rows_of_keys(handle, contract, good, columns=contract.key)
            new = good.join(standing, on=contract.key, how="anti", maintain_order="left")
            if new.is_empty():
                return 0
            append_alone(handle, contract, new)
            return new.height

        written, version = self._commit(contract, "insert", attempt)
        return WriteResult(
            table=table, version=version, rows_in=rows.height, rows_written=written, rows_rejected=rejected
        )

    def replace(self, table: str, rows: pl.DataFrame, *, where: Slice, source_uri: str = "") -> WriteResult:
        """Make a slice hold exactly `rows`, in one commit; nothing is committed when it already does.

        Raises `UserError` if a row lies outside the slice.
        """
        contract = _keyed(contract_of(table))
        good, rejected = self._admit(contract, rows, source_uri)
        if good.filter(~polars_predicate(where)).height:
            raise UserError(f"replace on {table} was given rows outside its slice {dict(where)!r}.")

        def attempt(handle: DeltaTable) -> int:
            predicate = sql_predicate(where)
            standing = scan(handle, contract, list(contract.dtypes), predicate)
            if standing.height == good.height and changed_rows(contract, good, standing).is_empty():
                return 0
            overwrite_slice(handle, contract, good, predicate)
            return good.height

        written, version = self._commit(contract, "replace", attempt)
        return WriteResult(
            table=table, version=version, rows_in=rows.height, rows_written=written, rows_rejected=rejected
        )

    def remove(self, table: str, keys: pl.DataFrame) -> WriteResult:
        """Delete the rows with these keys (a frame of the key columns); absent keys are no error."""
        contract = _keyed(contract_of(table))
        wanted = keys.select(pl.col(name).cast(contract.dtypes[name]) for name in contract.key).drop_nulls().unique()

        def attempt(handle: DeltaTable) -> int:
            standing = rows_of_keys(handle, contract, wanted, columns=contract.key)
            if standing.is_empty():
                return 0
            delete_keys(handle, contract, standing)
            return standing.height

        removed, version = self._commit(contract, "remove", attempt)
        return WriteResult(table=table, version=version, rows_in=keys.height, rows_written=removed, rows_rejected=0)

    def compare_and_upsert(self, table: str, rows: pl.DataFrame, *, expected: Callable[[pl.DataFrame], bool]) -> bool:
        """Upsert only if `expected` holds for the standing rows of these keys, atomically; the base of leases."""
        contract = _keyed(contract_of(table))
        good, _ = self._admit(contract, rows, "")

        def attempt(handle: DeltaTable) -> int:
            standing = rows_of_keys(handle, contract, good)
            if not expected(standing):
                return 0
            if standing.is_empty():
                append_alone(handle, contract, good)
            else:
                merge_rows(handle, contract, good)
            return good.height

        written, _ = self._commit(contract, "compare_and_upsert", attempt)
        return written > 0

    # Cursors, pins, maintenance

    def cursor(self, consumer: str, table: str) -> int:
        """Version of `table` up to which `consumer` has read; -1 when it never did."""
        rows = self.read(CURSORS, where={"consumer": consumer, "table": contract_of(table).address})
        return NO_VERSION if rows.is_empty() else int(rows["version"][0])

    def move_cursor(self, consumer: str, versions: Mapping[str, int]) -> None:
        """Record how far `consumer` has read. Call it after its result is written: verbs make a repeat harmless."""
        self.upsert(
            CURSORS,
            pl.DataFrame(
                {
                    "consumer": [consumer] * len(versions),
                    "table": list(versions),
                    "version": list(versions.values()),
                },
                schema={"consumer": pl.String, "table": pl.String, "version": pl.Int64},
            ),
        )

    def pin(self, holder: str, versions: Mapping[str, int], *, reason: str, now: dt.datetime) -> None:
        """Keep these table versions readable until `unpin(holder)`."""
        self.upsert(
            PINS,
            pl.DataFrame(
                {
                    "holder": [holder] * len(versions),
                    "table": list(versions),
                    "version": list(versions.values()),
                    "reason": [reason] * len(versions),
                    "pinned_at": [now] * len(versions),
                },
                schema=contract_of(PINS).dtypes,
            ),
        )

    def unpin(self, holder: str) -> None:
        """Release every version that `holder` pinned."""
        self.replace(PINS, contract_of(PINS).empty(), where={"holder": holder})

    def maintain(self, table: str, *, retention_hours: int = 168) -> MaintenanceResult | None:
        """Compact, checkpoint and vacuum one table; see `lake.maintenance.maintain`. None if it does not exist."""
        from lake.maintenance import maintain

        return maintain(self, table, retention_hours=retention_hours)

    def lease(self, resource: str) -> AbstractContextManager[None]:
        """Hold `resource` alone, across processes and machines; raises `LeaseHeldError` if somebody else does."""
        from lake.leases import hold

        return hold(self, resource)

    # Inside

    def open_for_write(self, contract: TableContract) -> DeltaTable:
        """A fresh handle; creates the table, or adds columns that its contract gained since."""
        handle = self._open_existing(contract)
        if handle is None:
            try:
                handle = DeltaTable.create(
                    self.table_uri(contract.address),
                    schema=contract.arrow_schema,
                    mode="ignore",
                    partition_by=list(contract.partition_by) or None,
                    name=contract.address,
                    description=contract.grain,
                    configuration=table_configuration(contract),
                    storage_options=self.storage_options or None,
                )
            except (CommitFailedError, DeltaError):
                # Another writer created it between our look and our commit.
                handle = self._open_existing(contract)
                if handle is None:
                    raise
        add_new_columns(handle, contract)
        return handle

    def _open_for_reading(self, contract: TableContract) -> DeltaTable | None:
        """The table at its newest version; shared, so it must stay there."""
        if "://" in self.uri:
            return self._open_existing(contract)
        return self._handles.get(Path(self.table_uri(contract.address)), lambda: self._open_existing(contract))

    def _open_existing(self, contract: TableContract) -> DeltaTable | None:
        try:
            return DeltaTable(self.table_uri(contract.address), storage_options=self.storage_options or None)
        except TableNotFoundError:
            return None

    def _admit(self, contract: TableContract, rows: pl.DataFrame, source_uri: str) -> tuple[pl.DataFrame, int]:
        """Validate, quarantine the bad rows, return the good ones and how many were bad."""
        parted = validate(contract, rows, source_uri=source_uri)
        rejected = rows.height - parted.good.height
        if rejected:
            if contract.address == REJECTS:
                raise UserError(f"A reject does not keep its own contract: {parted.rejects['rule'].to_list()}.")
            self.upsert(REJECTS, parted.rejects)
        return parted.good, rejected

    def _commit(self, contract: TableContract, verb: str, attempt: Callable[[DeltaTable], int]) -> tuple[int, int]:
        """Run `attempt` on fresh handles until no other commit comes between; gives its result and the version."""
        first_version = self.version(contract.address)
        retrying = Retrying(
            retry=retry_if_exception_type(CommitFailedError),
            wait=wait_random_exponential(multiplier=0.02, max=MAX_WAIT_SECONDS),
            stop=stop_after_attempt(MAX_TRIES),
        )

        def once() -> tuple[int, int]:
            handle = self.open_for_write(contract)
            opened = handle.version()
            outcome = attempt(handle)
            # Over more than its own commit delta-rs has put the handle together; readers get one that was read.
            if handle.version() <= opened + 1 and "://" not in self.uri:
                self._handles.keep(Path(self.table_uri(contract.address)), handle)
            return outcome, handle.version()

        try:
            return retrying(once)
        except RetryError as error:
            raise ConflictError.gave_up(
                contract.address, verb, MAX_TRIES, first_version, self.version(contract.address)
            ) from error


def _local_folder(text: str) -> str:
    folder = str(Path(text).expanduser().resolve())
    # delta-rs reads a local path as a URL: it would open the folder that the escape stands for.
    if re.search(r"%[0-9A-Fa-f]{2}", folder):
        raise UserError(f"A lake cannot be in {folder!r}: a percent sign with two hex digits is taken for an escape.")
    return folder


def _stored(handle: DeltaTable, names: Sequence[str]) -> list[str]:
    """Those of the columns that this version of the table has; the others are null."""
    known = {field.name for field in handle.schema().fields}
    return [name for name in names if name in known]


def _keyed(contract: TableContract) -> TableContract:
    if contract.is_append_only:
        raise UserError(f"{contract.address} is append only.")
    return contract


def _app(token: str) -> str:
    return f"benchlake:{token}"
