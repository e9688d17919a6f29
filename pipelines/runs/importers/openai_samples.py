"""What an exchange with an OpenAI-compatible server says of its samples: prompts, answers, tokens, times.

Which run they belong to is `openai_runs.py`, finding exchanges in a file is `openai.py`.
"""

from __future__ import annotations

import datetime as dt
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from lake.identity import text_digest
from pipelines.runs.importers.messages import content_text, prompt_text
from pipelines.runs.importers.openai_exchange import Exchange, error_text
from pipelines.runs.importers.openai_tokens import read_tokens
from pipelines.runs.records import (
    Fault,
    JsonObject,
    as_count,
    as_instant,
    as_list,
    as_number,
    as_object,
    as_scaled,
    as_text,
    canonical_json,
)

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from pipelines.runs.importers.frames import TokenRow

# Names with a unit; `latency` alone may be anything and stays in the raw record.
_LATENCY_MS = ("latency_ms", "duration_ms", "elapsed_ms", "response_time_ms", "total_ms", "e2e_latency_ms")
_LATENCY_S = ("latency_s", "latency_seconds", "duration_s", "duration_seconds", "elapsed_s", "elapsed_seconds")
_FIRST_MS = ("time_to_first_token_ms", "ttft_ms", "first_token_ms")
_FIRST_S = ("time_to_first_token_s", "ttft_s", "ttft_seconds")
_STARTED = ("started_at", "start_time", "request_started_at", "requested_at", "sent_at", "request_time", "timestamp")
_ENDED = ("ended_at", "end_time", "finished_at", "completed_at", "received_at")
_SAMPLE_KEYS = ("custom_id", "sample_id", "id")
# Ids that a server or a client makes up for one request are no name of a sample.
_MADE_UP = re.compile(
    r"^(?:batch_req|req|request|chatcmpl|cmpl|resp|msg)[-_]|^[0-9a-f]{8}-?(?:[0-9a-f]{4}-?){3}[0-9a-f]{12}$",
    re.IGNORECASE,
)
_TIMEOUTS = frozenset({408, 504, 524})
_CLIENT_CLOSED = 499
_FAILED_FROM = 400
_TIMEOUT_SIGNS = ("timeout", "timed out", "expired")
_CANCEL_SIGNS = ("cancelled", "canceled")
# Seconds since 1970 stay below this for three thousand years; above it are milliseconds, then micro- and nanoseconds.
_SECONDS_BELOW = 1e11


@dataclass(frozen=True, kw_only=True)
class Answer:
    """One choice of an exchange; `sample_id` is None where only the place in the file can name the sample."""

    sample_id: str | None
    prompt: str | None
    output: str | None
    status: str
    finish_reason: str | None
    input_token_count: int | None
    output_token_count: int | None
    tokens: Sequence[TokenRow]
    error_message: str | None


@dataclass(frozen=True, kw_only=True)
class Times:
    """When a request was sent and how long its answer took, in milliseconds."""

    started_at: dt.datetime | None
    latency_ms: float | None
    time_to_first_token_ms: float | None


def read_answers(exchange: Exchange, faults: list[Fault]) -> Iterator[Answer]:
    """Every choice; one without output where nothing came back."""
    choices = [as_object(choice) for choice in _choices(exchange.response)]
    prompts = _prompts(exchange.request)
    status, message = _failure(exchange, has_choices=bool(choices))
    usage = _usage(exchange.response, faults)
    per_prompt = max(1, len(choices) // max(1, len(prompts)))
    for index, choice in enumerate(choices or [{}]):
        at = min(index // per_prompt, len(prompts) - 1)
        generated = usage[1] if len(choices) == 1 else None
        tokens = read_tokens(choice, faults, generated_count=generated)
        yield Answer(
            sample_id=_sample_id(exchange, prompts, at),
            prompt=prompts[at][0] if prompts else None,
            output=_output(choice, exchange.request),
            status=status,
            finish_reason=as_text(choice.get("finish_reason")),
            input_token_count=usage[0] if len(prompts) <= 1 else None,
            output_token_count=generated if generated is not None else (len(tokens) or None),
            tokens=tokens,
            error_message=message,
        )


def read_times(exchange: Exchange, faults: list[Fault]) -> Times:
    """The client's clock where the record has it, else what llama.cpp's server measured."""
    places = [
        exchange.envelope,
        exchange.head,
        *(as_object(exchange.envelope.get(key)) for key in ("timing", "metrics")),
    ]
    started_at = _instant(places, _STARTED, faults)
    latency = _milliseconds(places, _LATENCY_MS, _LATENCY_S, faults)
    ended_at = _instant(places, _ENDED, faults)
    if latency is None and started_at is not None and ended_at is not None and ended_at >= started_at:
        latency = (ended_at - started_at) / dt.timedelta(milliseconds=1)
    timings = as_object(exchange.response.get("timings"))
    prompt_ms = as_number(timings.get("prompt_ms"), "timings.prompt_ms", faults, minimum=0)
    predicted_ms = as_number(timings.get("predicted_ms"), "timings.predicted_ms", faults, minimum=0)
    if latency is None and prompt_ms is not None and predicted_ms is not None:
        latency = as_number(prompt_ms + predicted_ms, "timings", faults)
    first = _milliseconds(places, _FIRST_MS, _FIRST_S, faults)
    return Times(
        started_at=started_at or _created(exchange.response, faults),
        latency_ms=latency,
        time_to_first_token_ms=prompt_ms if first is None else first,
    )


def _choices(response: JsonObject) -> list[Any]:
    """Choices as they are; of the Responses API, its output as one choice."""
    if response.get("object") != "response":
        return as_list(response.get("choices"))
    texts, calls, logprobs = [], [], []
    for item in map(as_object, as_list(response.get("output"))):
        if item.get("type") == "function_call":
            calls.append({"name": item.get("name"), "arguments": item.get("arguments")})
        for part in map(as_object, as_list(item.get("content"))) if item.get("type") == "message" else ():
            texts.append(as_text(part.get("text")) or as_text(part.get("refusal")) or "")
            logprobs.extend(as_list(part.get("logprobs")))
    reason = as_object(response.get("incomplete_details")).get("reason")
    if not texts and not calls:
        return []
    return [
        {
            "message": {"content": "\n".join(texts) if texts else None, "tool_calls": calls},
            "finish_reason": "length" if reason == "max_output_tokens" else reason or "stop",
            "logprobs": {"content": logprobs},
        }
    ]


def _prompts(request: JsonObject) -> list[tuple[str | None, str]]:
    """Text and digest of each prompt; a legacy request may ask several at once."""
    given = next((request[key] for key in ("messages", "prompt", "input") if request.get(key) is not None), None)
    if given is None:
        return []
    instructions = as_text(request.get("instructions"))
    if instructions is not None:
        turns = given if isinstance(given, list) else [{"role": "user", "content": given}]
        given = [{"role": "system", "content": instructions}, *turns]
    if isinstance(given, list) and given and all(isinstance(item, str) for item in given):
        return [(item, text_digest(item)) for item in given]
    # Token ids are no text, but they tell prompts apart.
    is_text = isinstance(given, str) or (isinstance(given, list) and all(isinstance(item, dict) for item in given))
    return [(prompt_text(given) if is_text else None, text_digest(canonical_json(given)))]


def _sample_id(exchange: Exchange, prompts: list[tuple[str | None, str]], at: int) -> str | None:
    """The caller's name for the sample, else the prompt's digest, so that the same prompt pairs with itself."""
    suffix = f"#{at}" if len(prompts) > 1 else ""
    places = [
        exchange.envelope,
        as_object(exchange.envelope.get("metadata")),
        as_object(exchange.request.get("metadata")),
    ]
    for place in places:
        for key in _SAMPLE_KEYS:
            name = as_text(place.get(key)) or None
            if name is not None and (key != "id" or not _MADE_UP.match(name)):
                return name + suffix
    return f"prompt-{prompts[at][1][:16]}" if prompts else None


def _output(choice: JsonObject, request: JsonObject) -> str | None:
    """What was said; a call of tools as JSON; null when nothing came back."""
    if not choice:
        return None
    message = as_object(choice.get("message"))
    text = content_text(message.get("content"))
    if text is None and choice.get("text") is not None:
        text = as_text(choice["text"])
        prompt = request.get("prompt")
        if request.get("echo") is True and isinstance(prompt, str) and text is not None:
            text = text.removeprefix(prompt)
    if not text and as_list(message.get("tool_calls")):
        return canonical_json([_call(as_object(call)) for call in message["tool_calls"]])
    return text if text is not None else as_text(message.get("refusal"))


def _call(call: JsonObject) -> JsonObject:
    """Name and arguments; the id is another each time."""
    function = as_object(call.get("function")) or call
    return {"name": function.get("name"), "arguments": function.get("arguments")}


def _usage(response: JsonObject, faults: list[Fault]) -> tuple[int | None, int | None]:
    usage, timings = as_object(response.get("usage")), as_object(response.get("timings"))
    asked = usage.get("prompt_tokens", usage.get("input_tokens"))
    given = usage.get("completion_tokens", usage.get("output_tokens"))
    if asked is None and timings.get("prompt_n") is not None:
        read = [as_count(timings.get(key, 0), f"timings.{key}", faults) for key in ("prompt_n", "cache_n")]
        asked = sum(count for count in read if count is not None)
    return (
        as_count(asked, "usage.prompt_tokens", faults),
        as_count(timings.get("predicted_n") if given is None else given, "usage.completion_tokens", faults),
    )


def _failure(exchange: Exchange, *, has_choices: bool) -> tuple[str, str | None]:
    """Status and why: an error is told by the record, the HTTP status, or by nothing having come back."""
    code = _http_status(exchange)
    message = error_text(exchange.error)
    if exchange.error is None and (code is None or code < _FAILED_FROM):
        if exchange.is_cut:
            return "cancelled", "The stream ended without a finish reason."
        if has_choices or exchange.response.get("data") or exchange.response.get("object") == "response":
            return "ok", None
        return "error", "The server answered with no choice."
    told = f"{message or ''} {_code_text(exchange.error)}".lower()
    if code in _TIMEOUTS or any(sign in told for sign in _TIMEOUT_SIGNS):
        return "timeout", message or f"HTTP status {code}."
    is_cancelled = code == _CLIENT_CLOSED or any(sign in told for sign in _CANCEL_SIGNS)
    return "cancelled" if is_cancelled else "error", message or f"HTTP status {code}."


def _http_status(exchange: Exchange) -> int | None:
    ignored: list[Fault] = []
    given = next(
        (
            place[key]
            for place in (exchange.head, exchange.envelope)
            for key in ("status_code", "status", "http_status")
            if isinstance(place.get(key), int) and not isinstance(place.get(key), bool)
        ),
        None,
    )
    return as_count(given, "status_code", ignored)


def _code_text(error: object) -> str:
    inner = as_object(error)
    return " ".join(as_text(inner.get(key)) or "" for key in ("code", "type"))


def _milliseconds(
    places: list[JsonObject], in_ms: tuple[str, ...], in_s: tuple[str, ...], faults: list[Fault]
) -> float | None:
    for place in places:
        for names, factor in ((in_ms, 1.0), (in_s, 1000.0)):
            for name in names:
                if place.get(name) is not None:
                    return as_scaled(place[name], name, faults, by=factor)
    return None


def _instant(places: list[JsonObject], names: tuple[str, ...], faults: list[Fault]) -> dt.datetime | None:
    for place in places:
        for name in names:
            if place.get(name) is not None:
                return as_instant(_seconds(place[name]), name, faults)
    return None


def _created(response: JsonObject, faults: list[Fault]) -> dt.datetime | None:
    given = response.get("created", response.get("created_at"))
    # Some servers that do not keep the time write 0.
    return as_instant(_seconds(given), "created", faults) if given else None


def _seconds(value: object) -> object:
    """Milliseconds, microseconds or nanoseconds since 1970 as seconds."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return value
    while abs(value) >= _SECONDS_BELOW and abs(value) < _SECONDS_BELOW * 1e10:
        value = value / 1000
    return value
