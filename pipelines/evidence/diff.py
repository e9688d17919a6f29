"""Differences between two texts by word, by line or by character: units, opcodes, edit scripts, and applying them.

What belongs here: the pure diff of one pair of texts, or of many lists of units at once. Frames of pairs are
`output_diffs.py`, what kind of change it is `change_kinds.py`, making a diff readable `cleanup.py` and `segments.py`.

A diff word is a run of word characters, a run of white space, or one other character; a line ends with its line feed;
a character is what a reader takes for one, accents and joined signs included. Joining the units gives the text back.
The diff is a longest common subsequence of units (Indel distance, by rapidfuzz), as groups of five integers: tag (1
replace, 2 delete, 3 insert), start and end in the baseline's units, start and end in the candidate's. What lies between
two groups is kept, which makes the form canonical: two groups never touch. The diff the other way round is the same
with the sides exchanged.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import islice, pairwise
from typing import TYPE_CHECKING, Literal

import numpy as np
from rapidfuzz.distance import Indel, Prefix

if TYPE_CHECKING:
    from numpy.typing import NDArray

# Part of every comparison's input digest: raise it when the same texts would give other opcodes or another kind.
DIFF_VERSION = 2

Granularity = Literal["word", "line", "character"]

REPLACE, DELETE, INSERT = 1, 2, 3
OPCODE_WIDTH = 5

# The exact method keeps one bit per pair of words: 2**30 are 128 MB and 50 ms, two texts of 32,000 words each.
# Above it whole lines are matched first.
MAX_CELLS = 1 << 30

_KEPT, _EDITED = "K", "E"

_WORDS = re.compile(r"\w+|\s+|[^\w\s]")
_LINES = re.compile(r"[^\n]*\n|[^\n]+")

split_words = _WORDS.findall
"""The diff words of a text, `list[str]`; `"".join(split_words(text)) == text`."""


@dataclass(frozen=True, kw_only=True)
class WordDiff:
    """What differs between a baseline and a candidate, without their words.

    `opcodes` are flat groups of five (see the module). `similarity_ratio` is 2 x kept words / words of both sides and
    1 exactly when the texts are equal. `first_difference_char` counts characters and is None when they are equal.
    """

    opcodes: tuple[int, ...]
    similarity_ratio: float
    first_difference_char: int | None
    inserted_word_count: int
    deleted_word_count: int


@dataclass(frozen=True)
class Edit:
    """Put `words` where the baseline's words from `start` to `end` stood; an empty range inserts, no words delete."""

    start: int
    end: int
    words: tuple[str, ...]


@dataclass(frozen=True, kw_only=True)
class DiffArrays:
    """The diffs of many pairs as flat arrays: pair `i` owns `opcodes[offsets[i]:offsets[i + 1]]`."""

    opcodes: NDArray[np.int32]
    offsets: NDArray[np.int32]
    kept_word_counts: NDArray[np.int64]


def diff_words(baseline: str, candidate: str) -> WordDiff:
    """The word diff of two texts. Deterministic; time and memory are bounded for any input (see `MAX_CELLS`)."""
    baseline_words, candidate_words = split_words(baseline), split_words(candidate)
    arrays = diff_word_lists([(baseline_words, candidate_words)])
    kept = int(arrays.kept_word_counts[0])
    total = len(baseline_words) + len(candidate_words)
    return WordDiff(
        opcodes=tuple(arrays.opcodes.tolist()),
        similarity_ratio=2 * kept / total if total else 1.0,
        first_difference_char=first_difference(baseline, candidate),
        inserted_word_count=len(candidate_words) - kept,
        deleted_word_count=len(baseline_words) - kept,
    )


def diff_word_lists(pairs: Iterable[tuple[list[str], list[str]]]) -> DiffArrays:
    """The diffs of (baseline words, candidate words) pairs.

    Only the marks of kept words are taken pair by pair; the opcodes are derived from all of them at once, because
    making Python objects of opcodes costs more than finding them.
    """
    marks = [_kept_marks(baseline_words, candidate_words) for baseline_words, candidate_words in pairs]
    return _opcodes_of([baseline for baseline, _ in marks], [candidate for _, candidate in marks])


def split_units(text: str, granularity: Granularity) -> list[str]:
    """The units of a text, which joined give it back."""
    if granularity == "word":
        return split_words(text)
    if granularity == "line":
        return _LINES.findall(text)
    import regex

    return list(text) if text.isascii() and "\r" not in text else regex.findall(r"\X", text)


def diff_units(baseline: str, candidate: str, granularity: Granularity) -> tuple[int, ...]:
    """The opcodes of two texts in the units that are asked for."""
    units = split_units(baseline, granularity), split_units(candidate, granularity)
    return tuple(diff_word_lists([units]).opcodes.tolist())


def first_difference(baseline: str, candidate: str) -> int | None:
    """Index of the first character that differs; the length of the shorter text if it begins the longer one."""
    return None if baseline == candidate else Prefix.similarity(baseline, candidate)


def apply_opcodes(opcodes: Sequence[int], baseline: str, candidate: str, *, granularity: Granularity = "word") -> str:
    """Rebuild the candidate from the baseline's kept units and the candidate's units at the edits alone."""
    return apply_edits(edit_script(opcodes, candidate, granularity=granularity), baseline, granularity=granularity)


def edit_script(opcodes: Sequence[int], candidate: str, *, granularity: Granularity = "word") -> tuple[Edit, ...]:
    """The edits with the units they bring along, so that they can be applied without the candidate."""
    words = split_units(candidate, granularity)
    return tuple(
        Edit(b_start, b_end, tuple(words[c_start:c_end])) for _, b_start, b_end, c_start, c_end in groups(opcodes)
    )


def apply_edits(edits: Iterable[Edit], baseline: str, *, granularity: Granularity = "word") -> str:
    """`apply_edits(edit_script(diff_words(a, b).opcodes, b), a) == b`."""
    words = split_units(baseline, granularity)
    result: list[str] = []
    position = 0
    for edit in edits:
        result += words[position : edit.start]
        result += edit.words
        position = edit.end
    result += words[position:]
    return "".join(result)


def groups(opcodes: Sequence[int]) -> list[tuple[int, int, int, int, int]]:
    """Flat opcodes as tuples of five."""
    steps = [islice(opcodes, place, None, OPCODE_WIDTH) for place in range(OPCODE_WIDTH)]
    return list(zip(*steps, strict=True))


def _kept_marks(baseline_words: list[str], candidate_words: list[str]) -> tuple[str, str]:
    """For each side one character a word: kept or edited. The n-th kept words of both sides are the same word.

    Editing a text of nothing but K with one of nothing but E leaves K where a word was kept; rapidfuzz does that
    without an object per edit. Of several longest subsequences it finds one that depends on the order of the sides,
    so they are put in order: what is told of a pair must not depend on which run is the candidate.
    """
    if candidate_words < baseline_words:
        candidate_marks, baseline_marks = _kept_marks(candidate_words, baseline_words)
        return baseline_marks, candidate_marks
    size, candidate_size = len(baseline_words), len(candidate_words)
    if size * candidate_size > MAX_CELLS:
        return _marks_of_blocks(_coarse_blocks(baseline_words, candidate_words), size, candidate_size)
    edits = Indel.editops(baseline_words, candidate_words)
    marks = edits.inverse().apply(_KEPT * candidate_size, _EDITED * size)
    return marks, edits.apply(_KEPT * size, _EDITED * candidate_size)


def _opcodes_of(baseline_marks: Sequence[str], candidate_marks: Sequence[str]) -> DiffArrays:
    """Where the distance from one kept word to the next is more than one on either side, there is an edit.

    All pairs are laid end to end, each closed by one more kept place, so that no edit reaches over a border.
    """
    baseline_kept, baseline_ends = _kept_places(baseline_marks)
    candidate_kept, candidate_ends = _kept_places(candidate_marks)
    deleted = np.diff(baseline_kept, prepend=-1) - 1
    inserted = np.diff(candidate_kept, prepend=-1) - 1
    edits = np.flatnonzero(deleted | inserted)
    deleted, inserted = deleted[edits], inserted[edits]
    pair = np.searchsorted(baseline_ends, baseline_kept[edits])
    baseline_stops = baseline_kept[edits] - np.concatenate([[0], baseline_ends + 1])[pair]
    candidate_stops = candidate_kept[edits] - np.concatenate([[0], candidate_ends + 1])[pair]
    opcodes = np.empty((len(edits), OPCODE_WIDTH), dtype=np.int32)
    opcodes[:, 0] = np.where(deleted == 0, INSERT, np.where(inserted == 0, DELETE, REPLACE))
    opcodes[:, 1], opcodes[:, 2] = baseline_stops - deleted, baseline_stops
    opcodes[:, 3], opcodes[:, 4] = candidate_stops - inserted, candidate_stops
    edit_counts = np.bincount(pair, minlength=len(baseline_ends))
    return DiffArrays(
        opcodes=opcodes.reshape(-1),
        offsets=(np.concatenate([[0], np.cumsum(edit_counts)]) * OPCODE_WIDTH).astype(np.int32),
        kept_word_counts=np.diff(np.searchsorted(baseline_kept, baseline_ends), prepend=-1) - 1,
    )


def _kept_places(marks: Sequence[str]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Places of kept words in all `marks` laid end to end with one more kept place each, and those places."""
    together = np.frombuffer((_KEPT.join(marks) + _KEPT).encode("ascii"), dtype=np.uint8)
    sizes = np.fromiter(map(len, marks), dtype=np.int64, count=len(marks))
    return np.flatnonzero(together == ord(_KEPT)), np.cumsum(sizes + 1) - 1


_Block = tuple[int, int, int]


def _marks_of_blocks(blocks: Iterable[_Block], baseline_size: int, candidate_size: int) -> tuple[str, str]:
    """Kept marks of matching blocks (baseline start, candidate start, size)."""
    baseline, candidate = bytearray(_EDITED * baseline_size, "ascii"), bytearray(_EDITED * candidate_size, "ascii")
    for b_start, c_start, size in blocks:
        kept = _KEPT.encode("ascii") * size
        baseline[b_start : b_start + size] = candidate[c_start : c_start + size] = kept
    return baseline.decode("ascii"), candidate.decode("ascii")


def _coarse_blocks(baseline_words: Sequence[str], candidate_words: Sequence[str]) -> list[_Block]:
    """Matching blocks of two very long texts: by line first, by word only inside lines that changed.

    Still a true diff, but not always the shortest one.
    """
    baseline_ends, baseline_lines = _lines(baseline_words)
    candidate_ends, candidate_lines = _lines(candidate_words)
    blocks: list[_Block] = []
    b_done = c_done = 0
    for b_line, c_line, size in _blocks(baseline_lines, candidate_lines):
        b_start, c_start = baseline_ends[b_line], candidate_ends[c_line]
        blocks += (
            (b_done + b, c_done + c, length)
            for b, c, length in _blocks(baseline_words[b_done:b_start], candidate_words[c_done:c_start])
        )
        b_done, c_done = baseline_ends[b_line + size], candidate_ends[c_line + size]
        blocks.append((b_start, c_start, b_done - b_start))
    return blocks


def _blocks(baseline: Sequence[str], candidate: Sequence[str]) -> list[_Block]:
    """Matching blocks where that is affordable, else what both begin and end with."""
    if len(baseline) * len(candidate) <= MAX_CELLS:
        found = Indel.editops(baseline, candidate).as_matching_blocks()
        return [(block.a, block.b, block.size) for block in found]
    shorter = min(len(baseline), len(candidate))
    pairs = zip(baseline, candidate, strict=False)
    head = next((place for place, (left, right) in enumerate(pairs) if left != right), shorter)
    backwards = islice(zip(reversed(baseline), reversed(candidate), strict=False), shorter - head)
    tail = next((place for place, (left, right) in enumerate(backwards) if left != right), shorter - head)
    end = (len(baseline), len(candidate), 0)
    return [(0, 0, head), (len(baseline) - tail, len(candidate) - tail, tail), end]


def _lines(words: Sequence[str]) -> tuple[list[int], list[str]]:
    """Where lines begin and end (one more than there are lines), and the lines."""
    # White space that holds a line feed ends its line.
    ends = [0, *(place for place, word in enumerate(words, start=1) if "\n" in word)]
    if ends[-1] != len(words):
        ends.append(len(words))
    return ends, ["".join(words[start:end]) for start, end in pairwise(ends)]
