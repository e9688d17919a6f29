"""Teacher-forced mode of servers: vLLM's log-probabilities of a prompt, llama.cpp's of what it is made to generate.

OpenAI's own interface has no way to score given tokens, so each inference software is asked in its own: which one it
is says the configuration (`server_engine`), else the server. Requests and retries are `openai_http.py`'s.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Protocol

from lake.errors import UserError
from pipelines.runs.backends import GivenToken, ScoredPositions, TokenScoringError
from resources.backends.llama_cpp_scoring import score_by_generating
from resources.backends.token_scoring import NO_LIST, TopList, listed_positions

KNOWN_ENGINES = ("vllm", "llama.cpp")


class Server(Protocol):
    """What a scoring needs of the HTTP backend; paths count from the server's root. Both raise `TokenScoringError`."""

    def post(self, path: str, body: Mapping[str, object]) -> dict[str, Any]:
        """The JSON object that answers a request."""
        ...

    def get(self, path: str) -> dict[str, Any]:
        """The JSON object at a path."""
        ...


def find_engine(server: Server, configured: str | None) -> str:
    """The inference software behind an address; raises `UserError` if it is none that can score tokens."""
    if configured in KNOWN_ENGINES:
        return configured
    if configured is None:
        for path, key, engine in (
            ("/props", "default_generation_settings", "llama.cpp"),
            ("/version", "version", "vllm"),
        ):
            try:
                if key in server.get(path):
                    return engine
            except TokenScoringError:
                continue
    raise UserError(
        "Only vLLM and llama.cpp servers can score given tokens, and this is neither as far as it says. If it is one, "
        f"set server_engine of the backend to {' or '.join(KNOWN_ENGINES)}."
    )


def score_with_vllm(
    server: Server, model: str, prompt: str, tokens: Sequence[GivenToken], *, top_k: int
) -> ScoredPositions:
    """Ask vLLM for the log-probabilities of a prompt that ends with the output's tokens."""
    messages = [{"role": "user", "content": prompt}]
    asked = {"model": model, "messages": messages, "add_generation_prompt": True}
    prompt_ids = server.post("/tokenize", asked)["tokens"]
    ids = _ids(
        tokens, lambda text: server.post("/tokenize", {"model": model, "prompt": text, "add_special_tokens": False})
    )
    body = {
        "model": model,
        "prompt": [*prompt_ids, *ids],
        "max_tokens": 1,
        "temperature": 0,
        "prompt_logprobs": top_k,
    }
    reported = server.post("/v1/completions", body)["choices"][0].get("prompt_logprobs")
    if not reported or len(reported) != len(prompt_ids) + len(ids):
        raise TokenScoringError("vLLM did not report log-probabilities of the prompt.")
    places = [place or {} for place in reported[-len(ids) :]]
    own = [place.get(str(token_id), {}).get("logprob") for place, token_id in zip(places, ids, strict=True)]
    return listed_positions(ids, own, [_top_list(place) for place in places])


def score_with_llama_cpp(
    server: Server,
    ask: Callable[[dict[str, object]], Any],
    prompt: str,
    tokens: Sequence[GivenToken],
    *,
    top_k: int,
) -> ScoredPositions:
    """Have a llama.cpp server generate the tokens; `ask` posts to its `/completion`."""
    text = server.post("/apply-template", {"messages": [{"role": "user", "content": prompt}]})["prompt"]
    ids = _ids(tokens, lambda text: server.post("/tokenize", {"content": text}))
    given = [
        GivenToken(token_id=token_id, token=token.token, bytes=token.bytes)
        for token, token_id in zip(tokens, ids, strict=True)
    ]
    return score_by_generating(ask, text, given, top_k=top_k, vocabulary_size=None)


def _ids(tokens: Sequence[GivenToken], tokenize: Callable[[str], dict[str, Any]]) -> list[int]:
    """The recorded ids, else those that the server's tokenizer gives the output, if it cuts it into as many tokens."""
    ids = [token.token_id for token in tokens if token.token_id is not None]
    if len(ids) == len(tokens) and ids:
        return ids
    contents = [token.token.encode() if token.bytes is None else token.bytes for token in tokens]
    found: list[int] = tokenize(b"".join(contents).decode("utf-8", "replace"))["tokens"]
    if not found or len(found) != len(tokens):
        raise TokenScoringError(
            f"The run recorded {len(tokens)} tokens without ids, and the server cuts the output into {len(found)}."
        )
    return found


def _top_list(place: Mapping[str, Mapping[str, Any]]) -> TopList:
    if not place:
        return NO_LIST
    return TopList(
        [int(token_id) for token_id in place],
        [one["logprob"] for one in place.values()],
        [one.get("decoded_token") or "" for one in place.values()],
    )
