import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipelines.evidence.intervals import (
    mean_difference,
    median_ratio,
    paired_share_difference,
    share_difference,
    wilson,
)
from tests.oracles.shares import newcombe_paired, wilson_by_bisection

COUNT = st.integers(0, 60)
law = settings(deadline=None, max_examples=60)


@pytest.mark.parametrize(
    ("successes", "total", "low", "high"),
    # Newcombe 1998, Statistics in Medicine 17:857, table I, method 3
    [(81, 263, 0.2553, 0.3662), (15, 148, 0.0624, 0.1605), (0, 20, 0.0000, 0.1611), (1, 29, 0.0061, 0.1718)],
)
def test_wilson_as_published(successes, total, low, high):
    assert wilson(successes, total, confidence=0.95) == pytest.approx((low, high), abs=5e-5)


def test_wilson_by_hand():
    # 0 of 40, z = 1.96: high = z^2 / (n + z^2) = 3.8415 / 43.8415 = 0.08762
    assert wilson(0, 40, confidence=0.95) == pytest.approx((0, 3.841459 / 43.841459), abs=1e-6)


@given(COUNT, COUNT)
@law
def test_wilson_solves_its_equation(successes, failures):
    total = successes + failures + 1
    assert wilson(successes, total, confidence=0.95) == pytest.approx(wilson_by_bisection(successes, total), abs=1e-9)


def test_independent_difference_as_published():
    # Newcombe 1998, Statistics in Medicine 17:873, table II (a): 56/70 - 48/80, method 10
    assert share_difference(56, 70, 48, 80, confidence=0.95) == pytest.approx((0.0524, 0.3339), abs=5e-5)


def test_independent_difference_by_hand():
    # 2 of 20 against 0 of 20. Wilson 2/20: [0.02787, 0.30104], 0/20: [0, 0.16113].
    # low  = 0.1 - sqrt((0.1 - 0.02787)^2 + (0.16113 - 0)^2) = 0.1 - sqrt(0.005203 + 0.025962) = 0.1 - 0.17654
    # high = 0.1 + sqrt((0.30104 - 0.1)^2 + 0^2)             = 0.1 + 0.20104
    assert share_difference(2, 20, 0, 20, confidence=0.95) == pytest.approx((-0.07654, 0.30104), abs=2e-5)


def test_paired_difference_as_published():
    # Newcombe 1998, Statistics in Medicine 17:2635: 36, 12, 2, 0, method 10
    assert paired_share_difference(36, 12, 2, 0, confidence=0.95) == pytest.approx((0.0569, 0.3404), abs=5e-5)


@given(COUNT, COUNT, COUNT, COUNT)
@law
def test_paired_difference_is_the_paper_step_by_step(both, candidate, baseline, neither):
    if both + candidate + baseline + neither == 0:
        return
    found = paired_share_difference(both, candidate, baseline, neither, confidence=0.95)
    # A square root near 0 doubles the number of digits lost, hence the tolerance.
    assert found == pytest.approx(newcombe_paired(both, candidate, baseline, neither), abs=1e-6)


@given(COUNT, COUNT, COUNT, COUNT)
@law
def test_differences_are_antisymmetric(both, candidate, baseline, neither):
    low, high = paired_share_difference(both, candidate, baseline, neither + 1, confidence=0.9)
    swapped = paired_share_difference(both, baseline, candidate, neither + 1, confidence=0.9)
    assert swapped == pytest.approx((-high, -low), abs=1e-12)
    low, high = share_difference(candidate, candidate + neither + 1, both, both + baseline + 1, confidence=0.9)
    swapped = share_difference(both, both + baseline + 1, candidate, candidate + neither + 1, confidence=0.9)
    assert swapped == pytest.approx((-high, -low), abs=1e-12)


def test_mean_of_normal_differences_agrees_with_student():
    differences = np.random.default_rng(7).normal(0.1, 0.3, 200)
    # t(0.975, 199) = 1.97196
    half = 1.97196 * differences.std(ddof=1) / math.sqrt(200)
    found = mean_difference(differences, scale=1, confidence=0.95)
    assert found == pytest.approx((differences.mean() - half, differences.mean() + half), abs=0.1 * half)


def test_mean_of_skewed_differences_is_not_symmetric():
    # One sample in twenty lost a whole point: the interval reaches further down than up.
    differences = np.array([-1.0, *[0.0] * 19, *[0.01] * 20])
    low, high = mean_difference(differences, scale=1, confidence=0.95)
    mean = differences.mean()
    assert mean - low > high - mean


def test_equal_differences_do_not_make_certainty():
    # 40 samples without any spread: Wilson's limit of 0 in 40 is 0.0876, each off by at most the scale of 2.
    low, high = mean_difference(np.zeros(40), scale=2, confidence=0.95)
    assert (low, high) == pytest.approx((-2 * 0.087622, 2 * 0.087622), abs=1e-5)


def test_large_samples_use_students_t():
    differences = np.random.default_rng(3).exponential(0.2, 2_500)
    low, high = mean_difference(differences, scale=1, confidence=0.95)
    # t(0.975, 2499) = 1.96091
    assert (high - low) / 2 == pytest.approx(1.96091 * differences.std(ddof=1) / 50, rel=1e-5)


def test_ratio_of_shifted_latencies():
    # Every candidate latency is exactly 2.5 times its baseline: so is every resample's ratio.
    baseline = np.random.default_rng(5).lognormal(5, 0.4, 60)
    assert median_ratio(2.5 * baseline, baseline, confidence=0.95) == pytest.approx((2.5, 2.5))


def test_ratio_covers_what_it_should():
    # 200 experiments of 30 pairs whose true ratio of medians is 1: 95 % +- 4.6 (3 standard errors) of them contain 1.
    rng = np.random.default_rng(11)
    hits = 0
    for _ in range(200):
        candidate, baseline = rng.lognormal(5, 0.3, (2, 30))
        low, high = median_ratio(candidate, baseline, confidence=0.95)
        hits += low <= 1 <= high
    assert 0.904 <= hits / 200 <= 0.996


@given(st.integers(2, 40), st.integers(0, 1_000))
@settings(deadline=None, max_examples=20)
def test_the_inverse_ratio_has_the_inverse_interval(count, seed):
    candidate, baseline = np.random.default_rng(seed).lognormal(4, 0.5, (2, count))
    low, high = median_ratio(candidate, baseline, confidence=0.95)
    assert median_ratio(baseline, candidate, confidence=0.95) == pytest.approx((1 / high, 1 / low), rel=1e-9)


def test_intervals_never_change():
    numbers = np.random.default_rng(1).normal(0, 1, 50)
    assert mean_difference(numbers, scale=1, confidence=0.9) == mean_difference(numbers, scale=1, confidence=0.9)
    positive = np.exp(numbers)
    assert median_ratio(positive, positive[::-1], confidence=0.9) == median_ratio(
        positive, positive[::-1], confidence=0.9
    )
