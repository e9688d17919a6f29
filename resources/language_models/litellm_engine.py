"""Any model that LiteLLM or DSPy's native client knows, as an engine.

The key is read from the environment when the model is opened, kept in memory, and taken out of every message.
"""

from __future__ import annotations

import os
from dataclasses import replace
from typing import Any

from lake.errors import UserError
from lake.identity import text_digest
from pipelines.runs.redaction import redact_text
from resources.backends.addresses import redact_url
from resources.language_models.configuration import LiteLlmConfig

_MILLION = 1_000_000


class LiteLlmEngine:
    """A model of a provider; raises `UserError` when its key is not in the environment."""

    def __init__(self, name: str, config: LiteLlmConfig) -> None:
        import dspy

        self.name = name
        self._config = config
        self._key = _read_key(name, config)
        # DSPy's own cache leaves the address out of its key, and its retries are kept: providers throttle.
        self._lm = dspy.LM(
            model=config.model,
            cache=False,
            timeout=config.timeout_seconds,
            **({"api_key": self._key} if self._key else {}),
            **({"api_base": config.api_base} if config.api_base else {}),
        )
        place = f"@{text_digest(redact_url(config.api_base))[:12]}" if config.api_base else ""
        self.model = f"{config.model}{place}"
        self.max_concurrency = config.concurrency
        self.supports_response_schema = bool(self._lm.supports_response_schema)
        self.supported_params = frozenset(self._lm.supported_params)

    def complete(self, request: Any) -> Any:  # noqa: ANN401 - dspy.lm15.Request and Response
        """Answer one request; a failure says why, without the key."""
        from dspy.lm15 import ServerError

        try:
            return self._lm(replace(request, model=self._config.model))
        except Exception as error:  # noqa: BLE001 - whatever it is, the key must not be in it
            raise ServerError(f"{self.name}: {type(error).__name__}: {self._without_key(str(error))}") from None

    def cost_usd(self, response: Any) -> float | None:  # noqa: ANN401 - dspy.lm15.Response
        """What an answer cost: by the configured prices, else by LiteLLM's list, else unknown."""
        config, usage = self._config, response.usage
        sent, generated = usage.input_tokens or 0, usage.output_tokens or 0
        if config.input_usd_per_million is not None and config.output_usd_per_million is not None:
            return (sent * config.input_usd_per_million + generated * config.output_usd_per_million) / _MILLION
        import litellm

        try:
            costs = litellm.cost_per_token(model=config.model, prompt_tokens=sent, completion_tokens=generated)
        except Exception:  # noqa: BLE001 - a model that is not on the list raises a bare one
            return None
        return float(sum(costs))

    def close(self) -> None:
        """Let go of the connections."""
        self._lm.close()

    def _without_key(self, message: str) -> str:
        hidden = message.replace(self._key, "***") if self._key else message
        return redact_text(hidden)


def _read_key(name: str, config: LiteLlmConfig) -> str | None:
    if config.api_key_variable is None:
        return None
    key = os.environ.get(config.api_key_variable)
    if not key:
        raise UserError(
            f"The language model {name!r} needs its key in the environment variable {config.api_key_variable}, "
            "which is not set. Set it; the key itself never stands in a file."
        )
    return key
