"""Texts in, vectors or nearest texts out: what commands, assets and other rooms ask.

One service belongs to one process; it keeps the index loaded and looks before each search whether another process has
brought it further.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from pathlib import Path
from threading import Lock

import numpy as np
import polars as pl

from lake.errors import UserError
from lake.history import table_id
from lake.store import Lake
from lake.tables.embeddings import TEXT_SOURCES
from pipelines.embeddings.embedder import Embedder, ModelIdentity, Vectors, identity_of
from pipelines.embeddings.index import VectorIndex
from pipelines.embeddings.index_files import MANIFEST, IndexUnusableError, index_folder, load_index
from pipelines.embeddings.index_sync import SyncResult, sync_index
from pipelines.embeddings.segments import Ids
from pipelines.embeddings.text_steps import (
    EMBEDDINGS,
    TEXTS,
    CollectResult,
    EmbedResult,
    Mode,
    Progress,
    collect_texts,
    embed_texts,
)

_FOUND_COLUMNS = ("text_source", "subject_id", "text")


@dataclass(frozen=True, kw_only=True)
class UpdateResult:
    """What bringing everything up to date did, stage by stage."""

    texts: CollectResult
    vectors: EmbedResult
    index: SyncResult


@dataclass(frozen=True, kw_only=True)
class TextSearch:
    """Found texts, best first (rank, similarity, text_source, subject_id, text), and the versions that were seen."""

    rows: pl.DataFrame
    version: int
    newest_version: int


class EmbeddingService:
    """Embeds, follows and searches with one model over one lake; `indexes` is the folder of vector indexes.

    `open_embedder` gives the embedder of a model by name, the configured one for None.
    """

    def __init__(self, lake: Lake, *, open_embedder: Callable[[str | None], Embedder], indexes: Path) -> None:
        self.lake = lake
        self._open_embedder = open_embedder
        self._indexes = indexes
        self._index: VectorIndex | None = None
        self._seen: tuple[int, int] | None = None
        self._ids_of_source: dict[tuple[str, int], Ids] = {}
        self._lock = Lock()

    @property
    def embedder(self) -> Embedder:
        """The configured embedder."""
        return self._open_embedder(None)

    @property
    def model(self) -> ModelIdentity:
        """Whose vectors the index holds."""
        return identity_of(self.embedder)

    @property
    def folder(self) -> Path:
        """Where the index is on disk."""
        return index_folder(self._indexes, lake_uri=self.lake.uri, model=self.model)

    def compute_embedding(self, text: str, *, model: str | None = None) -> Vectors:
        """The vector of a text, unit length, (dimension,); by another model than the configured one if named."""
        vector: Vectors = self.compute_embeddings([text], model=model)[0]
        return vector

    def compute_embeddings(self, texts: Sequence[str], *, model: str | None = None) -> Vectors:
        """The vectors of texts, unit length, (len(texts), dimension)."""
        return self._open_embedder(model).encode(texts)

    def update(self, *, mode: Mode = "changed", on_progress: Progress | None = None) -> UpdateResult:
        """Bring texts, vectors and index up to their tables; `mode="all"` reconciles all rows and builds anew."""
        texts = collect_texts(self.lake, mode=mode)
        vectors = embed_texts(self.lake, self.embedder, mode=mode, on_progress=on_progress)
        return UpdateResult(texts=texts, vectors=vectors, index=self.sync(mode=mode, on_progress=on_progress))

    def sync(self, *, mode: Mode = "changed", on_progress: Progress | None = None) -> SyncResult:
        """Bring the index alone up to `silver.embeddings`."""
        with self._lock:
            return self._sync(mode=mode, on_progress=on_progress)

    def index(self) -> VectorIndex:
        """The index as it stands on disk; built from the table where it is missing or damaged."""
        with self._lock:
            stamp = self._stamp()
            if self._index is None or stamp is None or stamp != self._seen:
                try:
                    identity = table_id(self.lake, EMBEDDINGS)
                    self._index = load_index(self.folder, model=self.model, table_id=identity, known=self._index)
                    self._seen = stamp
                except IndexUnusableError:
                    self._sync(mode="changed", on_progress=None)
            assert self._index is not None
            return self._index

    def search(
        self,
        text: str,
        *,
        count: int = 10,
        text_source: str | None = None,
        subject_ids: Collection[str] | None = None,
    ) -> TextSearch:
        """The subjects whose texts are nearest in meaning, of one source or among some subjects only if so asked."""
        if text_source is not None and text_source not in TEXT_SOURCES:
            raise UserError.unknown("text source", text_source, TEXT_SOURCES)
        index = self.index()
        found = index.search(self.compute_embedding(text), count, allowed_ids=self._allowed(text_source, subject_ids))
        near = pl.DataFrame({"vector_id": found.ids[0], "similarity": found.similarities[0]}).filter(
            pl.col("vector_id") >= 0
        )
        where = {"vector_id": near["vector_id"].to_list()} | ({"text_source": text_source} if text_source else {})
        rows = self.lake.read(TEXTS, columns=["vector_id", *_FOUND_COLUMNS], where=where).join(near, on="vector_id")
        if subject_ids is not None:
            rows = rows.filter(pl.col("subject_id").is_in(list(subject_ids)))
        rows = rows.sort(["similarity", *_FOUND_COLUMNS[:2]], descending=[True, False, False]).head(count)
        return TextSearch(
            rows=rows.select(pl.int_range(1, pl.len() + 1).alias("rank"), "similarity", *_FOUND_COLUMNS),
            version=found.version,
            newest_version=self.lake.version(EMBEDDINGS),
        )

    def _sync(self, *, mode: Mode, on_progress: Progress | None) -> SyncResult:
        self._index, result = sync_index(
            self.lake, self.folder, self.model, mode=mode, known=self._index, on_progress=on_progress
        )
        self._seen = self._stamp()
        return result

    def _stamp(self) -> tuple[int, int] | None:
        """What changes whenever the manifest is replaced."""
        try:
            facts = (self.folder / MANIFEST).stat()
        except FileNotFoundError:
            return None
        return facts.st_ino, facts.st_mtime_ns

    def _allowed(self, text_source: str | None, subject_ids: Collection[str] | None) -> Ids | None:
        if subject_ids is not None:
            where = {"text_source": text_source} if text_source else None
            rows = self.lake.read(TEXTS, columns=["subject_id", "vector_id"], where=where)
            return rows.filter(pl.col("subject_id").is_in(list(subject_ids)))["vector_id"].to_numpy()
        if text_source is None:
            return None
        key = (text_source, self.lake.version(TEXTS))
        if key not in self._ids_of_source:
            ids = self.lake.read(TEXTS, columns=["vector_id"], where={"text_source": text_source})["vector_id"]
            self._ids_of_source = {
                **{k: v for k, v in self._ids_of_source.items() if k[1] == key[1]},
                key: np.unique(ids),
            }
        return self._ids_of_source[key]
