"""What an optimisation run is asked with: template, items, optimiser, budget; models; who watches."""

from __future__ import annotations

import datetime as dt
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from lake.tables.optimization import Optimizer
from pipelines.optimization.dspy_adapter.programs import Nearest
from pipelines.optimization.recording import Trial
from pipelines.optimization.settings import OptimizerSettings
from pipelines.optimization.spending import Budget, Engine, Spent
from pipelines.optimization.splitting import Splits
from pipelines.optimization.template_registry import TemplateVersion
from pipelines.optimization.templates import Template


@dataclass(frozen=True, kw_only=True)
class OptimizationRequest:
    """What is searched: a template's version, on which items, how, with what budget."""

    version: TemplateVersion
    splits: Splits
    optimizer: Optimizer
    settings: OptimizerSettings = field(default_factory=OptimizerSettings)
    budget: Budget = field(default_factory=Budget)
    seed: int = 0
    requested_by: str

    @property
    def searched_template(self) -> Template:
        """The template that candidates are built from; one that shows near demos where that is what is tried."""
        if self.optimizer != "knn_few_shot":
            return self.version.template
        return self.version.template.revised(neighbour_count=self.settings.neighbour_count)


@dataclass(frozen=True, kw_only=True)
class Models:
    """What answers: the engine of the program, the one that writes instructions, and what finds near demos."""

    engine: Engine
    prompt_engine: Engine
    nearest: Nearest | None = None


@dataclass(frozen=True, kw_only=True)
class Watching:
    """Clocks, and who is told of trials and calls."""

    clock: Callable[[], dt.datetime]
    ticks: Callable[[], float] = time.monotonic
    on_trial: Callable[[Trial], None] | None = None
    on_call: Callable[[Spent], None] | None = None


@dataclass(frozen=True, kw_only=True)
class OptimizationResult:
    """How a run ended: its row of gold.dspy_runs; `is_new` is false when it had ended before and nothing was asked."""

    run_id: str
    row: Mapping[str, Any]
    is_new: bool
