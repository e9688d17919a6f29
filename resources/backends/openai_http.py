"""Any server with an OpenAI-compatible chat completions endpoint (vLLM, SGLang, llama.cpp, hosted ones).

The key is read from the environment when the backend is opened, kept in memory only, and taken out of every message
that is stored. What refuses before it answers (no connection, 429, 5xx) is asked again with growing waits; what fails
after that is an output with status `error` or `timeout`. What arrives is read in `chat_chunks.py`
and put together in `chat_answers.py`.
"""

from __future__ import annotations

import os
import time
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Self

import httpx
import tenacity

from lake.errors import UserError
from pipelines.runs.backends import (
    BackendIdentity,
    BackendStartError,
    Completion,
    CompletionPhase,
    GivenToken,
    SamplingParameters,
    ScoredPositions,
    TokenScoringError,
    phases_in_turn,
)
from pipelines.runs.redaction import redact_text
from resources.backends.addresses import redact_url
from resources.backends.chat_answers import ChatAnswer, TimeUpError
from resources.backends.chat_chunks import DONE, AnswerError, parse_chunk, split_events
from resources.backends.server_scoring import find_engine, score_with_llama_cpp, score_with_vllm

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from types import TracebackType

    from resources.backends.configuration import OpenAIConfig

_TRANSIENT_STATUSES = frozenset({408, 409, 425, 429, 500, 502, 503, 504})
_CONNECT_SECONDS = 10.0
# A server that asks for a longer pause has no room for tonight; the attempts left are used within this.
_MAX_WAIT_SECONDS = 60.0
_MESSAGE_CHARS = 500
_BACKOFF = tenacity.wait_random_exponential(multiplier=0.5, max=20)


class _TransientError(Exception):
    """The server refused before it answered; asking again may help."""

    def __init__(self, message: str, *, wait_seconds: float | None = None) -> None:
        super().__init__(message)
        self.wait_seconds = wait_seconds


class OpenAIBackend:
    """A model behind an HTTP address; raises as `open_backend` says."""

    def __init__(self, name: str, config: OpenAIConfig) -> None:
        self._config = config
        self._key = _read_key(config)
        self._url = httpx.URL(config.base_url)
        self._client = httpx.Client(
            headers={"Authorization": f"Bearer {self._key}"} if self._key else {},
            timeout=httpx.Timeout(config.timeout_seconds, connect=min(_CONNECT_SECONDS, config.timeout_seconds)),
            limits=httpx.Limits(max_connections=config.concurrency),
            follow_redirects=False,  # the key is for this address alone
        )
        self._identity = BackendIdentity(
            name=name,
            engine=config.server_engine or "openai",
            engine_version=None,
            model=config.model,
            logprobs_mode=config.logprobs_mode,
            environment={"base_url": redact_url(config.base_url)},
        )
        self._scoring_engine: str | None = None
        self._check_reachable()

    @property
    def identity(self) -> BackendIdentity:
        """What answers, as far as it can be known through HTTP."""
        return self._identity

    @property
    def max_concurrency(self) -> int:
        """Requests at a time."""
        return self._config.concurrency

    def complete(self, prompt: str, sampling: SamplingParameters) -> Completion:
        """Ask one prompt; latency is that of the attempt that was answered, without waits before it."""
        started = time.perf_counter()
        try:
            completion = self._retrying()(self._attempt, self._request(prompt, sampling))
            return replace(completion, phases=_phases(completion, (time.perf_counter() - started) * 1000))
        except _TransientError as error:
            return Completion.failed(self._clean(str(error)), latency_ms=(time.perf_counter() - started) * 1000)

    def score_tokens(self, prompt: str, tokens: Sequence[GivenToken], *, top_k: int | None) -> ScoredPositions:
        """Score given tokens, where the software behind the address can (vLLM, llama.cpp)."""
        if self._scoring_engine is None:
            self._scoring_engine = find_engine(self, self._config.server_engine)
        most = self._config.max_top_logprobs
        width = most if top_k is None else min(top_k, most)
        try:
            if self._scoring_engine == "vllm":
                return score_with_vllm(self, self._config.model, prompt, tokens, top_k=width)
            return score_with_llama_cpp(self, self._complete_natively, prompt, tokens, top_k=width)
        except (KeyError, TypeError, IndexError) as error:
            raise TokenScoringError(f"The server's answer has no {error}.") from error

    def post(self, path: str, body: Mapping[str, object]) -> dict[str, Any]:
        """The JSON object that answers a request to a path of the server's root; raises `TokenScoringError`."""
        return self._exchange("POST", path, body)

    def get(self, path: str) -> dict[str, Any]:
        """The JSON object at a path of the server's root; raises `TokenScoringError`."""
        return self._exchange("GET", path, None)

    def close(self) -> None:
        """Close the connections."""
        self._client.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _check_reachable(self) -> None:
        """Ask for the list of models. Servers need not have one, but must answer, and take the key."""
        try:
            response = self._retrying()(self._list_models)
            refused = f"the server answered {response.status_code} {response.reason_phrase}"
            is_refused = response.status_code in {401, 403}
        except (_TransientError, httpx.HTTPError) as error:
            refused, is_refused = str(error), True
        if is_refused:
            self.close()
            where = redact_url(self._config.base_url)
            key = f" Its key comes from {self._config.api_key_variable}." if self._config.api_key_variable else ""
            raise BackendStartError(
                self._clean(f"The backend {self._identity.name} at {where} cannot be used: {refused}.{key}"),
                engine=self._identity.engine,
                model=self._config.model,
            )

    def _list_models(self) -> httpx.Response:
        try:
            response = self._client.get(self._endpoint("/models"))
        except httpx.TransportError as error:
            raise _TransientError(f"{type(error).__name__}: {error}") from error
        _refuse_transient(response)
        return response

    def _attempt(self, request: dict[str, object]) -> Completion:
        """One request; raises `_TransientError` only if no part of an answer has come."""
        answer = ChatAnswer(started=time.perf_counter(), limit_seconds=self._config.timeout_seconds)
        try:
            with self._client.stream("POST", self._endpoint("/chat/completions"), json=request) as response:
                answer.has_begun = True
                self._read(response, answer)
        except (httpx.ReadTimeout, httpx.WriteTimeout, TimeUpError):
            return answer.completion(status="timeout", message="No whole answer within the time limit.")
        except httpx.TransportError as error:
            message = f"{type(error).__name__}: {error}"
            if not answer.has_begun:
                raise _TransientError(message) from error
            return answer.completion(status="error", message=self._clean(f"The answer broke off: {message}"))
        except (AnswerError, httpx.HTTPError) as error:
            return answer.completion(status="error", message=self._clean(str(error)))
        return answer.completion()

    def _read(self, response: httpx.Response, answer: ChatAnswer) -> None:
        """Take the answer in; a server that ignores `stream` sends it as one JSON object."""
        _refuse_transient(response)
        pieces = answer.within_limits(response.iter_bytes())
        if response.status_code != httpx.codes.OK:
            said = b"".join(pieces).decode("utf-8", "replace")
            raise AnswerError(f"{response.status_code} {response.reason_phrase}: {said}")
        if not response.headers.get("content-type", "").startswith("text/event-stream"):
            answer.take(parse_chunk(b"".join(pieces)), is_streamed=False)
        else:
            for data in split_events(pieces):
                if data == DONE:
                    break
                answer.take(parse_chunk(data), is_streamed=True)
        if answer.finish_reason is None:
            raise AnswerError("The answer ended without a finish reason: the server broke it off.")

    def _request(self, prompt: str, sampling: SamplingParameters) -> dict[str, object]:
        request: dict[str, object] = {
            "model": self._config.model,
            "messages": [{"role": "user", "content": prompt}],
            "temperature": sampling.temperature,
            self._config.max_tokens_field: sampling.max_output_tokens,
            "stream": self._config.is_streaming,
        }
        if self._config.is_streaming:
            request["stream_options"] = {"include_usage": True}
        if sampling.top_k_logprobs:
            request |= {"logprobs": True, "top_logprobs": sampling.top_k_logprobs}
        if sampling.seed is not None:
            request["seed"] = sampling.seed
        if sampling.stop:
            request["stop"] = list(sampling.stop)
        return request

    def _exchange(self, method: str, path: str, body: Mapping[str, object] | None) -> dict[str, Any]:
        try:
            response = self._retrying()(self._ask_natively, method, path, body)
            answer = response.json()
        except (_TransientError, httpx.HTTPError, ValueError) as error:
            raise TokenScoringError(self._clean(f"{method} {path}: {type(error).__name__}: {error}")) from error
        if response.status_code != httpx.codes.OK or not isinstance(answer, dict):
            raise TokenScoringError(self._clean(f"{method} {path}: {response.status_code}: {response.text}"))
        return answer

    def _complete_natively(self, body: dict[str, object]) -> httpx.Response:
        try:
            return self._retrying()(self._ask_natively, "POST", "/completion", body)
        except _TransientError as error:
            raise TokenScoringError(self._clean(str(error))) from error

    def _ask_natively(self, method: str, path: str, body: Mapping[str, object] | None) -> httpx.Response:
        """A request beside OpenAI's interface, whose addresses end in /v1."""
        root = self._url.path.rstrip("/").removesuffix("/v1")
        try:
            response = self._client.request(method, self._url.copy_with(path=root + path), json=body)
        except httpx.TransportError as error:
            raise _TransientError(f"{type(error).__name__}: {error}") from error
        _refuse_transient(response)
        return response

    def _endpoint(self, path: str) -> httpx.URL:
        # Not by appending text: an address may end in a query (?api-version=...).
        return self._url.copy_with(path=self._url.path.rstrip("/") + path)

    def _retrying(self) -> tenacity.Retrying:
        return tenacity.Retrying(
            retry=tenacity.retry_if_exception_type(_TransientError),
            stop=tenacity.stop_after_attempt(1 + self._config.retries),
            wait=_wait_seconds,
            reraise=True,
        )

    def _clean(self, message: str) -> str:
        # Some servers repeat the key that they refuse.
        message = message.replace(self._key, "[redacted]") if self._key else message
        return redact_text(message)[:_MESSAGE_CHARS]


def _phases(completion: Completion, whole_ms: float) -> tuple[CompletionPhase, ...]:
    """Where the time went, as far as it can be told from outside: the server's own queue is part of the prefill."""
    latency_ms, first_ms = completion.latency_ms, completion.time_to_first_token_ms
    if latency_ms is None or first_ms is None:
        return ()
    return phases_in_turn(queue=whole_ms - latency_ms, prefill=first_ms, decode=latency_ms - first_ms)


def _read_key(config: OpenAIConfig) -> str | None:
    if config.api_key_variable is None:
        return None
    key = os.environ.get(config.api_key_variable, "").strip()
    if not key:
        raise UserError(
            f"The environment variable {config.api_key_variable} is not set; put the key of "
            f"{redact_url(config.base_url)} into it, or remove api_key_variable if the server needs none."
        )
    return key


def _refuse_transient(response: httpx.Response) -> None:
    if response.status_code in _TRANSIENT_STATUSES:
        response.read()
        raise _TransientError(
            f"{response.status_code} {response.reason_phrase}: {response.text}",
            wait_seconds=_retry_after_seconds(response),
        )


def _retry_after_seconds(response: httpx.Response) -> float | None:
    # The header may also be a date; the own waits do for that.
    value = response.headers.get("retry-after", "")
    return min(float(value), _MAX_WAIT_SECONDS) if value.isascii() and value.isdigit() else None


def _wait_seconds(state: tenacity.RetryCallState) -> float:
    error = state.outcome.exception() if state.outcome else None
    asked = error.wait_seconds if isinstance(error, _TransientError) else None
    return _BACKOFF(state) if asked is None else asked
