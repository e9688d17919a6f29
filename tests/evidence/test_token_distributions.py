"""Bounds of a divergence from short lists: they hold for every distribution that the lists can have been cut from."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipelines.evidence import token_distributions
from pipelines.evidence.token_arrays import flatten_tokens, likeliest_alternatives
from pipelines.evidence.token_distributions import (
    FLOOR_LOGPROB,
    MAX_ALTERNATIVES,
    Choice,
    Divergence,
    Positions,
    compare_choices,
    compare_distributions,
)
from tests.evidence.tokens import token_row, token_rows

Distribution = dict[str, float]


def positions(*sides: tuple[list[Distribution], list[str]]) -> Positions:
    """Positions of (lists of log-probabilities, chosen tokens) of the baseline and of the candidate."""
    rows = [
        token_row(run_id, list(zip(chosen, lists, strict=True)))
        for run_id, (lists, chosen) in zip("ba", sides, strict=True)
    ]
    tokens = likeliest_alternatives(flatten_tokens(token_rows(*rows)), limit=MAX_ALTERNATIVES)
    count = len(sides[0][0])
    places = {"baseline": np.arange(count), "candidate": np.arange(count) + count}
    return Positions(tokens=tokens, keys=tokens.ids, top_keys=tokens.top_ids, places=places)


def bounds(baseline: Distribution, candidate: Distribution, *, chosen: tuple[str, str] | None = None) -> Divergence:
    """Of one position, from lists of probabilities (not logarithms)."""
    lists = [{token: math.log(p) for token, p in side.items()} for side in (baseline, candidate)]
    tokens = chosen or tuple(max(side, key=side.get) for side in lists)
    return compare_distributions(positions(*(([own], [token]) for own, token in zip(lists, tokens, strict=True))))


def choices(baseline: Distribution, candidate: Distribution, *, chosen: tuple[str, str]) -> tuple[Choice, Choice]:
    found = compare_choices(positions(([baseline], [chosen[0]]), ([candidate], [chosen[1]])))
    return found["baseline"], found["candidate"]


VOCABULARY = [f"t{number}" for number in range(12)]


@st.composite
def distributions(draw: st.DrawFn) -> tuple[Distribution, Distribution]:
    """Two distributions over one vocabulary, from nearly equal to very unlike, some tokens hardly possible."""
    logits = st.lists(st.floats(-30, 0), min_size=len(VOCABULARY), max_size=len(VOCABULARY))
    first = draw(logits)
    noise = draw(st.sampled_from([0.0, 0.01, 1.0]))
    second = (
        [value + noise * shift for value, shift in zip(first, draw(logits), strict=True)] if noise else draw(logits)
    )
    weights = [[math.exp(value - max(side)) for value in side] for side in (first, second)]
    normed = [dict(zip(VOCABULARY, (weight / sum(side) for weight in side), strict=True)) for side in weights]
    return normed[0], normed[1]


def divergence(p: Distribution, q: Distribution) -> float:
    return sum(p[token] * math.log(p[token] / q[token]) for token in p)


def likeliest(p: Distribution, k: int) -> Distribution:
    return dict(sorted(p.items(), key=lambda entry: -entry[1])[:k])


@settings(deadline=None, max_examples=80)
@given(pair=distributions(), k=st.tuples(st.integers(1, 12), st.integers(1, 12)))
def test_the_bounds_hold_the_true_divergence(pair, k) -> None:
    p, q = pair
    found = bounds(likeliest(p, k[0]), likeliest(q, k[1]))
    true = divergence(p, q)
    assert found.kl_lower[0] <= found.kl_upper[0]
    assert found.kl_lower[0] <= true + 1e-9
    # What the baseline leaves over by rounding is priced at the floor.
    assert true <= found.kl_upper[0] + 1e-9


@settings(deadline=None, max_examples=30)
@given(pair=distributions())
def test_lists_of_everything_give_the_divergence_itself(pair) -> None:
    p, q = pair
    found = bounds(p, q)
    true = divergence(p, q)
    assert found.kl_lower[0] == pytest.approx(true, abs=1e-9)
    assert found.kl_upper[0] == pytest.approx(true, abs=1e-9)
    assert found.baseline_covered[0] == pytest.approx(1)


@settings(deadline=None, max_examples=30)
@given(pair=distributions(), k=st.integers(1, 11))
def test_longer_lists_never_widen_the_upper_bound(pair, k) -> None:
    shorter, longer = (bounds(likeliest(pair[0], size), likeliest(pair[1], size)) for size in (k, k + 1))
    assert longer.kl_upper[0] <= shorter.kl_upper[0] + 1e-9


def test_the_bounds_by_hand() -> None:
    # baseline .6 .3, rest .1; candidate .5 .25, rest .25: all named by both, so the cells are .6 .3 .1
    found = bounds({"a": 0.6, "b": 0.3}, {"a": 0.5, "b": 0.25})
    merged = 0.6 * math.log(0.6 / 0.5) + 0.3 * math.log(0.3 / 0.25) + 0.1 * math.log(0.1 / 0.25)
    assert found.kl_lower[0] == pytest.approx(merged)  # 0.0725
    # upwards the rest of .1 may be one token that the candidate gives exp(floor): .1 (ln .1 - floor)
    named = 0.6 * math.log(0.6 / 0.5) + 0.3 * math.log(0.3 / 0.25)
    assert found.kl_upper[0] == pytest.approx(named + 0.1 * (math.log(0.1) - FLOOR_LOGPROB))
    assert (found.baseline_covered[0], found.candidate_covered[0]) == pytest.approx((0.9, 0.75))
    assert found.has_same_top[0] == 1


def test_a_token_that_one_side_alone_names_is_capped_by_the_end_of_the_others_list() -> None:
    # The candidate names a .9, b .05; what it does not name has at most .05. The baseline gives c .5.
    found = bounds({"a": 0.45, "c": 0.5}, {"a": 0.9, "b": 0.05})
    # shared: a; left on the candidate's side: .1; merged: everything else is .55 against .1
    merged = 0.45 * math.log(0.45 / 0.9) + 0.55 * math.log(0.55 / 0.1)
    # capped: c at most .05, the baseline's rest .05 against all of .1
    capped = 0.45 * math.log(0.45 / 0.9) + 0.5 * math.log(0.5 / 0.05) + 0.05 * math.log(0.05 / 0.1)
    assert capped > merged
    assert found.kl_lower[0] == pytest.approx(capped)
    assert found.has_same_top[0] == 0


def test_equal_lists_have_no_divergence_for_sure() -> None:
    found = bounds({"a": 0.6, "b": 0.3}, {"a": 0.6, "b": 0.3})
    assert found.kl_lower[0] == 0


def test_what_no_list_can_be_has_no_bounds() -> None:
    more_than_one = bounds({"a": 0.9, "b": 0.9}, {"a": 0.6, "b": 0.3})
    assert np.isnan(more_than_one.kl_lower[0])
    assert np.isnan(more_than_one.kl_upper[0])
    twice = [{"token_id": 1, "token": "a", "logprob": -2.0}] * 2
    row = token_row("b", ["a"], top_k=[twice], token_ids=[1])
    other = token_row("a", ["a"], top_k=[twice[:1]], token_ids=[1])
    none = token_row("c", ["a"], top_k=[None], token_ids=[1])
    tokens = flatten_tokens(token_rows(row, other, none))
    for pair in ((0, 1), (1, 0), (0, 0), (2, 0), (0, 2), (2, 2)):
        places = {"baseline": np.array([pair[0]]), "candidate": np.array([pair[1]])}
        found = compare_distributions(Positions(tokens=tokens, keys=tokens.ids, top_keys=tokens.top_ids, places=places))
        assert np.isnan(found.kl_lower[0]), pair


def test_rounded_probabilities_are_no_excess() -> None:
    found = bounds({"a": 0.6000004, "b": 0.4000003}, {"a": 0.6000001, "b": 0.4000002})
    assert found.kl_lower[0] == pytest.approx(0, abs=1e-6)
    assert found.kl_upper[0] == pytest.approx(0, abs=1e-6)


def test_a_chosen_token_behind_the_list_is_known_but_ends_no_list() -> None:
    # Both list the two likeliest and append the chosen one, which is far down: .05 says nothing about the others.
    listed = {"a": 0.5, "b": 0.3, "far": 0.001}
    found = bounds(listed, {"a": 0.5, "c": 0.3, "far": 0.001}, chosen=("far", "far"))
    # b is unknown to the candidate; at most what its list leaves over, .199, not .001
    capped = 0.3 * math.log(0.3 / 0.199) + 0.199 * math.log(0.199 / 0.499)
    assert found.kl_lower[0] == pytest.approx(max(capped, 0.0), abs=1e-9)
    # The same token, reported apart from the list, counts the same.
    apart = {"a": math.log(0.5), "b": math.log(0.3)}
    row = token_row("b", ["far"], logprobs=[math.log(0.001)], top_k=[[
        {"token_id": None, "token": token, "logprob": value} for token, value in apart.items()
    ]])  # fmt: skip
    tokens = flatten_tokens(token_rows(row, row | {"run_id": "a"}))
    places = {"baseline": np.array([0]), "candidate": np.array([1])}
    same = compare_distributions(
        Positions(tokens=tokens, keys=tokens.text_keys, top_keys=tokens.top_text_keys, places=places)
    )
    assert same.baseline_covered[0] == pytest.approx(0.801)


def test_parts_of_characters_match_nothing_and_cap_nothing() -> None:
    # Both lists hold a token shown as U+FFFD: perhaps the same, perhaps not.
    unclear = {"a": math.log(0.5), "\ufffd": math.log(0.4)}
    rows = [token_row(run_id, [("a", unclear)]) for run_id in "ba"]
    tokens = flatten_tokens(token_rows(*rows))
    places = {"baseline": np.array([0]), "candidate": np.array([1])}
    found = compare_distributions(
        Positions(tokens=tokens, keys=tokens.text_keys, top_keys=tokens.top_text_keys, places=places)
    )
    assert found.kl_lower[0] == 0
    assert found.kl_upper[0] > 30


def test_slices_and_lists_of_any_length_change_nothing(monkeypatch) -> None:
    rng = np.random.default_rng(7)
    sides = []
    for _ in range(2):
        lists = []
        for size in rng.integers(1, 9, 50):
            weights = rng.dirichlet(np.ones(size + 1))[:-1]
            lists.append({f"t{rng.integers(0, 20)}-{place}": math.log(w) for place, w in enumerate(weights)})
        sides.append((lists, [max(own, key=own.get) for own in lists]))
    whole = compare_distributions(positions(*sides))
    monkeypatch.setattr(token_distributions, "_SLICE_CELLS", 20)
    parts = compare_distributions(positions(*sides))
    for name in Divergence.__dataclass_fields__:
        np.testing.assert_array_equal(getattr(whole, name), getattr(parts, name), err_msg=name)


def test_very_long_lists_are_cut_to_their_likeliest() -> None:
    rng = np.random.default_rng(3)
    p, q = ({f"t{place}": float(w) for place, w in enumerate(rng.dirichlet(np.ones(200)))} for _ in range(2))
    long, cut = bounds(p, q), bounds(likeliest(p, MAX_ALTERNATIVES), likeliest(q, MAX_ALTERNATIVES))
    assert long.kl_lower[0] == pytest.approx(cut.kl_lower[0])
    assert long.kl_lower[0] < divergence(p, q) < long.kl_upper[0]


def test_choices_by_hand() -> None:
    baseline, candidate = choices(
        {"A": -0.7, "B": -0.9, "C": -2.0}, {"B": -0.6, "C": -1.0, "A": -1.1}, chosen=("A", "B")
    )
    assert baseline.runner_up_gaps[0] == pytest.approx(0.2)
    assert candidate.runner_up_gaps[0] == pytest.approx(0.4)
    assert (baseline.ranks[0], candidate.ranks[0]) == (3, 2)  # A is the candidate's third, B the baseline's second
    assert baseline.gaps[0] == pytest.approx(0.2)  # A before B
    assert candidate.gaps[0] == pytest.approx(0.5)  # B before A
    assert baseline.is_other_listed[0]
    assert candidate.is_other_listed[0]


def test_a_token_outside_the_list_is_behind_its_end() -> None:
    baseline, candidate = choices({"A": -0.7, "C": -2.0}, {"B": -0.6, "A": -1.1}, chosen=("A", "B"))
    assert not baseline.is_other_listed[0]
    assert candidate.ranks[0] == 0  # B is not in the baseline's list
    assert baseline.gaps[0] == pytest.approx(-0.7 + 2.0)  # at least
    # A list of one says only what it leaves over: ln(1 - exp(-0.7)) = -0.686, so the gap may be as small as -0.014
    baseline, _ = choices({"A": -0.7}, {"B": -0.6, "A": -1.1}, chosen=("A", "B"))
    assert baseline.gaps[0] == pytest.approx(-0.7 - math.log(1 - math.exp(-0.7)))
    assert np.isnan(baseline.runner_up_gaps[0])


def test_a_drawn_token_has_a_gap_below_zero() -> None:
    baseline, _ = choices({"A": -0.5, "B": -1.5}, {"A": -0.5, "B": -1.5}, chosen=("B", "A"))
    assert baseline.runner_up_gaps[0] == pytest.approx(-1.0)
