"""Search the example store: by meaning, by words, or both; filtered by labels; the same thing not twice.

What belongs here: what is asked of which index, and how the answers become one list. Models and index files come from
outside: an `Embedder` and the vector index are handed in.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
import polars as pl

from lake.errors import UserError
from lake.identity import text_digest
from pipelines.databits.units import canonical_text
from pipelines.embeddings.embedder import Embedder, Vectors
from pipelines.embeddings.index import Neighbours, VectorIndex
from pipelines.embeddings.texts import text_of_json, vector_id
from pipelines.examples.catalogue import ALL, Catalogue, ExampleFilter
from pipelines.examples.digests import input_digest
from pipelines.examples.drafts import ExampleDraft
from pipelines.examples.keyword_sync import sync_keywords
from pipelines.examples.keywords import KeywordIndex
from pipelines.examples.ranking import fuse_rankings, pick_diverse
from pipelines.examples.store import DEFAULT_LIMIT, ExampleStore

Mode = Literal["hybrid", "embedding", "keywords"]
# So many candidates of each kind are fused for every result that is wanted.
_POOL_FACTOR, _POOL_LEAST = 5, 50
# Texts of other kinds (outputs, prompts, data units) are looked past up to this many for each example.
_OTHER_TEXTS = 4
# Cosine of two inputs above which the shipped model has nearly always seen the same question in other words.
NEAR_DUPLICATE_SIMILARITY = 0.95
# Examples that are not embedded yet and are for a comparison; each costs a few milliseconds.
_COMPARED_FRESH = 5
# Vectors of inputs that were checked or compared here, which the index may get only at night: 1.5 MB.
_REMEMBERED = 1_000


@dataclass(frozen=True, kw_only=True)
class Found:
    """Results, best first, and what was searched.

    `rows` are rows of silver.examples after `rank`, `score`, `similarity` (cosine; null if not found by meaning) and
    `keyword_score` (BM25; null if not found by words). Versions are of silver.embeddings and silver.examples.
    """

    rows: pl.DataFrame
    mode: Mode
    embedding_version: int | None
    example_version: int


class ExampleSearch:
    """Search over one store. Keep it: the keyword index and the labels stay warm between calls."""

    def __init__(
        self,
        store: ExampleStore,
        *,
        embedder: Embedder | None = None,
        vector_index: Callable[[], VectorIndex] | None = None,
        keyword_folder: Path | None = None,
    ) -> None:
        self.store = store
        self._embedder = embedder
        self._vector_index = vector_index
        self._keyword_folder = keyword_folder
        self._keywords: KeywordIndex | None = None
        self._remembered: dict[int, Vectors] = {}

    def search(
        self,
        text: str,
        *,
        mode: Mode = "hybrid",
        wanted: ExampleFilter = ALL,
        count: int = DEFAULT_LIMIT,
        diversity: float = 0.0,
    ) -> Found:
        """Examples like `text` among those that `wanted` admits.

        `hybrid` fuses the rankings by meaning and by words; `diversity` from 0 to 1 trades relevance for not saying
        the same twice. Raises `UserError` for an empty text or numbers out of range.
        """
        if not text.strip():
            raise UserError("Say what to search for; to list without searching:  benchlake examples list")
        vector = self._encode([text]) if mode != "keywords" else None
        return self._search(vector, text if mode != "embedding" else None, mode, wanted, count, diversity)

    def search_by_embedding(
        self, vector: Vectors, *, wanted: ExampleFilter = ALL, count: int = DEFAULT_LIMIT, diversity: float = 0.0
    ) -> Found:
        """Examples whose inputs are nearest to a vector of unit length made by the same model."""
        return self._search(np.atleast_2d(vector), None, "embedding", wanted, count, diversity)

    def near_duplicates(
        self, draft: ExampleDraft, *, min_similarity: float = NEAR_DUPLICATE_SIMILARITY, count: int = 5
    ) -> pl.DataFrame:
        """Examples for the same function that ask the same thing as a draft, or nearly so.

        Rows of silver.examples with `similarity`, 1 for equal inputs, the nearest first. Of those that were added since
        the index was synchronised, all are compared that this object has checked or compared before; of the others, the
        few that share most words with the draft.
        """
        catalogue, wanted = self.store.catalogue(), ExampleFilter(function_name=draft.function_name)
        matching = catalogue.matching(wanted)
        same = matching.filter(pl.col("input_digest") == input_digest(draft.inputs))["example_id"]
        similar = dict.fromkeys(same, 1.0)
        if self._embedder is not None:
            text = text_of_json(canonical_text(dict(draft.inputs)))
            vector = self._encode([text])
            self._remember([vector_id(text_digest(text))], vector)
            near = [*self._by_meaning(catalogue, vector, wanted, count), *self._fresh(catalogue, vector, text, wanted)]
            similar |= {name: value for name, value in near if value >= min_similarity and name not in similar}
        similar.pop(draft.key_id(), None)
        best = sorted(similar.items(), key=lambda pair: (-pair[1], pair[0]))[:count]
        rows = self.store.read([name for name, _ in best])
        return rows.with_columns(similarity=pl.Series([similar[name] for name in rows["example_id"]], dtype=pl.Float64))

    def keywords(self, version: int | None = None) -> KeywordIndex:
        """The keyword index, brought up to the table, or kept if it is at `version` already."""
        if self._keywords is None or self._keywords.version != version:
            self._keywords = sync_keywords(self.store.lake, self._keyword_folder, known=self._keywords)
        return self._keywords

    def _search(
        self, vector: Vectors | None, text: str | None, mode: Mode, wanted: ExampleFilter, count: int, diversity: float
    ) -> Found:
        _check(count, diversity)
        catalogue = self.store.catalogue()
        pool = max(count * _POOL_FACTOR, _POOL_LEAST)
        near = self._by_meaning(catalogue, vector, wanted, pool) if vector is not None else []
        worded = self._by_words(catalogue, text, wanted, pool) if text is not None else []
        fused = fuse_rankings([[name for name, _ in ranking] for ranking in (near, worded)])
        # One ranking alone keeps its own scores, which say more than places do.
        scored = fused if near and worded else (near or worded)
        best = self._diverse(catalogue, scored, count, diversity) if diversity > 0 else scored[:count]
        return Found(
            rows=self._rows(best, dict(near), dict(worded)),
            mode=mode,
            embedding_version=None if vector is None else self.vector_index().version,
            example_version=catalogue.version,
        )

    def _by_meaning(
        self, catalogue: Catalogue, vector: Vectors, wanted: ExampleFilter, count: int
    ) -> list[tuple[str, float]]:
        matching, index = catalogue.matching(wanted), self.vector_index()
        if wanted.is_open:
            # Naming every example would take longer than the search. The index also holds other texts than inputs of
            # examples; only when they crowd the examples out is it asked for examples alone.
            best = _named(index.search(vector, count * _OTHER_TEXTS), matching)
            if len(best) >= min(count, matching.height):
                return best[:count]
        allowed = matching["vector_id"].sort().to_numpy()
        return _named(index.search(vector, count, allowed_ids=allowed), matching)[:count]

    def _fresh(
        self, catalogue: Catalogue, vector: Vectors, text: str, wanted: ExampleFilter
    ) -> list[tuple[str, float]]:
        """Cosines of examples that the vector index does not have yet."""
        matching = catalogue.matching(wanted).select("example_id", "vector_id")
        missing = self.vector_index().missing(matching["vector_id"].to_numpy())
        absent = matching.filter(pl.col("vector_id").is_in(pl.Series(missing)))
        self._encode_absent(catalogue, text, wanted, absent.filter(~self._is_remembered()))
        known = absent.filter(self._is_remembered())
        if known.is_empty():
            return []
        vectors = np.stack([self._remembered[number] for number in known["vector_id"]])
        return list(zip(known["example_id"].to_list(), (vectors @ vector[0]).tolist(), strict=True))

    def _encode_absent(self, catalogue: Catalogue, text: str, wanted: ExampleFilter, unknown: pl.DataFrame) -> None:
        """Encode a few examples that were not encoded here yet: where there are many, those likest `text` by words."""
        numbers = dict(unknown.iter_rows())
        names = list(numbers)
        if len(names) > _COMPARED_FRESH:
            names = [name for name, _ in self._by_words(catalogue, text, wanted, _POOL_LEAST) if name in numbers]
        rows = self.store.read(names[:_COMPARED_FRESH])
        if rows.height:
            vectors = self._encode([text_of_json(inputs) for inputs in rows["inputs"]])
            self._remember([numbers[name] for name in rows["example_id"]], vectors)

    def _is_remembered(self) -> pl.Expr:
        return pl.col("vector_id").is_in(list(self._remembered))

    def _remember(self, vector_ids: Sequence[int], vectors: Vectors) -> None:
        self._remembered |= dict(zip(vector_ids, vectors, strict=True))
        for oldest in list(self._remembered)[:-_REMEMBERED]:
            del self._remembered[oldest]

    def _by_words(self, catalogue: Catalogue, text: str, wanted: ExampleFilter, count: int) -> list[tuple[str, float]]:
        # Deleted examples are not in the keyword index, so that without a filter nothing need be looked up.
        allowed = None if wanted.is_open else catalogue.matching(wanted)["example_id"]
        return self.keywords(catalogue.version).search(text, count, allowed=allowed)

    def _diverse(
        self, catalogue: Catalogue, scored: Sequence[tuple[str, float]], count: int, diversity: float
    ) -> list[tuple[str, float]]:
        names = [name for name, _ in scored]
        ids = dict(
            catalogue.rows.filter(pl.col("example_id").is_in(names)).select("example_id", "vector_id").iter_rows()
        )
        places = [ids[name] for name in names]
        without: Vectors = np.zeros((len(places), 1), dtype=np.float32)
        vectors = without if self._vector_index is None else self.vector_index().vectors_of(places)
        picked = pick_diverse([score for _, score in scored], vectors, count=count, diversity=diversity)
        return [scored[place] for place in picked]

    def _rows(
        self, best: Sequence[tuple[str, float]], near: dict[str, float], worded: dict[str, float]
    ) -> pl.DataFrame:
        rows = self.store.read([name for name, _ in best])
        scores, names = dict(best), rows["example_id"].to_list()
        return rows.select(
            rank=pl.int_range(1, pl.len() + 1),
            score=pl.Series([scores[name] for name in names], dtype=pl.Float64),
            similarity=pl.Series([near.get(name) for name in names], dtype=pl.Float64),
            keyword_score=pl.Series([worded.get(name) for name in names], dtype=pl.Float64),
            **{name: pl.col(name) for name in rows.columns},
        )

    def _encode(self, texts: Sequence[str]) -> Vectors:
        if self._embedder is None:
            raise UserError("There is no embedding model here. Search by words:  --mode keywords")
        return self._embedder.encode(texts)

    def vector_index(self) -> VectorIndex:
        """The vector index that is searched; raises `UserError` if there is none."""
        if self._vector_index is None:
            raise UserError("There is no vector index here; build it:  benchlake index sync")
        return self._vector_index()


def _named(hits: Neighbours, matching: pl.DataFrame) -> list[tuple[str, float]]:
    """The examples whose inputs were found, best first; several may have the same inputs."""
    similarities = dict(zip(hits.ids[0].tolist(), hits.similarities[0].tolist(), strict=True))
    named = matching.filter(pl.col("vector_id").is_in(list(similarities))).select("example_id", "vector_id")
    found = [(name, similarities[vector_id]) for name, vector_id in named.iter_rows()]
    return sorted(found, key=lambda pair: (-pair[1], pair[0]))


def _check(count: int, diversity: float) -> None:
    if count < 1:
        raise UserError(f"At least one result must be asked for, not {count}.")
    if not 0 <= diversity <= 1:
        raise UserError(f"Diversity is from 0 (relevance alone) to 1 (difference alone), not {diversity}.")
