"""Where tokens part, as Markdown that the Dagster UI shows.

What belongs here: both texts beside each other with the token at which they part, and counts by kind. Everything that a
model or a file wrote goes through `render.escape_markdown`; which pairs are shown is `parted_pairs.py`.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import polars as pl

from pipelines.evidence.render import escape_markdown, head_of

# Characters shown before and after the token at which the texts part.
CONTEXT_CHARACTERS = 200
# Characters shown of a token: a hostile file may call anything a token.
TOKEN_CHARACTERS = 80

_SIDES = ("baseline", "candidate")
_HAIR_SPACE = "\u200a"
_OPEN_BOX = "\u2423"


def parted_side_by_side(pairs: pl.DataFrame, *, none: str = "No tokens part.") -> str:
    """A Markdown section per row of `parted_pairs.list_parted_pairs`, with the tokens at which they part in bold."""
    if pairs.is_empty():
        return none
    return "\n\n".join(_section(row) for row in pairs.iter_rows(named=True))


def divergence_counts(counts: pl.DataFrame) -> str:
    """A Markdown table of the rows of `parted_pairs.count_divergences`."""
    if counts.is_empty():
        return "No pair of these dates has tokens on either side."
    total = counts["pair_count"].sum()
    rows = [
        f"| {_words(row['divergence_kind'])} | {_words(row['reason'] or '')} | {row['pair_count']} "
        f"| {100 * row['pair_count'] / total:.1f} % |"
        for row in counts.iter_rows(named=True)
    ]
    return "\n".join(["| kind | reason | pairs | share |", "|---|---|---|---|", *rows])


def _section(row: Mapping[str, Any]) -> str:
    return "\n".join(
        [
            _headline(row),
            "",
            f"| {' | '.join(escape_markdown(head_of(row, side)) for side in _SIDES)} |",
            "|---|---|",
            f"| {' | '.join(_text(row, side) for side in _SIDES)} |",
            f"| {' | '.join(_numbers(row, side) for side in _SIDES)} |",
        ]
    )


def _headline(row: Mapping[str, Any]) -> str:
    sample, suite = escape_markdown(row["sample_id"]), escape_markdown(row["suite"])
    repeat = f", repeat {row['repeat_index']}" if row["repeat_index"] else ""
    reason = f" ({_words(row['reason'])})" if row["reason"] else ""
    facts = [f"{_words(row['divergence_kind'])}{reason} at position {row['first_divergence_index']}"]
    if row["log_odds_shift"] is not None:
        facts.append(f"the odds moved by {row['log_odds_shift']:.3g} nats")
    elif row["log_odds_shift_lower"] is not None:
        facts.append(f"the odds moved by at least {row['log_odds_shift_lower']:.3g} nats")
    if row["mean_abs_logprob_difference"] is not None:
        facts.append(
            f"before that the tokens' log-probabilities by {row['mean_abs_logprob_difference']:.2g} in the mean"
        )
    return f"**{sample}**{repeat} in {suite}: {', '.join(facts)}"


def _text(row: Mapping[str, Any], side: str) -> str:
    before, after = row[f"{side}_before"], row[f"{side}_after"]
    head = "\u2026 " if len(before) > CONTEXT_CHARACTERS else ""
    tail = " \u2026" if len(after) > CONTEXT_CHARACTERS else ""
    shown_before = escape_markdown(before[-CONTEXT_CHARACTERS:])
    shown_after = escape_markdown(after[:CONTEXT_CHARACTERS])
    return f"{head}{shown_before}{_marked(row[f'{side}_token'])}{shown_after}{tail}"


def _marked(token: str | None) -> str:
    """The token in bold; blanks are made visible, since they are what often tells two tokens apart."""
    if token is None:
        return f"{_HAIR_SPACE}_(ends here)_"
    shown = escape_markdown(token[:TOKEN_CHARACTERS].replace(" ", _OPEN_BOX)).strip()
    more = "\u2026" if len(token) > TOKEN_CHARACTERS else ""
    return f"{_HAIR_SPACE}**{shown or '(empty)'}{more}**{_HAIR_SPACE}"


def _numbers(row: Mapping[str, Any], side: str) -> str:
    logprob, rank, gap = (row[f"{side}_{name}"] for name in ("logprob", "token_rank", "runner_up_gap"))
    facts = []
    if logprob is not None:
        facts.append(f"log-probability {logprob:.4g}")
    if gap is not None:
        facts.append(f"{abs(gap):.3g} {'before' if gap >= 0 else 'behind'} the likeliest other token")
    if row[f"{side}_token"] is not None:
        facts.append(f"rank {rank} in the other side's list" if rank else "not in the other side's list")
    return ", ".join(facts) or "-"


def _words(name: str) -> str:
    return name.replace("_", " ")
