"""Shapley values of labelled vectors for a K-nearest-neighbour vote, in closed form (Jia et al. 2019, theorem 1).

The utility of a set S for one query is stated, because the closed form is exact for no other: the number of the
query's K nearest units of S (all of S when it has fewer) that have the query's label, divided by K. It says which
units would help a nearest-neighbour vote over these vectors. It says nothing about a language model.

With units sorted by similarity and m_i = 1 where the i-th has the query's label, w_i = min(K, i) / (K i) and

    s_N = w_N m_N,    s_i = s_(i+1) + w_i (m_i - m_(i+1))

so that all values of a query come from one sort and one cumulative sum. The proof uses no more of m_i than that a set
is worth the sum over its K nearest members divided by K, so m_i may be any grade: `knn_shapley_graded` takes the
similarity of the unit's output to the query's, less that of all units on average, for tasks whose outputs are no
classes. Without the average every unit would help: any two texts of a task are a little alike.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

UTILITY = "share of the K nearest units that have the query's label (matches/K)"
GRADED_UTILITY = (
    "how much more similar the outputs of the K nearest units are to the query's than all units' on average"
)
# Queries whose similarities are in memory at once: with 100,000 units some 100 MB.
_CELLS = 16 << 20
# Of a float's bits, all but the sign; of a packed number, those that hold the place.
_MAGNITUDE, _PLACE_BITS = 0x7FFFFFFF, 32
_PLACE_MASK = (1 << _PLACE_BITS) - 1


@dataclass(frozen=True, kw_only=True)
class NeighbourValues:
    """Per unit the mean over queries and its standard error (0 for one query)."""

    values: NDArray[np.float64]
    standard_errors: NDArray[np.float64]
    query_count: int


def knn_shapley(
    units: NDArray[np.float32],
    labels: NDArray[np.int64],
    queries: NDArray[np.float32],
    query_labels: NDArray[np.int64],
    *,
    k: int,
) -> NeighbourValues:
    """Values of `units` (n, d) with `labels` (n,) for `queries` (m, d) with their labels; vectors of unit length.

    Units equally similar to a query keep their order. Time is that of the product of all vectors and of one sort a
    query; memory does not grow with m. Raises `ValueError` for no units, no queries or k below 1.
    """
    return _mean_values(units, queries, lambda query: labels == query_labels[query], k=k)


def knn_shapley_graded(
    units: NDArray[np.float32],
    unit_outputs: NDArray[np.float32],
    queries: NDArray[np.float32],
    query_outputs: NDArray[np.float32],
    *,
    k: int,
) -> NeighbourValues:
    """As `knn_shapley`, with the cosine of two outputs, less its mean over units, in the place of equal labels.

    Outputs are vectors of unit length as well. Raises `ValueError` likewise.
    """

    def grades_of(query: int) -> NDArray[np.float64]:
        similarities = (unit_outputs @ query_outputs[query]).astype(np.float64)
        return np.asarray(similarities - similarities.mean())

    return _mean_values(units, queries, grades_of, k=k)


def _mean_values(
    units: NDArray[np.float32],
    queries: NDArray[np.float32],
    grades_of: Callable[[int], NDArray[np.float64] | NDArray[np.bool_]],
    *,
    k: int,
) -> NeighbourValues:
    count, query_count = len(units), len(queries)
    if not count or not query_count or k < 1:
        raise ValueError(f"KNN-Shapley needs units, queries and k of at least 1; got {count}, {query_count}, {k}.")
    places = np.arange(1, count + 1, dtype=np.float64)
    weights = np.minimum(k, places) / (k * places)
    # s_i = w_i m_i + sum over later j of m_j (w_j - w_(j-1)); up to K the weights do not change.
    steps = np.diff(weights, prepend=weights[0])
    sums, squares, values = np.zeros(count), np.zeros(count), np.empty(count)
    rows = max(1, _CELLS // count)
    for start in range(0, query_count, rows):
        similarities = queries[start : start + rows] @ units.T
        for place, similarity in enumerate(similarities):
            order = nearest_first(similarity)
            matches = grades_of(start + place)[order]
            later = steps * matches
            # What is behind each place is the whole less what comes up to it.
            ranked = weights * matches
            ranked += later.sum()
            ranked -= later.cumsum()
            values[order] = ranked
            sums += values
            squares += np.multiply(values, values, out=ranked)
    means = sums / query_count
    spread = np.maximum(squares / query_count - means**2, 0.0)
    errors = np.sqrt(spread / (query_count - 1)) if query_count > 1 else np.zeros(count)
    return NeighbourValues(values=means, standard_errors=errors, query_count=query_count)


def nearest_first(similarities: NDArray[np.float32]) -> NDArray[np.int64]:
    """Places by falling similarity, equals in their order: what a stable argsort of the negative gives.

    Similarity and place are packed into one whole number each, which a plain sort does many times faster than a stable
    argsort. Up to 2^31 places; no NaN.
    """
    # Both zeros are one; then the bits of a float, those of a negative turned, are in its own order as whole numbers.
    bits = (similarities.astype(np.float32, copy=False) + np.float32(0)).view(np.int32)
    ranks = bits ^ ((bits >> 31) & np.int32(_MAGNITUDE))
    keys: NDArray[np.int64] = np.invert(ranks).astype(np.int64)
    keys <<= _PLACE_BITS
    keys |= np.arange(len(ranks))
    keys.sort()
    keys &= _PLACE_MASK
    return keys
