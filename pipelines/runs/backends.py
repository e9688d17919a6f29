"""What a backend is to a suite run: a prompt goes in, a completion comes out.

Here are the types alone, so that pipelines can be written and tested against any backend. The backends themselves
(embedded models, HTTP servers) are in `resources/backends/`; asking them a whole suite is `suite_runs.py`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from types import TracebackType
from typing import TYPE_CHECKING, Literal, Protocol, Self, TypeGuard, get_args

from lake.errors import BenchlakeError

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

CompletionStatus = Literal["ok", "error", "timeout"]
PhaseName = Literal["queue", "tokenise", "prefill", "decode", "detokenise"]
PHASE_NAMES: tuple[PhaseName, ...] = get_args(PhaseName)


class BackendStartError(BenchlakeError):
    """A backend could not be made ready (model does not load, server does not answer).

    `engine` and `model` are what the configuration says of it. What the user can mend in the configuration is a
    `UserError` instead.
    """

    def __init__(self, message: str, *, engine: str, model: str) -> None:
        super().__init__(message)
        self.engine = engine
        self.model = model


class TokenScoringError(BenchlakeError):
    """A backend could not score the tokens of one output; others may go well."""


@dataclass(frozen=True, kw_only=True)
class SamplingParameters:
    """How outputs are drawn; the same for every sample of a suite.

    `temperature` 0 means greedy. `top_k_logprobs` is how many of the likeliest tokens are reported at each position;
    0 asks for no log-probabilities. `seed` may be None where the temperature is 0.
    """

    temperature: float = 0.0
    max_output_tokens: int = 256
    seed: int | None = None
    top_k_logprobs: int = 5
    stop: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True)
class TokenAlternative:
    """A token that could have stood at a position; `logprob` is a natural logarithm."""

    token_id: int | None
    token: str
    logprob: float


@dataclass(frozen=True, kw_only=True)
class OutputToken:
    """A generated token.

    `bytes` is what it adds to the output (a token may be part of a character; an end mark adds none), or None if the
    backend does not say. `top_k` is sorted, likeliest first.
    """

    token_id: int | None
    token: str
    bytes: bytes | None
    logprob: float | None
    top_k: tuple[TokenAlternative, ...] = ()


@dataclass(frozen=True, kw_only=True)
class CompletionPhase:
    """A stretch of the work on one prompt; `start_ms` counts from when the backend was asked."""

    phase: PhaseName
    start_ms: float
    duration_ms: float


def phases_in_turn(**durations_ms: float | None) -> tuple[CompletionPhase, ...]:
    """Phases by name, each where the one before ended; what the engine does not tell (None) is left out."""
    phases: list[CompletionPhase] = []
    start_ms = 0.0
    for phase, duration_ms in durations_ms.items():
        if duration_ms is None:
            continue
        name = next(known for known in PHASE_NAMES if known == phase)
        lasting = max(0.0, duration_ms)
        phases.append(CompletionPhase(phase=name, start_ms=start_ms, duration_ms=lasting))
        start_ms += lasting
    return tuple(phases)


@dataclass(frozen=True, kw_only=True)
class Completion:
    """What came of one prompt. A timeout or an error is a completion with that status, never an exception.

    An output that was cut off by a timeout keeps what had arrived. `time_to_first_token_ms` is None if the backend
    cannot tell it from the whole latency. `phases` says where the time went, as far as the backend knows: `queue`
    until somebody takes the prompt up, `tokenise`, `prefill` to the first token, `decode` the others, `detokenise`
    ids to text.
    """

    status: CompletionStatus
    output: str | None
    finish_reason: str | None = None
    tokens: tuple[OutputToken, ...] = ()
    input_token_count: int | None = None
    output_token_count: int | None = None
    latency_ms: float | None = None
    time_to_first_token_ms: float | None = None
    error_message: str | None = None
    phases: tuple[CompletionPhase, ...] = ()

    @classmethod
    def failed(cls, message: str, *, status: Literal["error", "timeout"] = "error", latency_ms: float) -> Self:
        """A completion without output, for the reason in `message`."""
        return cls(status=status, output=None, error_message=message, latency_ms=latency_ms)


@dataclass(frozen=True, kw_only=True)
class GivenToken:
    """A token of an output that is to be scored; `bytes` as in `OutputToken`."""

    token_id: int | None
    token: str
    bytes: bytes | None


@dataclass(frozen=True, kw_only=True, eq=False)
class ScoredPositions:
    """What a backend makes of given tokens, one row a token, in natural logarithms.

    `logprobs` is of the token itself, NaN where the engine does not tell. Its likeliest tokens at each place are in
    `alternative_ids` and `alternative_logprobs`, both of shape (tokens, alternatives); minus infinity stands for none.
    With `is_vocabulary` they are all the tokens there are. `alternative_tokens` are their texts, where the engine gives
    them. `top_tokens` is the text of the likeliest one, or None.
    """

    token_ids: NDArray[np.int64]
    logprobs: NDArray[np.float64]
    alternative_ids: NDArray[np.int64]
    alternative_logprobs: NDArray[np.float64]
    is_vocabulary: bool
    top_tokens: tuple[str | None, ...]
    alternative_tokens: tuple[tuple[str, ...], ...] | None = None


@dataclass(frozen=True, kw_only=True)
class BackendIdentity:
    """Everything about a backend that decides whether its outputs may be compared with another's.

    A None is unknown, not equal. `logprobs_mode` is `raw` for log-probabilities of the model before temperature and
    other sampling steps, `processed` after them. `environment` holds what explains a difference afterwards:
    packages, number format of the weights, threads, operating system.
    """

    name: str
    engine: str
    engine_version: str | None
    model: str
    model_digest: str | None = None
    tokenizer: str | None = None
    chat_template_digest: str | None = None
    logprobs_mode: str | None = None
    hardware: str | None = None
    environment: Mapping[str, str] = field(default_factory=dict)


class Backend(Protocol):
    """Something that answers prompts; a context manager, closed when left.

    `complete` may be called by up to `max_concurrency` threads at a time.
    """

    @property
    def identity(self) -> BackendIdentity:
        """What answers."""
        ...

    @property
    def max_concurrency(self) -> int:
        """How many prompts may be under way at a time."""
        ...

    def complete(self, prompt: str, sampling: SamplingParameters) -> Completion:
        """Ask one prompt (a user's message, before the chat template) and wait for what comes of it."""
        ...

    def close(self) -> None:
        """Let go of the model or the connections; may be called twice."""
        ...

    def __enter__(self) -> Self: ...

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None: ...


class TokenScoringBackend(Backend, Protocol):
    """A backend that can also be given an output's tokens, and says how likely it finds each (teacher-forced)."""

    def score_tokens(self, prompt: str, tokens: Sequence[GivenToken], *, top_k: int | None) -> ScoredPositions:
        """Score tokens as if they had come out for `prompt`, at most `top_k` alternatives each; None: all there are.

        A backend may list more or fewer than it is asked for. Raises `TokenScoringError` when these tokens cannot be
        scored, `UserError` when this backend cannot score any.
        """
        ...


def can_score_tokens(backend: Backend) -> TypeGuard[TokenScoringBackend]:
    """Whether a backend has teacher-forced mode."""
    return hasattr(backend, "score_tokens")
