"""Values of a program's demos: leave-one-out and Shapley by asking the model again, kept evaluation by evaluation.

Every evaluation is a row of gold.attribution_evaluations when it ends, so that a step that was killed or whose budget
was spent is taken up where it stopped, and no set of demos is asked twice for one game.
"""

from __future__ import annotations

import datetime as dt
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, get_args

import numpy as np
import polars as pl

from lake.errors import UserError
from lake.identity import derived_id, json_digest
from lake.store import Lake
from lake.tables import contract_of
from pipelines.attribution.demo_game import Asked, DemoAsker, DemoGame, read_demo_game
from pipelines.attribution.games import BudgetSpentError, Coalition, Game, Scores
from pipelines.attribution.recording import (
    EVALUATIONS,
    MethodResult,
    Valuation,
    Worth,
    result_of,
    standing_rows,
    stands,
    write_valuation,
)
from pipelines.attribution.run_items import HeldSplit
from pipelines.attribution.values import (
    EXACT_UNITS,
    UnitValue,
    leave_one_out,
    leave_one_out_so_far,
    shapley_exact,
    shapley_sampled,
)
from pipelines.optimization.dspy_adapter.programs import Nearest
from pipelines.optimization.spending import Budget, Engine, Meter, RunStopped

DemoMethod = Literal["leave_one_out", "shapley_exact", "shapley_sampled"]
DEMO_METHODS: tuple[DemoMethod, ...] = get_args(DemoMethod)
UTILITY = "mean score of the held-out items that the program answers"


@dataclass(frozen=True, kw_only=True)
class DemoPlan:
    """How demos are valued: the items, and for sampled orders how many, their seed and where they are cut short.

    `tolerance` is in score points: once a set of demos scores so near to all of them, those that follow in the order
    count as adding nothing.
    """

    method: DemoMethod = "leave_one_out"
    split: HeldSplit = "test"
    max_items: int | None = None
    orders: int = 64
    tolerance: float = 0.0
    seed: int = 0

    @property
    def settings(self) -> dict[str, Any]:
        """What of it decides the values."""
        shared = {"split": self.split, "max_items": self.max_items}
        if self.method != "shapley_sampled":
            return shared
        return shared | {"orders": self.orders, "tolerance": self.tolerance}


@dataclass(frozen=True, kw_only=True)
class Asking:
    """What answers, what it may spend, and who is told of each evaluation (done, at most)."""

    engine: Engine
    budget: Budget = field(default_factory=Budget)
    nearest: Nearest | None = None
    clock: Callable[[], dt.datetime]
    ticks: Callable[[], float] = time.monotonic
    on_evaluated: Callable[[int, int], None] | None = None


def attribute_demos(lake: Lake, reference: str, plan: DemoPlan, asking: Asking) -> MethodResult:
    """Value the demos of the best program of the run that `reference` names, by asking it again with some of them.

    What stands for the same program, items, model and plan is left as it is. A budget that is spent leaves
    leave-one-out values of the demos it was enough for, and Shapley values of the orders it was enough for; the same
    call later goes on from there. Raises `UserError` for a run without a best program or without held-out items, and
    for more units than the exact method can do.
    """
    game = read_demo_game(lake, reference, split=plan.split, max_items=plan.max_items)
    model = asking.engine.model
    standing = _standing(lake, game, plan, model)
    if standing is not None:
        return standing
    settings, whole = plan.settings | {"model": model}, _digest(game, plan, model)
    if plan.method == "shapley_exact" and len(game.unit_ids) > EXACT_UNITS:
        raise UserError(
            f"Exact Shapley values of {len(game.unit_ids)} demos need {2 ** len(game.unit_ids):,} evaluations; the "
            f"most is {EXACT_UNITS} demos. Use --method shapley_sampled."
        )
    player = _Player(lake, game, plan, asking)
    values, note = player.play()
    if values:
        # Values of a part have a digest of their own: the next call does not take them for the whole.
        digest = whole if note is None else json_digest([whole, len(player.table.known)])
        write_valuation(lake, _valuation(game, plan, settings, values, player.table, digest), now=asking.clock())
    rows = standing_rows(lake, game.run_id, plan.method, settings)
    return result_of(rows, game.run_id, plan.method, is_new=bool(values), note=note)


def standing_demos(lake: Lake, reference: str, plan: DemoPlan, *, model: str) -> MethodResult | None:
    """What `attribute_demos` would say without asking `model` anything; None where it would ask."""
    return _standing(lake, read_demo_game(lake, reference, split=plan.split, max_items=plan.max_items), plan, model)


def _standing(lake: Lake, game: DemoGame, plan: DemoPlan, model: str) -> MethodResult | None:
    if not game.unit_ids:
        # Nothing to do is done: the note is no sign of something missing.
        note = "The best program shows no demo that is an example of the store."
        return MethodResult(run_id=game.run_id, method=plan.method, is_new=False, note=note)
    rows = standing_rows(lake, game.run_id, plan.method, plan.settings | {"model": model})
    if stands(rows, _digest(game, plan, model)):
        return result_of(rows, game.run_id, plan.method, is_new=False)
    return None


def _digest(game: DemoGame, plan: DemoPlan, model: str) -> str:
    """SHA-256 of all that the values of a whole method follow from."""
    seed = plan.seed if plan.method == "shapley_sampled" else None
    return json_digest([game.digest(model), plan.method, plan.settings, seed])


def read_coalitions(lake: Lake, game: DemoGame, game_digest: str) -> dict[Coalition, Scores]:
    """Evaluations of the game that stand, by the places of its units."""
    rows = lake.read(
        EVALUATIONS,
        columns=["example_ids", "item_scores"],
        where={"run_id": game.run_id, "game_digest": game_digest},
    )
    places = {unit: place for place, unit in enumerate(game.unit_ids)}
    return {frozenset(places[unit] for unit in shown): np.array(scores) for shown, scores in rows.iter_rows()}


def _evaluations_of(plan: DemoPlan, unit_count: int) -> int:
    """Sets of demos that a method evaluates at most."""
    every = 1 << unit_count
    if plan.method == "leave_one_out":
        return min(unit_count + 1, every)
    if plan.method == "shapley_exact":
        return every
    return min((plan.orders + plan.orders % 2) * (unit_count - 1) + 2, every)


def _keep(lake: Lake, game: DemoGame, game_digest: str, shown: list[str], asked: Asked, *, now: dt.datetime) -> None:
    evaluation_id = derived_id("attribution_evaluation", game.run_id, game_digest, *shown)
    row = {
        "evaluation_id": evaluation_id,
        "run_id": game.run_id,
        "game_digest": game_digest,
        "coalition_digest": json_digest(shown),
        "example_ids": shown,
        "item_ids": game.item_ids,
        "item_scores": asked.scores.tolist(),
        "score": float(asked.scores.mean()),
        "item_count": len(asked.scores),
        "error_count": asked.error_count,
        "trial_id": asked.trial_id,
        "evaluated_at": now,
    }
    lake.append(EVALUATIONS, pl.DataFrame([row], schema=contract_of(EVALUATIONS).dtypes), token=evaluation_id)


def _valuation(
    game: DemoGame,
    plan: DemoPlan,
    settings: Mapping[str, Any],
    values: Mapping[int, UnitValue],
    table: Game,
    digest: str,
) -> Valuation:
    return Valuation(
        run_id=game.run_id,
        method=plan.method,
        utility=UTILITY,
        worths=[
            Worth(unit_id=game.unit_ids[unit], value=found.value, low=found.low, high=found.high)
            for unit, found in values.items()
        ],
        unit_count=table.unit_count,
        sample_count=len(game.asked.items),
        evaluation_count=len(table.known) * len(game.asked.items),
        seed=plan.seed if plan.method == "shapley_sampled" else None,
        settings=settings,
        input_digest=digest,
    )


class _Player:
    """Plays one game within its budget, with what earlier calls evaluated."""

    def __init__(self, lake: Lake, game: DemoGame, plan: DemoPlan, asking: Asking) -> None:
        self._lake, self._game, self._plan, self._asking = lake, game, plan, asking
        self._digest = game.digest(asking.engine.model)
        self._meter = Meter(budget=asking.budget, ticks=asking.ticks)
        self._asker = DemoAsker(lake, game, asking.engine, self._meter, asking.nearest)
        self._stopped = "The budget is spent."
        self._at_most = _evaluations_of(plan, len(game.unit_ids))
        self.table = Game(
            unit_count=len(game.unit_ids),
            utility=self._evaluate,
            known=read_coalitions(lake, game, self._digest),
            on_evaluated=self._tell,
        )

    def play(self) -> tuple[dict[int, UnitValue], str | None]:
        """Values by unit, and what is missing of them."""
        try:
            values, is_whole = self._values()
        except BudgetSpentError:
            is_single = self._plan.method == "leave_one_out"
            values, is_whole = leave_one_out_so_far(self.table) if is_single else {}, False
        if is_whole:
            return values, None
        done = f"{len(self.table.known)} of at most {self._at_most} sets of demos are evaluated"
        return values, f"{self._stopped} {done}; the same call goes on from there."

    def _values(self) -> tuple[dict[int, UnitValue], bool]:
        table, plan = self.table, self._plan
        if plan.method == "leave_one_out":
            return dict(enumerate(leave_one_out(table))), True
        if plan.method == "shapley_exact":
            return dict(enumerate(shapley_exact(table))), True
        values, used = shapley_sampled(table, orders=plan.orders, seed=plan.seed, tolerance=plan.tolerance)
        return dict(enumerate(values)), used >= plan.orders

    def _evaluate(self, coalition: Coalition) -> Scores:
        shown = sorted(self._game.unit_ids[unit] for unit in coalition)
        try:
            asked = self._asker(shown)
        except RunStopped as stop:
            self._stopped = stop.reason
            raise BudgetSpentError from stop
        _keep(self._lake, self._game, self._digest, shown, asked, now=self._asking.clock())
        return asked.scores

    def _tell(self, coalition: Coalition, scores: Scores) -> None:
        del coalition, scores
        if self._asking.on_evaluated is not None:
            self._asking.on_evaluated(len(self.table.known), self._at_most)
