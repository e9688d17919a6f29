"""How far texts, vectors and the index are behind the tables that they follow, in versions and in seconds."""

from __future__ import annotations

import datetime as dt
from pathlib import Path

import polars as pl

from lake.history import committed_at, table_id
from lake.store import NO_VERSION, Lake
from pipelines.embeddings.embedder import Embedder, identity_of
from pipelines.embeddings.index_files import IndexUnusableError, index_folder, read_manifest
from pipelines.embeddings.sources import SOURCES
from pipelines.embeddings.text_steps import EMBEDDINGS, TEXTS, embedding_consumer, text_consumer

SCHEMA = {
    "stage": pl.String,
    "table": pl.String,
    "version": pl.Int64,
    "newest_version": pl.Int64,
    "lag_versions": pl.Int64,
    "lag_seconds": pl.Float64,
    "note": pl.String,
}


def measure_lag(lake: Lake, embedder: Embedder, indexes: Path, *, now: dt.datetime) -> pl.DataFrame:
    """A row for each stage: which table it follows, up to which version, and how far that is behind.

    Stages are the text sources by name, `embeddings` of the given embedder, and its `index`.
    `lag_seconds` is the age of the oldest commit that the stage has not seen, 0 where it has seen all.
    """
    rows = [
        _row(lake, source.name, source.table, lake.cursor(text_consumer(source), source.table), now)
        for source in SOURCES
    ]
    rows.append(_row(lake, "embeddings", TEXTS, lake.cursor(embedding_consumer(embedder), TEXTS), now))
    version, note = index_version(lake, embedder, indexes)
    rows.append(_row(lake, "index", EMBEDDINGS, version, now, note=note))
    return pl.DataFrame(rows, schema=SCHEMA, orient="row")


def index_version(lake: Lake, embedder: Embedder, indexes: Path) -> tuple[int, str]:
    """The version that the index on disk has seen; -1 and why where there should be one that can be used."""
    identity = table_id(lake, EMBEDDINGS)
    if identity is None:
        return NO_VERSION, ""
    model = identity_of(embedder)
    try:
        manifest = read_manifest(index_folder(indexes, lake_uri=lake.uri, model=model))
    except IndexUnusableError as error:
        return NO_VERSION, f"not usable: {error}"
    if manifest.table_id != identity:
        return NO_VERSION, "not usable: its table was deleted or made anew"
    return manifest.version, ""


def _row(
    lake: Lake, stage: str, table: str, version: int, now: dt.datetime, *, note: str = ""
) -> tuple[str, str, int, int, int, float, str]:
    newest = lake.version(table)
    lag = max(newest - version, 0)
    seconds = max((now - committed_at(lake, table, version + 1)).total_seconds(), 0.0) if lag else 0.0
    return stage, table, version, newest, lag, seconds, note
