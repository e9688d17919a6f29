"""Rankings become one, and a ranking loses what it says twice."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipelines.examples.ranking import fuse_rankings, pick_diverse

RANKINGS = st.lists(st.lists(st.sampled_from("abcdef"), unique=True), max_size=3)


def test_fusion_by_hand() -> None:
    # a: 1/61 + 1/62, b: 1/62 + 1/61, c: 1/63. Ties go by name.
    fused = fuse_rankings([["a", "b", "c"], ["b", "a"]])
    assert [name for name, _ in fused] == ["a", "b", "c"]
    assert fused[0][1] == pytest.approx(1 / 61 + 1 / 62)
    assert fused[2][1] == pytest.approx(1 / 63)


@given(RANKINGS)
@settings(max_examples=50, deadline=None)
def test_the_order_of_the_rankings_does_not_matter(rankings: list[list[str]]) -> None:
    assert dict(fuse_rankings(rankings)) == pytest.approx(dict(fuse_rankings(rankings[::-1])))


@given(st.lists(st.sampled_from("abcdef"), unique=True))
@settings(max_examples=30, deadline=None)
def test_one_ranking_stays_as_it_is(ranking: list[str]) -> None:
    assert [name for name, _ in fuse_rankings([ranking])] == ranking


def test_diversity_by_hand() -> None:
    # b says what a says; c is another matter. Relevances 1, .9, 0 after scaling: a first, then with d = .6
    # b is worth .4 * .9 - .6 * 1 = -.24 and c .4 * 0 - .6 * 0 = 0.
    vectors = np.array([[1, 0], [1, 0], [0, 1]], dtype=np.float32)
    assert pick_diverse([2.0, 1.9, 1.0], vectors, count=3, diversity=0.6) == [0, 2, 1]
    assert pick_diverse([2.0, 1.9, 1.0], vectors, count=2, diversity=0.0) == [0, 1]


@given(st.lists(st.floats(0, 1), max_size=8), st.floats(0, 1), st.integers(1, 10))
@settings(max_examples=50, deadline=None)
def test_picks_are_distinct_places(relevances: list[float], diversity: float, count: int) -> None:
    vectors = np.eye(max(len(relevances), 1), dtype=np.float32)[: len(relevances)]
    picked = pick_diverse(relevances, vectors, count=count, diversity=diversity)
    assert len(set(picked)) == len(picked) == min(count, len(relevances))
