"""The keyword index follows `silver.examples`: from a file if there is one, by change feed, else built again.

The file may be thrown away at any time: a missing or damaged one, another lake's, or one that the feed no longer
reaches back to is answered by building from the table, which takes about 3 s for 100,000 examples.
"""

from __future__ import annotations

import json
import shutil
import uuid
from pathlib import Path

import filelock
import polars as pl

from lake.errors import UserError
from lake.history import table_id
from lake.store import Lake
from pipelines.examples.keywords import KeywordBase, KeywordIndex, build_base, document_of

EXAMPLES = "silver.examples"
_FORMAT = 1
_COLUMNS = ("example_id", "inputs", "expected_output", "is_deleted")
# A head is scored document by document: up to here that takes a few milliseconds.
HEAD_DOCUMENTS = 2_000
_MANIFEST = "manifest.json"


def sync_keywords(lake: Lake, folder: Path | None, *, known: KeywordIndex | None = None) -> KeywordIndex:
    """The keyword index at the newest version of the table; `known` is one that this process has.

    `folder` keeps the bulk between processes; without one it is built in memory.
    """
    version = lake.version(EXAMPLES)
    if known is not None and known.version == version:
        return known
    index = known or (_load(lake, folder) if folder is not None else None)
    followed = None if index is None or index.version > version else _follow(lake, index, version)
    if followed is not None and len(followed.head) <= max(HEAD_DOCUMENTS, followed.base.count // 20):
        return followed
    built = _build(lake, version)
    if folder is not None:
        _save(lake, folder, built)
    return built


def _follow(lake: Lake, index: KeywordIndex, version: int) -> KeywordIndex | None:
    """The index with what changed since; None when the feed no longer reaches back."""
    try:
        feed = lake.changes(EXAMPLES, index.version, until=version, columns=_COLUMNS)
    except UserError:
        return None
    after = pl.col("_change_type").is_in(["insert", "update_postimage"])
    ordered = feed.with_columns(__after=after).sort("_commit_version", "__after")
    before = ordered.filter(~pl.col("__after")).unique("example_id", keep="first")
    last = ordered.unique("example_id", keep="last")
    # Estimates change every night; words seldom do.
    stood = last.join(before, on=_COLUMNS, how="semi").filter("__after")
    changed = last.join(stood, on="example_id", how="anti")
    stands = changed.filter(pl.col("__after") & ~pl.col("is_deleted"))
    removed = changed.join(stands, on="example_id", how="anti")["example_id"]
    return index.changed(_documents(stands), removed, version=version)


def _build(lake: Lake, version: int) -> KeywordIndex:
    at = version if version >= 0 else None
    rows = lake.read(EXAMPLES, columns=_COLUMNS, at=at).filter(~pl.col("is_deleted")).sort("example_id")
    return KeywordIndex(version, build_base(_documents(rows)), {}, frozenset())


def _documents(rows: pl.DataFrame) -> dict[str, str]:
    columns = rows.select("example_id", "inputs", "expected_output")
    return {name: document_of(inputs, output) for name, inputs, output in columns.iter_rows()}


def _load(lake: Lake, folder: Path) -> KeywordIndex | None:
    """The index on disk; None when there is none that can be used."""
    import bm25s

    try:
        manifest = json.loads((folder / _MANIFEST).read_text(encoding="utf-8"))
        if manifest["format"] != _FORMAT or manifest["table_id"] != table_id(lake, EXAMPLES):
            return None
        place = folder / manifest["folder"]
        ids = pl.read_parquet(place / "ids.parquet")["example_id"]
        bm25 = bm25s.BM25.load(place, mmap=True) if manifest["has_words"] else None
    except Exception:  # noqa: BLE001  # whatever is wrong with a file that may be thrown away, the table has it all
        return None
    return KeywordIndex(manifest["version"], KeywordBase(ids, bm25, manifest["mean_length"]), {}, frozenset())


def _save(lake: Lake, folder: Path, index: KeywordIndex) -> None:
    """Write a new folder beside the old, then point at it: a reader sees one or the other."""
    folder.mkdir(parents=True, exist_ok=True)
    with filelock.FileLock(folder / "lock"):
        name = f"v{index.version}-{uuid.uuid4().hex[:8]}"
        place = folder / name
        place.mkdir()
        index.base.ids.to_frame().write_parquet(place / "ids.parquet")
        if index.base.bm25 is not None:
            index.base.bm25.save(place, show_progress=False)
        manifest = {
            "format": _FORMAT,
            "table_id": table_id(lake, EXAMPLES),
            "version": index.version,
            "folder": name,
            "has_words": index.base.bm25 is not None,
            "mean_length": index.base.mean_length,
        }
        fresh = folder / f"{_MANIFEST}.new"
        fresh.write_text(json.dumps(manifest), encoding="utf-8")
        fresh.replace(folder / _MANIFEST)
        for old in folder.glob("v*-*"):
            if old.name != name:
                # A reader that has it mapped keeps its pages; on a system that forbids this it goes next time.
                shutil.rmtree(old, ignore_errors=True)
