"""What can be configured of a language model that programs ask. No engine is imported here."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field

from resources.backends.configuration import LlamaCppConfig


class EmbeddedModelConfig(LlamaCppConfig):
    """llama.cpp in this process, held to a JSON schema by its grammar."""


class LiteLlmConfig(BaseModel):
    """Any model that LiteLLM knows: hosted, or a server of your own."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    engine: Literal["litellm"] = "litellm"
    model: str = Field(min_length=1, description="Model as LiteLLM names it, for instance openai/gpt-4o-mini.")
    api_base: str | None = Field(default=None, description="Address of a server of your own, up to and including /v1.")
    api_key_variable: str | None = Field(
        default=None, description="Environment variable that holds the key; the key itself is never configured."
    )
    concurrency: int = Field(default=4, ge=1, le=256, description="Requests at a time.")
    timeout_seconds: float = Field(
        default=120.0, gt=0, description="An answer that takes longer has failed.", allow_inf_nan=False
    )
    input_usd_per_million: float | None = Field(
        default=None,
        ge=0,
        description="Price of a million tokens sent; LiteLLM's list when absent.",
        allow_inf_nan=False,
    )
    output_usd_per_million: float | None = Field(
        default=None, ge=0, description="Price of a million tokens generated.", allow_inf_nan=False
    )


LanguageModelConfig = Annotated[EmbeddedModelConfig | LiteLlmConfig, Field(discriminator="engine")]
