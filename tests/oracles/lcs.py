"""The longest common subsequence by its textbook recurrence; slow, and plainly right."""

from __future__ import annotations

from collections.abc import Sequence


def longest_common_subsequence(left: Sequence[str], right: Sequence[str]) -> int:
    """Its length: L(i, j) = L(i-1, j-1) + 1 where the words are equal, else the larger of L(i-1, j) and L(i, j-1)."""
    above = [0] * (len(right) + 1)
    for word in left:
        row = [0]
        for column, other in enumerate(right, start=1):
            row.append(above[column - 1] + 1 if word == other else max(above[column], row[-1]))
        above = row
    return above[-1]
