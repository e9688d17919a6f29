"""Improved is said only where the interval says so."""

import pytest

from pipelines.optimization.scores import compare_scores, score_interval


def test_ten_gained_of_twenty_is_an_improvement_and_two_are_not() -> None:
    # 0 right of 20 before. Newcombe's paired interval for 10 of 20 after excludes 0, for 2 of 20 it holds it.
    better = compare_scores([0.0] * 20, [1.0] * 10 + [0.0] * 10)
    assert (better.effect, better.conclusion, better.interval.low > 0.2) == (0.5, "improved", True)
    unclear = compare_scores([0.0] * 20, [1.0, 1.0] + [0.0] * 18)
    assert (unclear.effect, unclear.conclusion) == (0.1, "no_difference_shown")
    assert unclear.interval.low <= 0 < unclear.interval.high


def test_the_other_way_round_it_is_worse_by_as_much() -> None:
    one, other = [1.0, 0.0] * 15, [0.0] * 30
    there, back = compare_scores(one, other), compare_scores(other, one)
    assert (there.conclusion, back.conclusion) == ("worse", "improved")
    assert there.interval == pytest.approx((-back.interval.high, -back.interval.low))


def test_graded_scores_are_compared_in_pairs() -> None:
    start = [0.1 * (n % 5) for n in range(40)]
    assert (
        compare_scores(start, [score + 0.2 + 0.01 * (n % 3) for n, score in enumerate(start)]).conclusion == "improved"
    )
    assert compare_scores(start, start).conclusion == "no_difference_shown"


def test_a_score_has_an_interval_within_its_range() -> None:
    # Wilson, 5 of 10 at 0.95: (5 + 1.9207) / 13.8415 -+ 0.2634 = 0.2366 to 0.7634.
    assert score_interval([1.0, 0.0] * 5) == pytest.approx((0.2366, 0.7634), abs=1e-4)
    low, high = score_interval([0.5, 0.9, 1.0])
    assert 0 <= low <= 0.8 <= high <= 1
    with pytest.raises(ValueError, match="no pairs"):
        compare_scores([1.0], [])
