"""Outputs against the reference: whether it is there, and which side of a pair comes nearer.

What belongs here: the relation of a text to its reference, pure. It is no score: scorers know what their suite asks
for, this is what any reader would see.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Literal

from rapidfuzz.distance import Indel

from pipelines.evidence.canonical import prose_tokens
from pipelines.evidence.diff import MAX_CELLS
from pipelines.evidence.json_diff import diff_json, parse_container

Relation = Literal["equal", "contained", "absent"]
Side = Literal["candidate", "baseline", "neither"]

_RANK: dict[Relation, int] = {"absent": 0, "contained": 1, "equal": 2}


class Reference:
    """A reference that several outputs are held against."""

    def __init__(self, text: str) -> None:
        self._tokens = prose_tokens(text)
        self._json = parse_container(text)
        letters = (token for token in self._tokens if token.isascii() and token.isalpha())
        self._longest_word = max(letters, key=len, default="")
        # The letter of a choice is an article too, unless its case tells.
        stripped = text.strip()
        self._letter = re.compile(rf"(?<!\w){re.escape(stripped)}(?!\w)") if len(stripped) == 1 else None

    def relation_of(self, output: str) -> Relation:
        """`equal` but for formatting, `contained` as whole words one after the other, else `absent`.

        JSON is equal when it says the same. A reference of one character must stand there in its own case.
        """
        if self._json is not None and (found := parse_container(output)) is not None:
            return "absent" if diff_json(self._json, found) else "equal"
        if not self._tokens or self._longest_word not in output.lower():
            return "absent"
        tokens = prose_tokens(output)
        if tokens == self._tokens:
            return "equal"
        if self._letter is not None and not self._letter.search(output):
            return "absent"
        return "contained" if _stands_in(self._tokens, tokens) else "absent"


def reference_similarity(reference_words: Sequence[str], output_words: Sequence[str]) -> float | None:
    """2 x kept words / words of both, as between two outputs; None for texts so long that it would take seconds."""
    if len(reference_words) * len(output_words) > MAX_CELLS:
        return None
    return float(Indel.normalized_similarity(reference_words, output_words))


def nearer_side(
    candidate: Relation, baseline: Relation, candidate_similarity: float | None, baseline_similarity: float | None
) -> Side:
    """The side whose relation says more, and of two alike the one that has more words in common with the reference."""
    ours = (_RANK[candidate], candidate_similarity or 0.0)
    theirs = (_RANK[baseline], baseline_similarity or 0.0)
    if ours == theirs:
        return "neither"
    return "candidate" if ours > theirs else "baseline"


def _stands_in(wanted: tuple[str, ...], tokens: tuple[str, ...]) -> bool:
    """Whether `wanted` is a run of `tokens`."""
    return _joined(wanted) in _joined(tokens)


def _joined(tokens: tuple[str, ...]) -> str:
    # White space is never in a token, and this sign counts as white space.
    return "\x1f" + "\x1f".join(tokens) + "\x1f"
