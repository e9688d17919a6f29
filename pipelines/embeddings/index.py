"""The vector index: nearest texts of one model, as of one version of `silver.embeddings`.

What belongs here: searching what is loaded. Files are `index_files.py`, following the table is `index_sync.py`, and
texts in place of vectors are `service.py`.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from lake.errors import UserError
from pipelines.embeddings.embedder import ModelIdentity, Vectors
from pipelines.embeddings.segments import Ids, Segment, best_hits, no_hits

# FAISS spreads queries over threads. With fewer queries they have nothing to do but wait for each other, and on a busy
# machine a search takes ten times as long.
_MANY_QUERIES = 8


@dataclass(frozen=True, kw_only=True)
class Neighbours:
    """Nearest vectors of each query, best first, and which version of `silver.embeddings` was searched.

    `ids` are vector ids, -1 where there are fewer than k; `similarities` are cosines, -inf there. Both (queries, k).
    """

    ids: Ids
    similarities: Vectors
    version: int


class VectorIndex:
    """Vectors of one model in memory. Immutable: following the table makes another one. Safe to share by threads."""

    def __init__(self, *, model: ModelIdentity, version: int, segments: Sequence[Segment]) -> None:
        self.model = model
        self.version = version
        self.segments = tuple(segments)

    def __len__(self) -> int:
        return sum(segment.alive_count for segment in self.segments)

    def search(self, vectors: Vectors, k: int, *, allowed_ids: ArrayLike | None = None) -> Neighbours:
        """The `k` nearest of each of `vectors` (queries, dimension), unit length, of those in `allowed_ids` if given.

        Small tables are compared whole; how a filter is applied is decided by how much it leaves. A filter that is
        used again should be kept ascending: sorting it takes longer than the search. Raises `UserError` for vectors
        of another dimension.
        """
        queries = np.ascontiguousarray(np.atleast_2d(vectors), dtype=np.float32)
        if queries.shape[1] != self.model.dimension:
            raise UserError(
                f"This index holds vectors of {self.model.model_name} with {self.model.dimension} dimensions; the "
                f"query has {queries.shape[1]}. Make it with the same model."
            )
        if k < 1:
            raise UserError(f"k must be at least 1, not {k}.")
        allowed = None if allowed_ids is None else _ascending(np.asarray(allowed_ids, dtype=np.int64))
        with _threads_for(len(queries)):
            hits = [segment.search(queries, k, allowed_ids=allowed) for segment in self.segments]
        if len(hits) == 1:
            best = hits[0]
        elif hits:
            ids = np.concatenate([part.ids for part in hits], axis=1)
            best = best_hits(ids, np.concatenate([part.similarities for part in hits], axis=1), k)
        else:
            best = no_hits(len(queries), k)
        return Neighbours(ids=best.ids, similarities=best.similarities, version=self.version)

    def missing(self, ids: ArrayLike) -> Ids:
        """Those of `ids` that cannot be found, ascending."""
        wanted = np.sort(np.asarray(ids, dtype=np.int64))
        is_found = np.zeros(len(wanted), dtype=np.bool_)
        for segment in self.segments:
            is_found |= segment.has(wanted)
        absent: Ids = wanted[~is_found]
        return absent

    def vectors_of(self, ids: ArrayLike) -> Vectors:
        """The vectors of these ids as they are stored, in their order, (ids, dimension); zeros for ids it has not."""
        wanted, inverse = np.unique(np.asarray(ids, dtype=np.int64), return_inverse=True)
        vectors = np.zeros((len(wanted), self.model.dimension), dtype=np.float32)
        for segment in self.segments:
            places = segment.places(wanted)
            alive = places[~segment.is_dead[places]]
            vectors[np.searchsorted(wanted, segment.ids[alive])] = segment.vectors_at(alive)
        found: Vectors = vectors[inverse]
        return found


def _ascending(ids: Ids) -> Ids:
    """The ids ascending, each once; those that are so already are given back as they are, which is much faster."""
    if (ids[1:] > ids[:-1]).all():
        return ids
    ordered = np.sort(ids)
    is_first: NDArray[np.bool_] = np.ones(len(ordered), dtype=np.bool_)
    np.not_equal(ordered[1:], ordered[:-1], out=is_first[1:])
    return ordered[is_first]


@contextmanager
def _threads_for(query_count: int) -> Iterator[None]:
    """One thread for a few queries; the setting is this thread's own."""
    if query_count >= _MANY_QUERIES:
        yield
        return
    import faiss

    standing = faiss.omp_get_max_threads()
    faiss.omp_set_num_threads(1)
    try:
        yield
    finally:
        faiss.omp_set_num_threads(standing)
