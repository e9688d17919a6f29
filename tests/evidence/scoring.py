"""A backend in code that scores given tokens, for tests of teacher-forced mode: no model, every number known."""

from __future__ import annotations

from collections.abc import Sequence
from types import TracebackType
from typing import Self

import numpy as np

from pipelines.runs.backends import (
    BackendIdentity,
    Completion,
    GivenToken,
    SamplingParameters,
    ScoredPositions,
    TokenScoringError,
)

# Probabilities of tokens 0 to 3, whatever came before.
EVEN = (0.4, 0.3, 0.2, 0.1)


class ListedBackend:
    """Finds the four tokens of its vocabulary as likely as `probabilities` say, at every position.

    It fails at prompts that contain `fails_at`; `asked` are the prompts it was given.
    """

    max_concurrency = 1

    def __init__(
        self, name: str, *, probabilities: Sequence[float] = EVEN, fails_at: str | None = None, tokenizer: str = "t"
    ) -> None:
        self.identity = BackendIdentity(
            name=name, engine=name, engine_version="1", model="tiny", tokenizer=tokenizer, logprobs_mode="raw"
        )
        self.asked: list[str] = []
        self._logprobs = np.log(np.array(probabilities))
        self._fails_at = fails_at

    def score_tokens(self, prompt: str, tokens: Sequence[GivenToken], *, top_k: int | None) -> ScoredPositions:
        self.asked.append(prompt)
        if self._fails_at is not None and self._fails_at in prompt:
            raise TokenScoringError(f"{prompt} is too hard.")
        ids = np.array([token.token_id for token in tokens])
        listed = np.argsort(-self._logprobs)[: top_k or None]
        return ScoredPositions(
            token_ids=ids,
            logprobs=self._logprobs[ids],
            alternative_ids=np.broadcast_to(np.sort(listed), (len(ids), len(listed))),
            alternative_logprobs=np.broadcast_to(self._logprobs[np.sort(listed)], (len(ids), len(listed))),
            is_vocabulary=top_k is None,
            top_tokens=("top",) * len(ids),
        )

    def complete(self, prompt: str, sampling: SamplingParameters) -> Completion:
        raise NotImplementedError

    def close(self) -> None:
        """Nothing to let go of."""

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()
