"""What the night attributes; what people attribute is said on the command line or in the launchpad."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict, Field


class AttributionConfig(BaseModel):
    """Values for runs that are new: by vectors always, by asking again within a small budget."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    is_nightly: bool = Field(default=True, description="Whether the night attributes at all.")
    budget_seconds: float = Field(
        default=60.0,
        ge=0,
        allow_inf_nan=False,
        description="Time that a night may spend on asking without each demo; 0 for none. The next night goes on.",
    )
    max_items: int = Field(
        default=12, ge=2, description="Most test items that the night asks for each set of demos; more tell more."
    )
    k: int = Field(default=5, ge=1, description="Neighbours that vote, of KNN-Shapley.")
    penalty: float = Field(default=0.01, gt=0, allow_inf_nan=False, description="Penalty of the influence proxy.")
