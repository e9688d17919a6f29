"""Assets of the attribution room: what each example and data unit contributed to optimisation runs."""

import datetime as dt
import time
from collections.abc import Iterator
from typing import Any, Literal

import dagster as dg
from pydantic import Field

from assets.attribution_presentation import attribution_metadata
from assets.rooms import Room
from assets.tables import asset_key, table_metadata, table_spec
from pipelines.attribution.recording import ATTRIBUTIONS, DELTAS, EVALUATIONS
from pipelines.optimization.spending import Budget
from resources.attribution import (
    ASKED_METHODS,
    DEFAULT_METHODS,
    AttributionEnd,
    AttributionPlan,
    OnEvaluated,
    attribute_pending,
    attribute_run,
    check_methods,
)
from resources.installation import Installation

TABLES = (EVALUATIONS, ATTRIBUTIONS, DELTAS)
RECOMPUTE_TAG = "benchlake/recompute"


class AttributeRuns(dg.Config):
    """What is attributed, as the launchpad shows it; as it stands, what the night does: runs that are new."""

    runs: list[str] = Field(
        default=[], description="Beginnings of optimisation run ids, or `latest`. Empty: runs that are new."
    )
    methods: list[str] = Field(
        default=[*DEFAULT_METHODS],
        description=f"Methods for the runs named above, of {', '.join(ASKED_METHODS)}; docs/attribution.md says what "
        "each assumes.",
    )
    split: Literal["test", "validation"] = Field(default="test", description="Whose items are asked, or are queries.")
    max_items: int = Field(default=0, ge=0, description="Most items asked; 0 for all of the split.")
    budget_calls: int = Field(default=0, ge=0, description="Calls allowed for each method that asks; 0 is no limit.")
    budget_seconds: float = Field(default=0, ge=0, description="Seconds allowed for each; 0 is no limit.")
    orders: int = Field(default=64, ge=2, description="Orders that shapley_sampled draws.")
    tolerance: float = Field(default=0, ge=0, lt=1, description="Score points within which an order is cut short.")
    seed: int = Field(default=0, description="Seed of the orders.")
    k: int = Field(default=5, ge=1, description="Neighbours that vote, of knn_shapley.")
    language_model: str = Field(default="", description="Configured language model. Empty: the one of the run.")


@dg.multi_asset(
    name="attributed_runs",
    specs=[
        table_spec(EVALUATIONS, deps=["gold.dspy_runs", "gold.dspy_trials", "gold.dspy_programs"]),
        table_spec(ATTRIBUTIONS, deps=["gold.dspy_runs", "silver.embeddings", "gold.lineage_edges"]),
        table_spec(DELTAS, deps=["gold.dspy_runs"]),
    ],
    pool="inference",
    can_subset=False,
)
def attributed_runs(
    context: dg.AssetExecutionContext, config: AttributeRuns, installation: dg.ResourceParam[Installation]
) -> Iterator[dg.MaterializeResult[None]]:
    """Value the examples and demos of runs that are new by vectors and by asking again; credit units and ancestors."""
    ends = _attribute(context, config, installation)
    facts = table_metadata(installation.lake, TABLES)
    shown = attribution_metadata(installation.lake, ends)
    for table in TABLES:
        yield dg.MaterializeResult(asset_key=asset_key(table), metadata={**facts[table], **shown.get(table, {})})


def _attribute(
    context: dg.AssetExecutionContext, config: AttributeRuns, installation: Installation
) -> list[AttributionEnd]:
    tell = _teller(context)
    if not config.runs:
        mode: Literal["all", "changed"] = "all" if context.run.tags.get(RECOMPUTE_TAG) == "all" else "changed"
        return attribute_pending(installation, mode=mode, clock=_now, ticks=time.monotonic, on_evaluated=tell)
    plan = _plan_of(config)
    return [attribute_run(installation, run, plan, clock=_now, on_evaluated=tell) for run in config.runs]


def _teller(context: dg.AssetExecutionContext) -> OnEvaluated:
    def tell(method: str, done: int, most: int) -> None:
        context.log.info("%s: %d of at most %d sets of demos", method, done, most)

    return tell


def _now() -> dt.datetime:
    return dt.datetime.now(dt.UTC)


def _plan_of(config: AttributeRuns) -> AttributionPlan:
    own: dict[str, Any] = {name: getattr(config, name) for name in ("split", "orders", "tolerance", "seed", "k")}
    return AttributionPlan(
        **own,
        methods=check_methods(config.methods),
        max_items=config.max_items or None,
        budget=Budget(calls=config.budget_calls or None, seconds=config.budget_seconds or None),
        language_model=config.language_model or None,
    )


KEYS = tuple(map(asset_key, TABLES))
ATTRIBUTE = dg.define_asset_job(
    "attribute",
    selection=dg.AssetSelection.assets(*KEYS),
    description="Attribute optimisation runs. Name runs, methods and budget in the launchpad; launched as it stands it "
    "does what the night does. What a budget cut short is taken up by launching it again.",
)
BACKFILL = dg.define_asset_job(
    "backfill_attribution",
    selection=dg.AssetSelection.assets(*KEYS),
    tags={RECOMPUTE_TAG: "all"},
    description="The night's attribution for every optimisation run there is; what stands for the same inputs stays.",
)

ROOM = Room(assets=(attributed_runs,), tables=TABLES, jobs=(ATTRIBUTE, BACKFILL), night=KEYS)
