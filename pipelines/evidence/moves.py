"""Moved text: a sentence or line that was deleted in one place of a text and inserted unchanged in another.

What belongs here: finding moves between the two texts of a pair. Showing them is `segments.py`.

The word diff cannot tell: of two sentences that changed places it keeps every space, and exchanges the words between.
So the texts are cut into passages (sentences and lines), and a passage that both have but not in the same order moved.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Sequence
from typing import NamedTuple

from rapidfuzz.distance import Indel

from pipelines.evidence.diff import split_words

# Shorter passages that come up again are phrases and numbering, not moves.
MIN_MOVED_LETTERS = 12

# One passage alone has nothing that it could have changed places with.
_FEWEST_SHARED = 2
_SENTENCE_ENDS = (". ", "! ", "? ")


_Passage = tuple[str, int, int]


class Move(NamedTuple):
    """The same passage at two places: start and end in the baseline's characters, and in the candidate's."""

    baseline_start: int
    baseline_end: int
    candidate_start: int
    candidate_end: int


def find_moves(baseline: str, candidate: str) -> tuple[Move, ...]:
    """The passages that moved, in the order of the baseline; no character takes part in two moves.

    Of the passages that both texts have, as many as possible are taken to have stayed.
    """
    if candidate < baseline:
        # As in `diff`: what moved must not depend on which text is the baseline.
        swapped = find_moves(candidate, baseline)
        return tuple(sorted(Move(*move[2:], *move[:2]) for move in swapped))
    ours, theirs = _pieces(baseline), _pieces(candidate)
    shared = {text for text in _stripped(ours).intersection(_stripped(theirs)) if _has_letters(text)}
    if len(shared) < _FEWEST_SHARED:
        return ()
    return _crossing(_passages(ours, shared), _passages(theirs, shared))


def moved_word_count(baseline: str, candidate: str) -> int:
    """Diff words of the passages that moved, each counted once."""
    return sum(
        len(split_words(baseline[move.baseline_start : move.baseline_end])) for move in find_moves(baseline, candidate)
    )


def _pieces(text: str) -> list[str]:
    """The text cut behind sentences and lines, one character lost at each cut."""
    for end in _SENTENCE_ENDS:
        text = text.replace(end, f"{end[0]}\n")
    return text.split("\n")


def _stripped(pieces: Sequence[str]) -> set[str]:
    return {piece.strip() for piece in pieces if len(piece) >= MIN_MOVED_LETTERS}


def _has_letters(text: str) -> bool:
    return sum(map(str.isalpha, text)) >= MIN_MOVED_LETTERS


def _passages(pieces: Sequence[str], wanted: Collection[str]) -> list[_Passage]:
    """The wanted passages, with where each starts and ends."""
    found = []
    position = 0
    for piece in pieces:
        text = piece.strip()
        if text in wanted:
            start = position + len(piece) - len(piece.lstrip())
            found.append((text, start, start + len(text)))
        position += len(piece) + 1
    return found


def _crossing(ours: Sequence[_Passage], theirs: Sequence[_Passage]) -> tuple[Move, ...]:
    """Passages of both that the longest common order leaves out, paired in order."""
    edits = Indel.editops([text for text, _, _ in ours], [text for text, _, _ in theirs])
    if not edits:
        return ()
    inserted: dict[str, list[_Passage]] = defaultdict(list)
    for edit in edits:
        if edit.tag == "insert":
            inserted[theirs[edit.dest_pos][0]].append(theirs[edit.dest_pos])
    moves = []
    for edit in edits:
        if edit.tag == "delete" and (places := inserted[ours[edit.src_pos][0]]):
            _, start, end = places.pop(0)
            moves.append(Move(*ours[edit.src_pos][1:], start, end))
    return tuple(moves)
