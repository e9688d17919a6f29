"""Vectors without a model: words and parts of words, hashed (Weinberger et al., Feature Hashing, 2009).

Texts are near each other when they share words, whatever they mean. For installations without a model, and for tests.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterator, Sequence
from functools import lru_cache

import numpy as np

from pipelines.embeddings.embedder import Vectors
from resources.embedding_models.configuration import HASHING

DIMENSION = 384
_WORD = re.compile(r"\w+")
_PART_CHARACTERS = 3
# A word tells more than each of its parts.
_PART_WEIGHT = 0.3


class HashingEmbedder:
    """Signed counts of words and of their three-letter parts, in 384 buckets."""

    model_name = HASHING
    revision = "words-and-trigrams-1"
    dimension = DIMENSION

    def encode(self, texts: Sequence[str]) -> Vectors:
        """Vectors of length 1; a text without a word has all its length in the first bucket."""
        vectors = np.zeros((len(texts), DIMENSION), dtype=np.float32)
        for vector, text in zip(vectors, texts, strict=True):
            for feature, weight in _features(text.lower()):
                bucket, sign = _place(feature)
                vector[bucket] += sign * weight
        lengths = np.linalg.norm(vectors, axis=1, keepdims=True)
        vectors[lengths[:, 0] == 0, 0] = 1.0
        return (vectors / np.where(lengths == 0, 1.0, lengths)).astype(np.float32)


def _features(text: str) -> Iterator[tuple[str, float]]:
    for word in _WORD.findall(text):
        yield f"={word}", 1.0
        padded = f"^{word}$"
        for start in range(len(padded) - _PART_CHARACTERS + 1):
            yield padded[start : start + _PART_CHARACTERS], _PART_WEIGHT


@lru_cache(maxsize=100_000)
def _place(feature: str) -> tuple[int, float]:
    digest = hashlib.blake2b(feature.encode("utf-8", "surrogatepass"), digest_size=8).digest()
    number = int.from_bytes(digest, "little")
    return number % DIMENSION, 1.0 if number >> 63 else -1.0
