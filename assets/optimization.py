"""Assets of the optimization room: templates, and an optimisation run with its trials and programs."""

import datetime as dt
import os
from collections.abc import Callable, Iterator
from typing import Any

import dagster as dg
from pydantic import Field

from assets.optimization_presentation import run_table, trial_metadata, trial_table
from assets.rooms import Room
from assets.tables import asset_key, table_metadata, table_spec
from lake.tables.optimization import Optimizer
from pipelines.drawing import as_markdown_image
from pipelines.evidence.render import escape_markdown
from pipelines.optimization.charts import trial_chart
from pipelines.optimization.listing import list_runs, read_trials, tell_outcome
from pipelines.optimization.recording import Trial
from pipelines.optimization.settings import OptimizerSettings
from pipelines.optimization.spending import Budget
from pipelines.optimization.splitting import SplitShares
from pipelines.optimization.syncing import settle_templates
from pipelines.optimization.template_registry import list_templates
from resources.author import read_author
from resources.installation import Installation
from resources.optimization import OptimizationEnd, OptimizationPlan, ensure_template, night_plan, optimize_template

TEMPLATES = "silver.templates"
RUN_TABLES = ("gold.dspy_runs", "gold.dspy_trials", "gold.dspy_programs")
TRIALS_KEY = asset_key("gold.dspy_trials")
RECORDED_TABLES = ("silver.dspy_stop_requests",)


class OptimizeTemplate(dg.Config):
    """What is optimised, as the launchpad shows it; as it stands, what the configuration says of the night."""

    template: str = Field(
        default="", description="Template: NAME (newest active version) or NAME@VERSION. Empty: the night's plan."
    )
    optimizer: Optimizer = Field(default="random_search", description="Which optimiser searches.")
    labeled_demo_count: int = Field(default=8, ge=0, le=64, description="Most demos shown in all.")
    bootstrapped_demo_count: int = Field(default=2, ge=0, le=64, description="Most of them answered by the program.")
    candidate_count: int = Field(default=4, ge=1, description="Sets of demos or instructions that are tried.")
    trial_count: int = Field(default=8, ge=1, description="Combinations that mipro_v2 tries.")
    metric_call_count: int = Field(default=120, ge=1, description="Answers that gepa scores.")
    max_validation: int = Field(default=24, ge=1, description="Most validation items.")
    max_test: int = Field(default=100, ge=1, description="Most test items.")
    budget_calls: int = Field(default=0, ge=0, description="Calls allowed; 0 is no limit.")
    budget_tokens: int = Field(default=0, ge=0, description="Tokens allowed; 0 is no limit.")
    budget_cost_usd: float = Field(default=0, ge=0, description="Cost allowed in USD; 0 is no limit.")
    budget_seconds: float = Field(default=0, ge=0, description="Time allowed in seconds; 0 is no limit.")
    seed: int = Field(default=0, description="Seed of the search.")
    language_model: str = Field(default="", description="Configured language model. Empty: the template's.")
    prompt_model: str = Field(default="", description="Configured model that writes instructions. Empty: the same.")
    function_name: str = Field(default="", description="Function whose examples are used. Empty: the template's name.")
    tags: list[str] = Field(default=[], description="Only examples with all of these tags.")


@dg.multi_asset(
    name="kept_templates",
    specs=[table_spec(TEMPLATES, deps=["silver.examples", "gold.gate_results", "gold.promoted_runs"])],
    pool="optimization",
)
def kept_templates(
    context: dg.AssetExecutionContext, installation: dg.ResourceParam[Installation]
) -> dg.MaterializeResult[None]:
    """Settle learnt versions by the verdicts of their gates; save the shipped demo where the night needs it."""
    now, lake = dt.datetime.now(dt.UTC), installation.lake
    settled = settle_templates(lake, now=now)
    for name in settled:
        context.log.info("%s was settled by the gates.", name)
    ensure_template(installation, now=now)
    templates = list_templates(lake)
    return dg.MaterializeResult(
        asset_key=asset_key(TEMPLATES),
        metadata={
            **table_metadata(lake, [TEMPLATES])[TEMPLATES],
            "templates": templates.height,
            "settled": dg.MetadataValue.md(", ".join(map(escape_markdown, settled)) or "none"),
        },
    )


@dg.multi_asset(
    name="optimized_templates",
    specs=[table_spec(table, deps=[TEMPLATES, "silver.prompts"]) for table in RUN_TABLES],
    pool="inference",
    can_subset=False,
)
def optimized_templates(
    context: dg.AssetExecutionContext, config: OptimizeTemplate, installation: dg.ResourceParam[Installation]
) -> Iterator[dg.MaterializeResult[None]]:
    """Search a better program, every trial a row and an event as it ends; carry back what was learnt."""
    plan = _plan_of(config) if config.template else night_plan(installation)
    end = None
    if plan is not None:
        end = optimize_template(
            installation,
            plan,
            author=read_author(installation.folder, os.environ),
            clock=lambda: dt.datetime.now(dt.UTC),
            on_trial=_observer(context),
        )
    lake = installation.lake
    facts = table_metadata(lake, RUN_TABLES)
    shown = _shown(installation, end) if end is not None else {}
    for table in RUN_TABLES:
        yield dg.MaterializeResult(asset_key=asset_key(table), metadata={**facts[table], **shown.get(table, {})})


def _observer(context: dg.AssetExecutionContext) -> Callable[[Trial], None]:
    """What tells the run's page of each trial: a line of the log, and an event whose score the asset page plots."""

    def observe(trial: Trial) -> None:
        context.log.info(
            "Trial %d, %s on %s: %.3f [%.3f, %.3f]",
            trial.trial_index,
            trial.trial_kind,
            trial.split,
            trial.score,
            trial.interval_low,
            trial.interval_high,
        )
        context.log_event(dg.AssetObservation(asset_key=TRIALS_KEY, metadata=trial_metadata(trial)))

    return observe


def _plan_of(config: OptimizeTemplate) -> OptimizationPlan:
    names = OptimizerSettings.model_fields.keys() & type(config).model_fields.keys()
    return OptimizationPlan(
        template=config.template,
        optimizer=config.optimizer,
        settings=OptimizerSettings(**{name: getattr(config, name) for name in names}),
        budget=Budget(
            calls=config.budget_calls or None,
            tokens=config.budget_tokens or None,
            cost_usd=config.budget_cost_usd or None,
            seconds=config.budget_seconds or None,
        ),
        shares=SplitShares(max_validation=config.max_validation, max_test=config.max_test),
        seed=config.seed,
        language_model=config.language_model or None,
        prompt_model=config.prompt_model or None,
        function_name=config.function_name or None,
        tags=config.tags,
    )


def _shown(installation: Installation, end: OptimizationEnd) -> dict[str, dict[str, Any]]:
    lake, run = installation.lake, dict(end.result.row)
    trials = read_trials(lake, end.result.run_id)
    numbers = {
        name: run[name]
        for name in ("start_test_score", "best_test_score", "test_effect", "call_count")
        if run[name] is not None
    }
    facts: dict[str, dict[str, Any]] = {
        "gold.dspy_runs": {
            "outcome": dg.MetadataValue.md(escape_markdown(tell_outcome(run))),
            "runs": dg.MetadataValue.md(run_table(list_runs(lake))),
            **numbers,
        },
        "gold.dspy_trials": {"trials": dg.MetadataValue.md(trial_table(trials))},
    }
    if trials.height:
        picture = trial_chart(trials, title=f"{run['optimizer']} on {run['template']}"[:80])
        facts["gold.dspy_trials"]["TrialChart"] = dg.MetadataValue.md(as_markdown_image(picture, alt="score by trial"))
    if end.synced is not None:
        facts["gold.dspy_programs"] = {
            "uses recorded": end.synced.usage_count,
            "demos offered for curation": end.synced.curation_count,
            "next version": str(end.synced.version) if end.synced.version is not None else "none",
        }
    return facts


OPTIMIZE = dg.define_asset_job(
    "optimize",
    selection=dg.AssetSelection.assets(TEMPLATES.split("."), *(table.split(".") for table in RUN_TABLES)),
    description="Optimise a template. Choose template, optimiser and budget in the launchpad; launched as it stands "
    "it does what the night does. A run that was stopped is taken up by launching it again.",
)

ROOM = Room(
    assets=[kept_templates, optimized_templates],
    tables=[TEMPLATES, *RUN_TABLES],
    recorded_tables=RECORDED_TABLES,
    jobs=[OPTIMIZE],
    night=[asset_key(table) for table in (TEMPLATES, *RUN_TABLES)],
)
