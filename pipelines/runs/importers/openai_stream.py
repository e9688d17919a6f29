"""A streamed answer put together again: the deltas of its chunks become the response that was not streamed.

What belongs here: chunks in, one response out. Where chunks are found is `openai_exchange.py` and `openai.py`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from pipelines.runs.records import JsonObject, RecordError, as_list, as_object, as_text, parse_json

if TYPE_CHECKING:
    from collections.abc import Iterable

_LEGACY_LISTS = ("tokens", "token_logprobs", "top_logprobs", "text_offset")
_JOINED = ("content", "refusal", "reasoning", "reasoning_content")


def is_chunk(value: object) -> bool:
    """Whether a JSON value is a piece of a streamed chat answer."""
    return isinstance(value, dict) and value.get("object") == "chat.completion.chunk"


def read_events(text: str) -> list[JsonObject]:
    """The chunks in the text of an event stream; what is none is left out, such as comments and `[DONE]`."""
    chunks = []
    for line in text.splitlines():
        if not line.startswith("data:"):
            continue
        try:
            value, _ = parse_json(line[5:].strip().encode("utf-8", "replace"))
        except RecordError:
            continue
        if isinstance(value, dict):
            chunks.append(value)
    return chunks


def join_chunks(chunks: Iterable[object]) -> JsonObject:
    """The response that the chunks add up to; the usage comes with the last of them."""
    response: JsonObject = {}
    choices: dict[str, JsonObject] = {}
    for item in chunks:
        chunk = as_object(item)
        response |= {key: value for key, value in chunk.items() if key != "choices" and value is not None}
        for piece in as_list(chunk.get("choices")):
            part = as_object(piece)
            choice = choices.setdefault(as_text(part.get("index")) or "0", {"message": {}})
            _join_choice(choice, part)
    return response | {"choices": list(choices.values())}


def _join_choice(choice: JsonObject, part: JsonObject) -> None:
    delta = as_object(part.get("delta")) or as_object(part.get("message"))
    message = choice["message"]
    for key in _JOINED:
        if isinstance(delta.get(key), str):
            message[key] = message.get(key, "") + delta[key]
    for call in as_list(delta.get("tool_calls")):
        _join_call(message.setdefault("tool_calls", []), as_object(call))
    if isinstance(part.get("text"), str):
        choice["text"] = choice.get("text", "") + part["text"]
    _join_logprobs(choice, as_object(part.get("logprobs")))
    if as_list(part.get("token_ids")):
        choice.setdefault("token_ids", []).extend(part["token_ids"])
    choice |= {key: part[key] for key in ("index", "finish_reason", "stop_reason") if part.get(key) is not None}


def _join_logprobs(choice: JsonObject, logprobs: JsonObject) -> None:
    for key in ("content", "refusal", *_LEGACY_LISTS):
        if as_list(logprobs.get(key)):
            joined = choice.setdefault("logprobs", {})
            joined.setdefault(key, []).extend(logprobs[key])


def _join_call(calls: list[Any], part: JsonObject) -> None:
    """A call's name comes first, then its arguments piece by piece."""
    index = part.get("index")
    call = next((known for known in calls if known.get("index") == index), None)
    if call is None:
        call = {"index": index, "function": {}}
        calls.append(call)
    call |= {key: part[key] for key in ("id", "type") if part.get(key) is not None}
    function = as_object(part.get("function"))
    for key in ("name", "arguments"):
        if isinstance(function.get(key), str):
            call["function"][key] = call["function"].get(key, "") + function[key]
