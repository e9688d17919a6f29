"""Versions of DataBits as they stand: the newest, one, all of a unit.

What belongs here: finding rows. Writing is `writing.py`; ancestors and descendants are `lineage_steps.py`.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import polars as pl

from lake.delta import MAX_LISTED_KEYS
from lake.errors import UserError
from lake.predicates import KeyRange, Slice
from lake.store import Lake
from lake.tables import contract_of
from pipelines.databits.units import DATABITS, DatabitKey, parse_key

# Beginnings of ids are looked up among all ids; shorter ones mean many units anyway.
MIN_ID_CHARACTERS = 4
_HIGHEST = "\U0010ffff"


def read_versions(lake: Lake, databit_ids: Iterable[str], *, columns: Sequence[str] | None = None) -> pl.DataFrame:
    """Every version of these units, by id and version. Of many units the ids are found by range, then by name."""
    wanted = pl.Series("databit_id", sorted(set(databit_ids)), dtype=pl.String)
    names = list(columns) if columns is not None else list(contract_of(DATABITS).dtypes)
    if wanted.is_empty():
        return contract_of(DATABITS).empty().select(names)
    where: Slice = {"databit_id": wanted.to_list()}
    if wanted.len() > MAX_LISTED_KEYS:
        where = {"databit_id": KeyRange(start=wanted[0], stop=f"{wanted[-1]}{_HIGHEST}")}
    found = lake.read(DATABITS, columns=list(dict.fromkeys([*names, "databit_id", "version"])), where=where)
    return found.join(wanted.to_frame(), on="databit_id", how="semi").sort("databit_id", "version").select(names)


def read_newest(lake: Lake, databit_ids: Iterable[str], *, columns: Sequence[str] | None = None) -> pl.DataFrame:
    """The newest version of each of these units that exists, by id; retracted ones too."""
    names = list(columns) if columns is not None else list(contract_of(DATABITS).dtypes)
    needed = list(dict.fromkeys([*names, "databit_id", "version"]))
    return newest_of(read_versions(lake, databit_ids, columns=needed)).select(names)


def newest_of(versions: pl.DataFrame) -> pl.DataFrame:
    """Of each unit the row with the highest version, by id. Pure."""
    return versions.sort("databit_id", "version").unique("databit_id", keep="last", maintain_order=True)


def read_current(lake: Lake, *, columns: Sequence[str] | None = None) -> pl.DataFrame:
    """The newest version of every unit that is not retracted, by id; as the view silver.databits_current."""
    names = list(columns) if columns is not None else list(contract_of(DATABITS).dtypes)
    needed = list(dict.fromkeys([*names, "databit_id", "version", "is_deleted"]))
    return newest_of(lake.read(DATABITS, columns=needed)).filter(~pl.col("is_deleted")).select(names)


def read_version(lake: Lake, databit_id: str, version: int | None = None) -> dict[str, Any]:
    """One version as a row, the newest when `version` is None; raises `UserError` when it does not stand."""
    versions = read_versions(lake, [databit_id])
    if versions.is_empty():
        raise UserError(f"There is no DataBit {databit_id!r}. Look for it:  benchlake databits list --search WORD")
    if version is None:
        return versions.row(-1, named=True)
    found = versions.filter(pl.col("version") == version)
    if found.is_empty():
        raise UserError(
            f"DataBit {databit_id} has no version {version}; it has 1 to {versions['version'][-1]}. "
            f"See them:  benchlake databits history {databit_id}"
        )
    return found.row(0, named=True)


def read_history(lake: Lake, databit_id: str) -> pl.DataFrame:
    """Every version of a unit, oldest first; raises `UserError` when there is no such unit."""
    read_version(lake, databit_id)
    return read_versions(lake, [databit_id])


def find_databit(lake: Lake, word: str) -> DatabitKey:
    """The version that `word` means: an id or the beginning of one, with `@version` or the newest.

    Raises `UserError` when it means no unit, or several.
    """
    beginning, version = parse_key(word)
    databit_id = _one_id(lake, beginning)
    row = read_version(lake, databit_id, version)
    return DatabitKey(databit_id, int(row["version"]))


def _one_id(lake: Lake, beginning: str) -> str:
    where: Slice = {"databit_id": KeyRange(start=beginning, stop=f"{beginning}{_HIGHEST}")}
    known = lake.read(DATABITS, columns=["databit_id"], where=where)["databit_id"].unique().sort()
    if beginning in known:
        return beginning
    if known.is_empty() or len(beginning) < MIN_ID_CHARACTERS:
        raise UserError(
            f"No DataBit has an id that begins with {beginning!r} (write at least {MIN_ID_CHARACTERS} characters). "
            "See them:  benchlake databits list"
        )
    if known.len() > 1:
        raise UserError(
            f"{known.len()} DataBits have an id that begins with {beginning!r}: {', '.join(known.head(5))}. "
            "Write more of it."
        )
    return str(known[0])
