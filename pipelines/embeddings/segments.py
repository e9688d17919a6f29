"""One part of a vector index: vectors in FAISS, the ids they belong to, and which of them are dead.

What belongs here: searching one part, filtered or not. Which parts an index has and how they are kept on disk is
`index.py` and `index_files.py`.

Vectors keep the places that they were added in, and `ids` is ascending, so a place is found by binary search and a
filter is a bit a place. FAISS's own id maps take duplicate ids silently, and HNSW cannot remove at all.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from numpy.typing import NDArray

from pipelines.embeddings.embedder import Vectors

if TYPE_CHECKING:
    import faiss

Ids = NDArray[np.int64]
SegmentKind = Literal["flat", "sq8", "hnsw"]
Plan = Literal["plain", "after", "during", "subset", "none"]

NO_ID = -1
# Up to here every vector is compared as it is. 100,000 vectors take 5 ms (tests/benchmarks/bench_vector_index.py).
FLAT_ROWS = 50_000
# Up to here every vector is compared, as bytes: half the time, and 0.99 of the neighbours.
SCAN_ROWS = 300_000
# Neighbours a vector, and candidates while building and while searching a graph.
HNSW_NEIGHBOURS = 32
HNSW_BUILD_EFFORT = 120
# At a million vectors 160 find 0.89 of the true ten nearest, 280 find 0.95 and 400 find 0.97, in 1 ms.
HNSW_SEARCH_EFFORT = 400
# Bytes are scaled to the values that vectors take; this many tell.
_TRAINING_ROWS = 50_000
# Below this share, vectors are fetched one by one: a scan would spend more on the others' bits.
SUBSET_RATIO = 0.02
# A graph keeps its recall while this share may be found: 0.95 and more, but 0.65 at a hundredth.
GRAPH_RATIO = 0.25
# Above this share, searching all and dropping what is not allowed is faster than asking bit by bit.
AFTER_RATIO = 0.2
_SPARE = 2.0


def kind_for(row_count: int) -> SegmentKind:
    """The kind of segment that is best for so many vectors, as measured."""
    if row_count <= FLAT_ROWS:
        return "flat"
    return "sq8" if row_count <= SCAN_ROWS else "hnsw"


def build_index(vectors: Vectors, kind: SegmentKind) -> faiss.Index:
    """A FAISS index over unit vectors, by inner product, which is their cosine."""
    import faiss

    dimension = vectors.shape[1]
    if kind == "flat":
        index: Any = faiss.IndexFlatIP(dimension)
    elif kind == "sq8":
        index = faiss.IndexScalarQuantizer(dimension, faiss.ScalarQuantizer.QT_8bit, faiss.METRIC_INNER_PRODUCT)
    else:
        index = faiss.IndexHNSWSQ(dimension, faiss.ScalarQuantizer.QT_8bit, HNSW_NEIGHBOURS, faiss.METRIC_INNER_PRODUCT)
        index.hnsw.efConstruction = HNSW_BUILD_EFFORT
        set_search_effort(index)
    if not index.is_trained:
        # Ids are digests, so the first rows are as good a sample as any.
        index.train(vectors[:_TRAINING_ROWS])
    index.add(vectors)
    return index


def set_search_effort(index: Any) -> None:  # noqa: ANN401  # as the whole of FAISS is to mypy
    """Search a graph as thoroughly as this release does; a file has the effort of the release that wrote it."""
    index.hnsw.efSearch = HNSW_SEARCH_EFFORT


@dataclass(frozen=True)
class Hits:
    """Nearest vectors of each query, best first: ids (-1 where there are no more) and cosines, both (queries, k)."""

    ids: Ids
    similarities: Vectors


@dataclass(frozen=True)
class Segment:
    """Vectors that are searched together. `ids` is ascending without repeats; `is_dead` has a flag a vector."""

    name: str
    kind: SegmentKind
    index: faiss.Index
    ids: Ids
    is_dead: NDArray[np.bool_]

    @cached_property
    def dead_count(self) -> int:
        """Vectors that were removed or replaced since the segment was built."""
        return int(np.count_nonzero(self.is_dead))

    @property
    def alive_count(self) -> int:
        """Vectors that can be found."""
        return len(self.ids) - self.dead_count

    def places(self, ids: Ids) -> NDArray[np.intp]:
        """Where those of `ids` stand that are in this segment, dead or not; `ids` must be ascending."""
        places, is_here = self._locate(ids)
        return places[is_here]

    def has(self, ids: Ids) -> NDArray[np.bool_]:
        """Of each of `ids` whether it can be found here; they are looked up ten times as fast in ascending order."""
        places, is_here = self._locate(ids)
        is_here[is_here] = ~self.is_dead[places[is_here]]
        return is_here

    def _locate(self, ids: Ids) -> tuple[NDArray[np.intp], NDArray[np.bool_]]:
        """Where each of `ids` would stand, and whether it does."""
        if not len(self.ids):
            return np.zeros(len(ids), dtype=np.intp), np.zeros(len(ids), dtype=np.bool_)
        places = np.searchsorted(self.ids, ids)
        places[places == len(self.ids)] = 0
        return places, self.ids[places] == ids

    def search(self, vectors: Vectors, k: int, *, allowed_ids: Ids | None = None) -> Hits:
        """The `k` most similar vectors to each query that are alive and, where ids are given (ascending), allowed."""
        if allowed_ids is None:
            places, count = None, self.alive_count
        else:
            places = self.places(allowed_ids)
            places = places[~self.is_dead[places]] if self.dead_count else places
            count = len(places)
        plan = self.plan(count)
        if plan == "none":
            return no_hits(len(vectors), k)
        if plan == "plain":
            return self._named(*self.index.search(vectors, k))
        if plan == "subset" and places is not None:
            return self._search_subset(vectors, k, places)
        is_wanted = self._wanted(places)
        if plan == "after":
            hits = self._search_after(vectors, k, is_wanted, count)
            if hits is not None:
                return hits
        return self._named(*self._search_during(vectors, k, is_wanted, count))

    def plan(self, count: int) -> Plan:
        """How to search when `count` of the vectors may be found."""
        ratio = count / max(len(self.ids), 1)
        if count == 0:
            return "none"
        if count == len(self.ids):
            return "plain"
        if ratio <= SUBSET_RATIO:
            return "subset"
        return "after" if ratio >= AFTER_RATIO and self.kind != "hnsw" else "during"

    def vectors_at(self, places: NDArray[np.intp]) -> Vectors:
        """The stored vectors at these places."""
        import faiss

        storage = self._storage
        size = len(self.ids) * storage.code_size
        codes = faiss.rev_swig_ptr(storage.codes.data(), size).reshape(len(self.ids), storage.code_size)
        decoded: Vectors = storage.sa_decode(np.ascontiguousarray(codes[places]))
        return decoded

    @cached_property
    def _storage(self) -> Any:  # noqa: ANN401  # as the whole of FAISS is to mypy
        """Where the vectors are: of a graph, what it was built over."""
        import faiss

        return faiss.downcast_index(self.index.storage) if self.kind == "hnsw" else self.index

    def _wanted(self, places: NDArray[np.intp] | None) -> NDArray[np.bool_]:
        if places is None:
            return ~self.is_dead
        wanted = np.zeros(len(self.ids), dtype=np.bool_)
        wanted[places] = True
        return wanted

    def _search_subset(self, vectors: Vectors, k: int, places: NDArray[np.intp]) -> Hits:
        import faiss

        similarities, found = faiss.knn(vectors, self.vectors_at(places), k, metric=faiss.METRIC_INNER_PRODUCT)
        return self._named(similarities, np.where(found < 0, found, places[found]))

    def _search_after(self, vectors: Vectors, k: int, is_wanted: NDArray[np.bool_], count: int) -> Hits | None:
        """Search everything for a few more, then drop what is not wanted; None where that left too few."""
        fetched = min(math.ceil(k * len(self.ids) / count * _SPARE), len(self.ids))
        similarities, places = self.index.search(vectors, fetched)
        kept = is_wanted[places]
        if (kept.sum(axis=1) < min(k, count)).any():
            return None
        return best_hits(self.ids[places], np.where(kept, similarities, -np.inf), k)

    def _search_during(
        self, vectors: Vectors, k: int, is_wanted: NDArray[np.bool_], count: int
    ) -> tuple[Vectors, NDArray[np.int64]]:
        import faiss

        bits = np.packbits(is_wanted, bitorder="little")
        selector = faiss.IDSelectorBitmap(bits)
        if self.kind == "hnsw" and count >= GRAPH_RATIO * len(self.ids):
            effort = max(HNSW_SEARCH_EFFORT, k)
            found = self.index.search(vectors, k, params=faiss.SearchParametersHNSW(sel=selector, efSearch=effort))
        else:
            # Few may be found: the graph would lose its way, and comparing all of them takes no longer.
            found = self._storage.search(vectors, k, params=faiss.SearchParameters(sel=selector))
        similarities, places = found
        return similarities, places

    def _named(self, similarities: Vectors, places: NDArray[np.int64]) -> Hits:
        is_absent = places < 0
        ids = self.ids[places]
        if is_absent.any():
            ids = np.where(is_absent, NO_ID, ids)
            similarities = np.where(is_absent, -np.inf, similarities)
        return Hits(ids, similarities)


def no_hits(query_count: int, k: int) -> Hits:
    """The answer where nothing can be found."""
    shape = (query_count, k)
    return Hits(np.full(shape, NO_ID, dtype=np.int64), np.full(shape, -np.inf, dtype=np.float32))


def best_hits(ids: Ids, similarities: Vectors, k: int) -> Hits:
    """The `k` best of the candidates of each query, best first; -inf marks what is no candidate."""
    width = similarities.shape[1]
    if width > k:
        chosen = np.argpartition(-similarities, k - 1, axis=1)[:, :k]
        ids, similarities = np.take_along_axis(ids, chosen, 1), np.take_along_axis(similarities, chosen, 1)
    order = np.argsort(-similarities, axis=1, kind="stable")
    ids, similarities = np.take_along_axis(ids, order, 1), np.take_along_axis(similarities, order, 1)
    ids = np.where(np.isneginf(similarities), NO_ID, ids)
    if width < k:
        missing = ((0, 0), (0, k - width))
        ids = np.pad(ids, missing, constant_values=NO_ID)
        similarities = np.pad(similarities, missing, constant_values=-np.inf)
    return Hits(ids, similarities)
