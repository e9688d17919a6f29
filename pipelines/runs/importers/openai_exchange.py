"""A request and its answer, out of the shapes in which people keep them.

What belongs here: finding the request's and the response's bodies in a record, and whether it is such a record at
all. What they say is `openai_samples.py`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from pipelines.runs.importers.openai_stream import is_chunk, join_chunks, read_events
from pipelines.runs.records import JsonObject, RecordError, as_list, as_object, as_text, parse_json

_ANSWER_OBJECTS = frozenset({"chat.completion", "chat.completion.chunk", "text_completion", "response"})
_PROMPT_KEYS = ("messages", "prompt", "input")


@dataclass(frozen=True, kw_only=True)
class Exchange:
    """What was asked and what came back; either may be empty.

    `envelope` is the record around them, with times and ids, `head` what lies around the response's body: its status
    and headers. `is_cut` tells of a stream that broke off.
    """

    envelope: JsonObject
    head: JsonObject
    request: JsonObject
    response: JsonObject
    error: object = None
    is_cut: bool = False


def is_exchange(record: JsonObject) -> bool:
    """Whether a record is an answer, a request with its answer, or a line of a batch."""
    if "custom_id" in record:
        return is_batch_request(record) or isinstance(record.get("response"), dict) or "error" in record
    if _is_answer(record):
        return True
    response = _body(record.get("response"))
    if _is_answer(response):
        return True
    is_empty = not response or "error" in as_object(response)
    return is_empty and bool({"response", "error"} & record.keys()) and _is_request(_body(record.get("request")))


def is_batch_request(record: JsonObject) -> bool:
    """Whether a record is a line of a batch's input, which is answered elsewhere."""
    return "custom_id" in record and "url" in record and isinstance(record.get("body"), dict)


def read_exchange(record: JsonObject, *, request: JsonObject | None = None) -> Exchange | None:
    """The exchange in a record, None if there is none; `request` is what a batch's input holds for it."""
    if _is_answer(record):
        return _exchange({}, {}, record, request or {})
    if not {"response", "request", "error"} & record.keys():
        return None
    head = as_object(record.get("response"))
    body = _body(record.get("response"))
    asked = request or as_object(_body(record.get("request")))
    return _exchange(record, head if body is not record.get("response") else {}, body, asked)


def chunked_exchange(chunks: list[JsonObject]) -> Exchange:
    """The exchange of a stream that was kept chunk by chunk, without its request."""
    return _exchange({}, {}, chunks, {})


def _exchange(envelope: JsonObject, head: JsonObject, body: object, request: JsonObject) -> Exchange:
    is_stream = isinstance(body, list)
    response = join_chunks(as_list(body)) if is_stream else as_object(body)
    choices = [as_object(choice) for choice in as_list(response.get("choices"))]
    error = envelope.get("error") or response.get("error") or None
    if not response.get("choices") and error is None and isinstance(body, str) and body:
        error = body
    return Exchange(
        envelope=envelope,
        head=head,
        request=request,
        response=response,
        error=error,
        is_cut=is_stream and not any(choice.get("finish_reason") for choice in choices),
    )


def _body(given: object) -> Any:  # noqa: ANN401  # JSON
    """A body as it is or inside its HTTP envelope, also as text: JSON or an event stream."""
    if isinstance(given, dict) and "choices" not in given:
        for key in ("body", "json", "content"):
            if isinstance(given.get(key), dict | list | str):
                return _parsed(given[key])
        if "body" in given:
            return None
    return _parsed(given)


def _parsed(given: object) -> Any:  # noqa: ANN401  # JSON
    if not isinstance(given, str):
        return given
    if given.lstrip().startswith(("data:", "event:", ":")):
        return read_events(given)
    try:
        value, _ = parse_json(given.encode("utf-8", "replace"))
    except RecordError:
        return given
    return value if isinstance(value, dict | list) else given


def _is_answer(value: object) -> bool:
    if isinstance(value, list):
        return bool(value) and (is_chunk(value[0]) or _is_answer(value[0]))
    body = as_object(value)
    if body.get("object") == "response":
        return isinstance(body.get("output"), list)
    known = body.get("object")
    is_named = isinstance(known, str) and known in _ANSWER_OBJECTS
    return isinstance(body.get("choices"), list) and (is_named or ("model" in body and "usage" in body))


def _is_request(value: object) -> bool:
    body = as_object(value)
    return "model" in body and any(body.get(key) is not None for key in _PROMPT_KEYS)


def error_text(error: object) -> str | None:
    """The message of an error, however it is wrapped."""
    if isinstance(error, dict):
        inner = error.get("error")
        if isinstance(inner, dict):
            return error_text(inner)
        return as_text(error.get("message") or error.get("detail")) or (as_text(error) if error else None)
    return as_text(error) or None
