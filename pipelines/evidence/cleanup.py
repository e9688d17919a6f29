"""Diffs made readable: fewer, larger edits, for the eye alone. What is stored is the exact diff (`diff.py`)."""

from __future__ import annotations

from collections.abc import Sequence

from pipelines.evidence.diff import DELETE, INSERT, REPLACE, groups

Span = tuple[int, int, int, int]
"""Baseline start and end, candidate start and end, in diff words."""


def drop_short_equalities(
    opcodes: Sequence[int], baseline_words: Sequence[str], candidate_words: Sequence[str]
) -> tuple[int, ...]:
    """Opcodes with every kept stretch swallowed that is no longer than the edits on both its sides.

    The shortest diff of two unrelated answers keeps a word here and there by chance, and reads as confetti. An edit's
    length is that of its longer side in characters, as in the semantic cleanup of diff-match-patch (Fraser 2006). The
    result is again a diff of the same two texts, and doing it twice changes nothing.
    """
    baseline_at, candidate_at = _character_positions(baseline_words), _character_positions(candidate_words)

    def size(span: Span) -> int:
        return max(baseline_at[span[1]] - baseline_at[span[0]], candidate_at[span[3]] - candidate_at[span[2]])

    kept: list[Span] = []
    for _, *bounds in groups(opcodes):
        span: Span = (bounds[0], bounds[1], bounds[2], bounds[3])
        # A merged edit is larger, so it may now outweigh the stretch before it as well.
        while kept and baseline_at[span[0]] - baseline_at[kept[-1][1]] <= min(size(kept[-1]), size(span)):
            before = kept.pop()
            span = (before[0], span[1], before[2], span[3])
        kept.append(span)
    return tuple(number for span in kept for number in (_tag(span), *span))


def _character_positions(words: Sequence[str]) -> list[int]:
    """Where each word starts, and where the text ends."""
    positions = [0]
    for word in words:
        positions.append(positions[-1] + len(word))
    return positions


def _tag(span: Span) -> int:
    if span[0] == span[1]:
        return INSERT
    return DELETE if span[2] == span[3] else REPLACE
