"""Where tokens part, as Markdown that the Dagster UI shows.

What belongs here: both texts beside each other with the token at which they part, and counts by kind. Everything that a
model or a file wrote goes through `render.escape_markdown`, or into a picture as plain text; which pairs are shown is
`parted_pairs.py`.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Mapping
from html import escape
from typing import Any

import polars as pl

from pipelines.drawing import SIDE_COLOURS, as_markdown_image
from pipelines.evidence.charts import alternatives_chart
from pipelines.evidence.render import escape_markdown, head_of, visible
from pipelines.evidence.token_arrays import Side

# Characters shown before and after the token at which the texts part.
CONTEXT_CHARACTERS = 200
# Characters shown of a token: a hostile file may call anything a token.
TOKEN_CHARACTERS = 32
# Pairs whose distributions are drawn: each picture is some 15 kB.
DRAWN_PAIRS = 3

_SIDES: tuple[Side, Side] = ("baseline", "candidate")
_HAIR_SPACE = "\u200a"
_OPEN_BOX = "\u2423"
_CHARACTER_WIDTH = 7.9
# What can be read on the colour of a side.
_TEXT_COLOURS: dict[Side, str] = {"baseline": "#000", "candidate": "#fff"}


def parted_side_by_side(pairs: pl.DataFrame, *, none: str = "No tokens part.") -> str:
    """A Markdown section per row of `parted_pairs.list_parted_pairs`, with the tokens at which they part highlighted.

    The first few have a picture of what both sides gave the likeliest tokens there.
    """
    if pairs.is_empty():
        return none
    rows = enumerate(pairs.iter_rows(named=True))
    return "\n\n".join(_section(row, is_drawn=place < DRAWN_PAIRS) for place, row in rows)


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


def _section(row: Mapping[str, Any], *, is_drawn: bool) -> str:
    picture = _picture(row) if is_drawn else ""
    return "\n".join(
        [
            _headline(row),
            "",
            f"| {' | '.join(escape_markdown(head_of(row, side)) for side in _SIDES)} |",
            "|---|---|",
            f"| {' | '.join(_text(row, side) for side in _SIDES)} |",
            f"| {' | '.join(_numbers(row, side) for side in _SIDES)} |",
            *(["", picture] if picture else []),
        ]
    )


def _picture(row: Mapping[str, Any]) -> str:
    """What both sides gave the likeliest tokens there; nothing where one of them told none."""
    known = {side: row.get(f"{side}_alternatives") or [] for side in _SIDES}
    if not all(known.values()):
        return ""
    rows = [
        {"side": side, "name": head_of(row, side), "token": _visible_token(each["token"]), "logprob": each["logprob"]}
        for side in _SIDES
        for each in known[side]
    ]
    chosen = [_visible_token(row[f"{side}_token"]) for side in _SIDES if row[f"{side}_token"] is not None]
    return as_markdown_image(alternatives_chart(pl.DataFrame(rows), chosen=chosen), alt="the likeliest tokens there")


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


def _text(row: Mapping[str, Any], side: Side) -> str:
    before, after = row[f"{side}_before"], row[f"{side}_after"]
    head = "\u2026 " if len(before) > CONTEXT_CHARACTERS else ""
    tail = " \u2026" if len(after) > CONTEXT_CHARACTERS else ""
    shown_before = escape_markdown(before[-CONTEXT_CHARACTERS:])
    shown_after = escape_markdown(after[:CONTEXT_CHARACTERS])
    return f"{head}{shown_before}{_marked(row[f'{side}_token'], side)}{shown_after}{tail}"


def _marked(token: str | None, side: Side) -> str:
    """The token highlighted in the colour of its side: a picture, since Markdown has no colours."""
    if token is None:
        return f"{_HAIR_SPACE}_(ends here)_"
    text = _visible_token(token)
    # In the text that stands for the picture a bracket would end it.
    return f"{_HAIR_SPACE}{as_markdown_image(_chip(text, side), alt=escape_markdown(text))}{_HAIR_SPACE}"


def _visible_token(token: str) -> str:
    """Blanks and line ends as signs, since they are what often tells two tokens apart."""
    shown = "".join(map(visible, token[:TOKEN_CHARACTERS].replace(" ", _OPEN_BOX))).strip()
    more = "\u2026" if len(token) > TOKEN_CHARACTERS else ""
    return f"{shown or '(empty)'}{more}"


def _chip(text: str, side: Side) -> str:
    """A small SVG: `text` on the colour of a side."""
    width = 8 + _CHARACTER_WIDTH * sum(2 if unicodedata.east_asian_width(each) in "WF" else 1 for each in text)
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{width:g}" height="18" role="img">'
        f'<rect width="{width:g}" height="18" rx="4" fill="{SIDE_COLOURS[side]}"/>'
        f'<text x="4" y="13" fill="{_TEXT_COLOURS[side]}" font-family="monospace" font-size="13">{escape(text)}</text>'
        "</svg>"
    )


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
