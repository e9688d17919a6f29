"""Rows of texts and vectors, and an embedder that fails when it is told to."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import polars as pl

from lake.identity import text_digest
from lake.tables import contract_of
from pipelines.embeddings.embedder import ModelIdentity, Vectors
from pipelines.embeddings.texts import vector_ids
from resources.embedding_models.hashing import HashingEmbedder

MODEL = ModelIdentity(model_name="lab/words", revision="one", dimension=8)
EMBEDDINGS = "silver.embeddings"


def unit_vectors(seed: int, count: int, dimension: int = 8) -> Vectors:
    vectors = np.random.default_rng(seed).standard_normal((count, dimension)).astype(np.float32)
    return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)


def vector_rows(vectors: Mapping[str, Sequence[float]], model: ModelIdentity = MODEL) -> pl.DataFrame:
    """Rows of silver.embeddings of texts by name."""
    return pl.DataFrame(
        {
            "text_digest": [text_digest(name) for name in vectors],
            "vector": [list(map(float, vector)) for vector in vectors.values()],
        },
        schema={"text_digest": pl.String, "vector": pl.List(pl.Float32)},
    ).select(
        "text_digest",
        pl.lit(model.model_name).alias("model_name"),
        vector_ids(pl.col("text_digest")).alias("vector_id"),
        pl.lit(model.revision).alias("revision"),
        pl.lit(model.dimension, dtype=pl.Int32).alias("dimension"),
        pl.lit(value=True).alias("is_normalised"),
        "vector",
    )


def vector_keys(names: Sequence[str], model: ModelIdentity = MODEL) -> pl.DataFrame:
    return pl.DataFrame(
        {"text_digest": [text_digest(name) for name in names], "model_name": [model.model_name] * len(names)},
        schema={"text_digest": pl.String, "model_name": pl.String},
    )


def prompt_rows(prompts: Sequence[str], *, suite: str = "support") -> pl.DataFrame:
    """One saved version of a suite with these prompts."""
    table = contract_of("silver.prompts")
    return pl.DataFrame(
        {
            "suite_digest": [text_digest(suite)] * len(prompts),
            "sample_id": [f"{suite}-{place}" for place in range(len(prompts))],
            "suite": [suite] * len(prompts),
            "sample_index": list(range(len(prompts))),
            "prompt_digest": [text_digest(prompt) for prompt in prompts],
            "prompt": list(prompts),
            "reference": [None] * len(prompts),
            "scorers": ["[]"] * len(prompts),
            "tags": [[]] * len(prompts),
        },
        schema=table.dtypes,
    )


class CountingEmbedder(HashingEmbedder):
    """Hashes words; keeps what it was asked, and breaks down when it has been asked `until` times."""

    def __init__(self, *, until: int | None = None, revision: str = "one") -> None:
        self.revision = revision
        self.asked: list[list[str]] = []
        self._until = until

    def encode(self, texts: Sequence[str]) -> Vectors:
        if self._until is not None and len(self.asked) >= self._until:
            raise RuntimeError("the power went")
        self.asked.append(list(texts))
        return super().encode(texts)
