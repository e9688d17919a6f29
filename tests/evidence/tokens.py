"""Token rows made in code, and pairs of them as the divergence sees them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import polars as pl

from lake.tables import contract_of
from tests.evidence.rows import START

DAY = START.date()
END = "<end>"
CHOSEN_LOGPROB = -0.1

# A token is its text, or its text with what its side thought of it: {token: logprob}, the chosen one among them.
Token = str | tuple[str, Mapping[str, float]]


def token_row(
    run_id: str, tokens: Sequence[Token], *, sample_id: str = "s1", ids: bool = True, **changes: Any
) -> dict[str, Any]:
    """A row of `silver.output_tokens`. Ids follow from texts; END adds no bytes; a bare text is likely by itself."""
    named = [token if isinstance(token, tuple) else (token, {token: CHOSEN_LOGPROB}) for token in tokens]
    return {
        "run_id": run_id,
        "sample_id": sample_id,
        "repeat_index": 0,
        "run_date": DAY,
        "tokens": [text for text, _ in named],
        "token_ids": [id_of(text) if ids else None for text, _ in named],
        "token_bytes": [b"" if text == END else text.encode() for text, _ in named],
        "logprobs": [likely.get(text) for text, likely in named],
        "top_k": [
            [
                {"token_id": id_of(text) if ids else None, "token": text, "logprob": value}
                for text, value in likely.items()
            ]
            for _, likely in named
        ],
    } | changes


def id_of(text: str) -> int:
    return int.from_bytes(text.encode()[:7], "big")


def token_rows(*rows: dict[str, Any]) -> pl.DataFrame:
    return pl.DataFrame(list(rows), schema=contract_of("silver.output_tokens").dtypes)


def pair_rows(*sample_ids: str, **changes: Any) -> pl.DataFrame:
    """Pairs of candidate a and baseline b that ended by themselves; `changes` are columns."""
    sides = {
        f"{side}_{name}": value
        for side, run_id in (("candidate", "a"), ("baseline", "b"))
        for name, value in {
            "run_id": run_id, "status": "ok", "finish_reason": "stop", "tokenizer": "t", "logprobs_mode": "raw",
        }.items()
    }  # fmt: skip
    rows = [
        {"comparison_id": "c", "sample_id": sample_id, "repeat_index": 0, "run_date": DAY} | sides | changes
        for sample_id in sample_ids
    ]
    key = {"comparison_id": pl.String, "sample_id": pl.String, "repeat_index": pl.Int32, "run_date": pl.Date}
    return pl.DataFrame(rows, schema=key | dict.fromkeys(sides, pl.String))
