import datetime as dt
import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipelines.evidence.pairing import plan_comparisons
from tests.evidence.rows import DAY, START, policy, run, run_rows

HOUR = dt.timedelta(hours=1)
ACROSS = "version: 1\ncomparisons: [{name: across, candidate: {backend: a}, baseline: {backend: b}}]"
PREVIOUS = "version: 1\ncomparisons: [{name: previous, baseline: previous}]"


def pairs(runs, rules: str, *dates: dt.date) -> list[tuple[str, str]]:
    wanted = set(dates) or {row["run_date"] for row in runs}
    plan = plan_comparisons(run_rows(*runs), policy(rules), wanted)
    return sorted(plan.select("candidate_run_id", "baseline_run_id").rows())


def test_previous_is_the_latest_strictly_before():
    runs = [run(f"r{day}", started_at=START + day * DAY) for day in range(3)]
    assert pairs(runs, PREVIOUS) == [("r1", "r0"), ("r2", "r1")]


def test_previous_at_the_same_instant_is_not_before():
    assert pairs([run("r0"), run("r1")], PREVIOUS) == []


def test_previous_is_of_the_same_suite_backend_and_model():
    later = {"started_at": START + DAY}
    others = [run("suite", suite="other"), run("backend", "b"), run("model", model="large")]
    assert pairs([*others, run("candidate", **later)], PREVIOUS) == []
    assert pairs([*others, run("same"), run("candidate", **later)], PREVIOUS) == [("candidate", "same")]


def test_previous_is_one_that_the_rule_would_judge_too():
    tagged = "version: 1\ncomparisons: [{name: p, candidate: {tag: nightly}, baseline: previous}]"
    runs = [
        run("night 1", tags=["nightly"]),
        run("by hand", started_at=START + 10 * HOUR),
        run("night 2", started_at=START + DAY, tags=["nightly"]),
    ]
    assert pairs(runs, tagged) == [("night 2", "night 1")]


def test_a_filtered_baseline_is_the_nearest_of_the_same_date():
    runs = [
        run("a", started_at=START + 3 * HOUR),
        run("b early", "b", started_at=START),
        run("b near", "b", started_at=START + 4 * HOUR),
        run("b later date", "b", started_at=START + DAY),
    ]
    assert pairs(runs, ACROSS) == [("a", "b near")]


def test_without_one_on_the_date_the_latest_of_an_earlier_date_serves():
    runs = [run("a", started_at=START + 5 * DAY)]
    runs += [run(f"b{day}", "b", started_at=START + day * DAY) for day in (0, 3, 6)]
    assert pairs(runs, ACROSS) == [("a", "b3")]


def test_a_run_is_never_its_own_baseline():
    rules = "version: 1\ncomparisons: [{name: c, baseline: {backend: a}}]"
    assert pairs([run("a1")], rules) == []


def test_what_has_not_ended_is_no_candidate_and_what_has_not_succeeded_no_baseline():
    later = START + DAY
    assert pairs([run("r0"), run("r1", started_at=later, status="started")], PREVIOUS) == []
    for status in ("started", "error", "cancelled"):
        assert pairs([run("r0", status=status), run("r1", started_at=later)], PREVIOUS) == []
    assert pairs([run("r0"), run("r1", started_at=later, status="error")], PREVIOUS) == [("r1", "r0")]


def test_only_candidates_of_the_dates_asked_for():
    runs = [run(f"r{day}", started_at=START + day * DAY) for day in range(4)]
    assert pairs(runs, PREVIOUS, (START + 2 * DAY).date()) == [("r2", "r1")]


def test_columns_that_must_agree_can_be_named():
    rules = ACROSS.replace("baseline: {backend: b}", "baseline: {backend: b}, same: [model]")
    runs = [run("a"), run("b", "b", model="large"), run("b2", "b", started_at=START + HOUR)]
    assert pairs(runs, rules) == [("a", "b2")]


def test_ids_stay_and_digests_follow_the_content():
    runs = [run("r0"), run("r1", started_at=START + DAY)]
    dates = {(START + DAY).date()}
    before = plan_comparisons(run_rows(*runs), policy(PREVIOUS), dates)
    for changed in (0, 1):
        touched = [row | {"content_digest": "new"} if place == changed else row for place, row in enumerate(runs)]
        after = plan_comparisons(run_rows(*touched), policy(PREVIOUS), dates)
        assert after["comparison_id"].to_list() == before["comparison_id"].to_list()
        assert after["input_digest"].to_list() != before["input_digest"].to_list()
    renamed = plan_comparisons(run_rows(*runs), policy(PREVIOUS.replace("name: previous", "name: other")), dates)
    assert renamed["comparison_id"].to_list() != before["comparison_id"].to_list()


@given(st.lists(st.tuples(st.sampled_from("ab"), st.integers(0, 3), st.integers(0, 3)), min_size=1, max_size=12))
@settings(deadline=None, max_examples=60)
def test_the_order_of_rows_is_nothing_and_baselines_are_never_of_a_later_date(kinds):
    runs = [
        run(f"r{place}", backend, started_at=START + day * DAY + hour * HOUR)
        for place, (backend, day, hour) in enumerate(kinds)
    ]
    dates = {row["run_date"] for row in runs}
    plan = plan_comparisons(run_rows(*runs), policy(), dates)
    shuffled = random.Random(len(kinds)).sample(runs, len(runs))
    assert plan_comparisons(run_rows(*shuffled), policy(), dates).equals(plan)
    assert (plan["baseline_run_date"] <= plan["run_date"]).all()
    assert plan["comparison_id"].is_unique().all()


@pytest.mark.parametrize("rules", [ACROSS, PREVIOUS])
def test_no_runs_no_comparisons(rules):
    assert plan_comparisons(run_rows(run("a")).clear(), policy(rules), {START.date()}).is_empty()
