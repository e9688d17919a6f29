"""An optimisation run with everything from outside: the lake, the models, the lock, the landing folder.

The CLI and the assets call this; the run itself is `pipelines/optimization/`.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from lake.errors import UserError
from lake.tables.optimization import Optimizer
from pipelines.optimization.settings import OptimizerSettings
from pipelines.optimization.spending import Budget, Spent
from pipelines.optimization.splitting import SplitShares

if TYPE_CHECKING:
    from pipelines.optimization.dspy_adapter.programs import Nearest
    from pipelines.optimization.recording import Trial
    from pipelines.optimization.requests import OptimizationRequest, OptimizationResult
    from pipelines.optimization.splitting import Splits
    from pipelines.optimization.syncing import SyncResult
    from pipelines.optimization.template_registry import TemplateVersion
    from resources.installation import Installation


_DEMO_AUTHOR = "benchlake"


@dataclass(frozen=True, kw_only=True)
class OptimizationPlan:
    """What to optimise and how, in the words of the command line and the launchpad."""

    template: str
    optimizer: Optimizer = "random_search"
    settings: OptimizerSettings = field(default_factory=OptimizerSettings)
    budget: Budget = field(default_factory=Budget)
    shares: SplitShares = field(default_factory=SplitShares)
    seed: int = 0
    language_model: str | None = None
    prompt_model: str | None = None
    function_name: str | None = None
    tags: Sequence[str] = ()


@dataclass(frozen=True, kw_only=True)
class OptimizationEnd:
    """How a run ended, and what was carried back of it."""

    result: OptimizationResult
    synced: SyncResult | None


def optimize_template(
    installation: Installation,
    plan: OptimizationPlan,
    *,
    author: str,
    clock: Callable[[], dt.datetime],
    on_trial: Callable[[Trial], None] | None = None,
    on_call: Callable[[Spent], None] | None = None,
) -> OptimizationEnd:
    """Carry out a plan and carry back what was learnt; one process at a time may work on a run.

    Raises `UserError` for what the user can mend: no such template or model, too few examples, the run is under way.
    """
    from pipelines.optimization.requests import Models, Watching
    from pipelines.optimization.steps import launch_optimization_run, optimization_run_id

    request = make_request(installation, plan, author=author)
    name = plan.language_model or request.version.template.model.language_model
    prompt_name = plan.prompt_model or name
    with _opened(installation, name, prompt_name, plan.seed) as (engine, prompt_engine):
        needs_near = plan.optimizer == "knn_few_shot" or request.version.template.neighbour_count is not None
        models = Models(
            engine=engine,
            prompt_engine=prompt_engine,
            nearest=find_nearest(installation) if needs_near else None,
        )
        run_id = optimization_run_id(request, models)
        with _alone(installation, run_id):
            watching = Watching(clock=clock, on_trial=on_trial, on_call=on_call)
            result = launch_optimization_run(installation.lake, request, models, watching)
    synced = None
    if result.row["best_program_id"] is not None:
        synced = sync_run(installation, run_id, author=author, clock=clock)
    return OptimizationEnd(result=result, synced=synced)


def night_plan(installation: Installation) -> OptimizationPlan | None:
    """What the configuration lets the night optimise; None if it is not to."""
    config = installation.config.optimization
    if not config.is_nightly:
        return None
    return OptimizationPlan(
        template=config.template,
        optimizer=config.optimizer,
        settings=OptimizerSettings(labeled_demo_count=config.labeled_demo_count),
        budget=Budget(seconds=config.budget_seconds),
        shares=SplitShares(max_validation=config.max_validation, max_test=config.max_test),
        seed=config.seed,
    )


def ensure_template(installation: Installation, *, now: dt.datetime) -> None:
    """Save the shipped demo if it is what the night optimises and the lake has no version of it."""
    from resources.demo_template import save_demo

    if _is_demo_missing(installation):
        save_demo(installation.lake, now=now, author=_DEMO_AUTHOR)


def ensure_template_examples(installation: Installation, *, now: dt.datetime) -> int:
    """The demo's examples alone, as `ensure_template` will save them; gives how many are new.

    A night keeps them with all others, before it embeds what is new, so that its index lacks nothing in the morning.
    """
    from pipelines.examples.importing import ensure_examples
    from resources.demo_template import demo_examples

    if not _is_demo_missing(installation):
        return 0
    return ensure_examples(installation.lake, demo_examples(), now=now, author=_DEMO_AUTHOR).created_count


def _is_demo_missing(installation: Installation) -> bool:
    from pipelines.optimization.template_registry import list_templates
    from resources.demo_template import demo_template

    config, name = installation.config.optimization, demo_template().template
    if not config.is_nightly or config.template != name:
        return False
    return name not in list_templates(installation.lake, has_archived=True)["template"].to_list()


def sync_run(
    installation: Installation, reference: str, *, author: str, clock: Callable[[], dt.datetime]
) -> SyncResult:
    """Carry back what a run learnt; see `sync_optimization_results`."""
    from pipelines.optimization.syncing import sync_optimization_results

    return sync_optimization_results(
        installation.lake, reference, landing=installation.landing, now=clock(), author=author, clock=clock
    )


def make_request(installation: Installation, plan: OptimizationPlan, *, author: str) -> OptimizationRequest:
    """The plan with the template's version and its examples read and split."""
    from pipelines.optimization.requests import OptimizationRequest
    from pipelines.optimization.template_registry import read_template

    version = read_template(installation.lake, plan.template)
    return OptimizationRequest(
        version=version,
        splits=read_splits(installation, plan, version),
        optimizer=plan.optimizer,
        settings=plan.settings,
        budget=plan.budget,
        seed=plan.seed,
        requested_by=author,
    )


def read_splits(installation: Installation, plan: OptimizationPlan, version: TemplateVersion) -> Splits:
    """Examples for the template, without those that saved suites ask, as the three splits."""
    from pipelines.optimization.items import read_items
    from pipelines.optimization.splitting import split_items

    lake, template = installation.lake, version.template
    found = read_items(lake, template, function_name=plan.function_name, tags=plan.tags)
    if not found.items:
        name = plan.function_name or template.template
        why = f" {len(found.unfit)} do not fit its fields: {next(iter(found.unfit.values()))}." if found.unfit else ""
        raise UserError(
            f"There are no examples of the function {name!r} for the template {template.template}.{why} Import some: "
            f"benchlake examples import FILE --function {name}"
        )
    prompts = lake.read("silver.prompts", columns=["prompt"])["prompt"].to_list()
    return split_items(found.items, shares=plan.shares, known_prompts=prompts)


def find_nearest(installation: Installation) -> Nearest:
    """What finds near demos: the installation's embedder and its vector index."""
    from pipelines.optimization.neighbours import IndexNearest

    service = installation.embeddings
    return IndexNearest(service.compute_embeddings, service.index())


@contextmanager
def _opened(installation: Installation, name: str, prompt_name: str, seed: int) -> Iterator[tuple]:  # type: ignore[type-arg]
    from contextlib import ExitStack

    from resources.language_models import open_language_model

    models, folder = installation.config.language_models, installation.state.optimization
    with ExitStack() as stack:
        engine = stack.enter_context(open_language_model(name, models, state_dir=folder, seed=seed))
        if prompt_name == name:
            yield engine, engine
        else:
            yield engine, stack.enter_context(open_language_model(prompt_name, models, state_dir=folder, seed=seed))


@contextmanager
def _alone(installation: Installation, run_id: str) -> Iterator[None]:
    """Hold a run; the system lets go of the lock when the holder dies, so a killed run can be taken up at once."""
    from filelock import FileLock, Timeout

    try:
        with FileLock(installation.state.optimization / f"{run_id}.lock", timeout=0):
            yield
    except Timeout:
        raise UserError(
            f"The optimisation run {run_id[:8]} is under way in another process. Watch it with: "
            f"benchlake dspy show {run_id[:8]}"
        ) from None
