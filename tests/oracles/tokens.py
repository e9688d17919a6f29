"""Where two token lists part and which positions they share, in plain loops over one pair."""

from __future__ import annotations

from collections.abc import Sequence

END = "END"


def shared_ids(baseline: Sequence[object], candidate: Sequence[object]) -> int:
    """How many leading tokens are the same."""
    shared = 0
    while shared < min(len(baseline), len(candidate)) and baseline[shared] == candidate[shared]:
        shared += 1
    return shared


def symbols(tokens: Sequence[bytes]) -> list[list[object]]:
    """The symbols of each token: its bytes, and END for the first of the silent tokens behind the last byte."""
    found: list[list[object]] = [list(token) for token in tokens]
    last = max((place for place, token in enumerate(tokens) if token), default=-1)
    if last + 1 < len(tokens):
        found[last + 1] = [END]
    return found


def shared_positions(
    baseline: Sequence[bytes], candidate: Sequence[bytes]
) -> tuple[list[tuple[int, int, int, int]], bool]:
    """Positions (baseline start and end, candidate start and end, in tokens) that hold the same symbols.

    And whether the symbols differ behind them, rather than one list being the beginning of the other.
    """
    sides = [symbols(baseline), symbols(candidate)]
    flat = [[symbol for token in side for symbol in token] for side in sides]
    same = 0
    while same < min(map(len, flat)) and flat[0][same] == flat[1][same]:
        same += 1
    ends: list[dict[int, int]] = []
    for side in sides:
        place, found = 0, {}
        for number, token in enumerate(side):
            place += len(token)
            if 0 < place <= same:
                found[place] = number + 1
        ends.append(found)
    common = sorted(set(ends[0]) & set(ends[1]))
    positions, before = [], (0, 0)
    for place in common:
        now = (ends[0][place], ends[1][place])
        positions.append((before[0], now[0], before[1], now[1]))
        before = now
    return positions, same < min(map(len, flat))
