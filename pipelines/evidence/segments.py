"""Two texts cut into what stayed, what was edited and what moved: the form in which a diff is shown.

What belongs here: the pure cutting for readers, whatever they look at. What is stored is the exact diff (`diff.py`);
Markdown is `render.py`, the terminal `studio/diff_rendering.py`.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Literal, NamedTuple

from pipelines.evidence.cleanup import drop_short_equalities
from pipelines.evidence.diff import Granularity, diff_units, groups, split_units
from pipelines.evidence.moves import find_moves

# Kept words shown on each side of an edit.
CONTEXT_WORDS = 12
# A word of which less stays is another word; letters marked inside it would be noise.
REFINED_SIMILARITY_RATIO = 0.5


class Segment(NamedTuple):
    """A stretch of both texts: the same on both sides, an edit, or on one side alone a passage that moved."""

    baseline: str
    candidate: str
    kind: Literal["kept", "edited", "moved"]

    @property
    def is_edit(self) -> bool:
        """Whether the two sides differ here."""
        return self.kind != "kept"


def readable_segments(baseline: str, candidate: str) -> list[Segment]:
    """Both texts cut by words into kept stretches, edits and moved passages, cleaned up for reading.

    Joined, the segments give both texts. Where one word became a similar one, the edit is narrowed to its letters.
    """
    moves = find_moves(baseline, candidate)
    baseline_ranges = [_with_space(baseline, move.baseline_start, move.baseline_end) for move in moves]
    candidate_ranges = sorted(_with_space(candidate, move.candidate_start, move.candidate_end) for move in moves)
    # The rest is diffed without what moved, or every word of it would be an edit.
    rest = cut(_without(baseline, baseline_ranges), _without(candidate, candidate_ranges), "word")
    segments = _put_back(rest, "baseline", baseline, baseline_ranges)
    segments = _put_back(segments, "candidate", candidate, candidate_ranges)
    return [part for segment in segments for part in _refined(segment)]


def cut(baseline: str, candidate: str, granularity: Granularity) -> list[Segment]:
    """Both texts cut into kept stretches and edits in the units that are asked for, cleaned up for reading."""
    units = split_units(baseline, granularity), split_units(candidate, granularity)
    opcodes = drop_short_equalities(diff_units(baseline, candidate, granularity), *units)
    segments: list[Segment] = []
    position = 0
    for _, b_start, b_end, c_start, c_end in groups(opcodes):
        segments.append(_kept("".join(units[0][position:b_start])))
        segments.append(Segment("".join(units[0][b_start:b_end]), "".join(units[1][c_start:c_end]), "edited"))
        position = b_end
    segments.append(_kept("".join(units[0][position:])))
    return [segment for segment in segments if segment.baseline or segment.candidate]


def around_edits(text: str, *, is_first: bool, is_last: bool) -> str:
    """A kept stretch without its middle: context after the edit before it and before the edit after it."""
    words = split_units(text, "word")
    head = 0 if is_first else CONTEXT_WORDS
    tail = 0 if is_last else CONTEXT_WORDS
    if len(words) <= head + tail + 2:
        return text
    return "".join([*words[:head], " \u2026 ", *words[len(words) - tail :]])


def _with_space(text: str, start: int, end: int) -> tuple[int, int]:
    """The range with the white space behind it, which moved along."""
    while end < len(text) and text[end].isspace():
        end += 1
    return start, end


def _put_back(
    segments: Sequence[Segment],
    side: Literal["baseline", "candidate"],
    text: str,
    ranges: Sequence[tuple[int, int]],
) -> list[Segment]:
    """The segments with the passages of `text` at `ranges`, which one side of them lacks, back in their places."""
    waiting = list(ranges)
    position = 0
    result: list[Segment] = []
    for whole in segments:
        segment = whole
        own = segment.baseline if side == "baseline" else segment.candidate
        while waiting and waiting[0][0] - position <= len(own):
            start, end = waiting.pop(0)
            before, segment = _split(segment, side, start - position)
            result += [*before, _moved(text[start:end], side)]
            own = own[start - position :]
            position = end
        position += len(own)
        result.append(segment)
    result += [_moved(text[start:end], side) for start, end in waiting]
    return [segment for segment in result if segment.baseline or segment.candidate]


def _split(segment: Segment, side: str, place: int) -> tuple[list[Segment], Segment]:
    """The part before `place` characters of one side, and the rest; of an edit the other side goes along in front."""
    if not place:
        return [], segment
    baseline, candidate, kind = segment
    if kind == "kept":
        return [_kept(baseline[:place])], _kept(baseline[place:])
    if side == "baseline":
        return [Segment(baseline[:place], candidate, kind)], Segment(baseline[place:], "", kind)
    return [Segment(baseline, candidate[:place], kind)], Segment("", candidate[place:], kind)


def _moved(text: str, side: str) -> Segment:
    return Segment(text, "", "moved") if side == "baseline" else Segment("", text, "moved")


def _kept(text: str) -> Segment:
    return Segment(text, text, "kept")


def _without(text: str, ranges: Sequence[tuple[int, int]]) -> str:
    parts = []
    position = 0
    for start, end in ranges:
        parts.append(text[position:start])
        position = end
    return "".join([*parts, text[position:]])


def _refined(segment: Segment) -> Iterator[Segment]:
    """An edit of one word into a similar one, cut by letters; any other segment as it is."""
    if not (segment.kind == "edited" and segment.baseline.isalpha() and segment.candidate.isalpha()):
        yield segment
        return
    parts = cut(segment.baseline, segment.candidate, "character")
    kept = sum(len(part.baseline) for part in parts if part.kind == "kept")
    is_similar = 2 * kept >= REFINED_SIMILARITY_RATIO * (len(segment.baseline) + len(segment.candidate))
    yield from parts if is_similar else [segment]
