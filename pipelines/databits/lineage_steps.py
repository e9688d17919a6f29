"""Keep the lineage and the licences that follow from it in step with the versions, and ask them.

What belongs here: the incremental step, and what readers ask: ancestors, descendants, roots, paths. The graph itself
is `lineage.py`, judging licences `licenses.py`.

Versions are never changed, so a new version adds its own edges, closure and licence and touches no other row, save
one: a version that says the same as an earlier one under another licence puts the licence of that one right, and with
it of all that stems from it.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal

import polars as pl

from lake.delta import MAX_LISTED_KEYS
from lake.predicates import KeyRange, Slice
from lake.store import Lake
from pipelines.databits.following import follow
from pipelines.databits.license_judging import judge_versions
from pipelines.databits.license_rules import RULES_DIGEST
from pipelines.databits.lineage import (
    ANCESTOR,
    CLOSURE,
    DESCENDANT,
    EDGES,
    Parents,
    closure_of,
    edges_of,
    paths_between,
)
from pipelines.databits.lineage import parents_by_child as as_parents
from pipelines.databits.reading import read_versions
from pipelines.databits.units import DATABITS, DatabitKey

LICENSES = "gold.databit_licenses"
# The consumer of the feed; with other rules every licence is judged anew.
LINEAGE_CONSUMER = "databit_lineage"
LICENSE_CONSUMER = f"databit_licenses:{RULES_DIGEST[:12]}"
SHOWN_PATHS = 20
KEY = ("databit_id", "version")
_COLUMNS = ("databit_id", "version", "content_digest", "attribution", "created_at")
Mode = Literal["changed", "all"]


@dataclass(frozen=True, kw_only=True)
class LineageResult:
    """Versions looked at, and rows that were new in each table."""

    version_count: int
    edge_count: int
    closure_count: int
    license_count: int


def update_lineage(lake: Lake, *, mode: Mode = "changed") -> LineageResult:
    """Write edges, closure and licences of versions that are new since the last time; of all with mode `all`.

    Raises `LineageCycleError` when versions stem from themselves, which no writer of this package lets happen.
    """
    if mode == "all":
        return _rebuild(lake)
    total = LineageResult(version_count=0, edge_count=0, closure_count=0, license_count=0)
    for versions in follow(lake, DATABITS, LINEAGE_CONSUMER, columns=_COLUMNS):
        total = _sum(total, _take_in(lake, versions))
    for versions in follow(lake, DATABITS, LICENSE_CONSUMER, columns=_COLUMNS):
        judged = _judge(lake, versions)
        total = _sum(total, LineageResult(version_count=0, edge_count=0, closure_count=0, license_count=judged))
    return total


def _rebuild(lake: Lake) -> LineageResult:
    newest = lake.version(DATABITS)
    versions = lake.read(DATABITS, columns=list(_COLUMNS), at=newest if newest >= 0 else None)
    edges = edges_of(versions)
    closure = closure_of(edges, pl.DataFrame(schema=lake.read(CLOSURE, where={"depth": []}).schema))
    written = lake.replace(EDGES, edges, where={}), lake.replace(CLOSURE, closure, where={})
    licenses = lake.replace(LICENSES, judge_versions(versions, versions, closure), where={})
    lake.move_cursor(LINEAGE_CONSUMER, {DATABITS: newest})
    lake.move_cursor(LICENSE_CONSUMER, {DATABITS: newest})
    return LineageResult(
        version_count=versions.height,
        edge_count=written[0].rows_written,
        closure_count=written[1].rows_written,
        license_count=licenses.rows_written,
    )


def _take_in(lake: Lake, versions: pl.DataFrame) -> LineageResult:
    edges = edges_of(versions)
    parents = edges.select(databit_id="parent_id", version="parent_version").unique()
    before = parents.join(versions, on=KEY, how="anti")
    closure = closure_of(edges, read_closure(lake, before, of="descendant"))
    return LineageResult(
        version_count=versions.height,
        edge_count=lake.insert(EDGES, edges).rows_written if edges.height else 0,
        closure_count=lake.insert(CLOSURE, closure).rows_written if closure.height else 0,
        license_count=0,
    )


def _judge(lake: Lake, new: pl.DataFrame) -> int:
    """Judge new versions, and those whose licence a new version puts right: its unit's, and what stems from them."""
    revised = new.filter(pl.col("version") > 1)
    siblings = read_versions(lake, revised["databit_id"].to_list(), columns=list(_COLUMNS))
    mine = pl.concat([new, siblings]).unique(KEY)
    heirs = read_closure(lake, siblings.select(KEY), of="ancestor").select(
        databit_id="descendant_id", version="descendant_version"
    )
    missing = heirs.unique().join(mine, on=KEY, how="anti")
    versions = pl.concat([mine, _rows_of(lake, missing)])
    closure = read_closure(lake, versions.select(KEY), of="descendant")
    ancestors = closure.select(databit_id="ancestor_id", version="ancestor_version").unique()
    # All versions of the ancestors' units: a later one may have put the licence right.
    known = pl.concat([versions, read_versions(lake, ancestors["databit_id"].to_list(), columns=list(_COLUMNS))])
    rows = judge_versions(versions, known.unique(KEY), closure)
    return lake.upsert(LICENSES, rows).rows_written if rows.height else 0


def _rows_of(lake: Lake, keys: pl.DataFrame) -> pl.DataFrame:
    versions = read_versions(lake, keys["databit_id"].to_list(), columns=list(_COLUMNS))
    return versions.join(keys, on=KEY, how="semi")


def _sum(left: LineageResult, right: LineageResult) -> LineageResult:
    return LineageResult(
        version_count=left.version_count + right.version_count,
        edge_count=left.edge_count + right.edge_count,
        closure_count=left.closure_count + right.closure_count,
        license_count=left.license_count + right.license_count,
    )


def read_closure(lake: Lake, keys: pl.DataFrame, *, of: Literal["descendant", "ancestor"]) -> pl.DataFrame:
    """Rows of gold.lineage_closure whose descendant, or ancestor, is among `keys` (databit_id, version)."""
    ends = DESCENDANT if of == "descendant" else ANCESTOR
    return _semi_read(lake, CLOSURE, keys, ends)


def read_edges(lake: Lake, keys: pl.DataFrame) -> pl.DataFrame:
    """Rows of gold.lineage_edges whose child is among `keys` (databit_id, version)."""
    return _semi_read(lake, EDGES, keys, ("child_id", "child_version"))


def _semi_read(lake: Lake, table: str, keys: pl.DataFrame, ends: tuple[str, str]) -> pl.DataFrame:
    ids = keys["databit_id"].unique().sort()
    where: Slice = {ends[0]: ids.to_list()}
    if ids.len() > MAX_LISTED_KEYS:
        where = {ends[0]: KeyRange(start=ids[0], stop=f"{ids[-1]}\U0010ffff")}
    return lake.read(table, where=where).join(keys, left_on=ends, right_on=list(KEY), how="semi")


def as_keys(keys: Iterable[DatabitKey]) -> pl.DataFrame:
    """Keys as a frame of databit_id and version."""
    return pl.DataFrame(list(keys), schema={"databit_id": pl.String, "version": pl.Int64}, orient="row")


def ancestors_of(lake: Lake, keys: Iterable[DatabitKey]) -> pl.DataFrame:
    """What versions stem from: rows of gold.lineage_closure, nearest first. Only what `update_lineage` took in."""
    return read_closure(lake, as_keys(keys), of="descendant").sort(*DESCENDANT, "depth", *ANCESTOR)


def descendants_of(lake: Lake, keys: Iterable[DatabitKey]) -> pl.DataFrame:
    """What stems from versions: rows of gold.lineage_closure, nearest first."""
    return read_closure(lake, as_keys(keys), of="ancestor").sort(*ANCESTOR, "depth", *DESCENDANT)


def roots_of(lake: Lake, key: DatabitKey) -> list[DatabitKey]:
    """The ancestors that were made from nothing, by id; of a version without ancestors itself."""
    ancestors = [DatabitKey(*row) for row in ancestors_of(lake, [key]).select(ANCESTOR).iter_rows()]
    parents = read_parents(lake, [key, *ancestors])
    return sorted(node for node in (key, *ancestors) if not parents.get(node))


def paths_up(lake: Lake, start: DatabitKey, end: DatabitKey, *, limit: int = SHOWN_PATHS) -> list[list[DatabitKey]]:
    """Ways on which `start` stems from `end`, the shortest first; none when it does not."""
    between = {DatabitKey(*row) for row in descendants_of(lake, [end]).select(DESCENDANT).iter_rows()} | {end}
    if start not in between:
        return []
    parents = read_parents(lake, between)
    inside = {child: [parent for parent in own if parent in between] for child, own in parents.items()}
    return paths_between(inside, start, end, limit=limit)


def read_parents(lake: Lake, keys: Iterable[DatabitKey]) -> Parents:
    """The parents of each of these versions that has any, in their order."""
    edges = read_edges(lake, as_keys(keys))
    return as_parents(edges.sort("child_id", "child_version", "parent_index"))
