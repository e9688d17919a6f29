"""Teacher-forced mode: the tokens of an output given to two sides, and what both make of each. Pure but for asking.

What belongs here: one output, from its tokens to a row of `silver.scored_tokens`. Which outputs of a run are scored,
and where the rows go, is `scoring_steps.py`; how far two distributions are apart is `forced_positions.py`.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from pipelines.evidence.forced_positions import ForcedPositions, compare_forced
from pipelines.runs.backends import (
    GivenToken,
    ScoredPositions,
    TokenScoringBackend,
    TokenScoringError,
)

LISTS = (
    "token_ids",
    "logprobs",
    "reference_logprobs",
    "kl_lower",
    "kl_upper",
    "has_same_top",
    "top_tokens",
    "top_k_counts",
    "covered_ratios",
    "reference_covered_ratios",
)
# Where a recorded alternative has no id; each gets a number of its own, which no tokenizer gives.
_NO_ID = -1


@dataclass(frozen=True, kw_only=True)
class RecordedOutput:
    """An output with its tokens, as rows of `silver.outputs` and `silver.output_tokens` hold it."""

    prompt: str | None
    tokens: tuple[GivenToken, ...]
    logprobs: tuple[float | None, ...]
    top_k: tuple[Sequence[Mapping[str, Any]], ...]

    @classmethod
    def of(cls, row: Mapping[str, Any], *, limit: int) -> RecordedOutput:
        """The first `limit` tokens of a row that has prompt, tokens, token_ids, token_bytes, logprobs and top_k."""
        columns = zip(row["token_ids"], row["tokens"], row["token_bytes"], strict=True)
        tokens = tuple(GivenToken(token_id=token_id, token=text, bytes=content) for token_id, text, content in columns)
        return cls(
            prompt=row["prompt"],
            tokens=tokens[:limit],
            logprobs=tuple(row["logprobs"][:limit]),
            top_k=tuple(listed or () for listed in row["top_k"][:limit]),
        )


def score_output(
    output: RecordedOutput, backend: TokenScoringBackend, reference: TokenScoringBackend | None, *, top_k: int | None
) -> dict[str, Any]:
    """The lists of a row of `silver.scored_tokens`, or empty ones with an `error_message`.

    Without a `reference` backend what the run recorded is the reference.
    """
    try:
        scored, other = _both_sides(output, backend, reference, top_k=top_k)
    except TokenScoringError as error:
        return {**{name: [] for name in LISTS}, "error_message": str(error)}
    return {**_lists(scored, other, compare_forced(other, scored)), "error_message": None}


def _both_sides(
    output: RecordedOutput, backend: TokenScoringBackend, reference: TokenScoringBackend | None, *, top_k: int | None
) -> tuple[ScoredPositions, ScoredPositions]:
    if not output.prompt:
        raise TokenScoringError("The prompt is not recorded, so nobody can be given it again.")
    scored = backend.score_tokens(output.prompt, output.tokens, top_k=top_k)
    if reference is None:
        return scored, recorded_positions(output, scored)
    other = reference.score_tokens(output.prompt, output.tokens, top_k=top_k)
    if not np.array_equal(scored.token_ids, other.token_ids):
        raise TokenScoringError("The two backends cut the output into different tokens.")
    return scored, other


def recorded_positions(output: RecordedOutput, scored: ScoredPositions) -> ScoredPositions:
    """What a run recorded of its tokens, with ids as `scored` has them where it recorded texts alone."""
    width = max(map(len, output.top_k), default=0)
    ids = np.full((len(output.tokens), width), _NO_ID, dtype=np.int64)
    logprobs = np.full((len(output.tokens), width), -np.inf)
    for place, listed in enumerate(output.top_k):
        known = _ids_by_text(scored, place) if any(one["token_id"] is None for one in listed) else {}
        for rank, one in enumerate(listed):
            token_id = one["token_id"] if one["token_id"] is not None else known.get(one["token"])
            ids[place, rank] = _NO_ID - rank if token_id is None else token_id
            logprobs[place, rank] = one["logprob"]
    return ScoredPositions(
        token_ids=scored.token_ids,
        logprobs=np.array([math.nan if value is None else value for value in output.logprobs], dtype=np.float64),
        alternative_ids=ids,
        alternative_logprobs=logprobs,
        is_vocabulary=False,
        top_tokens=(None,) * len(output.tokens),
    )


def _ids_by_text(scored: ScoredPositions, place: int) -> dict[str, int]:
    if scored.alternative_tokens is None:
        raise TokenScoringError("The run recorded texts of alternatives without their ids.")
    ids = scored.alternative_ids[place].tolist()
    return dict(zip(scored.alternative_tokens[place], ids, strict=False))


def _lists(scored: ScoredPositions, other: ScoredPositions, found: ForcedPositions) -> dict[str, list[Any]]:
    numbers = {
        "logprobs": scored.logprobs,
        "reference_logprobs": other.logprobs,
        "kl_lower": found.kl_lower,
        "kl_upper": found.kl_upper,
        "covered_ratios": found.covered,
        "reference_covered_ratios": found.reference_covered,
    }
    return {
        "token_ids": scored.token_ids.tolist(),
        "top_tokens": list(scored.top_tokens),
        "has_same_top": [None if math.isnan(value) else value == 1 for value in found.has_same_top.tolist()],
        "top_k_counts": [None if math.isnan(value) else int(value) for value in found.top_k_counts.tolist()],
        **{
            name: [value if math.isfinite(value) else None for value in column.tolist()]
            for name, column in numbers.items()
        },
    }
