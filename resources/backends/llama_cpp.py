"""llama.cpp in this process, through xllamacpp.

The binding brings llama.cpp's own server, which listens on a free port of 127.0.0.1 behind a random key. Its native
endpoint is asked rather than the in-process streaming call: that one leaves out tokens which are only part of a
character, and then neither ids nor log-probabilities line up with another engine's. The time to first token is the
engine's own (`prompt_ms`), which agreed with a streaming callback to 1 ms.
"""

from __future__ import annotations

import os
import secrets
import time
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Self

import httpx

from pipelines.runs.backends import (
    BackendIdentity,
    BackendStartError,
    Completion,
    CompletionPhase,
    GivenToken,
    OutputToken,
    SamplingParameters,
    ScoredPositions,
    TokenAlternative,
    phases_in_turn,
)
from resources.backends.gguf_models import GgufModel, find_model, need_packages
from resources.backends.llama_cpp_scoring import score_by_generating
from resources.backends.machine import embedded_identity

if TYPE_CHECKING:
    from collections.abc import Sequence
    from types import TracebackType

    from resources.backends.configuration import LlamaCppConfig

# "stop" is the word of every engine for an end mark and a stop text alike.
_FINISH_REASONS = {"eos": "stop", "word": "stop", "limit": "length"}


class LlamaCppBackend:
    """A model answered by llama.cpp; raises as `open_backend` says."""

    def __init__(self, name: str, config: LlamaCppConfig) -> None:
        need_packages("xllamacpp")
        self._model = find_model(config.gguf)
        self._concurrency = config.concurrency
        self._key = secrets.token_hex(16)
        self._server: Any = start_server(self._model, config, key=self._key)
        self._client = httpx.Client(
            base_url=self._server.listening_address,
            headers={"Authorization": f"Bearer {self._key}"},
            timeout=config.timeout_seconds,
            trust_env=False,  # a proxy must not see loopback
        )
        self._identity = _identity(name, self._model, config)
        self._warm_up()

    @property
    def identity(self) -> BackendIdentity:
        """What answers."""
        return self._identity

    @property
    def max_concurrency(self) -> int:
        """Slots of the server."""
        return self._concurrency

    def complete(self, prompt: str, sampling: SamplingParameters) -> Completion:
        """Ask one prompt; latency is from sending the request to the whole answer."""
        request = _request(self._model.render_prompt(prompt), sampling)
        started = time.perf_counter()
        try:
            response = self._client.post("/completion", json=request)
            latency_ms = (time.perf_counter() - started) * 1000
            answer = response.json()
        except httpx.TimeoutException:
            # Closing the connection makes the server give up the prompt.
            latency_ms = (time.perf_counter() - started) * 1000
            return Completion.failed("No answer within the time limit.", status="timeout", latency_ms=latency_ms)
        except (httpx.HTTPError, ValueError) as error:
            latency_ms = (time.perf_counter() - started) * 1000
            return Completion.failed(f"llama.cpp: {type(error).__name__}: {error}", latency_ms=latency_ms)
        if "error" in answer:
            return Completion.failed(f"llama.cpp: {answer['error'].get('message')}", latency_ms=latency_ms)
        answered = time.perf_counter()
        completion = _completion(answer, self._model, latency_ms=latency_ms)
        detokenise_ms = (time.perf_counter() - answered) * 1000
        return replace(completion, phases=_phases(answer["timings"], latency_ms, detokenise_ms))

    def score_tokens(self, prompt: str, tokens: Sequence[GivenToken], *, top_k: int | None) -> ScoredPositions:
        """Score given tokens by having the engine generate exactly these, which costs as much as generating them.

        The whole vocabulary is some five times slower than a few thousand alternatives, since it comes as JSON.
        """
        size = len(self._model.vocabulary)
        return score_by_generating(
            lambda request: self._client.post("/completion", json=request),
            self._model.render_prompt(prompt),
            tokens,
            top_k=size if top_k is None else min(top_k, size),
            vocabulary_size=size,
        )

    def tokenize(self, prompt: str) -> list[int]:
        """Ids of the prompt's tokens as the model is given them, chat template included."""
        content = {"content": self._model.render_prompt(prompt), "add_special": True, "parse_special": True}
        tokens: list[int] = self._client.post("/tokenize", json=content).raise_for_status().json()["tokens"]
        return tokens

    def close(self) -> None:
        """Stop the server."""
        self._client.close()
        self._server = None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _warm_up(self) -> None:
        first = self.complete("Hello", SamplingParameters(max_output_tokens=1, top_k_logprobs=0))
        if first.status != "ok":
            self.close()
            raise BackendStartError(
                f"llama.cpp does not answer: {first.error_message}", engine="llama.cpp", model=self._model.name
            )


def start_server(model: GgufModel, config: LlamaCppConfig, *, key: str) -> Any:  # noqa: ANN401 - the binding has no types
    """llama.cpp's server on a free port of loopback, behind `key`; raises `BackendStartError` if it does not start."""
    # Waiting threads that spin take the cores from each other: 4 times slower on a busy machine. It is read when the
    # OpenMP library is loaded, hence before the import.
    os.environ.setdefault("OMP_WAIT_POLICY", "passive")
    import xllamacpp

    parameters = xllamacpp.CommonParams()
    parameters.model.path = str(model.path)
    parameters.n_parallel = config.concurrency
    parameters.n_ctx = config.context_tokens * config.concurrency
    parameters.cpuparams.n_threads = config.threads
    parameters.cpuparams_batch.n_threads = config.threads
    parameters.hostnames = ["127.0.0.1"]
    parameters.port = 0
    parameters.api_keys = [key]
    parameters.endpoint_slots = False
    parameters.verbosity = -1
    try:
        return xllamacpp.Server(parameters)
    except Exception as error:
        raise BackendStartError(
            f"llama.cpp cannot load {model.path}: {error}", engine="llama.cpp", model=model.name
        ) from error


def _identity(name: str, model: GgufModel, config: LlamaCppConfig) -> BackendIdentity:
    return embedded_identity(
        name, model, config, engine="llama.cpp", packages=("xllamacpp",), weights="as quantised in the file"
    )


def _request(text: str, sampling: SamplingParameters) -> dict[str, object]:
    return {
        "prompt": text,
        "n_predict": sampling.max_output_tokens,
        "temperature": sampling.temperature,
        "n_probs": sampling.top_k_logprobs,
        "stop": list(sampling.stop),
        "return_tokens": True,
        # With a kept prefix the first token's delay would depend on the prompt before.
        "cache_prompt": False,
        # What llama.cpp does by default besides temperature would make outputs differ from every other engine's.
        "samplers": ["temperature"],
        **({} if sampling.seed is None else {"seed": sampling.seed}),
    }


def _completion(answer: dict[str, Any], model: GgufModel, *, latency_ms: float) -> Completion:
    timings = answer["timings"]
    return Completion(
        status="ok",
        output=answer["content"],
        finish_reason=_FINISH_REASONS.get(answer["stop_type"], answer["stop_type"]),
        tokens=_tokens(answer, model),
        input_token_count=answer["tokens_evaluated"],
        output_token_count=answer["tokens_predicted"],
        latency_ms=latency_ms,
        time_to_first_token_ms=float(timings["prompt_ms"]),
    )


def _phases(timings: dict[str, Any], latency_ms: float, detokenise_ms: float) -> tuple[CompletionPhase, ...]:
    """Where the latency went. What the engine did not work on the prompt is the wait for a slot, and the way there."""
    prefill_ms, decode_ms = float(timings["prompt_ms"]), float(timings["predicted_ms"])
    return phases_in_turn(
        queue=latency_ms - prefill_ms - decode_ms, prefill=prefill_ms, decode=decode_ms, detokenise=detokenise_ms
    )


def _tokens(answer: dict[str, Any], model: GgufModel) -> tuple[OutputToken, ...]:
    """Every generated token; those that only begin a character have no log-probability, llama.cpp reports none."""
    reported = iter(answer.get("completion_probabilities", ()))
    waiting, held = next(reported, None), b""
    tokens = []
    for token_id in answer["tokens"]:
        content = model.token_bytes(token_id)
        held += content or b""
        is_reported = waiting is not None and waiting["id"] == token_id and _completes(waiting, held, content)
        tokens.append(_token(token_id, content, waiting if is_reported else None, model))
        if is_reported:
            waiting, held = next(reported, None), b""
    return tuple(tokens)


def _completes(entry: dict[str, Any], held: bytes, content: bytes | None) -> bool:
    # The entry of a character of several tokens carries all their bytes, under the id of the last of them.
    return not content or bytes(entry["bytes"]) == held or not entry["bytes"]


def _token(token_id: int, content: bytes | None, entry: dict[str, Any] | None, model: GgufModel) -> OutputToken:
    return OutputToken(
        token_id=token_id,
        token=model.token_text(token_id),
        bytes=content,
        logprob=entry["logprob"] if entry else None,
        top_k=tuple(
            TokenAlternative(token_id=other["id"], token=model.token_text(other["id"]), logprob=other["logprob"])
            for other in (entry["top_logprobs"] if entry else ())
        ),
    )
