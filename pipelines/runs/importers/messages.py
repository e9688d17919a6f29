"""Chat messages as one text, the same for every format, so that equal prompts have equal digests.

What belongs here: messages and their content parts. Which field of a record holds them is each format's module.
"""

from __future__ import annotations

from pipelines.runs.records import JsonObject, as_object, as_text


def prompt_text(given: object) -> str | None:
    """Text as it is; a single message by its content; a conversation with its roles."""
    if not isinstance(given, list):
        return as_text(given)
    messages = [as_object(message) for message in given]
    if len(messages) == 1:
        return content_text(messages[0].get("content"))
    return "\n\n".join(_turn(message) for message in messages)


def _turn(message: JsonObject) -> str:
    # A call of a tool has no content, and is all that the model said.
    content = content_text(message.get("content")) or as_text(message.get("tool_calls") or None) or ""
    return f"[{as_text(message.get('role'))}]\n{content}"


def content_text(given: object) -> str | None:
    """Text parts of a message; parts of other kinds by their kind."""
    if not isinstance(given, list):
        return as_text(given)
    parts = [as_object(part) for part in given]
    return "\n".join(as_text(part.get("text")) or f"({as_text(part.get('type'))})" for part in parts)
