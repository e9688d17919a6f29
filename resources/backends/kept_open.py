"""A backend that stays open over several runs, so that a batch loads a model once."""

from __future__ import annotations

from collections.abc import Callable
from types import TracebackType
from typing import Self

from pipelines.runs.backends import Backend, BackendIdentity, BackendStartError, Completion, SamplingParameters


class KeptOpen:
    """Opens a backend when it is first lent, lends the same one from then on, and closes it when left.

    A backend that could not start is not tried again: the error is raised for every run that wants it.
    """

    def __init__(self, opening: Callable[[], Backend]) -> None:
        self._opening = opening
        self._backend: Backend | None = None
        self._error: BackendStartError | None = None

    def lend(self) -> Backend:
        """The backend, for one run; closing what is lent closes nothing. Raises what opening it raises."""
        if self._error is not None:
            raise self._error
        if self._backend is None:
            try:
                self._backend = self._opening()
            except BackendStartError as error:
                self._error = error
                raise
        return _Lent(self._backend)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._backend is not None:
            self._backend.close()


class _Lent:
    """A backend that its borrower cannot close."""

    def __init__(self, backend: Backend) -> None:
        self._backend = backend

    @property
    def identity(self) -> BackendIdentity:
        """What answers."""
        return self._backend.identity

    @property
    def max_concurrency(self) -> int:
        """How many prompts may be under way at a time."""
        return self._backend.max_concurrency

    def complete(self, prompt: str, sampling: SamplingParameters) -> Completion:
        """Ask one prompt and wait for what comes of it."""
        return self._backend.complete(prompt, sampling)

    def close(self) -> None:
        """Give it back; it stays open."""

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()
