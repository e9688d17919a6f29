"""Language models that programs ask: embedded ones and whatever LiteLLM knows, by configuration.

Here: opening one by its name. What a program asks and what it may spend is `pipelines/optimization/`. Backends that
answer suites are `resources/backends/`; they take a prompt, these a conversation with a schema for the answer.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from lake.errors import UserError
from resources.language_models.configuration import EmbeddedModelConfig, LanguageModelConfig, LiteLlmConfig

if TYPE_CHECKING:
    from pipelines.optimization.spending import Engine
    from resources.language_models.cached_engine import PlainEngine

__all__ = ["EmbeddedModelConfig", "LanguageModelConfig", "LiteLlmConfig", "open_language_model"]


@contextmanager
def open_language_model(
    name: str, models: Mapping[str, LanguageModelConfig], *, state_dir: Path, seed: int
) -> Iterator[Engine]:
    """The configured model, ready to answer; answers are kept in `state_dir` and given again to the same request.

    `seed` is what draws of sampled answers follow from. Raises `UserError` for a name that is not configured and for
    what the user can mend (the extra `local` is missing, no key in the environment).
    """
    if name not in models:
        raise UserError.unknown("language model in benchlake.toml language_models", name, models)
    state_dir.mkdir(parents=True, exist_ok=True)
    keep_libraries_local(state_dir)
    from resources.language_models.cached_engine import CachedEngine
    from resources.language_models.completion_cache import CompletionCache

    config = models[name]
    if isinstance(config, LiteLlmConfig):
        from resources.language_models.litellm_engine import LiteLlmEngine

        engine: PlainEngine = LiteLlmEngine(name, config)
    else:
        from resources.language_models.llama_cpp_engine import LlamaCppEngine

        engine = LlamaCppEngine(name, config)
    cache = CompletionCache(state_dir / "completions.sqlite")
    try:
        yield CachedEngine(engine, cache, seed=seed)
    finally:
        engine.close()
        cache.close()


def keep_libraries_local(state_dir: Path) -> None:
    """Keep DSPy's files below the state folder and LiteLLM off the network; both read this when they are imported."""
    os.environ.setdefault("DSPY_CACHEDIR", str(state_dir / "dspy"))
    os.environ.setdefault("LITELLM_LOCAL_MODEL_COST_MAP", "true")
    os.environ.setdefault("TQDM_DISABLE", "1")
