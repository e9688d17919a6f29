"""The estimator: against its definition in loops, against numbers worked out by hand, and against planted effects."""

from __future__ import annotations

import datetime as dt

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import spearmanr

from pipelines.examples.effectiveness import (
    DEFAULT_PRIOR_SCALE,
    MINIMUM_COMPARABLE,
    effect_over_time,
    estimate_lifts,
    fit_prior_scale,
    keep_prior_scale,
    shrink,
)
from tests.examples.planted import FIRST_DAY, plant_uses
from tests.oracles.lifts import Call, lift_of


def usages(calls: list[Call]) -> pl.DataFrame:
    """Rows of silver.example_usages as the estimator wants them."""
    rows = [
        {
            "example_id": example,
            "stratum": call.stratum,
            "call_id": f"call-{index}",
            "position": position,
            "outcome_score": call.outcome,
            "baseline_score": call.baseline,
            "used_at": FIRST_DAY + dt.timedelta(days=index),
        }
        for index, call in enumerate(calls)
        for position, example in enumerate(call.arrangement)
    ]
    return pl.DataFrame(rows, schema_overrides={"baseline_score": pl.Float64, "outcome_score": pl.Float64})


def test_a_lift_by_hand() -> None:
    # Stratum s: with `a` 1 and 0 (mean .5), without it 0 and 0 (mean 0): difference .5, weight 2 * 2 / 4 = 1.
    # Stratum t: with `a` 1, without it 0: difference 1, weight 1 * 1 / 2 = .5. Lift (1 * .5 + .5 * 1) / 1.5 = 2/3.
    calls = [
        Call("s", ("a", "b"), 1.0),
        Call("s", ("a", "c"), 0.0),
        Call("s", ("b", "c"), 0.0),
        Call("s", ("c",), 0.0),
        Call("t", ("a",), 1.0),
        Call("t", ("b",), 0.0),
    ]
    row = estimate_lifts(usages(calls)).row(0, named=True)
    assert (row["example_id"], row["usage_count"], row["comparable_count"], row["stratum_count"]) == ("a", 3, 3, 2)
    assert row["lift"] == pytest.approx(2 / 3)
    # Stratum s: squares .75 of 4 values, drawn mean (1 + 1) / 6, so (.75 + 2 * 1/3 * 2/3) / 5 = .23888…
    # Stratum t: squares .5 of 2 values, drawn mean .5, so (.5 + 2 * .25) / 3 = 1/3. Error sqrt(.23888 + .5 / 3) / 1.5.
    assert row["standard_error"] == pytest.approx((0.238888888889 + 1 / 6) ** 0.5 / 1.5)


def test_the_very_same_call_again_is_no_new_evidence() -> None:
    once = [Call("s", ("a",), 1.0), Call("s", ("b",), 0.0)]
    many = estimate_lifts(usages(once * 30))
    assert many["usage_count"].to_list() == [30, 30]
    assert many["comparable_count"].to_list() == [1, 1]
    assert many["standard_error"].to_list() == estimate_lifts(usages(once))["standard_error"].to_list()


def test_other_calls_of_the_night_say_nothing_where_the_baseline_is_known() -> None:
    calls = [Call("s", ("a",), 1.0, baseline=0.0), Call("s", ("b",), 1.0, baseline=1.0)]
    lifts = estimate_lifts(usages(calls))
    assert lifts["lift"].to_list() == [1.0, 0.0]


def test_an_example_without_anything_comparable_has_no_lift() -> None:
    lifts = estimate_lifts(usages([Call("s", ("a",), 1.0), Call("t", ("b",), 0.0)]))
    assert lifts["lift"].to_list() == [None, None]
    assert shrink(lifts, prior_scale=0.1)["effect_kind"].to_list() == ["too_few_uses"] * 2


CALLS = st.lists(
    st.builds(
        Call,
        stratum=st.sampled_from("stu"),
        arrangement=st.lists(st.sampled_from("abcd"), min_size=1, max_size=3, unique=True).map(tuple),
        outcome=st.sampled_from([0.0, 0.25, 1.0]),
        baseline=st.sampled_from([None, None, 0.0, 0.5]),
    ),
    min_size=1,
    max_size=25,
)


@given(CALLS)
@settings(max_examples=60, deadline=None)
def test_the_estimate_is_the_definition(calls: list[Call]) -> None:
    for row in estimate_lifts(usages(calls)).iter_rows(named=True):
        truth = lift_of(row["example_id"], calls)
        if truth is None:
            assert row["lift"] is None
        else:
            assert (row["lift"], row["standard_error"], row["comparable_count"]) == pytest.approx(truth, abs=1e-8)


def test_shrinkage_by_hand() -> None:
    # Prior .1, error .1: half the lift; posterior deviation .1 / sqrt(2), interval 1.96 of it either way.
    lifts = pl.DataFrame({"comparable_count": [MINIMUM_COMPARABLE], "lift": [0.3], "standard_error": [0.1]})
    row = shrink(lifts, prior_scale=0.1).row(0, named=True)
    assert row["effectiveness_score"] == pytest.approx(0.15)
    assert row["effectiveness_high"] - 0.15 == pytest.approx(1.959964 * 0.1 / 2**0.5, abs=1e-6)
    assert row["effect_kind"] == "helps"


def test_planted_examples_are_told_apart_where_a_mean_of_outcomes_cannot() -> None:
    planted = plant_uses(np.random.default_rng(7), uses_each=200)
    lifts = estimate_lifts(planted.usages)
    effects = planted.truth.join(shrink(lifts, prior_scale=fit_prior_scale(lifts)), on="example_id")
    assert spearmanr(effects["true_lift"], effects["effectiveness_score"])[0] >= 0.8
    assert spearmanr(effects["true_lift"], effects["mean_outcome_score"])[0] < 0.5
    assert effects.filter((pl.col("kind") == "bad") & (pl.col("effect_kind") == "helps")).is_empty()


def test_examples_that_do_nothing_are_not_called_good_or_bad() -> None:
    planted = plant_uses(np.random.default_rng(3), uses_each=200, lifts={"idle": 0.0, "also_idle": 0.0})
    lifts = estimate_lifts(planted.usages)
    effects = shrink(lifts, prior_scale=fit_prior_scale(lifts))
    assert effects["effect_kind"].is_in(["helps", "harms"]).mean() <= 0.05


def test_the_scale_stays_unless_it_is_off_by_a_quarter() -> None:
    assert keep_prior_scale(None, 0.05) == 0.05
    assert keep_prior_scale(0.05, 0.06) == 0.05
    assert keep_prior_scale(0.05, 0.07) == 0.07
    assert fit_prior_scale(estimate_lifts(usages([Call("s", ("a",), 1.0)]))) == DEFAULT_PRIOR_SCALE


def test_the_last_day_of_the_history_is_the_estimate() -> None:
    planted = plant_uses(np.random.default_rng(5), uses_each=60, examples_each=4)
    history = effect_over_time(planted.usages, "good-000", prior_scale=0.1)
    now = shrink(estimate_lifts(planted.usages), prior_scale=0.1).filter(pl.col("example_id") == "good-000")
    assert history.drop("day").tail(1).equals(now)
    assert history["usage_count"].is_sorted()
