"""Fit a batch to its contract: cast, check, and part the good rows from the bad ones with a reason each.

Pure: frames in, frames out. Who writes the two halves is `lake/store.py`.
"""

from __future__ import annotations

from dataclasses import dataclass

import polars as pl

from lake.contracts import TableContract
from lake.errors import ContractError
from lake.identity import text_digest

# Long raw values bury the reason; the full record stays in bronze.raw_records.
RAW_CHARACTERS = 4_096


@dataclass(frozen=True)
class Validated:
    """Rows that keep the contract, in contract column order, and rows of `bronze.rejects` for the rest."""

    good: pl.DataFrame
    rejects: pl.DataFrame


def validate(contract: TableContract, rows: pl.DataFrame, *, source_uri: str = "") -> Validated:
    """Part `rows` into those that keep `contract` and those that do not.

    The common case, a clean batch, costs one pass with one boolean per rule. Raises `ContractError` when a column is
    missing or unknown, which no row can be blamed for.
    """
    shaped, misfits = _shape(contract, rows)
    rules = _rules(contract)
    if misfits is None and _is_clean(contract, shaped, rules):
        return Validated(shaped, _no_rejects())
    broken = _first_broken_rule(contract, shaped, rules, misfits)
    is_good = broken["rule"].is_null()
    bad = rows.filter(~is_good)
    return Validated(shaped.filter(is_good), _rejects(contract, bad, broken["rule"].filter(~is_good), source_uri))


def _shape(contract: TableContract, rows: pl.DataFrame) -> tuple[pl.DataFrame, pl.DataFrame | None]:
    """Columns of the contract in order and of its types, and which cells could not be cast (null when none)."""
    extra = set(rows.columns) - set(contract.dtypes)
    if extra:
        raise ContractError.unknown_columns(contract.address, extra, contract.dtypes)
    missing = set(contract.dtypes) - set(rows.columns)
    if missing - contract.nullable:
        raise ContractError.missing_columns(contract.address, missing - contract.nullable, rows.columns)
    given = [column for column in rows.get_columns() if column.dtype != contract.dtypes[column.name]]
    cast = [_cast(contract, column) for column in given]
    absent = [pl.lit(None, dtype=contract.dtypes[name]).alias(name) for name in missing]
    shaped = rows.with_columns(*cast, *absent).select(list(contract.dtypes))
    misfits = pl.DataFrame([_misfits(before, after) for before, after in zip(given, cast, strict=True)])
    return shaped, misfits if any(column.any() for column in misfits) else None


def _cast(contract: TableContract, given: pl.Series) -> pl.Series:
    """The column in its contract type, null where a value does not fit; `ContractError` if no value could."""
    wanted = contract.dtypes[given.name]
    # Polars would count days or microseconds since 1970, which is never what was meant.
    is_clock_for_number = given.dtype.is_temporal() and wanted.is_numeric()
    is_number_for_clock = given.dtype.is_numeric() and wanted.is_temporal()
    if is_clock_for_number or is_number_for_clock:
        raise ContractError.wrong_kind(contract.address, given.name, given.dtype, wanted)
    try:
        cast = given.cast(wanted, strict=False)
    except pl.exceptions.PolarsError as error:
        raise ContractError.wrong_kind(contract.address, given.name, given.dtype, wanted) from error
    if cast.dtype != wanted:
        raise ContractError.wrong_kind(contract.address, given.name, given.dtype, wanted)
    return cast


def _misfits(given: pl.Series, cast: pl.Series) -> pl.Series:
    """Which values were lost by the cast, a fraction cut off a number included."""
    lost = given.is_not_null() & cast.is_null()
    if given.dtype.is_float() and cast.dtype.is_integer():
        lost = lost | (cast.cast(given.dtype) != given).fill_null(value=False)
    return lost.alias(given.name)


def _rules(contract: TableContract) -> dict[str, pl.Expr]:
    by_column = {
        f"{name}: {rule}": expression
        for name, column in contract.schema.columns().items()
        for rule, expression in column.validation_rules(pl.col(name)).items()
    }
    return {**by_column, **contract.row_rules}


def _is_clean(contract: TableContract, rows: pl.DataFrame, rules: dict[str, pl.Expr]) -> bool:
    if rows.is_empty():
        return True
    holds = rows.lazy().select(expression.all().alias(name) for name, expression in rules.items()).collect()
    if not all(holds.row(0)):
        return False
    # Equal keys have equal hashes, so as many hashes as rows proves the keys unique; the converse needs a second look.
    return not contract.key or rows.select(contract.key).hash_rows().n_unique() == rows.height


def _first_broken_rule(
    contract: TableContract, rows: pl.DataFrame, rules: dict[str, pl.Expr], misfits: pl.DataFrame | None
) -> pl.DataFrame:
    """One column `rule`: the first rule each row breaks, or null."""
    flags = rows.select(expression.fill_null(value=True).not_().alias(name) for name, expression in rules.items())
    if misfits is not None:
        flags = misfits.rename(lambda name: f"{name}: type").hstack(flags)
    names = flags.columns
    first = flags.select(pl.coalesce(pl.when(pl.col(name)).then(pl.lit(name)) for name in names).alias("rule"))
    return _mark_repeated(contract, rows, first) if contract.key else first


def _mark_repeated(contract: TableContract, rows: pl.DataFrame, first: pl.DataFrame) -> pl.DataFrame:
    """Among the rows that break no other rule, the first of a key stands and the others are marked."""
    is_good = pl.col("rule").is_null()
    is_first = pl.struct(*contract.key, is_good).is_first_distinct()
    return (
        rows.select(contract.key)
        .hstack(first)
        .select(pl.when(is_good & ~is_first).then(pl.lit("key: repeated in the batch")).otherwise("rule").alias("rule"))
    )


def _rejects(contract: TableContract, bad: pl.DataFrame, rules: pl.Series, source_uri: str) -> pl.DataFrame:
    """Rows of `bronze.rejects`; bytes are left out of the raw value because JSON cannot hold them."""
    readable = [name for name, dtype in bad.schema.items() if not _holds_bytes(dtype)]
    raw = bad.select(pl.struct(readable).struct.json_encode().alias("raw"))["raw"]
    messages = [f"{rule}. Contract: docs/tables/{contract.address}.md." for rule in rules]
    return reject_rows(
        table=contract.address,
        source_uri=source_uri,
        entries=[
            Reject(record_index=None, rule=rule, message=message, raw=value)
            for rule, message, value in zip(rules, messages, raw, strict=True)
        ],
    )


def _holds_bytes(dtype: pl.DataType) -> bool:
    if isinstance(dtype, pl.List):
        return _holds_bytes(dtype.inner)  # type: ignore[arg-type]  # stubs say DataTypeClass, values are instances
    if isinstance(dtype, pl.Struct):
        return any(_holds_bytes(field.dtype) for field in dtype.fields)  # type: ignore[arg-type]
    return dtype == pl.Binary


@dataclass(frozen=True, kw_only=True)
class Reject:
    """One refused record before it becomes a row: where it stood, which rule, why, and what it was."""

    record_index: int | None
    rule: str
    message: str
    raw: str | None


def reject_rows(
    *, table: str, source_uri: str, entries: list[Reject], source_sha256: str | None = None
) -> pl.DataFrame:
    """Rows of `bronze.rejects`. The id is a digest of place, rule and value, so a second attempt adds nothing."""
    source = source_sha256 or source_uri
    return pl.DataFrame(
        {
            "reject_id": [
                text_digest(
                    "\x1f".join([table, source, str(entry.record_index), entry.rule, entry.message, entry.raw or ""])
                )
                for entry in entries
            ],
            "table": [table] * len(entries),
            "source_uri": [source_uri] * len(entries),
            "source_sha256": [source_sha256] * len(entries),
            "record_index": [entry.record_index for entry in entries],
            "rule": [entry.rule for entry in entries],
            "message": [entry.message for entry in entries],
            "raw": [None if entry.raw is None else entry.raw[:RAW_CHARACTERS] for entry in entries],
        },
        schema=_REJECT_SCHEMA,
    ).unique("reject_id", keep="first", maintain_order=True)


def _no_rejects() -> pl.DataFrame:
    return pl.DataFrame(schema=_REJECT_SCHEMA)


_REJECT_SCHEMA: dict[str, pl.DataType] = {
    "reject_id": pl.String(),
    "table": pl.String(),
    "source_uri": pl.String(),
    "source_sha256": pl.String(),
    "record_index": pl.Int64(),
    "rule": pl.String(),
    "message": pl.String(),
    "raw": pl.String(),
}
