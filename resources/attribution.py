"""Attribution with everything from outside: the lake, the embedder, the language model, the lock.

The CLI and the assets call this; the methods are in `pipelines/attribution/`.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal

from lake.errors import UserError
from pipelines.optimization.spending import Budget

if TYPE_CHECKING:
    from pipelines.attribution.demo_steps import DemoMethod
    from pipelines.attribution.neighbour_steps import NeighbourMethod
    from pipelines.attribution.recording import MethodResult
    from pipelines.attribution.steps import Mode
    from resources.installation import Installation

AskedMethod = Literal["leave_one_out", "shapley_exact", "shapley_sampled", "knn_shapley", "influence_proxy"]
ASKED_METHODS: tuple[AskedMethod, ...] = (
    "knn_shapley",
    "influence_proxy",
    "leave_one_out",
    "shapley_exact",
    "shapley_sampled",
)
DEFAULT_METHODS: tuple[AskedMethod, ...] = ASKED_METHODS[:3]
# Told of each evaluation: method, sets of demos evaluated, at most so many.
OnEvaluated = Callable[[str, int, int], None]


@dataclass(frozen=True, kw_only=True)
class AttributionPlan:
    """What to attribute and how, in the words of the command line and the launchpad."""

    methods: Sequence[AskedMethod] = DEFAULT_METHODS
    split: Literal["test", "validation"] = "test"
    max_items: int | None = None
    budget: Budget = field(default_factory=Budget)
    orders: int = 64
    tolerance: float = 0.0
    seed: int = 0
    k: int = 5
    penalty: float = 1e-2
    language_model: str | None = None


@dataclass(frozen=True, kw_only=True)
class AttributionEnd:
    """What became of each method and of the credit of units, and how many deltas were written."""

    run_id: str
    results: tuple[MethodResult, ...]
    delta_count: int

    @property
    def is_complete(self) -> bool:
        """Whether no budget cut a method short."""
        return all(result.is_complete for result in self.results)


def check_methods(words: Sequence[str]) -> list[AskedMethod]:
    """Words as methods, each once; raises `UserError` for a word that is none."""
    by_name: dict[str, AskedMethod] = {name: name for name in ASKED_METHODS}
    for word in words:
        if word not in by_name:
            raise UserError.unknown("method of attribution", word, ASKED_METHODS)
    return [by_name[word] for word in dict.fromkeys(words)]


def attribute_run(
    installation: Installation,
    reference: str,
    plan: AttributionPlan,
    *,
    clock: Callable[[], dt.datetime],
    on_evaluated: OnEvaluated | None = None,
) -> AttributionEnd:
    """Value what a run's programs were shown, or could have been; one process at a time works on a run.

    What stands for the same inputs is not computed again. Raises `UserError` for what the user can mend.
    """
    from pipelines.attribution.neighbour_steps import NEIGHBOUR_METHODS
    from pipelines.attribution.steps import follow_up
    from pipelines.optimization.steps import read_run

    run = read_run(installation.lake, reference)
    run_id = str(run["optimization_run_id"])
    if not plan.methods:
        raise UserError(f"Name at least one method: {', '.join(ASKED_METHODS)}.")
    by_vectors = [method for method in NEIGHBOUR_METHODS if method in plan.methods]
    with _alone(installation, run_id):
        results = [_by_vectors(installation, run_id, method, plan, clock=clock) for method in by_vectors]
        results += _by_asking(installation, run_id, plan, clock=clock, on_evaluated=on_evaluated)
        credited, deltas = follow_up(installation.lake, run_id, now=clock())
    return AttributionEnd(run_id=run_id, results=(*results, *credited), delta_count=deltas)


def night_plan(installation: Installation, *, spent_seconds: float = 0.0) -> AttributionPlan | None:
    """What the configuration lets the night attribute of a run when so much is spent; None if it is not to."""
    config = installation.config.attribution
    if not config.is_nightly:
        return None
    left = config.budget_seconds - spent_seconds
    methods = DEFAULT_METHODS if left > 0 else DEFAULT_METHODS[:2]
    budget = Budget(seconds=left) if left > 0 else Budget()
    return AttributionPlan(
        methods=methods, budget=budget, max_items=config.max_items, k=config.k, penalty=config.penalty
    )


def attribute_pending(
    installation: Installation,
    *,
    mode: Mode,
    clock: Callable[[], dt.datetime],
    ticks: Callable[[], float],
    on_evaluated: OnEvaluated | None = None,
) -> list[AttributionEnd]:
    """The night's plan for every run that is new to attribution, or for all; those that need more time stay new."""
    from pipelines.attribution.steps import find_pending, settle_pending

    if night_plan(installation) is None:
        return []
    pending = find_pending(installation.lake, mode=mode)
    began = ticks()
    ends: list[AttributionEnd] = []
    was_cut = False
    for run_id in pending.run_ids:
        plan = night_plan(installation, spent_seconds=ticks() - began)
        assert plan is not None
        try:
            ends.append(attribute_run(installation, run_id, plan, clock=clock, on_evaluated=on_evaluated))
        except UserError as error:
            # One run that cannot be asked, for want of its model for instance, must not keep the others from it.
            ends.append(AttributionEnd(run_id=run_id, results=(_failed(run_id, error),), delta_count=0))
        has_asked = "leave_one_out" in plan.methods or not installation.config.attribution.budget_seconds
        was_cut |= not (has_asked and ends[-1].is_complete)
    if not was_cut:
        settle_pending(installation.lake, pending)
    return ends


def _failed(run_id: str, error: UserError) -> MethodResult:
    from pipelines.attribution.recording import MethodResult

    return MethodResult(run_id=run_id, method="leave_one_out", is_new=False, is_complete=False, note=str(error))


def _by_vectors(
    installation: Installation,
    run_id: str,
    method: NeighbourMethod,
    plan: AttributionPlan,
    *,
    clock: Callable[[], dt.datetime],
) -> MethodResult:
    from pipelines.attribution.neighbour_steps import NeighbourPlan, attribute_neighbours

    own = NeighbourPlan(k=plan.k, penalty=plan.penalty, split=plan.split)
    return attribute_neighbours(installation.lake, run_id, method, own, embedder=installation.embedder, now=clock())


def _by_asking(
    installation: Installation,
    run_id: str,
    plan: AttributionPlan,
    *,
    clock: Callable[[], dt.datetime],
    on_evaluated: OnEvaluated | None,
) -> list[MethodResult]:
    from pipelines.attribution.demo_steps import DEMO_METHODS

    methods = [method for method in DEMO_METHODS if method in plan.methods]
    return [_ask(installation, run_id, method, plan, clock=clock, on_evaluated=on_evaluated) for method in methods]


def _ask(
    installation: Installation,
    run_id: str,
    method: DemoMethod,
    plan: AttributionPlan,
    *,
    clock: Callable[[], dt.datetime],
    on_evaluated: OnEvaluated | None,
) -> MethodResult:
    from pipelines.attribution.demo_steps import Asking, DemoPlan, attribute_demos, standing_demos
    from pipelines.optimization.steps import read_run
    from resources.language_models import open_language_model
    from resources.optimization import find_nearest

    lake, config = installation.lake, installation.config.language_models
    run = read_run(lake, run_id)
    own = DemoPlan(
        method=method,
        split=plan.split,
        max_items=plan.max_items,
        orders=plan.orders,
        tolerance=plan.tolerance,
        seed=plan.seed,
    )
    name = plan.language_model or run["language_model"]
    # A model takes seconds to load: not to find that nothing is to be asked.
    standing = standing_demos(lake, run_id, own, model=run["model"]) if name == run["language_model"] else None
    if standing is not None:
        return standing
    shows_near = (
        lake.read("gold.dspy_programs", columns=["neighbour_count"], where={"program_id": run["best_program_id"]})[
            "neighbour_count"
        ]
        .is_not_null()
        .any()
    )
    with open_language_model(name, config, state_dir=installation.state.optimization, seed=run["seed"]) as engine:
        asking = Asking(
            engine=engine,
            budget=plan.budget,
            nearest=find_nearest(installation) if shows_near else None,
            clock=clock,
            on_evaluated=None if on_evaluated is None else lambda done, most: on_evaluated(method, done, most),
        )
        return attribute_demos(lake, run_id, own, asking)


@contextmanager
def _alone(installation: Installation, run_id: str) -> Iterator[None]:
    """Hold a run's attribution; the system lets go of the lock when the holder dies."""
    from filelock import FileLock, Timeout

    installation.state.optimization.mkdir(parents=True, exist_ok=True)
    try:
        with FileLock(installation.state.optimization / f"{run_id}.attribution.lock", timeout=0):
            yield
    except Timeout:
        raise UserError(
            f"The optimisation run {run_id[:8]} is being attributed in another process; wait for it. What it evaluates "
            "is kept as it goes, in gold.attribution_evaluations."
        ) from None
