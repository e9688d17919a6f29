"""What an optimisation run may spend, what it has spent, and how it is stopped.

Pure but for the clock that it is given. The engine that is metered stands behind `Engine`; the engines themselves are
in `resources/`.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import dataclass, field, fields, replace
from typing import Any, Literal, Protocol

from lake.errors import UserError

StopState = Literal["budget_spent", "cancelled"]
# What answers from the cache is marked so in the id of the response.
CACHED = "cache:"
# The first calls of a run are slow (weights are read, caches are cold) and say little about the others.
_TELLING_CALLS = 10


class RunStopped(BaseException):
    """The run is to stop now, keeping what it did.

    Not an `Exception`, because optimisers take every exception of a call for a wrong answer and go on.
    """

    def __init__(self, state: StopState, reason: str) -> None:
        super().__init__(reason)
        self.state: StopState = state
        self.reason = reason


class Engine(Protocol):
    """What answers requests: DSPy's engine interface (`complete(Request) -> Response`), and what a run records of it.

    `complete` may be called by up to `max_concurrency` threads at a time. `cost_usd` is None where no price is known.
    """

    @property
    def name(self) -> str:
        """Configured name."""
        ...

    @property
    def model(self) -> str:
        """Model behind the name, with what tells it from others of that name."""
        ...

    @property
    def max_concurrency(self) -> int:
        """Requests at a time."""
        ...

    @property
    def supports_response_schema(self) -> bool:
        """Whether it can be held to a JSON schema."""
        ...

    @property
    def supported_params(self) -> frozenset[str]:
        """Parameters it understands, in OpenAI's words."""
        ...

    def complete(self, request: Any) -> Any:  # noqa: ANN401 - dspy.lm15.Request and Response
        """Answer one request."""
        ...

    def cost_usd(self, response: Any) -> float | None:  # noqa: ANN401 - dspy.lm15.Response
        """What an answer cost."""
        ...


@dataclass(frozen=True, kw_only=True)
class Budget:
    """The most that a run may spend, over all its attempts; None is no limit."""

    calls: int | None = None
    tokens: int | None = None
    cost_usd: float | None = None
    seconds: float | None = None

    def __post_init__(self) -> None:
        for part in fields(self):
            value = getattr(self, part.name)
            if value is not None and value <= 0:
                raise UserError(f"A budget of {value} {part.name} allows nothing; give more than 0, or leave it out.")


@dataclass(frozen=True, kw_only=True)
class Spent:
    """What was spent: calls answered anew and from the cache, tokens, cost (None once one is unknown), seconds."""

    calls: int = 0
    cached_calls: int = 0
    input_tokens: int = 0
    output_tokens: int = 0
    cost_usd: float | None = 0.0
    seconds: float = 0.0

    def __add__(self, other: Spent) -> Spent:
        return Spent(
            calls=self.calls + other.calls,
            cached_calls=self.cached_calls + other.cached_calls,
            input_tokens=self.input_tokens + other.input_tokens,
            output_tokens=self.output_tokens + other.output_tokens,
            cost_usd=None if self.cost_usd is None or other.cost_usd is None else self.cost_usd + other.cost_usd,
            seconds=self.seconds + other.seconds,
        )


@dataclass
class Meter:
    """Counts what is spent, and stops the run before a call that the budget has no room for.

    `reserved_calls` are kept back for the test at the end, in calls and in what such calls took so far. `should_stop`
    is asked now and then and gives the reason to stop, or None; `before` is what earlier attempts spent.
    """

    budget: Budget
    ticks: Callable[[], float]
    before: Spent = field(default_factory=Spent)
    should_stop: Callable[[], str | None] | None = None
    on_call: Callable[[Spent], None] | None = None
    reserved_calls: int = 0
    seconds_between_questions: float = 5.0

    def __post_init__(self) -> None:
        self._lock = threading.Lock()
        self._began = self._asked = self._marked_at = self.ticks()
        self._spent = self._marked = Spent()

    @property
    def total(self) -> Spent:
        """Spent over all attempts until now."""
        return self.before + self.here

    @property
    def here(self) -> Spent:
        """Spent in this attempt until now."""
        return replace(self._spent, seconds=self.ticks() - self._began)

    def since_mark(self) -> Spent:
        """Spent since the call before, for the trial that has just ended."""
        here, marked = self.here, self._marked
        self._marked = here
        cost = None if here.cost_usd is None or marked.cost_usd is None else here.cost_usd - marked.cost_usd
        return Spent(
            calls=here.calls - marked.calls,
            cached_calls=here.cached_calls - marked.cached_calls,
            input_tokens=here.input_tokens - marked.input_tokens,
            output_tokens=here.output_tokens - marked.output_tokens,
            cost_usd=cost,
            seconds=here.seconds - marked.seconds,
        )

    def check(self) -> None:
        """Raise `RunStopped` if the next call must not be made."""
        with self._lock:
            now = self.ticks()
            if self.should_stop is not None and now - self._asked >= self.seconds_between_questions:
                self._asked = now
                reason = self.should_stop()
                if reason is not None:
                    raise RunStopped("cancelled", reason)
            self._check_budget()

    def add(self, *, is_cached: bool, input_tokens: int, output_tokens: int, cost_usd: float | None) -> None:
        """Count an answered call; one from the cache costs nothing."""
        with self._lock:
            if is_cached:
                self._spent += Spent(cached_calls=1)
            else:
                self._spent += Spent(calls=1, input_tokens=input_tokens, output_tokens=output_tokens, cost_usd=cost_usd)
        if self.on_call is not None:
            self.on_call(self.total)

    def _check_budget(self) -> None:
        total = self.total
        here = self.here
        # What a call takes, by this attempt's own experience; a reserve in calls alone would not keep back time.
        share = self.reserved_calls / here.calls if here.calls >= _TELLING_CALLS else 0.0
        tokens = total.input_tokens + total.output_tokens
        for what, spent, reserve, limit in (
            ("calls", total.calls, self.reserved_calls, self.budget.calls),
            ("tokens", tokens, (here.input_tokens + here.output_tokens) * share, self.budget.tokens),
            ("USD", total.cost_usd or 0.0, (here.cost_usd or 0.0) * share, self.budget.cost_usd),
            ("seconds", total.seconds, here.seconds * share, self.budget.seconds),
        ):
            if limit is not None and spent + reserve >= limit:
                kept = f" ({reserve:.4g} kept back for the test)" if reserve else ""
                raise RunStopped("budget_spent", f"{spent:.4g} of {limit:g} {what} are spent{kept}.")


class MeteredEngine:
    """An engine of which every call is allowed and counted by a meter; it speaks DSPy's engine interface itself."""

    def __init__(self, engine: Engine, meter: Meter) -> None:
        self._engine = engine
        self._meter = meter
        self.supports_response_schema = engine.supports_response_schema
        self.supported_params = engine.supported_params
        self.supports_function_calling = False
        self.supports_reasoning = False

    def complete(self, request: Any) -> Any:  # noqa: ANN401 - dspy.lm15.Request and Response
        """Answer one request, or raise `RunStopped`."""
        self._meter.check()
        response = self._engine.complete(request)
        usage = response.usage
        self._meter.add(
            is_cached=(response.id or "").startswith(CACHED),
            input_tokens=usage.input_tokens or 0,
            output_tokens=usage.output_tokens or 0,
            cost_usd=self._engine.cost_usd(response),
        )
        return response
