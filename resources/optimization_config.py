"""What the night optimises; what people optimise is said on the command line or in the launchpad."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict, Field

from lake.tables.optimization import Optimizer


class OptimizationConfig(BaseModel):
    """A small optimisation each night; one that has finished with the same template and examples is not repeated."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    is_nightly: bool = Field(default=True, description="Whether the night optimises at all.")
    template: str = Field(default="transport-orders", description="Template; the shipped demo is saved when missing.")
    optimizer: Optimizer = Field(default="labeled_few_shot", description="Optimiser; see docs/optimization.md.")
    labeled_demo_count: int = Field(default=8, ge=0, le=64, description="Most demos shown.")
    max_validation: int = Field(default=8, ge=1, description="Validation items, for which it is chosen.")
    max_test: int = Field(default=24, ge=1, description="Test items, by which it is judged.")
    budget_seconds: float = Field(
        default=300.0, gt=0, description="Time that a night may spend on it.", allow_inf_nan=False
    )
    seed: int = Field(default=0, description="Seed.")
