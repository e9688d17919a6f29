"""Where the tokens of two runs part, in sentences and rows for a terminal, a pull request or a program. Pure.

Tokens are what models wrote: whoever shows these texts escapes them for where they go.
"""

from __future__ import annotations

from typing import Any

import polars as pl

from pipelines.evidence.band_texts import band_sentences
from pipelines.evidence.pair_tokens import PairTokens

_OPEN_BOX = "\u2423"
_TOKEN_CHARACTERS = 40


def token_sentences(tokens: PairTokens) -> list[str]:
    """How many pairs part and why, and the band where one side scored the other's tokens; nothing without tokens."""
    if tokens.divergences.is_empty():
        return []
    counts = tokens.counts
    told = [f"{row['pair_count']} {_kind_words(row)}" for row in counts.iter_rows(named=True)]
    lines = [f"Tokens of {tokens.divergences.height} pairs: {', '.join(told)}."]
    if tokens.bands.is_empty():
        lines.append(
            "How far the backends are apart is unknown. Measure it:  benchlake score-tokens BASELINE --backend NAME"
        )
    for row in tokens.bands.iter_rows(named=True):
        lines += band_sentences(row)
    return lines


def parted_rows(tokens: PairTokens, *, limit: int) -> pl.DataFrame:
    """The pairs that part, as a table: where, with which tokens, how far the odds moved."""
    rows = [
        {
            "sample": row["sample_id"] + (f" #{row['repeat_index']}" if row["repeat_index"] else ""),
            "token": row["first_divergence_index"],
            "baseline": _token(row["baseline_token"]),
            "candidate": _token(row["candidate_token"]),
            "odds moved": _shift(row),
            "kind": _kind_words(row),
        }
        for row in tokens.parted.head(limit).iter_rows(named=True)
    ]
    columns = dict.fromkeys(("sample", "baseline", "candidate", "odds moved", "kind"), pl.String)
    return pl.DataFrame(rows, schema={"sample": pl.String, "token": pl.Int64, **columns})


def _kind_words(row: dict[str, Any]) -> str:
    kind = {"near_tie_flip": "near tie", "distribution_shift": "shift"}.get(row["divergence_kind"])
    return (kind or row["divergence_kind"]) + (f" ({row['reason'].replace('_', ' ')})" if row["reason"] else "")


def _shift(row: dict[str, Any]) -> str:
    if row["log_odds_shift"] is not None:
        return f"{row['log_odds_shift']:.2f} nats"
    return "-" if row["log_odds_shift_lower"] is None else f"{row['log_odds_shift_lower']:.2f} nats or more"


def _token(text: str | None) -> str:
    if text is None:
        return "(ends here)"
    shown = text[:_TOKEN_CHARACTERS].replace(" ", _OPEN_BOX)
    return shown + ("\u2026" if len(text) > _TOKEN_CHARACTERS else "")
