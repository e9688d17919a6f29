"""Influence of training units by a proxy: a ridge-penalised logistic regression over embeddings.

The influence of unit i on a query's loss is g_q' H^-1 g_i / n (Cook and Weisberg 1980; Koh and Liang 2017): by how
much the query's log-likelihood rises because the unit was there, to first order, with H the Hessian of the mean
penalised loss at its minimum, which for this model is known exactly. It assumes that a linear head over these vectors
behaves like what is explained. It is evidence about the proxy, good for finding wrong labels, and not about a
language model.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from pipelines.attribution.knn_shapley import NeighbourValues

UTILITY = "log-likelihood of the query's label under a logistic regression over the vectors"
_ITERATIONS = 60
_TOLERANCE = 1e-9

Matrix = NDArray[np.float64]


def influence_proxy(
    units: NDArray[np.float32],
    labels: NDArray[np.int64],
    queries: NDArray[np.float32],
    query_labels: NDArray[np.int64],
    *,
    penalty: float = 1e-2,
) -> NeighbourValues:
    """Influence of each unit on the queries' mean log-likelihood; the penalty is per unit of squared weight.

    One regression a label, each label against the rest, so that memory is d x d whatever the number of labels; the
    influences of a query are those on its own label's regression. Raises `ValueError` for fewer than two labels.
    """
    classes = np.unique(labels)
    if len(classes) < 2 or not len(queries):  # noqa: PLR2004  # one label cannot be told from another
        raise ValueError("Influence needs units of at least two labels and at least one query.")
    features = np.hstack([units.astype(np.float64), np.ones((len(units), 1))])
    asked = np.hstack([queries.astype(np.float64), np.ones((len(queries), 1))])
    sums, squares, told = np.zeros(len(units)), np.zeros(len(units)), 0
    for label in classes:
        own = asked[query_labels == label]
        if not len(own):
            continue
        weights, hessian = _fit(features, (labels == label).astype(np.float64), penalty)
        residuals = (labels == label) - _sigmoid(features @ weights)
        # Gradients of log-likelihoods: of units with the residual, of queries with what is missing to certainty.
        unit_gradients = features * residuals[:, None]
        query_gradients = own * (1 - _sigmoid(own @ weights))[:, None]
        influences = query_gradients @ np.linalg.solve(hessian, unit_gradients.T) / len(units)
        sums += influences.sum(axis=0)
        squares += (influences**2).sum(axis=0)
        told += len(own)
    if not told:
        raise ValueError("No query has a label that any unit has.")
    means = sums / told
    spread = np.maximum(squares / told - means**2, 0.0)
    errors = np.sqrt(spread / (told - 1)) if told > 1 else np.zeros(len(units))
    return NeighbourValues(values=means, standard_errors=errors, query_count=told)


def _fit(features: Matrix, targets: Matrix, penalty: float) -> tuple[Matrix, Matrix]:
    """Newton's method for the penalised mean log-loss: weights and the Hessian there."""
    ridge = penalty * np.eye(features.shape[1])
    weights = np.zeros(features.shape[1])
    hessian = ridge
    for _ in range(_ITERATIONS):
        predicted = _sigmoid(features @ weights)
        gradient = features.T @ (predicted - targets) / len(targets) + penalty * weights
        hessian = (features.T * (predicted * (1 - predicted))) @ features / len(targets) + ridge
        step = np.linalg.solve(hessian, gradient)
        weights = weights - step
        if float(np.abs(step).max()) < _TOLERANCE:
            break
    return weights, hessian


def _sigmoid(values: Matrix) -> Matrix:
    return 1 / (1 + np.exp(-np.clip(values, -35, 35)))
