"""Tokens with log-probabilities as OpenAI-compatible servers write them, chat and legacy completions.

What belongs here: one choice's `logprobs` as rows, also for tools that keep such a response inside their own record.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

from pipelines.runs.importers.frames import TokenRow, TopToken
from pipelines.runs.records import Fault, JsonObject, as_bytes, as_list, as_number, as_object, as_text

if TYPE_CHECKING:
    from collections.abc import Iterator

# What vLLM writes in place of a token's text when it is asked for ids.
_ID_TEXT = re.compile(r"^token_id:(\d{1,18})$")
_LARGEST_ID = 2**63 - 1


def read_tokens(choice: JsonObject, faults: list[Fault], *, generated_count: int | None) -> list[TokenRow]:
    """Generated tokens of a choice; none where it has no log-probabilities.

    `generated_count` tells how many of a legacy completion's tokens were generated when its prompt was echoed.
    """
    logprobs = as_object(choice.get("logprobs"))
    content = as_list(logprobs.get("content")) or as_list(logprobs.get("refusal"))
    if content:
        return _chat_tokens(content, as_list(choice.get("token_ids")), faults)
    return _legacy_tokens(logprobs, as_list(choice.get("token_ids")), generated_count, faults)


def _chat_tokens(content: list[Any], token_ids: list[Any], faults: list[Fault]) -> list[TokenRow]:
    ids = token_ids if len(token_ids) == len(content) else [None] * len(content)
    return [_chat_token(as_object(item), ids[index], index, faults) for index, item in enumerate(content)]


def _chat_token(item: JsonObject, token_id: object, index: int, faults: list[Fault]) -> TokenRow:
    place = f"logprobs[{index}]"
    text = as_text(item.get("token")) or ""
    tops, known = item.get("top_logprobs"), _token_id(item, text)
    named = _ID_TEXT.match(text)
    return TokenRow(
        token_id=_whole(token_id) if known is None else known,
        token=text,
        # Of a token that is named by its id, these are the bytes of that name.
        bytes=None if named else as_bytes(item.get("bytes"), f"{place}.bytes", faults),
        logprob=as_number(item.get("logprob"), f"{place}.logprob", faults),
        top_k=None if tops is None else list(_chat_tops(as_list(tops), place, faults)),
    )


def _chat_tops(items: list[Any], place: str, faults: list[Fault]) -> Iterator[TopToken]:
    for item in items:
        top = as_object(item)
        text = as_text(top.get("token")) or ""
        logprob = as_number(top.get("logprob"), f"{place}.top_logprobs", faults)
        if logprob is not None:
            yield TopToken(_token_id(top, text), text, logprob)


def _token_id(item: JsonObject, text: str) -> int | None:
    """The id beside the token, as llama.cpp writes it, or in place of its text."""
    named = _ID_TEXT.match(text)
    return int(named[1]) if named else _whole(item.get("id", item.get("token_id")))


def _whole(value: object) -> int | None:
    is_whole = isinstance(value, int) and not isinstance(value, bool)
    return value if is_whole and isinstance(value, int) and 0 <= value <= _LARGEST_ID else None


def _legacy_tokens(
    logprobs: JsonObject, token_ids: list[Any], generated_count: int | None, faults: list[Fault]
) -> list[TokenRow]:
    """Lists side by side, any entry of which may be null; an echoed prompt's tokens come first and are left out."""
    texts = as_list(logprobs.get("tokens"))
    values, tops = as_list(logprobs.get("token_logprobs")), as_list(logprobs.get("top_logprobs"))
    first = len(texts) - generated_count if _is_echoed(texts, values, generated_count) else 0  # type: ignore[operator]  # then it is known
    ids = token_ids if len(token_ids) == len(texts) - first else []
    rows = []
    for index in range(first, len(texts)):
        place, text = f"logprobs[{index}]", as_text(texts[index]) or ""
        named = _ID_TEXT.match(text)
        rows.append(
            TokenRow(
                token_id=int(named[1]) if named else _whole(ids[index - first]) if ids else None,
                token=text,
                bytes=None,
                logprob=as_number(_at(values, index), f"{place}.logprob", faults),
                top_k=_legacy_tops(_at(tops, index), place, faults),
            )
        )
    return rows


def _is_echoed(texts: list[Any], values: list[Any], generated_count: int | None) -> bool:
    """The first token of a prompt follows nothing, so it alone has no log-probability."""
    return bool(values) and values[0] is None and generated_count is not None and 0 < generated_count < len(texts)


def _legacy_tops(given: object, place: str, faults: list[Fault]) -> list[TopToken] | None:
    if not isinstance(given, dict):
        return None
    found = []
    for text, value in given.items():
        logprob = as_number(value, f"{place}.top_logprobs", faults)
        named = _ID_TEXT.match(text)
        if logprob is not None:
            found.append(TopToken(int(named[1]) if named else None, text, logprob))
    return found


def _at(items: list[Any], index: int) -> Any:  # noqa: ANN401  # JSON
    return items[index] if index < len(items) else None
