"""What the backends that score given tokens share: ids of the tokens, and lists of any length as arrays.

How each engine is asked is its own module; llama.cpp's way, embedded or behind an address, is `llama_cpp_scoring.py`.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from pipelines.runs.backends import GivenToken, ScoredPositions, TokenScoringError

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from resources.backends.gguf_models import GgufModel


class TopList(NamedTuple):
    """The likeliest tokens at one position, as three lists of one length."""

    ids: Sequence[int]
    logprobs: Sequence[float]
    tokens: Sequence[str]


NO_LIST = TopList((), (), ())


def given_ids(tokens: Sequence[GivenToken]) -> list[int]:
    """The ids of all tokens; raises `TokenScoringError` when one has none, or there is no token."""
    ids = [token.token_id for token in tokens if token.token_id is not None]
    if not ids:
        raise TokenScoringError("The output has no tokens with ids to score.")
    if len(ids) < len(tokens):
        raise TokenScoringError(f"{len(tokens) - len(ids)} of {len(tokens)} tokens have no id.")
    return ids


def whole_vocabulary(ids: Sequence[int], logprobs: NDArray[np.float64], model: GgufModel) -> ScoredPositions:
    """Positions of which `logprobs`, of shape (tokens, vocabulary), has every token there is."""
    count, size = logprobs.shape
    return ScoredPositions(
        token_ids=np.array(ids, dtype=np.int64),
        logprobs=logprobs[np.arange(count), ids],
        alternative_ids=np.broadcast_to(np.arange(size, dtype=np.int64), (count, size)),
        alternative_logprobs=logprobs,
        is_vocabulary=True,
        top_tokens=tuple(model.token_text(int(best)) for best in logprobs.argmax(axis=1)),
    )


def listed_positions(
    ids: Sequence[int],
    logprobs: Sequence[float | None],
    lists: Sequence[TopList],
    *,
    vocabulary_size: int | None = None,
) -> ScoredPositions:
    """Positions of which each has a list; where all have `vocabulary_size` tokens they list the vocabulary."""
    widths = [len(listed.ids) for listed in lists]
    shape = (len(ids), max(widths, default=0))
    alternative_ids = np.full(shape, -1, dtype=np.int64)
    alternative_logprobs = np.full(shape, -np.inf)
    for place, listed in enumerate(lists):
        alternative_ids[place, : widths[place]] = listed.ids
        alternative_logprobs[place, : widths[place]] = listed.logprobs
    return ScoredPositions(
        token_ids=np.array(ids, dtype=np.int64),
        logprobs=np.array([np.nan if value is None else value for value in logprobs], dtype=np.float64),
        alternative_ids=alternative_ids,
        alternative_logprobs=alternative_logprobs,
        is_vocabulary=bool(widths) and min(widths) == vocabulary_size,
        top_tokens=tuple(
            listed.tokens[int(np.argmax(listed.logprobs))] if len(listed.ids) else None for listed in lists
        ),
        alternative_tokens=tuple(tuple(listed.tokens) for listed in lists),
    )
