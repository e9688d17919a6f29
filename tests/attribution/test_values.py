"""Values of units: against enumeration, by the axioms, and with planted good and bad ones."""

from __future__ import annotations

from itertools import permutations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipelines.attribution.games import BudgetSpentError, Game, table_game
from pipelines.attribution.values import leave_one_out, shapley_exact, shapley_sampled


def subsets(count: int) -> list[frozenset[int]]:
    return [frozenset(i for i in range(count) if number >> i & 1) for number in range(2**count)]


@st.composite
def games(draw, most: int = 5) -> Game:
    count = draw(st.integers(1, most))
    items = draw(st.integers(1, 4))
    scores = st.lists(st.floats(0, 1), min_size=items, max_size=items)
    table = {coalition: np.array(draw(scores)) for coalition in subsets(count)}
    return Game(unit_count=count, utility=lambda coalition: table[coalition])


def by_enumeration(game: Game) -> np.ndarray:
    """The mean over all orders of what each unit adds, from the definition."""
    values = np.zeros(game.unit_count)
    orders = list(permutations(range(game.unit_count)))
    for order in orders:
        joined: list[int] = []
        for unit in order:
            before = game.scores(joined).mean()
            joined.append(unit)
            values[unit] += game.scores(joined).mean() - before
    return values / len(orders)


@settings(deadline=None, max_examples=40)
@given(game=games())
def test_exact_values_are_those_of_all_orders(game: Game) -> None:
    found = [unit.value for unit in shapley_exact(game)]
    assert found == pytest.approx(by_enumeration(game), abs=1e-12)


@settings(deadline=None, max_examples=40)
@given(game=games())
def test_exact_values_sum_to_what_all_units_add(game: Game) -> None:
    total = sum(unit.value for unit in shapley_exact(game))
    assert total == pytest.approx(float((game.scores(game.everyone) - game.scores(())).mean()), abs=1e-12)


@settings(deadline=None, max_examples=30)
@given(values=st.lists(st.floats(-1, 1), min_size=1, max_size=6), constant=st.floats(-1, 1))
def test_units_that_add_the_same_whatever_the_others_are_worth_that(values: list[float], constant: float) -> None:
    game = Game(unit_count=len(values), utility=lambda units: np.array([constant + sum(values[u] for u in units)]))
    assert [unit.value for unit in shapley_exact(game)] == pytest.approx(values, abs=1e-12)
    assert [unit.value for unit in leave_one_out(game)] == pytest.approx(values, abs=1e-12)
    sampled, _ = shapley_sampled(game, orders=2, seed=1)
    assert [unit.value for unit in sampled] == pytest.approx(values, abs=1e-12)


@settings(deadline=None, max_examples=20)
@given(game=games(4), seed=st.integers(0, 100))
def test_sampled_values_sum_to_the_same_and_come_near(game: Game, seed: int) -> None:
    exact = shapley_exact(game)
    sampled, used = shapley_sampled(game, orders=200, seed=seed)
    assert used == 200
    assert sum(unit.value for unit in sampled) == pytest.approx(sum(unit.value for unit in exact), abs=1e-9)
    for near, true in zip(sampled, exact, strict=True):
        assert abs(near.value - true.value) < 0.25


def test_symmetric_units_are_worth_the_same_and_a_bystander_nothing() -> None:
    # Units 0 and 1 help only together, unit 2 never does.
    game = Game(unit_count=3, utility=lambda units: np.array([float({0, 1} <= units)] * 4))
    assert [unit.value for unit in shapley_exact(game)] == pytest.approx([0.5, 0.5, 0.0])
    assert [unit.value for unit in leave_one_out(game)] == pytest.approx([1.0, 1.0, 0.0])


def test_leave_one_out_sees_nothing_in_two_units_that_say_the_same() -> None:
    game = Game(unit_count=2, utility=lambda units: np.array([float(bool(units))]))
    assert [unit.value for unit in leave_one_out(game)] == [0.0, 0.0]
    assert [unit.value for unit in shapley_exact(game)] == [0.5, 0.5]


def test_each_coalition_is_evaluated_once_and_only_within_the_budget() -> None:
    asked: list[frozenset[int]] = []

    def utility(units: frozenset[int]) -> np.ndarray:
        asked.append(units)
        return np.array([len(units) / 3])

    game = Game(unit_count=3, utility=utility, budget=8)
    shapley_exact(game)
    leave_one_out(game)
    assert len(asked) == len(set(asked)) == 8
    tight = Game(unit_count=3, utility=utility, budget=7)
    with pytest.raises(BudgetSpentError):
        shapley_exact(tight)
    # What was evaluated is kept, so that a larger budget goes on where it stopped.
    resumed = Game(unit_count=3, utility=utility, budget=1, known=tight.known)
    assert [unit.value for unit in shapley_exact(resumed)] == pytest.approx([1 / 3] * 3)


def test_a_spent_budget_keeps_the_orders_that_were_finished() -> None:
    game = Game(unit_count=6, utility=lambda units: np.array([len(units) / 6, 1.0]), budget=20)
    values, used = shapley_sampled(game, orders=1_000, seed=3)
    assert 1 <= used < 1_000
    assert [unit.value for unit in values] == pytest.approx([1 / 12] * 6)


def test_the_same_seed_gives_the_same_values() -> None:
    rng = np.random.default_rng(0)
    table = {coalition: float(rng.random()) for coalition in subsets(5)}
    first, second = (shapley_sampled(table_game(table, 5), orders=10, seed=4)[0] for _ in range(2))
    assert [unit.value for unit in first] == [unit.value for unit in second]


def test_truncation_saves_evaluations_at_a_bounded_bias() -> None:
    def utility(units: frozenset[int]) -> np.ndarray:
        return np.full(3, min(len(units), 2) / 2)

    whole, cut = Game(unit_count=8, utility=utility), Game(unit_count=8, utility=utility)
    exact = shapley_exact(whole)
    near, _ = shapley_sampled(cut, orders=60, seed=1, tolerance=0.01)
    assert cut.evaluated_count < whole.evaluated_count / 4
    assert [unit.value for unit in near] == pytest.approx([unit.value for unit in exact], abs=0.12)


def test_a_unit_that_helps_is_told_from_one_that_does_not() -> None:
    rng = np.random.default_rng(7)
    noise = {coalition: rng.normal(0, 0.05, 200) for coalition in subsets(3)}

    def utility(units: frozenset[int]) -> np.ndarray:
        return np.clip(0.4 + 0.3 * (0 in units) - 0.2 * (1 in units) + noise[units], 0, 1)

    helps, harms, nothing = shapley_exact(Game(unit_count=3, utility=utility))
    assert helps.low is not None
    assert helps.low > 0
    assert harms.high is not None
    assert harms.high < 0
    assert nothing.low is not None
    assert nothing.high is not None
    assert nothing.low < 0.01
    assert nothing.high > -0.01


def test_one_item_allows_no_interval() -> None:
    (unit,) = shapley_exact(Game(unit_count=1, utility=lambda units: np.array([float(bool(units))])))
    assert (unit.value, unit.low, unit.high) == (1.0, None, None)


def test_thirteen_units_are_too_many_to_enumerate() -> None:
    with pytest.raises(ValueError, match="8192"):
        shapley_exact(Game(unit_count=13, utility=lambda units: np.zeros(1)))
