"""How much a difference between two outputs matters: one word for each pair, told by rules and not by a model.

What belongs here: the decision, in the order of docs/diffs.md, which has the rules in words. What a single text says
is `canonical.py`, the diff `diff.py`.

The rules are made to keep harmless differences from burying the few that matter, and lean to one side: whatever they
cannot tell to be harmless is content. The kind is the same whichever output is the candidate.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Literal, TypeAlias

from pipelines.evidence.canonical import canonical_tokens, characters_agree, facts_of
from pipelines.evidence.diff import groups

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

ChangeKind = Literal["identical", "formatting", "wording", "content", "empty", "error"]

Opcodes: TypeAlias = "Sequence[int] | NDArray[np.int32]"

# The most telling first: how lists of pairs are ordered everywhere.
TELLING_ORDER: tuple[ChangeKind, ...] = ("content", "empty", "error", "wording", "formatting", "identical")
# Both sides are a text, so that there is something to lay side by side.
DIFFED_KINDS: tuple[ChangeKind, ...] = ("formatting", "wording", "content", "empty")

# Of ten words at least eight stay: with less in common nobody can say that only the words changed.
WORDING_SIMILARITY_RATIO = 0.8
# In a short answer one mark is much of the whole; there all words but the light ones must be the same instead.
SHORT_CHARACTERS = 200
# A window ends at the second white space behind an edit: then it holds the whole next word, which tells an article.
_SPACES_BEHIND = 2


def is_formatting(baseline: str, candidate: str) -> bool:
    """Whether two texts differ in nothing but white space, case, typography and the format of numbers."""
    return characters_agree(baseline, candidate) and canonical_tokens(baseline) == canonical_tokens(candidate)


def is_wording(
    opcodes: Opcodes,
    baseline_words: Sequence[str],
    candidate_words: Sequence[str],
    *,
    similarity_ratio: float,
    has_full_marks: bool,
) -> bool:
    """Whether two texts say the same in other words, as far as that can be told.

    At every edit both sides must have the same words but for light ones (see `canonical.LIGHT_WORDS`). Where scorers
    found both outputs right, other words may differ too, if numbers, symbols, code, names and words such as yes, not
    or more are the same.
    """
    if similarity_ratio < WORDING_SIMILARITY_RATIO:
        return _is_the_same_but_light("".join(baseline_words), "".join(candidate_words))
    for baseline, candidate in _edited_windows(opcodes, baseline_words, candidate_words):
        ours, theirs = facts_of(baseline), facts_of(candidate)
        if ours.essence != theirs.essence and not (has_full_marks and ours.stated == theirs.stated):
            return False
    return True


def _is_the_same_but_light(baseline: str, candidate: str) -> bool:
    if max(len(baseline), len(candidate)) > SHORT_CHARACTERS:
        return False
    essence = facts_of(baseline).essence
    return bool(essence) and essence == facts_of(candidate).essence


def _edited_windows(
    opcodes: Opcodes, baseline_words: Sequence[str], candidate_words: Sequence[str]
) -> Iterator[tuple[str, str]]:
    """Both texts around each edit, with the kept words beside it that decide how the edited ones are read.

    That is from the white space before to `_SPACES_BEHIND` white spaces behind. Where there is code the whole texts
    are one window, because what is code depends on where it began.
    """
    if any("`" in words for words in (baseline_words, candidate_words)):
        yield "".join(baseline_words), "".join(candidate_words)
        return
    edits = groups(opcodes if isinstance(opcodes, Sequence) else opcodes.tolist())
    starts = [_before(baseline_words, edit[1], edits[place - 1][2] if place else 0) for place, edit in enumerate(edits)]
    stops = [edit[1] for edit in edits[1:]] + [len(baseline_words)]
    open_from: tuple[int, int] | None = None
    for place, (_, b_start, b_end, c_start, c_end) in enumerate(edits):
        begin = starts[place]
        if open_from is None:
            open_from = (begin, c_start - (b_start - begin))
        end = _behind(baseline_words, b_end, stops[place])
        is_joined = place + 1 < len(edits) and end >= starts[place + 1]
        if not is_joined:
            yield (
                "".join(baseline_words[open_from[0] : end]),
                "".join(candidate_words[open_from[1] : c_end + end - b_end]),
            )
            open_from = None


def _before(words: Sequence[str], start: int, limit: int) -> int:
    """The first of the kept words before `start` that stand there without white space between."""
    while start > limit and not words[start - 1].isspace():
        start -= 1
    return start


def _behind(words: Sequence[str], end: int, limit: int) -> int:
    """The end of the kept words behind `end` up to the second white space."""
    spaces = 0
    while end < limit:
        spaces += words[end].isspace()
        if spaces == _SPACES_BEHIND:
            break
        end += 1
    return end
