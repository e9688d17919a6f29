"""What was asked and answered, out of the attributes and events in which instrumentations have put messages.

What belongs here: every way of writing a message, old and new, as one. Which span they belong to is `otel_events.py`,
what becomes of them `otel_spans.py`.

Newer instrumentations write `gen_ai.input.messages` with parts, as JSON text or structured; older ones an event a
message (`gen_ai.user.message`, `gen_ai.choice`), the events `gen_ai.content.prompt` and `gen_ai.content.completion`,
or an attribute a field (`gen_ai.prompt.0.content`).
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

import orjson

from pipelines.runs.importers.messages import prompt_text
from pipelines.runs.records import JsonObject, as_list, as_object, as_text, canonical_json

_MESSAGE_EVENT = re.compile(r"^gen_ai\.(?P<role>system|user|assistant|tool)\.message$")
_CHOICE_EVENT, _PROMPT_EVENT, _COMPLETION_EVENT = "gen_ai.choice", "gen_ai.content.prompt", "gen_ai.content.completion"
DETAILS_EVENT = "gen_ai.client.inference.operation.details"
_INDEXED = re.compile(r"^(?:gen_ai|llm)\.(?P<list>prompts?|completions?)\.(?P<index>\d{1,4})\.(?P<field>.+)$")
_CALL_FIELD = re.compile(r"^tool_calls\.(?P<index>\d{1,4})\.(?P<field>.+)$")
_MOST_MESSAGES = 10_000
# Attributes that hold messages; they become prompt and output.
MESSAGE_KEYS = frozenset(
    {"gen_ai.input.messages", "gen_ai.output.messages", "gen_ai.system_instructions", "gen_ai.prompt",
     "gen_ai.completion"}
)  # fmt: skip


@dataclass(frozen=True, kw_only=True)
class Choice:
    """One answer."""

    output: str | None
    finish_reason: str | None


@dataclass(kw_only=True)
class Conversation:
    """Messages in the common form, role and content, and the answers to them."""

    messages: list[JsonObject] = field(default_factory=list)
    choices: list[Choice] = field(default_factory=list)

    @property
    def prompt(self) -> str | None:
        """The messages as one text, as every format has it."""
        return prompt_text(self.messages) if self.messages else None


def is_message_event(name: str) -> bool:
    """Whether an event carries messages."""
    return name in (_CHOICE_EVENT, _PROMPT_EVENT, _COMPLETION_EVENT) or bool(_MESSAGE_EVENT.match(name))


def is_message_key(key: str) -> bool:
    """Whether an attribute carries messages."""
    return key in MESSAGE_KEYS or bool(_INDEXED.match(key))


def read_conversation(attributes: JsonObject, events: Iterable[tuple[str, JsonObject]]) -> Conversation:
    """Messages of an operation, from its attributes, or where these have none from its events."""
    found = Conversation()
    found.messages = _asked(attributes)
    found.choices = _answered(attributes)
    told = Conversation()
    for name, event in events:
        _take_event(name, event, told)
    found.messages = found.messages or told.messages[:_MOST_MESSAGES]
    found.choices = found.choices or told.choices[:_MOST_MESSAGES]
    return found


def _asked(attributes: JsonObject) -> list[JsonObject]:
    system = _structured(attributes.get("gen_ai.system_instructions"))
    given = _structured(attributes.get("gen_ai.input.messages"))
    if given is None:
        given = _structured(attributes.get("gen_ai.prompt")) or _indexed(attributes, "prompt")
    messages = [_message(item) for item in _listed(given)]
    if system:
        messages.insert(0, {"role": "system", "content": _parts_text(_listed(system))})
    return messages[:_MOST_MESSAGES]


def _answered(attributes: JsonObject) -> list[Choice]:
    given = _structured(attributes.get("gen_ai.output.messages"))
    if given is None:
        given = _structured(attributes.get("gen_ai.completion")) or _indexed(attributes, "completion")
    return [_choice(item) for item in _listed(given)[:_MOST_MESSAGES]]


def _take_event(name: str, event: JsonObject, into: Conversation) -> None:
    body = _body(event)
    if name == _CHOICE_EVENT:
        message = as_object(body.get("message")) or body
        into.choices.append(_choice(message | {"finish_reason": body.get("finish_reason")}))
    elif name in (_PROMPT_EVENT, DETAILS_EVENT):
        into.messages.extend(_asked(event))
        into.choices.extend(_answered(event) if name == DETAILS_EVENT else ())
    elif name == _COMPLETION_EVENT:
        into.choices.extend(_answered(event))
    elif role := _MESSAGE_EVENT.match(name):
        into.messages.append(_message({"role": role["role"]} | body))


def _body(event: JsonObject) -> JsonObject:
    """What an event says: in its body, as JSON in one attribute, or attribute by attribute."""
    for key in ("body", "gen_ai.event.content"):
        content = _structured(event.get(key))
        if isinstance(content, dict) and content:
            return content
    return {key.removeprefix("gen_ai."): _structured(value) for key, value in event.items()}


def _structured(value: object) -> Any:  # noqa: ANN401  # JSON
    """JSON that is a text, as what it says; any other text as it is."""
    if isinstance(value, str) and value.lstrip()[:1] in ("[", "{"):
        try:
            return orjson.loads(value)
        except orjson.JSONDecodeError:
            return value
    return value


def _listed(value: object) -> list[Any]:
    return value if isinstance(value, list) else [] if value is None else [value]


def _message(item: object) -> JsonObject:
    """A message as role and content."""
    if not isinstance(item, dict):
        return {"role": "user", "content": as_text(item)}
    return {"role": as_text(item.get("role")) or "user", "content": _content(item)}


def _content(item: JsonObject) -> str | None:
    if isinstance(item.get("parts"), list):
        return _parts_text(item["parts"])
    content = _structured(item.get("content"))
    text = _parts_text(content) if isinstance(content, list) else as_text(content)
    if not text and item.get("tool_calls"):
        return _calls([as_object(call) for call in as_list(item["tool_calls"])])
    return text


def _parts_text(parts: list[Any]) -> str:
    """Texts of the parts; calls of tools and their results as JSON, other parts by their kind."""
    texts = []
    for part in parts:
        item = as_object(part)
        kind = item.get("type")
        if kind in ("text", None) and (not item or "content" in item or "text" in item):
            texts.append(as_text(item.get("content", item.get("text")) if item else part) or "")
        elif kind == "tool_call":
            texts.append(_calls([item]))
        elif kind == "tool_call_response":
            texts.append(as_text(item.get("response", item.get("result"))) or "")
        elif kind != "reasoning":
            texts.append(f"({as_text(kind)})")
    return "\n".join(texts)


def _calls(calls: list[JsonObject]) -> str:
    plain = [as_object(call.get("function")) or call for call in calls]
    return canonical_json([{"name": call.get("name"), "arguments": call.get("arguments")} for call in plain])


def _choice(item: object) -> Choice:
    value = as_object(item)
    if not value:
        return Choice(output=as_text(item), finish_reason=None)
    return Choice(output=_content(value), finish_reason=as_text(value.get("finish_reason")))


def _indexed(attributes: JsonObject, name: str) -> list[JsonObject] | None:
    """Messages that are written an attribute a field: `gen_ai.prompt.0.role`."""
    found: dict[int, JsonObject] = {}
    calls: dict[int, dict[int, JsonObject]] = {}
    for key, value in attributes.items():
        match = _INDEXED.match(key)
        if match is None or not match["list"].startswith(name):
            continue
        index = int(match["index"])
        call = _CALL_FIELD.match(match["field"])
        if call:
            calls.setdefault(index, {}).setdefault(int(call["index"]), {})[call["field"]] = value
        found.setdefault(index, {})[match["field"]] = value
    for index, named in calls.items():
        found[index]["tool_calls"] = [named[place] for place in sorted(named)]
    return [found[index] for index in sorted(found)] or None
