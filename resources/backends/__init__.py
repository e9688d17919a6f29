"""Backends that can be asked: embedded models and OpenAI-compatible servers, by configuration.

Here: opening one by its configuration. What a backend must do is `pipelines/runs/backends.py`; asking it a whole
suite is `pipelines/runs/suite_runs.py`.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from resources.backends.configuration import (
    BackendConfig,
    LlamaCppConfig,
    OpenAIConfig,
    TransformersConfig,
    backend_digest,
)

if TYPE_CHECKING:
    from pipelines.runs.backends import Backend

__all__ = [
    "BackendConfig",
    "LlamaCppConfig",
    "OpenAIConfig",
    "TransformersConfig",
    "backend_digest",
    "open_backend",
]


def open_backend(name: str, config: BackendConfig, state_dir: Path) -> Backend:
    """Make the backend ready to answer, warm; converted weights are kept below `state_dir/models`.

    Raises `UserError` for what the user can mend (the extra `local` is missing, no such model file, no key in the
    environment) and `BackendStartError` when it does not start all the same.
    """
    # Each module loads an engine; only the one that is asked for may cost its import.
    if config.engine == "llama.cpp":
        from resources.backends.llama_cpp import LlamaCppBackend

        return LlamaCppBackend(name, config)
    if config.engine == "transformers":
        from resources.backends.transformers_local import TransformersBackend

        return TransformersBackend(name, config, state_dir=state_dir)
    from resources.backends.openai_http import OpenAIBackend

    return OpenAIBackend(name, config)
