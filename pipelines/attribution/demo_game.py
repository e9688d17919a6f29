"""The game of a program's demos: the best program of an optimisation run, asked the same items with only some of them.

What belongs here: what the game is, and asking it. Which coalitions are asked is `values.py`, what is kept of them
`demo_steps.py`.

Its values are about the model that answers: nothing is approximated but by how many items are asked, and for sampled
orders by how many there are. They hold for this program: another instruction or order of demos is another game.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import polars as pl

from lake.errors import UserError
from lake.identity import json_digest
from lake.store import Lake
from pipelines.attribution.games import Scores
from pipelines.attribution.run_items import AskedItems, HeldSplit, read_asked
from pipelines.databits.units import canonical_text
from pipelines.examples.digests import input_digest
from pipelines.optimization.dspy_adapter.calling import Metric, Quiet, calling, evaluate, items_by_inputs, make_model
from pipelines.optimization.dspy_adapter.programs import Nearest, ProgramFacts, State, load_program, read_facts
from pipelines.optimization.dspy_adapter.watching import Evaluated, Watch, WatchFailed, make_callback
from pipelines.optimization.items import EXAMPLES
from pipelines.optimization.recording import PROGRAMS, TRIALS
from pipelines.optimization.spending import Engine, Meter, MeteredEngine
from pipelines.optimization.steps import read_run
from pipelines.optimization.syncing import read_facts_of
from pipelines.optimization.template_registry import read_template
from pipelines.optimization.templates import Demo, Template


@dataclass(frozen=True, kw_only=True)
class DemoGame:
    """A program, the examples among its demos (`unit_ids`), and the items that it is asked.

    Demos that are no example of the store, for instance those of a later step of a chain, are always shown.
    """

    run: Mapping[str, Any]
    template: Template
    facts: ProgramFacts
    unit_of_digest: Mapping[str, str]
    asked: AskedItems
    split: HeldSplit

    @property
    def run_id(self) -> str:
        """The optimisation run."""
        return str(self.run["optimization_run_id"])

    @cached_property
    def unit_ids(self) -> tuple[str, ...]:
        """Examples among the demos, in the order in which they are shown first."""
        found = (self.unit_of(demo) for demos in self.facts.demos.values() for demo in demos)
        return tuple(dict.fromkeys(unit for unit in found if unit is not None))

    @property
    def item_ids(self) -> list[str]:
        """The items, in the order of every list of scores."""
        return [item.example_id for item in self.asked.items]

    def unit_of(self, demo: Demo) -> str | None:
        """The example that a demo is of."""
        names = [part.name for part in self.template.inputs]
        if not all(name in demo for name in names):
            return None
        return self.unit_of_digest.get(input_digest({name: demo[name] for name in names}))

    def digest(self, model: str) -> str:
        """SHA-256 of everything that decides a score, with the model that answers."""
        items = [[item.input_digest, canonical_text(dict(item.outputs))] for item in self.asked.items]
        neighbours = self.facts.neighbour_count
        return json_digest([self.facts.state, neighbours, self.template.digest, items, list(self.unit_ids), model])

    def state_showing(self, shown: Collection[str]) -> State:
        """The program's state with only those demos that are of these examples, or of none."""
        allowed = {*shown, None}
        return {
            key: {**part, "demos": [demo for demo in part["demos"] if self.unit_of(demo) in allowed]}
            for key, part in self.facts.state.items()
        }


@dataclass(frozen=True, kw_only=True)
class Asked:
    """Scores of the items; `trial_id` where a trial of the run was this very evaluation."""

    scores: Scores
    error_count: int | None
    trial_id: str | None


def read_demo_game(lake: Lake, reference: str, *, split: HeldSplit, max_items: int | None = None) -> DemoGame:
    """The game of the run's best program; raises `UserError` for a run without one, or whose items are gone."""
    run = read_run(lake, reference)
    if run["best_program_id"] is None:
        raise UserError(
            f"The optimisation run {run['optimization_run_id'][:8]} has no best program yet (it is {run['state']})."
        )
    version = read_template(lake, f"{run['template']}@{run['template_version_index']}")
    row = lake.read(PROGRAMS, where={"program_id": run["best_program_id"]}).row(0, named=True)
    template = version.template
    if row["neighbour_count"] is not None:
        template = template.revised(neighbour_count=row["neighbour_count"])
    ids = row["demo_example_ids"]
    known = lake.read(EXAMPLES, columns=["input_digest", "example_id"], where={"example_id": ids}) if ids else None
    return DemoGame(
        run=run,
        template=template,
        facts=read_facts_of(row, version),
        unit_of_digest=dict(known.iter_rows()) if known is not None else {},
        asked=read_asked(lake, run, template, split=split, max_items=max_items),
        split=split,
    )


class DemoAsker:
    """Asks the game's items with some demos, by one engine and within one meter; raises `RunStopped` when it is spent.

    An evaluation that the run has made itself, with the same model and items that are unchanged since, is taken from
    its trials.
    """

    def __init__(self, lake: Lake, game: DemoGame, engine: Engine, meter: Meter, nearest: Nearest | None) -> None:
        self._game, self._engine, self._meter, self._nearest = game, engine, meter, nearest
        self._trials = self._own_trials(lake)

    def __call__(self, shown: Collection[str]) -> Asked:
        """Scores of the items in their order."""
        game = self._game
        program = load_program(game.template, game.state_showing(shown), nearest=self._nearest)
        program_id = read_facts(program).program_id
        for trial_id, scores in self._trials.get(program_id, {}).items():
            if all(item_id in scores for item_id in game.item_ids):
                found = np.array([scores[item_id] for item_id in game.item_ids])
                return Asked(scores=found, error_count=None, trial_id=trial_id)
        return self._ask(program)

    def _ask(self, program: Any) -> Asked:  # noqa: ANN401 - a dspy.Module
        game, seen = self._game, list[Evaluated]()
        metric = Metric(template=game.template, items=items_by_inputs(game.asked.items))
        watch = make_callback(Watch(metric=metric, on_evaluated=seen.append))
        engine = _NotingEngine(self._engine)
        model = make_model(MeteredEngine(engine, self._meter), game.template.model)
        threads = self._engine.max_concurrency
        try:
            with Quiet(), calling(model, callbacks=[watch], threads=threads):
                evaluate(program, game.asked.items, metric, threads=threads)
        except WatchFailed as error:
            raise (error.__cause__ or error) from None
        engine.refuse_silence()
        (found,) = seen
        scores = {item.example_id: score for item, score in zip(found.items, found.scores, strict=True)}
        return Asked(
            scores=np.array([scores[item_id] for item_id in game.item_ids]),
            error_count=sum(not given for given in found.outputs),
            trial_id=None,
        )

    def _own_trials(self, lake: Lake) -> dict[str, dict[str, dict[str, float]]]:
        run = self._game.run
        if self._engine.model != run["model"] or self._game.asked.changed_at > run["started_at"]:
            return {}
        columns = ["program_id", "trial_id", "item_ids", "item_scores"]
        trials = lake.read(TRIALS, columns=columns, where={"optimization_run_id": self._game.run_id})
        found: dict[str, dict[str, dict[str, float]]] = {}
        for program_id, trial_id, ids, scores in trials.sort(pl.col("trial_id")).iter_rows():
            found.setdefault(program_id, {})[trial_id] = dict(zip(ids, scores, strict=True))
        return found


class _NotingEngine:
    """An engine that notes whether it answered at all: DSPy takes a call that failed for a wrong answer."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._answered_count = 0
        self._failure: Exception | None = None
        self.name, self.model = engine.name, engine.model
        self.max_concurrency = engine.max_concurrency
        self.supports_response_schema = engine.supports_response_schema
        self.supported_params = engine.supported_params

    def complete(self, request: Any) -> Any:  # noqa: ANN401 - dspy.lm15.Request and Response
        """Answer one request."""
        try:
            response = self._engine.complete(request)
        except Exception as error:
            self._failure = error
            raise
        self._answered_count += 1
        return response

    def cost_usd(self, response: Any) -> float | None:  # noqa: ANN401 - dspy.lm15.Response
        """What an answer cost."""
        return self._engine.cost_usd(response)

    def refuse_silence(self) -> None:
        """Raise `UserError` when not one request was answered, which says nothing about demos."""
        if self._failure is not None and not self._answered_count:
            raise UserError(
                f"The language model {self.name} answered no item: {self._failure}. What was evaluated before is kept; "
                "the same call goes on from there."
            )
