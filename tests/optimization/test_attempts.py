"""Runs that do not come to their end: budget, stop, kill; and how they are taken up."""

import datetime as dt
import itertools
import time

import pytest

from lake.errors import UserError
from pipelines.optimization.requests import Models, OptimizationRequest, Watching
from pipelines.optimization.settings import OptimizerSettings
from pipelines.optimization.spending import Budget, Meter, RunStopped, Spent
from pipelines.optimization.splitting import SplitShares, split_items
from pipelines.optimization.steps import launch_optimization_run, read_run, request_stop
from tests.optimization.fakes import RuleEngine, items, version

START = dt.datetime(2026, 11, 21, 12, tzinfo=dt.UTC)
SPLITS = split_items(items(60), shares=SplitShares(max_validation=8, max_test=10))


def clock():
    ticks = itertools.count()
    return lambda: START + dt.timedelta(seconds=next(ticks))


def launch(lake, engine, *, budget=None, on_trial=None, now=None, ticks=time.monotonic):
    return launch_optimization_run(
        lake,
        OptimizationRequest(
            version=version(),
            splits=SPLITS,
            optimizer="random_search",
            settings=OptimizerSettings(candidate_count=2, labeled_demo_count=3),
            budget=budget or Budget(),
            requested_by="ada",
        ),
        Models(engine=engine, prompt_engine=engine),
        Watching(clock=now or clock(), on_trial=on_trial, ticks=ticks),
    )


def test_a_budget_in_calls_is_kept_to_and_leaves_room_for_the_test(lake) -> None:
    # Test: 2 x 10 calls kept back. Search: 8 for the start, 8 again (zero-shot), then at most 4 of the third candidate.
    engine = RuleEngine()
    result = launch(lake, engine, budget=Budget(calls=40))
    assert (result.row["state"], result.row["call_count"] <= 40) == ("budget_spent", True)
    assert "20 of 40 calls are spent (20 kept back for the test)" in result.row["state_reason"]
    assert result.row["best_test_score"] is not None
    kinds = lake.read("gold.dspy_trials").sort("trial_index").select("trial_kind", "split").rows()
    assert kinds == [("start", "validation"), ("candidate", "validation"), ("start", "test"), ("best", "test")]


def test_a_larger_budget_takes_the_run_up_from_the_answers_it_has(lake) -> None:
    kept: dict[str, str] = {}
    first = launch(lake, RuleEngine(seen=kept), budget=Budget(calls=40))
    engine = RuleEngine(seen=kept)
    second = launch(lake, engine, budget=Budget(calls=400))
    row = second.row
    assert (second.run_id, row["state"], row["attempt_count"]) == (first.run_id, "finished", 2)
    count = first.row["trial_count"]
    assert row["state_reason"] == f"Taken up: {count} of {count} earlier trials came out again."
    assert row["conclusion"] == "improved"
    # A whole run without a stop asks as often: nothing was paid for twice.
    alone = launch(lake_like(lake), whole := RuleEngine(seen={}))
    assert row["call_count"] == alone.row["call_count"] < len(whole.requests)


def lake_like(lake):
    from lake.store import Lake

    return Lake.open(f"{lake.uri}-other")


def test_a_kill_keeps_every_trial_that_ended_and_nothing_is_written_twice(lake) -> None:
    kept: dict[str, str] = {}
    engine = RuleEngine(seen=kept)
    engine.fail_at = 30
    with pytest.raises(KeyboardInterrupt):
        launch(lake, engine)
    row = read_run(lake, "latest")
    # Three evaluations of 8 items ended before the 31st call.
    assert (row["state"], row["trial_count"], row["conclusion"]) == ("cancelled", 3, "not_tested")
    before = lake.read("gold.dspy_trials")
    result = launch(lake, RuleEngine(seen=kept))
    after = lake.read("gold.dspy_trials")
    assert result.row["state_reason"] == "Taken up: 3 of 3 earlier trials came out again."
    assert after.join(before, on="trial_id", how="semi").sort("trial_index").equals(before.sort("trial_index"))
    assert after["trial_id"].is_unique().all()
    assert after["trial_index"].sort().to_list() == list(range(after.height))


def test_a_run_that_goes_another_way_says_so(lake) -> None:
    engine = RuleEngine()
    engine.fail_at = 30
    with pytest.raises(KeyboardInterrupt):
        launch(lake, engine)
    other = RuleEngine()
    # As if the cache were gone and the model sampled otherwise: bootstrapping finds nothing now.
    other._answer = lambda request: {"order": "nothing"}
    row = launch(lake, other).row
    assert (row["state"], row["conclusion"]) == ("finished", "no_difference_shown")
    assert "The optimiser took another way than before" in row["state_reason"]


def test_a_stop_request_ends_the_run_before_the_next_call(lake) -> None:
    now, seconds = clock(), itertools.count(step=60.0)

    def stop_after_two(trial) -> None:
        if trial.trial_index == 1:
            request_stop(lake, "latest", now=now(), author="bob", reason="the machine is needed")

    result = launch(lake, RuleEngine(), on_trial=stop_after_two, now=now, ticks=lambda: next(seconds))
    assert (result.row["state"], result.row["trial_count"]) == ("cancelled", 2)
    assert result.row["state_reason"] == "bob asked it to stop: the machine is needed."
    with pytest.raises(UserError, match="is not running: it is cancelled"):
        request_stop(lake, result.run_id[:8], now=now(), author="bob", reason=None)


def test_what_cannot_be_recorded_ends_the_run_with_the_error_itself(lake) -> None:
    def broken(trial) -> None:
        raise ValueError("no space left")

    with pytest.raises(ValueError, match="no space left"):
        launch(lake, RuleEngine(), on_trial=broken)
    row = read_run(lake, "latest")
    assert (row["state"], row["state_reason"]) == ("failed", "ValueError: no space left")


@pytest.mark.parametrize(
    ("budget", "spent"),
    [
        (Budget(tokens=1000), {"input_tokens": 990, "output_tokens": 10}),
        (Budget(cost_usd=0.5), {"cost_usd": 0.5}),
        (Budget(calls=1), {}),
        (Budget(seconds=3), {}),
    ],
)
def test_each_kind_of_budget_stops(budget, spent) -> None:
    ticks = iter(range(100))
    meter = Meter(budget, ticks=lambda: float(next(ticks)))
    meter.check()
    meter.add(is_cached=False, **{"input_tokens": 1, "output_tokens": 1, "cost_usd": 0.0} | spent)
    with pytest.raises(RunStopped, match="are spent"):
        meter.check()


def test_answers_from_the_cache_spend_nothing_and_earlier_attempts_count() -> None:
    meter = Meter(Budget(calls=5), ticks=lambda: 0.0, before=Spent(calls=4, cost_usd=None))
    for _ in range(9):
        meter.check()
        meter.add(is_cached=True, input_tokens=9, output_tokens=9, cost_usd=1.0)
    assert (meter.total.calls, meter.total.cached_calls, meter.total.input_tokens) == (4, 9, 0)
    meter.add(is_cached=False, input_tokens=9, output_tokens=9, cost_usd=1.0)
    assert meter.total.cost_usd is None
    with pytest.raises(RunStopped, match="5 of 5 calls"):
        meter.check()
    with pytest.raises(UserError, match="allows nothing"):
        Budget(seconds=0)
