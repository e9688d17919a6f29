"""The lift of an example over the calls without it, written as the definition reads: loops over strata and calls."""

from __future__ import annotations

import math
from collections import defaultdict
from dataclasses import dataclass


@dataclass
class Call:
    """A call: its examples in order, what came of it, and what came without each example where that was asked."""

    stratum: str
    arrangement: tuple[str, ...]
    outcome: float
    baseline: float | None = None


def observations(calls: list[Call]) -> dict[str, list[Call]]:
    """By stratum, one observation an arrangement: the mean of its calls."""
    grouped: dict[tuple[str, tuple[str, ...]], list[Call]] = defaultdict(list)
    for call in calls:
        grouped[call.stratum, call.arrangement].append(call)
    by_stratum: dict[str, list[Call]] = defaultdict(list)
    for (stratum, arrangement), same in grouped.items():
        baselines = [call.baseline for call in same if call.baseline is not None]
        by_stratum[stratum].append(
            Call(
                stratum,
                arrangement,
                sum(call.outcome for call in same) / len(same),
                sum(baselines) / len(baselines) if baselines else None,
            )
        )
    return by_stratum


def lift_of(example: str, calls: list[Call], *, variance_weight: float = 2.0) -> tuple[float, float, int] | None:
    """Lift, standard error and comparable observations of `example`; None when nothing is comparable."""
    total = difference = variance = 0.0
    comparable = 0
    for seen in observations(calls).values():
        s2 = _variance(seen, variance_weight)
        with_it = [one for one in seen if example in one.arrangement]
        without = [one.outcome for one in seen if example not in one.arrangement]
        paired = [one for one in with_it if one.baseline is not None]
        open_ones = [one.outcome for one in with_it if one.baseline is None]
        if open_ones and without:
            weight = len(open_ones) * len(without) / (len(open_ones) + len(without))
            difference += weight * (sum(open_ones) / len(open_ones) - sum(without) / len(without))
            total, variance, comparable = total + weight, variance + weight * s2, comparable + len(open_ones)
        for one in paired:
            difference += 0.5 * (one.outcome - (one.baseline or 0.0))
            total, variance, comparable = total + 0.5, variance + 0.5 * s2, comparable + 1
    return (difference / total, math.sqrt(variance) / total, comparable) if total else None


def _variance(seen: list[Call], weight: float) -> float:
    values = [one.outcome for one in seen] + [one.baseline for one in seen if one.baseline is not None]
    mean = sum(values) / len(values)
    drawn = (sum(values) + 1) / (len(values) + 2)
    squares = sum((value - mean) ** 2 for value in values)
    return (squares + weight * drawn * (1 - drawn)) / (len(values) - 1 + weight)
