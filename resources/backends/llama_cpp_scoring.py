"""Teacher-forced mode of llama.cpp, embedded or behind an address.

Its server has no log-probabilities of a prompt. But a grammar can name tokens by id, and log-probabilities are
reported as they were before the grammar forbade anything: so the engine is made to generate exactly the given tokens,
and says how likely it found each. Measured on 764 tokens of the embedded model, the numbers were those of generating
them freely, to the last digit.

Two things need care. A grammar follows characters, and stumbles over tokens that are part of one; outputs with such
tokens are asked token by token. And an end mark cannot be named: it is what is left to say when the grammar ends.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any

import httpx
import orjson

from pipelines.runs.backends import GivenToken, ScoredPositions, TokenScoringError
from resources.backends.token_scoring import NO_LIST, TopList, given_ids, listed_positions

# Sends the body of a request for a completion.
Ask = Callable[[dict[str, object]], httpx.Response]


def score_by_generating(
    ask: Ask, text: str, tokens: Sequence[GivenToken], *, top_k: int, vocabulary_size: int | None
) -> ScoredPositions:
    """What the server behind `ask` makes of `tokens` after `text`; raises `TokenScoringError`."""
    ids = given_ids(tokens)
    has_parts = any(_is_part(token.bytes) for token in tokens)
    score = _token_by_token if has_parts else _at_once
    scored = list(score(ask, text, tokens, ids, max(top_k, 1)))
    return listed_positions(
        ids,
        [logprob for logprob, _ in scored],
        [listed for _, listed in scored],
        vocabulary_size=vocabulary_size,
    )


def _at_once(
    ask: Ask, text: str, tokens: Sequence[GivenToken], ids: Sequence[int], top_k: int
) -> Iterator[tuple[float | None, TopList]]:
    spoken = ids[:-1] if tokens[-1].bytes == b"" else ids
    grammar = " ".join(f"<[{token_id}]>" for token_id in spoken) or '""'
    answer = _answer(ask, prompt=text, grammar=grammar, n_predict=len(ids), n_probs=top_k, cache_prompt=False)
    entries = answer.get("completion_probabilities", [])
    if answer.get("tokens") != list(ids) or [entry["id"] for entry in entries] != list(ids):
        raise TokenScoringError("llama.cpp did not generate the given tokens; its tokenizer may be another one.")
    for entry in entries:
        yield entry["logprob"], _top_list(entry)


def _token_by_token(
    ask: Ask, text: str, _: Sequence[GivenToken], ids: Sequence[int], top_k: int
) -> Iterator[tuple[float | None, TopList]]:
    for place, token_id in enumerate(ids):
        # What it has to say is nothing but a whole character: nothing is reported of a part of one.
        prompt = [text, *ids[:place]]
        answer = _answer(ask, prompt=prompt, grammar='"a"', n_predict=1, n_probs=top_k, cache_prompt=True)
        entries = answer.get("completion_probabilities")
        listed = _top_list(entries[0]) if entries else NO_LIST
        yield dict(zip(listed.ids, listed.logprobs, strict=True)).get(token_id), listed


def _answer(ask: Ask, *, grammar: str, **settings: object) -> dict[str, Any]:
    request = {
        **settings,
        "grammar": f"root ::= {grammar}",
        "temperature": 0,
        "samplers": ["temperature"],
        "return_tokens": True,
    }
    try:
        answer: dict[str, Any] = orjson.loads(ask(request).content)
    except (httpx.HTTPError, ValueError) as error:
        raise TokenScoringError(f"llama.cpp: {type(error).__name__}: {error}") from error
    if "error" in answer:
        said = answer["error"]
        raise TokenScoringError(f"llama.cpp: {said.get('message') if isinstance(said, dict) else said}")
    return answer


def _is_part(content: bytes | None) -> bool:
    try:
        (content or b"").decode()
    except UnicodeDecodeError:
        return True
    return False


def _top_list(entry: dict[str, Any]) -> TopList:
    top = entry["top_logprobs"]
    return TopList([one["id"] for one in top], [one["logprob"] for one in top], [one["token"] for one in top])
