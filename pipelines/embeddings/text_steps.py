"""The steps that keep `silver.texts` and `silver.embeddings` in step with the tables that have texts.

Each follows change feeds by cursor, and moves its cursor after its result is written: a killed step finds again what
it had not finished, and what it had written costs one look.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import dataclass
from typing import Literal

import polars as pl

from lake.errors import UserError
from lake.predicates import Slice
from lake.store import NO_VERSION, Lake
from lake.tables import contract_of
from pipelines.embeddings.embedder import Embedder
from pipelines.embeddings.sources import SOURCES, TextSource
from pipelines.embeddings.texts import vector_ids

TEXTS = "silver.texts"
EMBEDDINGS = "silver.embeddings"
CURSORS = "silver.cursors"
Mode = Literal["changed", "all"]
Progress = Callable[[int, int, str], None]
# One commit holds the vectors of so many texts; a crash loses one such batch.
BATCH_TEXTS = 4_096
_BATCH_ROWS = 50_000
# More ids than these are looked for in the whole column: a list in a query would take longer.
_MAX_LISTED = 500
_EMBEDDING_CURSOR = "embeddings:"


@dataclass(frozen=True, kw_only=True)
class CollectResult:
    """What became of texts: rows of `silver.texts` written and removed."""

    written_count: int
    removed_count: int


@dataclass(frozen=True, kw_only=True)
class EmbedResult:
    """What became of vectors: texts embedded, found embedded already, and vectors removed with their texts."""

    embedded_count: int
    reused_count: int
    removed_count: int


def collect_texts(lake: Lake, *, sources: Sequence[TextSource] = SOURCES, mode: Mode = "changed") -> CollectResult:
    """Bring `silver.texts` up to its sources; `mode="all"` looks at every row instead of the changed ones."""
    results = [_collect(lake, source, mode=mode) for source in sources]
    return CollectResult(
        written_count=sum(result.written_count for result in results),
        removed_count=sum(result.removed_count for result in results),
    )


def text_consumer(source: TextSource) -> str:
    """Under what name a source's cursor stands."""
    return f"texts:{source.name}"


def embedding_consumer(embedder: Embedder) -> str:
    """Under what name the cursor of a model on `silver.texts` stands."""
    return f"{_EMBEDDING_CURSOR}{embedder.model_name}@{embedder.revision[:12]}"


def embed_texts(
    lake: Lake, embedder: Embedder, *, mode: Mode = "changed", on_progress: Progress | None = None
) -> EmbedResult:
    """Bring `silver.embeddings` up to `silver.texts`: embed what is new, and drop the vectors of texts that went.

    A text that several subjects share is embedded once. `mode="all"` looks at every text instead of the changed ones.
    """
    version, consumer = lake.version(TEXTS), embedding_consumer(embedder)
    since = NO_VERSION if mode == "all" else lake.cursor(consumer, TEXTS)
    if since >= version:
        return EmbedResult(embedded_count=0, reused_count=0, removed_count=0)
    touched = _changed_values(lake, TEXTS, "text_digest", since=since, until=version)
    wanted = _read_where(lake, TEXTS, "text_digest", touched, columns=["text_digest", "text"]).unique("text_digest")
    vectors = _read_where(lake, EMBEDDINGS, "text_digest", touched, columns=["text_digest", "model_name", "revision"])
    standing = vectors.filter(model_name=embedder.model_name, revision=embedder.revision)
    missing = wanted.join(standing, on="text_digest", how="anti").sort("text_digest")
    for done, batch in _batches(missing, BATCH_TEXTS):
        if on_progress is not None:
            on_progress(done, missing.height, "embedding texts")
        lake.upsert(EMBEDDINGS, _vector_rows(embedder, batch))
    orphans = vectors.join(wanted, on="text_digest", how="anti")
    removed = lake.remove(EMBEDDINGS, orphans).rows_written if orphans.height else 0
    _move_cursor(lake, consumer, version)
    return EmbedResult(
        embedded_count=missing.height, reused_count=wanted.height - missing.height, removed_count=removed
    )


def _collect(lake: Lake, source: TextSource, *, mode: Mode) -> CollectResult:
    version = lake.version(source.table)
    since = NO_VERSION if mode == "all" else lake.cursor(text_consumer(source), source.table)
    if since >= version:
        return CollectResult(written_count=0, removed_count=0)
    subjects = _changed_values(lake, source.table, source.subject, since=since, until=version)
    columns = [source.subject, source.content, *source.columns]
    rows = _read_where(lake, source.table, source.subject, subjects, columns=columns)
    texts = source.texts_of(rows)
    standing = _read_where(
        lake, TEXTS, "subject_id", subjects, columns=["text_source", "subject_id"], where={"text_source": source.name}
    )
    written = sum(lake.upsert(TEXTS, batch).rows_written for _, batch in _batches(texts, _BATCH_ROWS))
    gone = standing.join(texts, on=["text_source", "subject_id"], how="anti")
    removed = lake.remove(TEXTS, gone).rows_written if gone.height else 0
    lake.move_cursor(text_consumer(source), {source.table: version})
    return CollectResult(written_count=written, removed_count=removed)


def _changed_values(lake: Lake, table: str, column: str, *, since: int, until: int) -> Collection[str] | None:
    """Values of a column in rows that changed; None for all of them, at first and when the feed was cut short."""
    if since == NO_VERSION:
        return None
    try:
        changes = lake.changes(table, since, until=until, columns=[column])
    except UserError:
        return None
    return changes[column].unique().sort().to_list()


def _read_where(
    lake: Lake,
    table: str,
    column: str,
    values: Collection[str] | None,
    *,
    columns: Sequence[str],
    where: Slice | None = None,
) -> pl.DataFrame:
    """Rows of `table` whose `column` has one of these values; all rows where `values` is None."""
    if values is None:
        return lake.read(table, columns=columns, where=where)
    if len(values) <= _MAX_LISTED:
        return lake.read(table, columns=columns, where={**(where or {}), column: list(values)})
    wanted = pl.DataFrame({column: list(values)}, schema={column: pl.String})
    found = lake.read(table, columns=list(dict.fromkeys([*columns, column])), where=where)
    return found.join(wanted, on=column, how="semi").select(columns)


def _batches(rows: pl.DataFrame, size: int) -> Iterator[tuple[int, pl.DataFrame]]:
    """Parts of `rows` with how many came before."""
    for start in range(0, rows.height, size):
        yield start, rows.slice(start, size)


def _vector_rows(embedder: Embedder, texts: pl.DataFrame) -> pl.DataFrame:
    vectors = embedder.encode(texts["text"].to_list())
    return texts.select(
        "text_digest",
        pl.lit(embedder.model_name).alias("model_name"),
        vector_ids(pl.col("text_digest")).alias("vector_id"),
        pl.lit(embedder.revision).alias("revision"),
        pl.lit(embedder.dimension, dtype=pl.Int32).alias("dimension"),
        pl.lit(value=True).alias("is_normalised"),
        pl.Series("vector", vectors).arr.to_list(),
    ).select(list(contract_of(EMBEDDINGS).dtypes))


def _move_cursor(lake: Lake, consumer: str, version: int) -> None:
    """Move the cursor, and drop those of other models: one that stands still would keep old versions for ever."""
    lake.move_cursor(consumer, {TEXTS: version})
    others = lake.read(CURSORS, columns=["consumer", "table"]).filter(
        pl.col("consumer").str.starts_with(_EMBEDDING_CURSOR) & (pl.col("consumer") != consumer)
    )
    if others.height:
        lake.remove(CURSORS, others)
