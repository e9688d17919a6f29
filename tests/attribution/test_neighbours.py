"""KNN-Shapley against enumeration of its stated utility, influence against leaving units out, planted wrong labels."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipelines.attribution.games import Game
from pipelines.attribution.influence import influence_proxy
from pipelines.attribution.knn_shapley import knn_shapley, nearest_first
from pipelines.attribution.values import shapley_exact


def unit_vectors(rng: np.random.Generator, count: int, dimension: int = 6) -> np.ndarray:
    found = rng.normal(size=(count, dimension)).astype(np.float32)
    return found / np.linalg.norm(found, axis=1, keepdims=True)


def auroc(scores: np.ndarray, is_bad: np.ndarray) -> float:
    """How often a bad unit has a lower value than a good one."""
    bad, good = scores[is_bad], scores[~is_bad]
    return float((bad[:, None] < good[None, :]).mean() + 0.5 * (bad[:, None] == good[None, :]).mean())


@settings(deadline=None, max_examples=15)
@given(seed=st.integers(0, 10_000), count=st.integers(1, 10), k=st.integers(1, 12))
def test_the_closed_form_is_the_enumeration_of_its_utility(seed: int, count: int, k: int) -> None:
    rng = np.random.default_rng(seed)
    units, queries = unit_vectors(rng, count), unit_vectors(rng, 3)
    labels, asked = rng.integers(0, 3, count), rng.integers(0, 3, 3)

    def utility(coalition: frozenset[int]) -> np.ndarray:
        members = np.array(sorted(coalition), dtype=int)
        scores = []
        for query, label in zip(queries, asked, strict=True):
            nearest = members[np.argsort(-(units[members] @ query), kind="stable")][:k]
            scores.append((labels[nearest] == label).sum() / k)
        return np.array(scores)

    found = knn_shapley(units, labels, queries, asked, k=k)
    exact = [unit.value for unit in shapley_exact(Game(unit_count=count, utility=utility))]
    assert found.values == pytest.approx(exact, abs=1e-12)


@settings(deadline=None, max_examples=20)
@given(seed=st.integers(0, 1_000), split=st.integers(1, 19))
def test_queries_count_the_same_in_any_number_of_batches(
    seed: int,
    split: int,
) -> None:
    rng = np.random.default_rng(seed)
    units, queries = unit_vectors(rng, 30), unit_vectors(rng, 20)
    labels, asked = rng.integers(0, 2, 30), rng.integers(0, 2, 20)
    whole = knn_shapley(units, labels, queries, asked, k=3)
    parts = [knn_shapley(units, labels, queries[part], asked[part], k=3) for part in (slice(split), slice(split, None))]
    joined = (parts[0].values * split + parts[1].values * (20 - split)) / 20
    assert whole.values == pytest.approx(joined, abs=1e-12)
    by_query = np.stack(
        [knn_shapley(units, labels, queries[i : i + 1], asked[i : i + 1], k=3).values for i in range(20)]
    )
    assert whole.standard_errors == pytest.approx(by_query.std(axis=0, ddof=1) / np.sqrt(20), abs=1e-12)


def clusters(rng: np.random.Generator, count: int) -> tuple[np.ndarray, np.ndarray]:
    centres = unit_vectors(rng, 4, 24)
    labels = rng.integers(0, 4, count)
    found = (centres[labels] + 0.25 * rng.normal(size=(count, 24))).astype(np.float32)
    return found / np.linalg.norm(found, axis=1, keepdims=True), labels


@pytest.mark.parametrize("method", ["knn", "influence"])
def test_planted_wrong_labels_are_found(method: str) -> None:
    rng = np.random.default_rng(11)
    vectors, labels = clusters(rng, 500)
    units, queries, asked = vectors[:300], vectors[300:], labels[300:]
    is_bad = np.zeros(300, dtype=bool)
    is_bad[rng.choice(300, 30, replace=False)] = True
    given_labels = np.where(is_bad, (labels[:300] + 1) % 4, labels[:300])
    if method == "knn":
        found = knn_shapley(units, given_labels, queries, asked, k=5)
    else:
        found = influence_proxy(units, given_labels, queries, asked)
    assert auroc(found.values, is_bad) >= 0.9


def test_influence_is_near_what_leaving_a_unit_out_does() -> None:
    from pipelines.attribution.influence import _fit, _sigmoid

    rng = np.random.default_rng(5)
    vectors, labels = clusters(rng, 160)
    labels = (labels > 1).astype(np.int64)
    units, queries, asked = vectors[:120], vectors[120:], labels[120:]
    found = influence_proxy(units, labels[:120], queries, asked, penalty=0.05)

    def likelihood(rows: np.ndarray) -> float:
        total = 0.0
        for label in (0, 1):
            features = np.hstack([units[rows].astype(np.float64), np.ones((len(rows), 1))])
            # The others keep their weight of 1/120 each, as the influence function has it.
            weights, _ = _fit(features, (labels[rows] == label).astype(np.float64), 0.05 * 120 / len(rows))
            own = np.hstack([queries[asked == label].astype(np.float64), np.ones(((asked == label).sum(), 1))])
            total += float(np.log(_sigmoid(own @ weights)).sum())
        return total / len(queries)

    everyone = np.arange(120)
    full = likelihood(everyone)
    left_out = np.array([full - likelihood(np.delete(everyone, unit)) for unit in range(40)])
    assert np.corrcoef(found.values[:40], left_out)[0, 1] > 0.95
    assert found.values[:40] == pytest.approx(left_out, rel=0.25, abs=2e-4)


@settings(deadline=None, max_examples=50)
@given(values=st.lists(st.sampled_from([-1.0, -0.5, -1e-30, -0.0, 0.0, 1e-30, 0.25, 1.0]) | st.floats(-1, 1, width=32)))
def test_the_packed_sort_is_the_stable_one(values: list[float]) -> None:
    similarities = np.array(values, dtype=np.float32)
    assert nearest_first(similarities).tolist() == np.argsort(-similarities, kind="stable").tolist()


@pytest.mark.parametrize(("units", "queries", "k"), [(0, 1, 1), (1, 0, 1), (1, 1, 0)])
def test_nothing_to_value_is_refused(units: int, queries: int, k: int) -> None:
    rng = np.random.default_rng(0)
    with pytest.raises(ValueError, match="KNN-Shapley needs"):
        knn_shapley(
            unit_vectors(rng, units), np.zeros(units, int), unit_vectors(rng, queries), np.zeros(queries, int), k=k
        )


def test_one_label_has_no_influence_to_tell() -> None:
    rng = np.random.default_rng(0)
    with pytest.raises(ValueError, match="two labels"):
        influence_proxy(unit_vectors(rng, 3), np.zeros(3, int), unit_vectors(rng, 1), np.zeros(1, int))
