"""Diffs as Markdown that the Dagster UI shows, made of text that nobody vouches for.

What belongs here: escaping, and the side-by-side of pairs. Outputs, sample ids and names come from models and files:
they may hold Markdown, HTML, terminal escapes or characters that turn the reading direction, and must come out as
what they are. Verdict tables are `assets/presentation.py`.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Mapping, Sequence
from typing import Any

import polars as pl

from pipelines.evidence.json_diff import describe, diff_json, parse_container
from pipelines.evidence.segments import Segment, around_edits, readable_segments
from pipelines.plain_texts import shown_number

# Characters shown of a side in all.
CELL_CHARACTERS = 1_200
# Below this an answer was rewritten rather than edited, and marking every word helps nobody.
REWRITTEN_BELOW = 0.3
# Changes of a JSON pair that are listed, and characters shown of a value.
JSON_CHANGES_SHOWN = 12
VALUE_CHARACTERS = 80

_PUNCTUATION = re.compile(r"([!-/:-@\[-`{-~])")
# A break inside these keeps a renderer from turning text into a link.
_LINKS = re.compile(r"(?<=:)(?=//)|(?<=www)(?=\.)", re.IGNORECASE)
_WORD_JOINER = "\u2060"
# Without one beside it, a mark next to punctuation is not a mark in CommonMark; too thin to be taken for a space.
_HAIR_SPACE = "\u200a"
_MOVED = "\u21c5"
_VISIBLE = {"\n": "\u23ce ", "\t": "\u21e5 ", "\r": "\u240d", " ": " "}
# Emoji are joined by these, and several scripts need them.
_JOINERS = "\u200c\u200d"
_CONTROL_PICTURES, _DELETE = 0x2400, 0x7F


def escape_markdown(text: str) -> str:
    """`text` as one line of Markdown that renders as itself, also inside a table cell.

    Every ASCII punctuation mark gets a backslash. Line ends, tabs, control, direction and other invisible characters
    become visible signs, or their code point in brackets.
    """
    return _PUNCTUATION.sub(r"\\\1", _LINKS.sub(_WORD_JOINER, "".join(map(visible, text))))


def side_by_side(pairs: pl.DataFrame, *, none: str = "No outputs differ.") -> str:
    """A Markdown section per row: which outputs, how similar, and both beside each other with the edits marked.

    `pairs` has the columns of `telling.most_different_pairs`. Removed words are struck through, added ones bold, and
    passages that moved are in italics behind an arrow. Of JSON the changed paths are listed too. Rows of
    `telling.list_flips` say who gained or lost, and rows with first_divergence_index and divergence_kind where the
    tokens part.
    """
    if pairs.is_empty():
        return none
    return "\n\n".join(_section(row) for row in pairs.iter_rows(named=True))


def _section(row: Mapping[str, Any]) -> str:
    texts = [row["baseline_output"], row["candidate_output"]]
    baseline, candidate = (text or "" for text in texts)
    is_rewritten = (row["similarity_ratio"] or 0.0) < REWRITTEN_BELOW
    segments = [Segment(baseline, candidate, "kept")] if is_rewritten else readable_segments(baseline, candidate)
    heads = [escape_markdown(head_of(row, side)) for side in ("baseline", "candidate")]
    cells = [
        "(no output)" if text is None else _cell(segments, side=side)
        for side, text in zip(("baseline", "candidate"), texts, strict=True)
    ]
    return "\n".join(
        [
            _headline(row, is_rewritten=is_rewritten),
            "",
            f"| {heads[0]} | {heads[1]} |",
            "|---|---|",
            f"| {cells[0]} | {cells[1]} |",
            *_json_lines(baseline, candidate),
        ]
    )


def head_of(row: Mapping[str, Any], side: str) -> str:
    """What stands above one side of a pair."""
    return row.get(f"{side}_head") or f"{side}: {row[f'{side}_backend']}"


def _headline(row: Mapping[str, Any], *, is_rewritten: bool) -> str:
    sample, suite = escape_markdown(str(row["sample_id"])), escape_markdown(str(row["suite"]))
    repeat = f", repeat {row['repeat_index']}" if row["repeat_index"] else ""
    facts = [row["change_kind"] or "not diffed"]
    if row["similarity_ratio"] is not None:
        facts += [*(["rewritten"] if is_rewritten else []), f"similarity {row['similarity_ratio']:.2f}"]
    if row.get("first_divergence_index") is not None:
        kind = row["divergence_kind"].replace("_", " ")
        facts.append(f"tokens part at position {row['first_divergence_index']} ({kind})")
    for flip in row.get("flips") or ([row] if row.get("flip") else []):
        scores = f"{shown_number(flip['baseline_score'])} to {shown_number(flip['candidate_score'])}"
        facts.append(f"**{flip['flip']}** by {escape_markdown(flip['scorer'])}, {scores}")
    return f"**{sample}**{repeat} in {suite}: {', '.join(facts)}"


def _json_lines(baseline: str, candidate: str) -> list[str]:
    """What differs between two JSON outputs, path by path; nothing where one is no JSON."""
    values = parse_container(baseline), parse_container(candidate)
    if None in values:
        return []
    changes = diff_json(*values)
    lines = [f"- {escape_markdown(describe(change, limit=VALUE_CHARACTERS))}" for change in changes]
    more = len(lines) - JSON_CHANGES_SHOWN
    return ["", *lines[:JSON_CHANGES_SHOWN], *([f"- and {more} more"] if more > 0 else [])]


def _cell(segments: Sequence[Segment], *, side: str) -> str:
    """One side, cut to its length before it is escaped, so that no escape is cut in two."""
    parts: list[str] = []
    left = CELL_CHARACTERS
    for place, segment in enumerate(segments):
        text = segment.baseline if side == "baseline" else segment.candidate
        if not text:
            continue
        if not segment.is_edit and len(segments) > 1:
            text = around_edits(text, is_first=place == 0, is_last=place == len(segments) - 1)
        shown = text[:left]
        left -= len(shown)
        parts.append(_shown(shown, segment, mark="~~" if side == "baseline" else "**"))
        if len(shown) < len(text):
            parts.append(f" \u2026 ({len(text) - len(shown)} more characters here)")
            break
    return "".join(parts).strip() or "(empty)"


def _shown(text: str, segment: Segment, *, mark: str) -> str:
    if segment.kind == "moved":
        return f"{_MOVED}{_marked(text, mark='_')}"
    return _marked(text, mark=mark) if segment.is_edit else escape_markdown(text)


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


def visible(character: str) -> str:
    """A character as it may be shown: what nobody would see, or what does something, becomes a sign."""
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
