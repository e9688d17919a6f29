"""Put rankings together, and pick from a ranking what is not all the same.

Pure: ids, scores and vectors in, ids out.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

# The constant of the paper; it says how much a first place counts beside a tenth.
RRF_CONSTANT = 60


def fuse_rankings(rankings: Sequence[Sequence[str]]) -> list[tuple[str, float]]:
    """Ids with their fused scores, best first: the sum of 1 / (60 + rank) over the rankings that have the id.

    Reciprocal rank fusion (Cormack, Clarke and Buettcher 2009) needs no common scale of cosines and BM25 scores. Ties
    go by id.
    """
    scores: dict[str, float] = {}
    for ranking in rankings:
        for rank, name in enumerate(dict.fromkeys(ranking), start=1):
            scores[name] = scores.get(name, 0.0) + 1.0 / (RRF_CONSTANT + rank)
    return sorted(scores.items(), key=lambda pair: (-pair[1], pair[0]))


def pick_diverse(
    relevances: Sequence[float], vectors: NDArray[np.float32], *, count: int, diversity: float
) -> list[int]:
    """Places of `count` candidates, each the best of (1 - d) relevance - d similarity to the nearest one picked.

    Maximal marginal relevance (Carbonell and Goldstein 1998). Relevances are brought to 0 to 1; vectors are of unit
    length, or zero where unknown, which is similar to nothing. With `diversity` 0 it is the order of the relevances.
    """
    relevance = _to_unit(np.asarray(relevances, dtype=np.float64))
    nearest = np.zeros(len(relevance))
    is_open = np.ones(len(relevance), dtype=np.bool_)
    picked: list[int] = []
    for _ in range(min(count, len(relevance))):
        worth = (1 - diversity) * relevance - diversity * nearest
        best = int(np.argmax(np.where(is_open, worth, -np.inf)))
        picked.append(best)
        is_open[best] = False
        nearest = np.maximum(nearest, vectors @ vectors[best])
    return picked


def _to_unit(values: NDArray[np.float64]) -> NDArray[np.float64]:
    if not values.size:
        return values
    low, high = float(values.min()), float(values.max())
    return np.ones_like(values) if high <= low else (values - low) / (high - low)
