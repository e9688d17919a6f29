"""Things that only one of two runs did, but under names so alike that it is the same thing renamed.

Pure: names in, pairs out. A kernel gets another tile size in its name, an operator a suffix, a function moves to
another class. A pair must be of one device, kind and category, its names alike, and it must have been done about as
often; the most alike are paired first. Swapping the sides gives the same pairs.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np

# Names are alike from here on: 2 x common characters / characters of both, after numbers are taken out.
MINIMUM_SIMILARITY = 0.8
# The rarer was done at least half as often.
MINIMUM_COUNT_RATIO = 0.5
# All pairs are looked at; beyond this many names a side, only those that took longest.
MAX_NAMES = 500
_NUMBERS = re.compile(r"0x[0-9a-fA-F]+|\d+")


class Lone(NamedTuple):
    """Something that one side alone did; `group` is its device, kind and category."""

    group: tuple[str, ...]
    name: str
    span_count: int
    total_ns: int


def pair_renamed(baseline: Sequence[Lone], candidate: Sequence[Lone]) -> list[tuple[Lone, Lone]]:
    """Baseline and candidate of each rename."""
    pairs: list[tuple[Lone, Lone]] = []
    for group in sorted({lone.group for lone in baseline} & {lone.group for lone in candidate}):
        ours, theirs = _longest(baseline, group), _longest(candidate, group)
        pairs.extend(_pair(ours, theirs))
    return pairs


def _longest(lones: Sequence[Lone], group: tuple[str, ...]) -> list[Lone]:
    own = [lone for lone in lones if lone.group == group]
    return sorted(own, key=lambda lone: (-lone.total_ns, lone.name))[:MAX_NAMES]


def _pair(baseline: Sequence[Lone], candidate: Sequence[Lone]) -> Iterator[tuple[Lone, Lone]]:
    from rapidfuzz import fuzz, process

    similarity = process.cdist(
        [_NUMBERS.sub("#", lone.name) for lone in baseline],
        [_NUMBERS.sub("#", lone.name) for lone in candidate],
        scorer=fuzz.ratio,
        score_cutoff=100 * MINIMUM_SIMILARITY,
        dtype=np.float64,
    )
    alike = [
        (-similarity[one, other], *sorted((baseline[one].name, candidate[other].name)), one, other)
        for one, other in zip(*np.nonzero(similarity), strict=True)
        if _count_ratio(baseline[one], candidate[other]) >= MINIMUM_COUNT_RATIO
    ]
    taken: set[tuple[str, int]] = set()
    for *_, one, other in sorted(alike, key=lambda found: found[:3]):
        if not {("baseline", one), ("candidate", other)} & taken:
            taken |= {("baseline", one), ("candidate", other)}
            yield baseline[one], candidate[other]


def _count_ratio(one: Lone, other: Lone) -> float:
    return min(one.span_count, other.span_count) / max(one.span_count, other.span_count, 1)
