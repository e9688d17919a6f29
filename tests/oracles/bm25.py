"""BM25 as its formula reads (Robertson and Zaragoza 2009, with Lucene's weight of a word)."""

from __future__ import annotations

import math


def bm25_scores(
    query: list[str], documents: dict[str, list[str]], *, k1: float = 1.5, b: float = 0.75
) -> dict[str, float]:
    """The score of every document for the distinct words of a query."""
    mean_length = sum(map(len, documents.values())) / len(documents)
    scores = {}
    for name, words in documents.items():
        score = 0.0
        for word in set(query):
            having = sum(word in other for other in documents.values())
            weight = math.log(1 + (len(documents) - having + 0.5) / (having + 0.5))
            count = words.count(word)
            score += weight * count / (count + k1 * (1 - b + b * len(words) / mean_length))
        scores[name] = score
    return scores
