"""Tokens of an answer of llama.cpp's server, in the three shapes that its versions wrote.

What belongs here: ids, bytes and log-probabilities. The rest of an answer is `llama_cpp_answers.py`.

Today `completion_probabilities` has an entry a token with `logprob` and `top_logprobs`; with `post_sampling_probs` it
has `prob` and `top_probs`; builds before 2025 wrote `probs`, the candidates alone, with `tok_str` and `prob`.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

from pipelines.runs.importers.frames import TokenRow, TopToken
from pipelines.runs.records import (
    Fault,
    JsonObject,
    as_bytes,
    as_count,
    as_list,
    as_number,
    as_object,
    as_text,
)

# The server writes the lowest float there is for a probability of nothing.
_NO_LOGPROB = -1e30


def read_tokens(answer: JsonObject, faults: list[Fault]) -> list[TokenRow]:
    """The generated tokens in order; those that have an id alone included."""
    entries = as_list(answer.get("completion_probabilities")) or as_list(answer.get("probs"))
    reported = [_entry(as_object(entry), f"tokens[{index}]", faults) for index, entry in enumerate(entries)]
    ids = [as_count(item, f"tokens[{index}]", faults) for index, item in enumerate(as_list(answer.get("tokens")))]
    has_ids = any(token.token_id is not None for token in reported)
    if not ids or (reported and not has_ids):
        return reported
    return _aligned(ids, reported)


def is_post_sampling(answer: JsonObject) -> bool | None:
    """Whether the probabilities are those after all samplers; None without any."""
    entries = as_list(answer.get("completion_probabilities")) or as_list(answer.get("probs"))
    if not entries:
        return None
    return "prob" in as_object(entries[0]) or bool(
        as_object(answer.get("generation_settings")).get("post_sampling_probs")
    )


def _aligned(ids: Sequence[int | None], reported: Sequence[TokenRow]) -> list[TokenRow]:
    """A token for every id. Tokens that only begin a character are reported together, under the last one's id."""
    waiting = list(reported)[::-1]
    tokens = []
    for token_id in ids:
        is_reported = bool(waiting) and waiting[-1].token_id == token_id
        tokens.append(waiting.pop() if is_reported else TokenRow(token_id, "", None, None, None))
    # Where they do not fit together, what was reported is worth more than bare ids.
    return tokens if not waiting else list(reported)


def _entry(entry: JsonObject, place: str, faults: list[Fault]) -> TokenRow:
    candidates = [as_object(item) for item in _candidates(entry)]
    text = as_text(entry.get("token")) if "token" in entry else as_text(entry.get("content"))
    tops = [top for item in candidates if (top := _top(item, f"{place}.top", faults))]
    logprob = _logprob(entry, place, faults)
    if logprob is None and "probs" in entry:
        logprob = next((top.logprob for top in tops if top.token == text), None)
    return TokenRow(
        token_id=as_count(entry.get("id"), f"{place}.id", faults),
        token=text or "",
        bytes=as_bytes(entry.get("bytes"), f"{place}.bytes", faults),
        logprob=logprob,
        top_k=tops if candidates else None,
    )


def _candidates(entry: JsonObject) -> list[object]:
    return next((as_list(entry[key]) for key in ("top_logprobs", "top_probs", "probs") if key in entry), [])


def _top(item: JsonObject, place: str, faults: list[Fault]) -> TopToken | None:
    logprob = _logprob(item, place, faults)
    if logprob is None:
        return None
    token = as_text(item.get("token", item.get("tok_str")))
    return TopToken(as_count(item.get("id"), f"{place}.id", faults), token or "", logprob)


def _logprob(item: JsonObject, place: str, faults: list[Fault]) -> float | None:
    if "logprob" in item:
        logprob = as_number(item["logprob"], f"{place}.logprob", faults)
        return logprob if logprob is None or logprob > _NO_LOGPROB else None
    probability = as_number(item.get("prob"), f"{place}.prob", faults, minimum=0)
    return math.log(probability) if probability else None
