"""Bring `silver.examples` up to the versions of its data units: the one way in which its content columns change.

What belongs here: rows from units, by id or by change feed. Acts of people are `store.py`, bulk is `importing.py`.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from itertools import groupby
from operator import itemgetter
from typing import Any, Literal

import polars as pl

from lake.errors import ConflictError
from lake.store import MAX_TRIES, NO_VERSION, Lake
from lake.tables import contract_of
from pipelines.databits.reading import read_versions
from pipelines.databits.units import DATABITS
from pipelines.examples.drafts import example_columns, example_id_of

EXAMPLES = "silver.examples"
_CONSUMER = "examples"
# What a row has beside its content: it is carried over from the row that stands.
_ESTIMATED = ("usage_count", "effectiveness_score", "effectiveness_low", "effectiveness_high")
_BULK = 500
_MAX_LAG_VERSIONS = 20
Mode = Literal["changed", "all"]


def follow_units(lake: Lake, databit_ids: Collection[str]) -> int:
    """Make the examples of these units show the newest version; gives how many rows were written.

    Units that hold no example are passed over. A row that already shows a newer version is left alone, so writers in
    any order end at the newest.
    """
    if not databit_ids:
        return 0
    for _ in range(MAX_TRIES):
        units = read_versions(lake, databit_ids)
        versions = units.filter(pl.col("search_keys").list.eval(pl.element().str.starts_with("example=")).list.any())
        standing = _standing(lake, versions)
        rows = _rows(versions, standing)
        if rows.is_empty():
            return 0
        if lake.compare_and_upsert(EXAMPLES, rows, expected=unchanged_since(standing, rows)):
            return rows.height
    raise ConflictError(f"Others wrote the same {len(databit_ids)} examples {MAX_TRIES} times; do it again.")


def follow_feed(lake: Lake, *, mode: Mode = "changed") -> int:
    """Follow every unit that changed since the last call, or all of them; gives how many rows were written."""
    version = lake.version(DATABITS)
    since = lake.cursor(_CONSUMER, DATABITS) if mode == "changed" else NO_VERSION
    if since >= version:
        return 0
    feed = lake.changes(DATABITS, since, until=version, columns=["databit_id", "search_keys"])
    ids = [row["databit_id"] for row in feed.iter_rows(named=True) if example_id_of(row["search_keys"]) is not None]
    written = follow_units(lake, set(ids))
    if written or is_far_behind(since, version):
        lake.move_cursor(_CONSUMER, {DATABITS: version})
    return written


def is_far_behind(since: int, version: int) -> bool:
    """Whether a cursor should move although nothing came of what it passed.

    A night after which nothing is new makes no commit, and moving a cursor is one; but a cursor that stays for ever
    keeps old versions, and makes each night read more.
    """
    return version - since > _MAX_LAG_VERSIONS


def new_row(unit: Mapping[str, Any]) -> dict[str, Any]:
    """The row of an example whose unit has this one version."""
    return {
        **example_columns(unit),
        "content_version": unit["version"],
        "usage_count": 0,
        "created_at": unit["created_at"],
        "created_by": unit["created_by"],
    }


def row_of(versions: Sequence[Mapping[str, Any]], standing: Mapping[str, Any] | None) -> dict[str, Any]:
    """The row of an example from all versions of its unit, oldest first; estimates are carried over.

    An estimate goes when inputs or expected output change: it was of another content.
    """
    newest, first = versions[-1], versions[0]
    content_version = newest["version"]
    for version in reversed(versions):
        if version["content_digest"] != newest["content_digest"]:
            break
        content_version = version["version"]
    row = new_row(newest) | {
        "content_version": content_version,
        "created_at": first["created_at"],
        "created_by": first["created_by"],
    }
    if standing is not None and standing["content_version"] == content_version:
        row |= {name: standing[name] for name in _ESTIMATED}
    return row


def _standing(lake: Lake, versions: pl.DataFrame) -> pl.DataFrame:
    ids = sorted({example_id_of(keys) or "" for keys in versions["search_keys"].to_list()})
    if len(ids) > _BULK:
        return lake.read(EXAMPLES).filter(pl.col("example_id").is_in(ids))
    return lake.read(EXAMPLES, where={"example_id": ids}) if ids else contract_of(EXAMPLES).empty()


def _rows(versions: pl.DataFrame, standing: pl.DataFrame) -> pl.DataFrame:
    """Rows of those examples that do not show the newest version of their unit."""
    shown = {row["example_id"]: row for row in standing.iter_rows(named=True)}
    rows = []
    by_unit = groupby(versions.sort("databit_id", "version").iter_rows(named=True), key=itemgetter("databit_id"))
    for _, own in by_unit:
        history = list(own)
        row = row_of(history, shown.get(example_id_of(history[-1]["search_keys"]) or ""))
        before = shown.get(row["example_id"])
        if before is None or before["databit_version"] < row["databit_version"]:
            rows.append(row)
    return pl.DataFrame(rows, schema=contract_of(EXAMPLES).dtypes)


def unchanged_since(standing: pl.DataFrame, rows: pl.DataFrame) -> Callable[[pl.DataFrame], bool]:
    """Whether the rows to be overwritten are those that were read."""
    wanted = standing.join(rows.select("example_id"), on="example_id", how="semi").sort("example_id")

    def expected(found: pl.DataFrame) -> bool:
        return found.sort("example_id").equals(wanted)

    return expected
