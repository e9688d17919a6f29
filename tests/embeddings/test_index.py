"""Searching a segment of any kind: what comes back is what comparing every vector would give."""

import dataclasses

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lake.errors import UserError
from pipelines.embeddings import segments
from pipelines.embeddings.index import VectorIndex
from pipelines.embeddings.index_sync import new_segment
from pipelines.embeddings.segments import NO_ID, SegmentKind, kind_for
from tests.embeddings.rows import MODEL, unit_vectors

COUNT, DIMENSION, K = 2_000, 32, 10


def nearest(ids, vectors, query, k):
    """The slow way: every similarity, sorted."""
    order = np.argsort(-(vectors @ query), kind="stable")[:k]
    return ids[order]


def clustered(seed: int) -> np.ndarray:
    """Vectors around 50 centres, as texts on 50 topics are."""
    centres = unit_vectors(seed, 50, DIMENSION)
    vectors = centres[np.arange(COUNT) % 50] + 0.4 * unit_vectors(seed + 1, COUNT, DIMENSION)
    return (vectors / np.linalg.norm(vectors, axis=1, keepdims=True)).astype(np.float32)


@pytest.fixture(scope="module", params=["flat", "sq8", "hnsw"])
def segment(request):
    """A segment of each kind over the same vectors, with ids 0, 3, 6, …"""
    return new_segment(np.arange(COUNT, dtype=np.int64) * 3, clustered(1), kind=request.param)


def recall(segment, *, allowed, is_dead) -> float:
    """Share of the true neighbours of 40 queries that a search finds."""
    vectors, queries = clustered(1), clustered(9)[:40]
    index = VectorIndex(
        model=dataclasses.replace(MODEL, dimension=DIMENSION),
        version=0,
        segments=[dataclasses.replace(segment, is_dead=is_dead)],
    )
    may = ~is_dead if allowed is None else ~is_dead & np.isin(segment.ids, allowed)
    found = index.search(queries, K, allowed_ids=allowed).ids
    truth = [set(nearest(segment.ids[may], vectors[may], query, K)) for query in queries]
    assert all(set(row) - {NO_ID} <= set(segment.ids[may]) for row in found)  # never what is dead or not allowed
    return float(np.mean([len(true & set(row)) / len(true) for true, row in zip(truth, found, strict=True)]))


@pytest.mark.parametrize("dead_ratio", [0.0, 0.1])
@pytest.mark.parametrize("allowed_ratio", [None, 0.5, 0.25, 0.05, 0.01])
def test_every_plan_finds_what_comparing_all_would(segment, allowed_ratio, dead_ratio) -> None:
    rng = np.random.default_rng(4)
    is_dead = rng.random(COUNT) < dead_ratio
    allowed = None if allowed_ratio is None else segment.ids[rng.random(COUNT) < allowed_ratio]
    found = recall(segment, allowed=allowed, is_dead=is_dead)
    assert found == 1.0 if segment.kind == "flat" else found >= 0.95


def test_a_filter_that_goes_with_the_meaning_is_exact_too(segment) -> None:
    # Everything near the queries is forbidden: fetching a few more and dropping them would leave nothing.
    vectors, queries = clustered(1), clustered(9)[:40]
    similarity = (vectors @ queries.T).max(axis=1)
    allowed = segment.ids[similarity < np.quantile(similarity, 0.6)]
    found = recall(segment, allowed=allowed, is_dead=np.zeros(COUNT, dtype=bool))
    assert found == 1.0 if segment.kind == "flat" else found >= 0.9


def test_plans_follow_what_a_filter_leaves() -> None:
    flat = new_segment(np.arange(1000, dtype=np.int64), unit_vectors(0, 1000), kind="flat")
    assert [flat.plan(count) for count in (0, 20, 21, 199, 200, 999, 1000)] == [
        "none", "subset", "during", "during", "after", "after", "plain",
    ]  # fmt: skip
    assert [kind_for(count) for count in (0, 50_000, 50_001, 300_000, 300_001)] == [
        "flat", "flat", "sq8", "sq8", "hnsw",
    ]  # fmt: skip


@settings(deadline=None, max_examples=40)
@given(
    counts=st.lists(st.integers(0, 12), min_size=0, max_size=4),
    k=st.integers(1, 15),
    allowed=st.none() | st.lists(st.integers(-2, 60), max_size=30),  # in any order, some twice
)
def test_segments_together_are_one_index(counts, k, allowed) -> None:
    vectors = unit_vectors(3, sum(counts))
    ids = np.random.default_rng(5).permutation(60)[: sum(counts)].astype(np.int64)
    parts, start = [], 0
    for count in counts:
        order = np.argsort(ids[start : start + count]) + start
        if count:
            parts.append(new_segment(ids[order], vectors[order], kind="flat"))
        start += count
    found = VectorIndex(model=MODEL, version=7, segments=parts).search(unit_vectors(8, 1), k, allowed_ids=allowed)
    may = np.ones(len(ids), dtype=bool) if allowed is None else np.isin(ids, allowed)
    expected = nearest(ids[may], vectors[may], unit_vectors(8, 1)[0], k)
    assert found.ids.shape == (1, k)
    assert found.ids[0][: len(expected)].tolist() == expected.tolist()
    assert (found.ids[0][len(expected) :] == NO_ID).all()
    assert (np.diff(found.similarities[0][: len(expected)]) <= 0).all()
    assert found.version == 7


def test_what_is_wrong_with_a_question_is_said() -> None:
    index = VectorIndex(model=MODEL, version=0, segments=[])
    with pytest.raises(UserError, match="8 dimensions; the query has 9"):
        index.search(unit_vectors(0, 1, 9), 3)
    with pytest.raises(UserError, match="at least 1"):
        index.search(unit_vectors(0, 1), 0)
    assert index.search(unit_vectors(0, 2), 3).ids.tolist() == [[NO_ID] * 3] * 2


@pytest.mark.parametrize("kind", ["flat", "sq8"])
def test_vectors_are_given_back_in_the_order_of_their_ids(kind: SegmentKind) -> None:
    vectors = unit_vectors(1, 6)
    parts = [
        new_segment(np.array([10, 20, 30]), vectors[:3], kind=kind),
        new_segment(np.array([15, 25]), vectors[3:5], kind="flat"),
    ]
    parts[0].is_dead[1] = True  # id 20
    index = VectorIndex(model=MODEL, version=0, segments=parts)
    given_back = index.vectors_of([25, 10, 99, 20, 25])
    assert np.allclose(given_back[[0, 1, 4]], vectors[[4, 0, 4]], atol=0.02)  # bytes are good to a hundredth
    assert not given_back[[2, 3]].any()
    assert index.missing([25, 10, 99, 20, 25]).tolist() == [20, 99]
    assert VectorIndex(model=MODEL, version=0, segments=[]).missing([7]).tolist() == [7]


def test_many_queries_get_the_same_answers_as_one_at_a_time() -> None:
    index = VectorIndex(
        model=MODEL, version=0, segments=[new_segment(np.arange(500), unit_vectors(2, 500), kind="flat")]
    )
    queries = unit_vectors(6, segments.HNSW_NEIGHBOURS)
    together = index.search(queries, 5)
    assert [index.search(query, 5).ids[0].tolist() for query in queries] == together.ids.tolist()
