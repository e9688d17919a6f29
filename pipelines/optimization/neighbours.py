"""Finding the demos that are nearest to a question, in the vector index of the example store.

Only the choice is here; embedding and the index are `pipelines/embeddings/`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from lake.identity import text_digest
from pipelines.databits.units import canonical_text
from pipelines.embeddings.embedder import Vectors
from pipelines.embeddings.index import VectorIndex
from pipelines.embeddings.texts import text_of_json, vector_id
from pipelines.optimization.templates import Demo


class IndexNearest:
    """The nearest of a pool by an index; what of the pool is not in the index yet is embedded and compared as well.

    Ties go to the demo that stands first in the pool, so the same question always has the same demos.
    """

    def __init__(self, encode: Callable[[Sequence[str]], Vectors], index: VectorIndex | None) -> None:
        self._encode = encode
        self._index = index
        self._vectors: dict[str, Vectors] = {}

    def __call__(self, inputs: Mapping[str, Any], pool: Sequence[Demo], count: int) -> Sequence[int]:
        """Places in `pool` of the `count` nearest, the nearest last: what stands last is heeded most."""
        if not pool:
            return []
        texts = [input_text({name: demo[name] for name in inputs}) for demo in pool]
        query = self._encode([input_text(inputs)])
        similarities = self._by_index(query, texts)
        missing = [place for place, found in enumerate(similarities) if found is None]
        if missing:
            vectors = self._embedded([texts[place] for place in missing])
            for place, similarity in zip(missing, vectors @ query[0], strict=True):
                similarities[place] = float(similarity)
        order = sorted(range(len(pool)), key=lambda place: (-(similarities[place] or 0.0), place))
        return order[:count][::-1]

    def _by_index(self, query: Vectors, texts: Sequence[str]) -> list[float | None]:
        if self._index is None or len(self._index) == 0:
            return [None] * len(texts)
        ids = [vector_id(text_digest(text)) for text in texts]
        hits = self._index.search(query, len(set(ids)), allowed_ids=ids)
        known = {
            int(found): float(similarity)
            for found, similarity in zip(hits.ids[0], hits.similarities[0], strict=True)
            if np.isfinite(similarity)
        }
        return [known.get(found) for found in ids]

    def _embedded(self, texts: Sequence[str]) -> Vectors:
        new = [text for text in dict.fromkeys(texts) if text not in self._vectors]
        if new:
            self._vectors.update(zip(new, self._encode(new), strict=True))
        return np.stack([self._vectors[text] for text in texts])


def input_text(inputs: Mapping[str, Any]) -> str:
    """Input fields as the example store embeds them."""
    return text_of_json(canonical_text(dict(inputs)))
