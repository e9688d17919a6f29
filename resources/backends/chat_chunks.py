"""The parts of OpenAI's chat completion answers that Benchlake reads, and server-sent events.

Here: bytes to typed parts. Requests, retries and time limits are `openai_http.py`. Unknown members are ignored, since
every server adds its own.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

from pydantic import BaseModel, Field, ValidationError

from pipelines.runs.backends import OutputToken, TokenAlternative

DONE = b"[DONE]"


class AnswerError(Exception):
    """The answer is an error, or cannot be read."""


class _Alternative(BaseModel):
    token: str
    logprob: float
    bytes: list[int] | None = None
    # Not OpenAI's, but llama.cpp gives it.
    id: int | None = None


class _TokenLogprob(_Alternative):
    top_logprobs: list[_Alternative] = Field(default_factory=list)

    def to_token(self) -> OutputToken:
        return OutputToken(
            token_id=self.id,
            token=self.token,
            bytes=bytes(self.bytes) if self.bytes is not None else None,
            logprob=self.logprob,
            top_k=tuple(
                TokenAlternative(token_id=other.id, token=other.token, logprob=other.logprob)
                for other in sorted(self.top_logprobs, key=lambda other: -other.logprob)
            ),
        )


class _Logprobs(BaseModel):
    content: list[_TokenLogprob] | None = None


class _Text(BaseModel):
    content: str | None = None


class _Choice(BaseModel):
    delta: _Text | None = None
    message: _Text | None = None
    logprobs: _Logprobs | None = None
    finish_reason: str | None = None


class Usage(BaseModel):
    """Token counts as the server reports them."""

    prompt_tokens: int | None = None
    completion_tokens: int | None = None


class ChatChunk(BaseModel):
    """One event of a stream, or the whole answer of a server that does not stream."""

    choices: list[_Choice] = Field(default_factory=list)
    usage: Usage | None = None
    error: Any = None

    @property
    def text(self) -> str:
        """What it adds to the output."""
        parts = (part for choice in self.choices[:1] for part in (choice.delta, choice.message) if part is not None)
        return "".join(part.content or "" for part in parts)

    @property
    def tokens(self) -> list[OutputToken]:
        """Tokens with log-probabilities, empty if the server gives none."""
        logprobs = self.choices[0].logprobs if self.choices else None
        return [entry.to_token() for entry in (logprobs.content or ())] if logprobs is not None else []

    @property
    def finish_reason(self) -> str | None:
        """Why the output ended, on the chunk that ends it."""
        return self.choices[0].finish_reason if self.choices else None


def parse_chunk(data: bytes) -> ChatChunk:
    """The chunk in a JSON text; raises `AnswerError` that shows what cannot be read."""
    try:
        return ChatChunk.model_validate_json(data)
    except ValidationError as error:
        problem = error.errors()[0]
        place = ".".join(map(str, problem["loc"])) or "the JSON"
        raise AnswerError(f"The server's answer cannot be read ({place}: {problem['msg']}): {data[:200]!r}") from None


def split_events(pieces: Iterable[bytes]) -> Iterator[bytes]:
    """The data of each server-sent event in a stream of bytes (WHATWG HTML, 9.2).

    Lines are split as bytes: a JSON text may hold U+2028 and other characters at which text libraries split. An event
    that the stream broke off is left out.
    """
    data: list[bytes] = []
    for line in _lines(pieces):
        if line.startswith(b"data:"):
            data.append(line[5:].removeprefix(b" "))
        elif not line and data:
            yield b"\n".join(data)
            data = []


def _lines(pieces: Iterable[bytes]) -> Iterator[bytes]:
    held = b""
    for piece in pieces:
        *whole, held = (held + piece).split(b"\n")
        yield from (line.removesuffix(b"\r") for line in whole)
