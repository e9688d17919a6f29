"""An engine that answers the same request in the same way for ever, from a cache where it can.

A run that is taken up is carried out again from its beginning, with these answers, until it comes to what is new. A
sampled answer (temperature above 0) is drawn with a seed that follows from request, place among equal requests and
the run's seed, so asking three times gives three answers, and the same three next time.
"""

from __future__ import annotations

import threading
from collections import Counter
from dataclasses import replace
from typing import Any, Protocol

from lake.identity import json_digest
from pipelines.optimization.spending import CACHED
from resources.language_models.completion_cache import CompletionCache

_SEED_DIGITS = 7


class PlainEngine(Protocol):
    """What asks a model, without memory."""

    name: str
    model: str
    max_concurrency: int
    supports_response_schema: bool
    supported_params: frozenset[str]

    def complete(self, request: Any) -> Any:  # noqa: ANN401 - dspy.lm15.Request and Response
        """Answer one request."""

    def cost_usd(self, response: Any) -> float | None:  # noqa: ANN401 - dspy.lm15.Response
        """What an answer cost."""

    def close(self) -> None:
        """Let go of the model."""


class CachedEngine:
    """`engine` behind a cache."""

    def __init__(self, engine: PlainEngine, cache: CompletionCache, *, seed: int) -> None:
        self._engine, self._cache, self._seed = engine, cache, seed
        self.name = engine.name
        self.model = engine.model
        self.max_concurrency = engine.max_concurrency
        self.supports_response_schema = engine.supports_response_schema
        self.supported_params = engine.supported_params
        self._asked: Counter[str] = Counter()
        self._lock = threading.Lock()

    def complete(self, request: Any) -> Any:  # noqa: ANN401 - dspy.lm15.Request and Response
        """Answer one request; the id of an answer from the cache begins with `cache:`."""
        facts = _request_facts(request)
        if facts is None:
            return self._engine.complete(request)
        key, seed = self._key(facts, is_sampled=bool(request.config.temperature))
        kept = self._cache.get(key)
        if kept is not None:
            return _response_of(kept, key, request.model)
        if seed is not None and "seed" in self.supported_params:
            request = replace(request, config=replace(request.config, seed=seed))
        response = self._engine.complete(request)
        self._cache.put(
            key,
            {
                "text": response.message.text or "",
                "finish_reason": response.finish_reason,
                "input_tokens": response.usage.input_tokens,
                "output_tokens": response.usage.output_tokens,
            },
        )
        return response

    def cost_usd(self, response: Any) -> float | None:  # noqa: ANN401 - dspy.lm15.Response
        """What an answer cost; nothing if it came from the cache."""
        return 0.0 if (response.id or "").startswith(CACHED) else self._engine.cost_usd(response)

    def _key(self, facts: dict[str, Any], *, is_sampled: bool) -> tuple[str, int | None]:
        if not is_sampled:
            return json_digest([self.model, facts]), None
        plain = json_digest([self.model, facts, self._seed])
        with self._lock:
            occurrence = self._asked[plain]
            self._asked[plain] += 1
        key = json_digest([plain, occurrence])
        return key, int(key[:_SEED_DIGITS], 16)


def _request_facts(request: Any) -> dict[str, Any] | None:  # noqa: ANN401 - dspy.lm15.Request
    """All that decides an answer; None for requests with more than text, which are not kept."""
    if request.tools or any(message.text is None for message in request.messages):
        return None
    config = request.config
    system = request.system
    return {
        "system": system if system is None or isinstance(system, str) else [part.text for part in system],
        "messages": [[message.role, message.text] for message in request.messages],
        "max_tokens": config.max_tokens,
        "temperature": config.temperature,
        "top_p": config.top_p,
        "stop": list(config.stop),
        "seed": config.seed,
        "response_format": config.response_format,
    }


def _response_of(kept: dict[str, Any], key: str, model: str) -> Any:  # noqa: ANN401 - dspy.lm15.Response
    from dspy.lm15 import Message, Response, Usage

    return Response(
        id=f"{CACHED}{key}",
        model=model,
        message=Message.assistant(kept["text"]),
        finish_reason=kept["finish_reason"],
        usage=Usage(input_tokens=kept["input_tokens"], output_tokens=kept["output_tokens"]),
    )
