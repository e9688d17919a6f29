"""Settings of an optimiser, one set of words for all of them; which optimiser reads which is said at each."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict, Field

from lake.tables.optimization import Optimizer

# What each does, and whether a run that was killed goes on where it was.
DESCRIPTIONS: dict[Optimizer, str] = {
    "labeled_few_shot": "shows the first labelled items, labels taking turns",
    "bootstrap_few_shot": "shows items that the program itself answered right, then labelled ones",
    "random_search": "bootstraps several sets of demos and keeps the one that does best on the validation split",
    "knn_few_shot": "shows for each question the labelled items that are nearest to it",
    "mipro_v2": "has instructions written, then searches them with sets of demos by Bayesian optimisation",
    "copro": "has instructions rewritten, generation by generation, by how the last ones scored",
    "simba": "adds demos and rules from the items on which the program's answers differ most",
    "gepa": "has instructions rewritten by a model that reads what went wrong, and keeps a Pareto front",
}
# Their model writes instructions; one that is too small writes none worth having.
WRITES_INSTRUCTIONS: frozenset[Optimizer] = frozenset({"mipro_v2", "copro", "simba", "gepa"})


class OptimizerSettings(BaseModel):
    """How far an optimiser searches."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    labeled_demo_count: int = Field(
        default=4, ge=0, le=64, description="Most demos shown in all (the few-shot optimisers, mipro_v2, simba)."
    )
    bootstrapped_demo_count: int = Field(
        default=2, ge=0, le=64, description="Most of them answered by the program itself (bootstrapping, mipro_v2)."
    )
    bootstrap_threshold: float = Field(
        default=1.0, gt=0, le=1, description="Score from which the program's own answer may be a demo."
    )
    neighbour_count: int = Field(default=4, ge=1, le=64, description="Nearest items shown (knn_few_shot).")
    candidate_count: int = Field(
        default=4, ge=1, le=100, description="Sets of demos or instructions tried (random_search, mipro_v2, simba)."
    )
    trial_count: int = Field(default=8, ge=1, le=1000, description="Combinations tried (mipro_v2).")
    breadth: int = Field(default=3, ge=2, le=50, description="Instructions written in each generation (copro).")
    depth: int = Field(default=2, ge=1, le=50, description="Generations (copro), batches (simba).")
    batch_size: int = Field(default=8, ge=2, le=1000, description="Items of a batch (simba).")
    metric_call_count: int = Field(default=120, ge=1, description="Answers scored in all (gepa).")
