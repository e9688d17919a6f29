import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipelines.evidence.statistics import (
    control_false_discoveries,
    detectable_worsening,
    mcnemar,
    mean_difference,
    one_sided_p,
    paired_share_difference,
    quantile_ratio,
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
    found = mean_difference(differences, scale=1)(0.95)
    assert found == pytest.approx((differences.mean() - half, differences.mean() + half), abs=0.1 * half)


def test_mean_of_skewed_differences_is_not_symmetric():
    # One sample in twenty lost a whole point: the interval reaches further down than up.
    differences = np.array([-1.0, *[0.0] * 19, *[0.01] * 20])
    low, high = mean_difference(differences, scale=1)(0.95)
    mean = differences.mean()
    assert mean - low > high - mean


def test_equal_differences_do_not_make_certainty():
    # 40 samples without any spread: Wilson's limit of 0 in 40 is 0.0876, each off by at most the scale of 2.
    low, high = mean_difference(np.zeros(40), scale=2)(0.95)
    assert (low, high) == pytest.approx((-2 * 0.087622, 2 * 0.087622), abs=1e-5)


def test_large_samples_use_students_t():
    differences = np.random.default_rng(3).exponential(0.2, 2_500)
    low, high = mean_difference(differences, scale=1)(0.95)
    # t(0.975, 2499) = 1.96091
    assert (high - low) / 2 == pytest.approx(1.96091 * differences.std(ddof=1) / 50, rel=1e-5)


def test_ratio_of_shifted_latencies():
    # Every candidate latency is exactly 2.5 times its baseline: so is every resample's ratio.
    baseline = np.random.default_rng(5).lognormal(5, 0.4, 60)
    assert quantile_ratio(2.5 * baseline, baseline, quantile=0.5)(0.95) == pytest.approx((2.5, 2.5))


def test_ratio_covers_what_it_should():
    # 200 experiments of 30 pairs whose true ratio of medians is 1: 95 % +- 4.6 (3 standard errors) of them contain 1.
    rng = np.random.default_rng(11)
    hits = 0
    for _ in range(200):
        candidate, baseline = rng.lognormal(5, 0.3, (2, 30))
        low, high = quantile_ratio(candidate, baseline, quantile=0.5)(0.95)
        hits += low <= 1 <= high
    assert 0.904 <= hits / 200 <= 0.996


@given(st.integers(2, 40), st.integers(0, 1_000))
@settings(deadline=None, max_examples=20)
def test_the_inverse_ratio_has_the_inverse_interval(count, seed):
    candidate, baseline = np.random.default_rng(seed).lognormal(4, 0.5, (2, count))
    low, high = quantile_ratio(candidate, baseline, quantile=0.5)(0.95)
    assert quantile_ratio(baseline, candidate, quantile=0.5)(0.95) == pytest.approx((1 / high, 1 / low), rel=1e-9)


def test_intervals_never_change():
    numbers = np.random.default_rng(1).normal(0, 1, 50)
    assert mean_difference(numbers, scale=1)(0.9) == mean_difference(numbers, scale=1)(0.9)
    positive = np.exp(numbers)
    once, again = (quantile_ratio(positive, positive[::-1], quantile=0.5)(0.9) for _ in range(2))
    assert once == again


@settings(deadline=None, max_examples=15)
@given(st.integers(0, 1_000), st.sampled_from([0.8, 0.95]))
def test_the_bootstrap_is_scipys(seed, confidence):
    """Oracle: scipy's BCa, whose acceleration comes from a jackknife; its draws are others, hence the tolerance."""
    from scipy import stats

    differences = np.random.default_rng(seed).exponential(1, 60) - 0.5
    found = mean_difference(differences, scale=1)(confidence)
    theirs = stats.bootstrap(
        (differences,), np.mean, n_resamples=4_000, confidence_level=confidence, rng=np.random.default_rng(1)
    ).confidence_interval
    width = theirs.high - theirs.low
    assert found == pytest.approx((theirs.low, theirs.high), abs=0.12 * width)


def test_p_is_the_normal_tail_where_the_interval_is_normal():
    differences = np.random.default_rng(3).normal(0.1, 1, 2_500)
    interval_at = mean_difference(differences, scale=1)
    from scipy import stats

    error = differences.std(ddof=1) / 50
    for limit in (-0.05, 0.02, 0.1, 0.2):
        tail = stats.t.sf((differences.mean() - limit) / error, 2_499)
        assert one_sided_p(interval_at, limit, worse="above") == pytest.approx(tail, abs=1e-5)
        assert one_sided_p(interval_at, limit, worse="below") == pytest.approx(1 - tail, abs=1e-5)


@given(COUNT, COUNT, COUNT, COUNT, st.floats(-0.5, 0.5))
@law
def test_p_and_interval_agree(both, candidate, baseline, neither, limit):
    def interval_at(confidence):
        return paired_share_difference(both, candidate, baseline, neither + 1, confidence=confidence)

    p = one_sided_p(interval_at, limit, worse="below")
    if p < 0.025 - 1e-6:
        assert interval_at(0.95).high < limit
    elif p > 0.025 + 1e-6:
        assert interval_at(0.95).high >= limit - 1e-9


def test_p_grows_as_the_limit_moves_to_the_worse():
    interval_at = quantile_ratio(np.linspace(90, 130, 41), np.linspace(80, 120, 41), quantile=0.5)
    found = [one_sided_p(interval_at, limit, worse="above") for limit in (0.8, 1.0, 1.1, 1.2, 2.0)]
    assert found == sorted(found)
    assert found[0] < 0.01
    assert found[-1] > 0.99


@pytest.mark.parametrize(("b", "c", "p"), [(0, 0, 1.0), (5, 0, 2 / 32), (8, 2, 112 / 1024), (3, 3, 1.0)])
def test_mcnemar_by_hand(b, c, p):
    # 8 and 2: twice (1 + 10 + 45) / 1024
    assert mcnemar(b, c) == pytest.approx(p)


def test_false_discoveries_by_hand():
    # sorted .01 .02 .04 .5: times 4/1, 4/2, 4/3, 4/4 is .04 .04 .0533 .5
    found = control_false_discoveries([0.5, 0.01, None, 0.04, 0.02])
    assert found[2] is None
    assert [q for q in found if q is not None] == pytest.approx([0.5, 0.04, 0.16 / 3, 0.04])


@given(st.lists(st.floats(0, 1), max_size=12))
@law
def test_false_discoveries_are_scipys(p_values):
    from scipy import stats

    expected = stats.false_discovery_control(p_values) if p_values else []
    assert control_false_discoveries(p_values) == pytest.approx(list(expected))


def test_what_could_have_been_seen():
    # An interval of +-0.1 at 95 %: 0.05 + 0.1 + 0.1 * 0.8416 / 1.9600
    assert detectable_worsening(0.1, margin=0.05, confidence=0.95) == pytest.approx(0.15 + 0.0429, abs=1e-4)


def test_higher_quantiles_of_shifted_latencies():
    baseline = np.random.default_rng(5).lognormal(5, 0.4, 400)
    slow = np.where(baseline > np.quantile(baseline, 0.9), 2 * baseline, baseline)
    # Only the slowest tenth got slower: the median stays, the 95th percentile doubles.
    assert quantile_ratio(slow, baseline, quantile=0.5)(0.95) == pytest.approx((1, 1))
    low, high = quantile_ratio(slow, baseline, quantile=0.95)(0.95)
    assert low > 1.5
    assert high == pytest.approx(2)
