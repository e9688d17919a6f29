"""An answer of a chat completion server as it grows, within its limits of time and size."""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import dataclass, field

from pipelines.runs.backends import Completion, CompletionStatus, OutputToken
from resources.backends.chat_chunks import AnswerError, ChatChunk, Usage

_MAX_ANSWER_BYTES = 64 << 20


class TimeUpError(Exception):
    """The time limit passed while the answer was still coming."""


@dataclass(kw_only=True)
class ChatAnswer:
    """What has come of an answer so far."""

    started: float
    limit_seconds: float
    has_begun: bool = False
    texts: list[str] = field(default_factory=list)
    tokens: list[OutputToken] = field(default_factory=list)
    usage: Usage = field(default_factory=Usage)
    finish_reason: str | None = None
    first_token_ms: float | None = None

    def take(self, chunk: ChatChunk, *, is_streamed: bool) -> None:
        """Add a part; raises `AnswerError` if it reports an error."""
        if chunk.error is not None:
            raise AnswerError(f"The server reported an error: {chunk.error}")
        if is_streamed and self.first_token_ms is None and (chunk.text or chunk.tokens):
            self.first_token_ms = self._elapsed_ms()
        self.texts.append(chunk.text)
        self.tokens += chunk.tokens
        self.usage = chunk.usage or self.usage
        self.finish_reason = chunk.finish_reason or self.finish_reason

    def within_limits(self, pieces: Iterator[bytes]) -> Iterator[bytes]:
        """`pieces` until the time limit or the size limit; the client's own limit is only between two of them."""
        size = 0
        for piece in pieces:
            size += len(piece)
            if size > _MAX_ANSWER_BYTES:
                raise AnswerError(f"The answer is longer than {_MAX_ANSWER_BYTES:,} bytes.")
            yield piece
            if self._elapsed_ms() > self.limit_seconds * 1000:
                raise TimeUpError

    def completion(self, *, status: CompletionStatus = "ok", message: str | None = None) -> Completion:
        """What came; None as output if nothing did and that is a failure."""
        output = "".join(self.texts)
        return Completion(
            status=status,
            output=output if output or status == "ok" else None,
            finish_reason=self.finish_reason,
            tokens=tuple(self.tokens),
            input_token_count=self.usage.prompt_tokens,
            output_token_count=self.usage.completion_tokens,
            latency_ms=self._elapsed_ms(),
            time_to_first_token_ms=self.first_token_ms,
            error_message=message,
        )

    def _elapsed_ms(self) -> float:
        return (time.perf_counter() - self.started) * 1000
