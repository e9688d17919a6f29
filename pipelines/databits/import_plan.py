"""Which imported rows become versions, which stand already, which cannot be. Pure.

A row that states its version is taken as that version and no other; a row that states none is the next version of its
unit, unless one that stands says the same already.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import polars as pl

from pipelines.databits.import_lines import Refusal
from pipelines.databits.lineage import find_cycle
from pipelines.databits.units import DatabitKey
from pipelines.databits.writing import COMPARED_COLUMNS


class Plan(NamedTuple):
    """Rows to write, with their versions; rows whose version before them is missing; what stands; what is refused."""

    new: pl.DataFrame
    early: pl.DataFrame
    unchanged_count: int
    refusals: Sequence[Refusal]


def plan_lines(rows: pl.DataFrame, standing: pl.DataFrame) -> Plan:
    """What becomes of rows of `import_lines.LINE_SCHEMA`, of each unit one; `standing` are all versions of them."""
    newest = (
        standing.sort("databit_id", "version")
        .unique("databit_id", keep="last")
        .select("databit_id", __newest="version", __is_retracted="is_deleted")
    )
    beside = rows.join(newest, on="databit_id", how="left", maintain_order="left").with_columns(
        pl.col("__newest").fill_null(0), pl.col("__is_retracted").fill_null(value=False)
    )
    stands = _standing_lines(rows, standing)
    rest = beside.join(stands, on="line_index", how="anti", maintain_order="left")
    following = pl.col("__newest") + 1
    is_free = pl.col("version").is_null() & ~pl.col("__is_retracted")
    is_new = is_free | (pl.col("version") == following).fill_null(value=False)
    is_early = (pl.col("version") > following).fill_null(value=False)
    refused = rest.filter(~is_new & ~is_early).select("line_index", "databit_id", "version", "__newest")
    return Plan(
        new=rest.filter(is_new).with_columns(pl.col("version").fill_null(following)).select(rows.columns),
        early=rest.filter(is_early).select(rows.columns),
        unchanged_count=stands.height,
        refusals=[_refusal(*row) for row in refused.iter_rows()],
    )


def _standing_lines(rows: pl.DataFrame, standing: pl.DataFrame) -> pl.DataFrame:
    """line_index of the rows that say what a version says that stands: of their own number where they state one."""
    if standing.is_empty():
        return rows.select("line_index").clear()
    beside = rows.join(standing, on="databit_id", suffix="__standing")
    is_same = pl.all_horizontal(pl.col(name).eq_missing(pl.col(f"{name}__standing")) for name in COMPARED_COLUMNS)
    is_own = (pl.col("version") == pl.col("version__standing")).fill_null(value=True)
    return beside.filter(is_same & is_own).select("line_index").unique()


def _refusal(line_index: int, databit_id: str, version: int | None, newest: int) -> Refusal:
    if version is None:
        return Refusal(
            line_index,
            "retracted",
            f"DataBit {databit_id} was retracted at version {newest}; revise it to take it back",
        )
    return Refusal(
        line_index,
        "version_conflict",
        f"version {version} of DataBit {databit_id} stands already and says something else (the newest is {newest}); "
        "leave the version out to add what the line says as the next one",
    )


def cyclic_lines(new: pl.DataFrame) -> list[Refusal]:
    """Refusals of rows that stem from themselves by way of each other, each with the way."""
    keys = new.select("line_index", "databit_id", "version", parent=pl.col("attribution").struct.field("derived_from"))
    inside = keys.explode("parent").drop_nulls("parent").select(
        "line_index", "databit_id", "version",
        parent_id=pl.col("parent").struct.field("databit_id"), parent_version=pl.col("parent").struct.field("version"),
    ).join(
        keys.select("databit_id").unique(), left_on="parent_id", right_on="databit_id", how="semi"
    )  # fmt: skip
    parents: dict[DatabitKey, list[DatabitKey]] = {}
    lines: dict[DatabitKey, int] = {}
    for line_index, databit_id, version, parent_id, parent_version in inside.iter_rows():
        child = DatabitKey(databit_id, version)
        parents.setdefault(child, []).append(DatabitKey(parent_id, parent_version))
        lines[child] = line_index
    refusals = []
    while path := find_cycle(parents):
        way = " -> ".join(map(str, path))
        for key in set(path) & parents.keys():
            refusals.append(Refusal(lines[key], "lineage_cycle", f"it would stem from itself: {way}"))
            del parents[key]
    return refusals


def late_lines(rows: pl.DataFrame, missing: pl.DataFrame) -> pl.DataFrame:
    """The rows that must wait, since a parent neither stands nor comes with the rows that need not wait.

    `missing` are the parents (databit_id, version) of the rows that do not stand.
    """
    if missing.is_empty():
        return rows.clear()
    parents = (
        rows.select("line_index", parent=pl.col("attribution").struct.field("derived_from"))
        .explode("parent")
        .drop_nulls("parent")
        .select("line_index", pl.col("parent").struct.unnest())
        .join(missing, on=["databit_id", "version"], how="semi")
    )
    ready = rows.select("line_index", "databit_id", "version")
    while True:
        absent = parents.join(ready, on=["databit_id", "version"], how="anti")
        remaining = ready.join(absent.select("line_index").unique(), on="line_index", how="anti")
        if remaining.height == ready.height:
            return rows.join(ready.select("line_index"), on="line_index", how="anti", maintain_order="left")
        ready = remaining
