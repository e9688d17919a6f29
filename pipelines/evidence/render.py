"""Diffs as Markdown that the Dagster UI shows, made of text that nobody vouches for.

What belongs here: escaping, and the side-by-side of pairs. Outputs, sample ids and names come from models and files:
they may hold Markdown, HTML, terminal escapes or characters that turn the reading direction, and must come out as
what they are. Verdict tables are `assets/presentation.py`.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Sequence
from typing import NamedTuple

import polars as pl

from pipelines.evidence.cleanup import drop_short_equalities
from pipelines.evidence.diff import diff_words, groups, split_words

# Kept words shown on each side of an edit, and characters shown of a side in all.
CONTEXT_WORDS = 12
CELL_CHARACTERS = 1_200
# Below this an answer was rewritten rather than edited, and marking every word helps nobody.
REWRITTEN_BELOW = 0.3

_PUNCTUATION = re.compile(r"([!-/:-@\[-`{-~])")
# A break inside these keeps a renderer from turning text into a link.
_LINKS = re.compile(r"(?<=:)(?=//)|(?<=www)(?=\.)", re.IGNORECASE)
_WORD_JOINER = "\u2060"
# Without one beside it, a mark next to punctuation is not a mark in CommonMark; too thin to be taken for a space.
_HAIR_SPACE = "\u200a"
_VISIBLE = {"\n": "\u23ce ", "\t": "\u21e5 ", "\r": "\u240d", " ": " "}
# Emoji are joined by these, and several scripts need them.
_JOINERS = "\u200c\u200d"
_CONTROL_PICTURES, _DELETE = 0x2400, 0x7F


def escape_markdown(text: str) -> str:
    """`text` as one line of Markdown that renders as itself, also inside a table cell.

    Every ASCII punctuation mark gets a backslash. Line ends, tabs, control, direction and other invisible characters
    become visible signs, or their code point in brackets.
    """
    return _PUNCTUATION.sub(r"\\\1", _LINKS.sub(_WORD_JOINER, "".join(map(_visible, text))))


def side_by_side(pairs: pl.DataFrame) -> str:
    """A Markdown section per row: which outputs, how similar, and both beside each other with the edits marked.

    `pairs` has the columns of `steps.most_different_pairs`. Removed words are struck through, added ones bold.
    """
    if pairs.is_empty():
        return "No outputs differ."
    return "\n\n".join(_section(row) for row in pairs.iter_rows(named=True))


class Segment(NamedTuple):
    """A stretch of both texts: the same on both sides, or an edit."""

    baseline: str
    candidate: str
    is_edit: bool


def readable_segments(baseline: str, candidate: str) -> list[Segment]:
    """Both texts cut into kept stretches and edits, cleaned up for reading."""
    baseline_words, candidate_words = split_words(baseline), split_words(candidate)
    opcodes = drop_short_equalities(diff_words(baseline, candidate).opcodes, baseline_words, candidate_words)
    segments: list[Segment] = []
    position = 0
    for _, b_start, b_end, c_start, c_end in groups(opcodes):
        segments.append(_same(baseline_words[position:b_start]))
        segments.append(Segment("".join(baseline_words[b_start:b_end]), "".join(candidate_words[c_start:c_end]), True))
        position = b_end
    segments.append(_same(baseline_words[position:]))
    return [segment for segment in segments if segment.baseline or segment.candidate]


def _section(row: dict[str, object]) -> str:
    baseline, candidate = str(row["baseline_output"] or ""), str(row["candidate_output"] or "")
    similarity = row["similarity_ratio"]
    assert isinstance(similarity, float)
    is_rewritten = similarity < REWRITTEN_BELOW
    segments = [Segment(baseline, candidate, False)] if is_rewritten else readable_segments(baseline, candidate)
    repeat = f", repeat {row['repeat_index']}" if row["repeat_index"] else ""
    verdict = "rewritten" if is_rewritten else "edited"
    heads = [escape_markdown(f"{side}: {row[f'{side}_backend']}") for side in ("baseline", "candidate")]
    sample, suite = escape_markdown(str(row["sample_id"])), escape_markdown(str(row["suite"]))
    return "\n".join(
        [
            f"**{sample}**{repeat} in {suite}: {verdict}, similarity {similarity:.2f}",
            "",
            f"| {heads[0]} | {heads[1]} |",
            "|---|---|",
            f"| {_cell(segments, side='baseline')} | {_cell(segments, side='candidate')} |",
        ]
    )


def _cell(segments: Sequence[Segment], *, side: str) -> str:
    """One side, cut to its length before it is escaped, so that no escape is cut in two."""
    parts: list[str] = []
    left = CELL_CHARACTERS
    for place, segment in enumerate(segments):
        text = segment.baseline if side == "baseline" else segment.candidate
        if not segment.is_edit and len(segments) > 1:
            text = _around_edits(text, is_first=place == 0, is_last=place == len(segments) - 1)
        shown = text[:left]
        left -= len(shown)
        parts.append(
            _marked(shown, mark="~~" if side == "baseline" else "**") if segment.is_edit else escape_markdown(shown)
        )
        if len(shown) < len(text):
            parts.append(f" \u2026 ({len(text) - len(shown)} more characters here)")
            break
    return "".join(parts).strip() or "(empty)"


def _around_edits(text: str, *, is_first: bool, is_last: bool) -> str:
    """A kept stretch without its middle: context after the edit before it and before the edit after it."""
    words = split_words(text)
    head = 0 if is_first else CONTEXT_WORDS
    tail = 0 if is_last else CONTEXT_WORDS
    if len(words) <= head + tail + 2:
        return text
    return "".join([*words[:head], " \u2026 ", *words[len(words) - tail :]])


def _marked(text: str, *, mark: str) -> str:
    """`text` between marks, which must touch no white space inside and no letter outside."""
    core = text.strip()
    if not core:
        # Nothing but white space was edited: show it, or the mark would have nothing to mark.
        core = text.replace(" ", "\u2423")
        return f"{_HAIR_SPACE}{mark}{escape_markdown(core).strip()}{mark}{_HAIR_SPACE}" if core else ""
    start = text.index(core)
    before, after = escape_markdown(text[:start]), escape_markdown(text[start + len(core) :])
    return f"{before}{_HAIR_SPACE}{mark}{escape_markdown(core).strip()}{mark}{_HAIR_SPACE}{after}"


def _same(words: Sequence[str]) -> Segment:
    text = "".join(words)
    return Segment(text, text, False)


def _visible(character: str) -> str:
    shown = _VISIBLE.get(character)
    if shown is not None:
        return shown
    code = ord(character)
    if code < ord(" "):
        return chr(_CONTROL_PICTURES + code)
    if code == _DELETE:
        return "\u2421"
    category = unicodedata.category(character)
    # Cc control, Cf format (direction, zero width, tags), Cs surrogate, Co private, Cn unassigned, Zl and Zp line ends.
    if (category[0] == "C" and character not in _JOINERS) or category in {"Zl", "Zp"}:
        return f"\u27e8U+{code:04X}\u27e9"
    return character
