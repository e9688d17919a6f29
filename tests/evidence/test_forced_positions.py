"""Two distributions at given tokens: the exact divergence, bounds that hold it, and lists that make no sense."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipelines.evidence.forced_positions import compare_forced
from pipelines.evidence.token_distributions import FLOOR_LOGPROB
from pipelines.runs.backends import ScoredPositions


def positions(*distributions: list[float], given_ids: list[int], top_k: int | None = None) -> ScoredPositions:
    """Probabilities of tokens 0, 1, ... at each position, as a whole vocabulary or the `top_k` likeliest of it."""
    logprobs = np.log(np.array(distributions))
    ids = np.broadcast_to(np.arange(logprobs.shape[1]), logprobs.shape)
    if top_k is not None:
        ids = np.argsort(-logprobs, axis=1, kind="stable")[:, :top_k]
    return ScoredPositions(
        token_ids=np.array(given_ids),
        logprobs=logprobs[np.arange(len(given_ids)), given_ids],
        alternative_ids=ids,
        alternative_logprobs=np.take_along_axis(logprobs, ids, axis=1),
        is_vocabulary=top_k is None,
        top_tokens=(None,) * len(given_ids),
    )


def test_whole_vocabularies_give_the_divergence_itself() -> None:
    p, q = [0.5, 0.25, 0.25], [0.25, 0.5, 0.25]
    found = compare_forced(positions(p, p, given_ids=[0, 1]), positions(q, p, given_ids=[0, 1]))
    # 0.5 ln(0.5 / 0.25) + 0.25 ln(0.25 / 0.5) + 0 = 0.5 ln 2 - 0.25 ln 2 = 0.25 ln 2
    np.testing.assert_allclose(found.kl_lower, [0.25 * math.log(2), 0.0], atol=1e-12)
    np.testing.assert_array_equal(found.kl_lower, found.kl_upper)
    np.testing.assert_array_equal(found.has_same_top, [0, 1])
    np.testing.assert_array_equal(found.top_k_counts, [3, 3])
    np.testing.assert_array_equal(found.covered, [1, 1])


def test_a_vocabulary_whose_sum_is_rounded_is_normalised_again() -> None:
    side = positions([0.5, 0.25, 0.25], given_ids=[0])
    rounded = ScoredPositions(**{**vars(side), "alternative_logprobs": side.alternative_logprobs + 2e-4})
    assert compare_forced(rounded, side).kl_lower[0] == pytest.approx(0, abs=1e-12)


def test_what_the_reference_leaves_over_lies_where_the_candidate_likes_it_least() -> None:
    p, q = [0.6, 0.2, 0.1, 0.1], [0.6, 0.2, 0.15, 0.05]
    found = compare_forced(positions(p, given_ids=[0], top_k=2), positions(q, given_ids=[0]))
    # Both name tokens 0 and 1 alike. 0.2 is left of p and of q: the lower bound is 0. Of p's rest nothing is likelier
    # than 0.2, the last one listed besides the given token: it fits onto token 3 alone, at 0.2 ln(0.2 / 0.05).
    assert found.kl_lower[0] == pytest.approx(0, abs=1e-12)
    assert found.kl_upper[0] == pytest.approx(0.2 * math.log(4))
    assert found.reference_covered[0] == pytest.approx(0.8)


def test_what_no_list_names_may_be_as_unlikely_as_a_float_can_say() -> None:
    p, q = [0.6, 0.3, 0.1], [0.6, 0.3, 0.1]
    found = compare_forced(positions(p, given_ids=[0], top_k=2), positions(q, given_ids=[0], top_k=2))
    # The rest, 0.1, is at most the last one listed and at most itself.
    assert found.kl_upper[0] == pytest.approx(0.1 * (math.log(0.1) - FLOOR_LOGPROB))


def test_a_given_token_outside_the_lists_is_known_all_the_same() -> None:
    p, q = [0.7, 0.2, 0.1], [0.7, 0.1, 0.2]
    found = compare_forced(positions(p, given_ids=[2], top_k=1), positions(q, given_ids=[2], top_k=1))
    # Cells 0, 2 and the rest: 0.1 ln(0.1 / 0.2) + 0.2 ln(0.2 / 0.1) = 0.1 ln 2
    assert found.kl_lower[0] == pytest.approx(0.1 * math.log(2))
    assert found.top_k_counts[0] == 1


def test_lists_that_make_no_sense_are_unknown() -> None:
    side = positions([0.6, 0.3, 0.1], given_ids=[0], top_k=2)
    none = ScoredPositions(**{**vars(side), "alternative_logprobs": np.full((1, 2), -np.inf)})
    too_much = ScoredPositions(**{**vars(side), "alternative_logprobs": np.log([[0.9, 0.9]])})
    twice = ScoredPositions(**{**vars(side), "alternative_ids": np.array([[0, 0]])})
    for other in (none, too_much, twice):
        assert np.isnan(compare_forced(side, other).kl_lower).all()
        assert np.isnan(compare_forced(other, side).kl_upper).all()
    with pytest.raises(ValueError, match="different tokens"):
        compare_forced(side, positions([0.6, 0.3, 0.1], given_ids=[1], top_k=2))


_WEIGHTS = st.lists(st.floats(1e-4, 1), min_size=6, max_size=6)


@settings(deadline=None, max_examples=60)
@given(p=_WEIGHTS, q=_WEIGHTS, given_id=st.integers(0, 5), p_k=st.integers(1, 6), q_k=st.integers(1, 6))
def test_bounds_hold_what_they_bound(p: list[float], q: list[float], given_id: int, p_k: int, q_k: int) -> None:
    p, q = [[value / sum(side) for value in side] for side in (p, q)]
    true = sum(a * math.log(a / b) for a, b in zip(p, q, strict=True))
    exact = compare_forced(positions(p, given_ids=[given_id]), positions(q, given_ids=[given_id]))
    assert exact.kl_lower[0] == pytest.approx(true, abs=1e-9)
    for listed in (
        compare_forced(positions(p, given_ids=[given_id], top_k=p_k), positions(q, given_ids=[given_id], top_k=q_k)),
        compare_forced(positions(p, given_ids=[given_id], top_k=p_k), positions(q, given_ids=[given_id])),
        compare_forced(positions(p, given_ids=[given_id]), positions(q, given_ids=[given_id], top_k=q_k)),
    ):
        assert -1e-9 <= listed.kl_lower[0] <= true + 1e-9
        assert listed.kl_upper[0] >= true - 1e-9
