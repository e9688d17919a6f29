"""Demos valued by asking again: what is asked, what is kept, what is said."""

import re

import pytest

from lake.errors import UserError
from pipelines.attribution.demo_game import read_demo_game
from pipelines.attribution.demo_steps import DemoPlan, attribute_demos
from tests.attribution.learnt import asking, attribute, learn, stock
from tests.optimization.fakes import RuleEngine, template


class OneGoodDemo(RuleEngine):
    """Right only while a certain demo is shown, of those that it was shown in its first request with any."""

    good = None

    def _answer(self, request):
        shown = [message.text for message in request.messages[:-1] if message.text and ">" in message.text]
        if shown and self.good is None:
            self.good = shown[0]
        answer = super()._answer(request)
        number, source, target = re.search(r"(\d+) lamps from (\w+) to (\w+)", request.messages[-1].text).groups()
        return answer | {"order": f"{source}>{target}" if self.good in shown and self.good else number}


@pytest.fixture
def stocked(lake):
    return stock(lake)


def values(lake, method="leave_one_out"):
    rows = lake.read("gold.attributions", where={"method": method}).sort("value", descending=True)
    return rows["value"].to_list(), rows["finding"].to_list()


def test_the_one_demo_that_matters_is_helpful_and_the_others_are_told_from_0_by_nobody(stocked) -> None:
    engine = OneGoodDemo()
    run_id = learn(stocked, engine=engine)
    result = attribute(stocked, engine)
    # All right with it, none without: v(all) - v(all without it) = 1; without any other one nothing changes.
    assert values(stocked) == ([1.0, 0.0, 0.0], ["helpful", "indistinguishable", "indistinguishable"])
    assert (result.run_id, dict(result.counts)) == (run_id, {"helpful": 1, "harmful": 0, "indistinguishable": 2})
    (row, *_) = stocked.read("gold.attributions").to_dicts()
    assert (row["sample_count"], row["unit_count"], row["evaluation_count"]) == (12, 3, 48)
    # Wilson's upper limit of 0 in 12 is 3.8415 / (12 + 3.8415) = 0.2425: no spread is no certainty.
    zero = stocked.read("gold.attributions").filter(value=0.0).row(0, named=True)
    assert zero["interval_high"] == pytest.approx(0.2425, abs=1e-4)


def test_two_demos_that_say_the_same_share_the_credit_by_shapley_and_have_none_by_leaving_one_out(stocked) -> None:
    # Any demo makes the rule right on all twelve, so each of three is worth a third of what all are worth.
    engine = RuleEngine()
    learn(stocked, engine=engine)
    attribute(stocked, engine)
    attribute(stocked, engine, method="shapley_exact")
    attribute(stocked, engine, method="shapley_sampled", orders=60, seed=1)
    empty = stocked.read("gold.attribution_evaluations").filter(example_ids=[])["score"][0]
    assert values(stocked)[0] == [0.0] * 3
    assert values(stocked, "shapley_exact")[0] == pytest.approx([(1 - empty) / 3] * 3)
    assert sum(values(stocked, "shapley_sampled")[0]) == pytest.approx(1 - empty)
    assert set(values(stocked, "shapley_exact")[1]) == {"helpful"}


def test_nothing_is_asked_twice_nor_what_a_trial_has_asked(stocked) -> None:
    engine = RuleEngine()
    learn(stocked, engine=engine)
    before = len(engine.requests)
    attribute(stocked, engine)
    # Three sets of two demos on twelve items; the whole is the run's own test.
    assert len(engine.requests) - before == 36
    taken = stocked.read("gold.attribution_evaluations")
    assert sorted(ids is None for ids in taken["trial_id"]) == [False, True, True, True]
    attribute(stocked, engine, method="shapley_exact")
    # Eight sets: all but the three of one demo stand, and the empty one is the start's test.
    assert len(engine.requests) - before == 72
    version = stocked.version("gold.attributions")
    again = attribute(stocked, engine, method="shapley_exact")
    assert (again.is_new, again.is_complete, stocked.version("gold.attributions")) == (False, True, version)
    assert len(engine.requests) - before == 72


def test_a_budget_leaves_what_it_was_enough_for_and_the_next_call_goes_on(stocked) -> None:
    engine = RuleEngine(seen={})
    learn(stocked, engine=engine)
    result = attribute_demos(stocked, "latest", DemoPlan(), asking(engine, calls=30))
    # Two sets of twelve fit; the third is cut in the middle.
    assert (result.is_complete, sum(result.counts.values())) == (False, 2)
    assert "30 of 30 calls are spent. 3 of at most 4 sets of demos are evaluated" in str(result.note)
    done = attribute_demos(stocked, "latest", DemoPlan(), asking(engine, calls=30))
    assert (done.is_complete, sum(done.counts.values())) == (True, 3)
    assert stocked.row_count("gold.attribution_evaluations") == 4


def test_sampled_orders_that_the_budget_cut_short_are_taken_up(stocked) -> None:
    engine = RuleEngine(seen={})
    learn(stocked, engine=engine, demos=5)
    plan = DemoPlan(method="shapley_sampled", orders=20, seed=3)
    first = attribute_demos(stocked, "latest", plan, asking(engine, calls=120))
    assert (first.is_complete, first.is_new) == (False, True)
    second = attribute_demos(stocked, "latest", plan, asking(engine))
    assert second.is_complete
    fresh = values(stocked, "shapley_sampled")[0]
    stocked.replace("gold.attributions", stocked.read("gold.attributions").clear(), where={"method": "shapley_sampled"})
    attribute_demos(stocked, "latest", plan, asking(engine))
    assert values(stocked, "shapley_sampled")[0] == fresh


def test_a_kill_keeps_what_was_evaluated(stocked) -> None:
    engine = RuleEngine()
    learn(stocked, engine=engine)
    engine.fail_at = len(engine.requests) + 20
    with pytest.raises(KeyboardInterrupt):
        attribute(stocked, engine)
    assert stocked.row_count("gold.attribution_evaluations") == 2
    engine.fail_at = None
    before = len(engine.requests)
    assert attribute(stocked, engine).is_complete
    assert len(engine.requests) - before == 24


def test_another_model_is_another_game_that_takes_nothing_from_the_trials(stocked) -> None:
    engine = RuleEngine()
    learn(stocked, engine=engine)
    other = RuleEngine()
    other.model = "rule-2"
    attribute(stocked, other)
    assert len(other.requests) == 48
    assert stocked.read("gold.attribution_evaluations")["trial_id"].null_count() == 4


def test_steps_of_a_program_lose_the_demos_of_a_unit_together(stocked) -> None:
    from pipelines.optimization.template_registry import save_template
    from tests.attribution.learnt import NOW

    save_template(stocked, template(program_kind="chain_of_thought"), now=NOW, author="ada")
    learn(stocked)
    game = read_demo_game(stocked, "latest", split="test")
    shown = game.state_showing(game.unit_ids[:1])
    assert [len(part["demos"]) for part in shown.values()] == [1]
    assert [len(part["demos"]) for part in game.state_showing(()).values()] == [0]
    assert game.state_showing(game.unit_ids) == game.facts.state


def test_what_cannot_be_valued_says_why(stocked) -> None:
    engine = RuleEngine()
    with pytest.raises(UserError, match="no optimisation run yet"):
        attribute(stocked, engine)
    learn(stocked, engine=engine, demos=14)
    with pytest.raises(UserError, match=r"need 16,384 evaluations; the most is 12 demos"):
        attribute(stocked, engine, method="shapley_exact")


def test_a_program_without_demos_has_nothing_to_value(stocked) -> None:
    class KnowsAll(RuleEngine):
        def _answer(self, request):
            source, target = re.search(r"from (\w+) to (\w+)", request.messages[-1].text).groups()
            return {"order": f"{source}>{target}"}

    # Start and candidate score alike; the start came first and shows nothing.
    learn(stocked, engine=KnowsAll())
    result = attribute(stocked, KnowsAll())
    assert (result.is_new, result.note) == (
        False,
        "The best program shows no demo that is an example of the store.",
    )
    assert stocked.row_count("gold.attributions") == 0
