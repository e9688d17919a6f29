"""Examples for tests, and a small model that makes vectors of words."""

from __future__ import annotations

import datetime as dt
from collections.abc import Sequence
from typing import Any

import numpy as np

from lake.identity import text_digest
from pipelines.embeddings.embedder import Vectors
from pipelines.examples.drafts import ExampleDraft

NOW = dt.datetime(2026, 11, 20, 12, tzinfo=dt.UTC)
AUTHOR = "ada"


def draft(question: str, answer: Any = "yes", **labels: Any) -> ExampleDraft:
    """An example with one input field."""
    return ExampleDraft(inputs={"question": question}, expected_output=answer, **labels)


class WordEmbedder:
    """Texts with words in common have vectors alike: each word is a fixed random direction."""

    model_name, revision, dimension = "words", "1", 64

    def encode(self, texts: Sequence[str]) -> Vectors:
        return np.array([self._vector(text) for text in texts], dtype=np.float32).reshape(-1, self.dimension)

    def _vector(self, text: str) -> Vectors:
        total = sum((self._direction(word) for word in text.lower().split()), np.full(self.dimension, 1e-6))
        return (total / np.linalg.norm(total)).astype(np.float32)

    def _direction(self, word: str) -> np.ndarray:
        return np.random.default_rng(int(text_digest(word)[:12], 16)).standard_normal(self.dimension)
