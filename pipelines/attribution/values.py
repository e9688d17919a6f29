"""Values of units in a game: leave-one-out and Shapley, exact or sampled, each with an interval over items.

Both are linear in the utility, so a unit has a value on each item, and what is reported is the mean over items with
the interval of that mean (pipelines.evidence.statistics). Sampled values add what the sampling itself leaves open.

* Leave-one-out: v(all) - v(all without i). Cheap, and 0 for each of two units that say the same.
* Shapley (1953): the mean of what a unit adds, over all orders in which units could join. Sums to v(all) - v(none)
  (efficiency), and units that always add the same are worth the same (symmetry). Exact over 2^n coalitions up to
  `EXACT_UNITS`; beyond that over sampled orders in antithetic pairs, an order and its reverse (Mitchell et al. 2022),
  cut short once a coalition scores like everyone (truncation of Ghorbani and Zou 2019), resumed from the game's cache.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from itertools import combinations

import numpy as np
from numpy.typing import NDArray

from pipelines.attribution.games import BudgetSpentError, Game
from pipelines.evidence.statistics import mean_difference

# 2^12 coalitions: 4,096 evaluations of all items.
EXACT_UNITS = 12
CONFIDENCE = 0.95
_Z = 1.959963984540054


@dataclass(frozen=True, kw_only=True)
class UnitValue:
    """What a unit contributed, in the unit of the utility; without an interval one item was all there was."""

    value: float
    low: float | None
    high: float | None
    item_values: NDArray[np.float64]


def leave_one_out(game: Game, *, scale: float = 1.0) -> list[UnitValue]:
    """v(all) - v(all without i) for each unit; `scale` is the range of scores. Raises `BudgetSpentError`."""
    game.scores(game.everyone)
    for unit in range(game.unit_count):
        game.scores(game.everyone - {unit})
    return list(leave_one_out_so_far(game, scale=scale).values())


def leave_one_out_so_far(game: Game, *, scale: float = 1.0) -> dict[int, UnitValue]:
    """Leave-one-out values of those units whose coalitions the game knows already; evaluates nothing."""
    full = game.known.get(game.everyone)
    if full is None:
        return {}
    left_out = {unit: game.known.get(game.everyone - {unit}) for unit in range(game.unit_count)}
    return {unit: _summed(full - scores, scale=scale) for unit, scores in left_out.items() if scores is not None}


def shapley_exact(game: Game, *, scale: float = 1.0) -> list[UnitValue]:
    """Shapley values by their definition, for up to `EXACT_UNITS` units.

    Raises `ValueError` for more, `BudgetSpentError` when the game allows fewer than 2^n coalitions.
    """
    count = game.unit_count
    if count > EXACT_UNITS:
        raise ValueError(
            f"Exact Shapley values of {count} units need {2**count} evaluations; the limit is {EXACT_UNITS}."
        )
    weights = [1 / (count * math.comb(count - 1, size)) for size in range(count)]
    values = []
    for unit in range(count):
        others = [other for other in range(count) if other != unit]
        total = np.zeros_like(game.scores(()))
        for size, weight in enumerate(weights):
            for coalition in combinations(others, size):
                total = total + weight * (game.scores((*coalition, unit)) - game.scores(coalition))
        values.append(_summed(total, scale=scale))
    return values


def shapley_sampled(
    game: Game, *, orders: int, seed: int, tolerance: float = 0.0, scale: float = 1.0
) -> tuple[list[UnitValue], int]:
    """Shapley values from sampled orders, and how many orders were used.

    Orders come in antithetic pairs from a generator seeded with `seed`. Once a coalition's mean score is within
    `tolerance` of everyone's, the units that follow add nothing: a bias of at most `tolerance` for a saving that is
    often most of the cost. When the budget is spent the orders finished so far count; raises `BudgetSpentError` if
    none was.
    """
    rng = np.random.default_rng(seed)
    full, empty = game.scores(game.everyone), game.scores(())
    sums = np.zeros((game.unit_count, len(full)))
    means: list[NDArray[np.float64]] = []
    try:
        while len(means) < orders:
            order = rng.permutation(game.unit_count)
            for direction in (order, order[::-1]):
                added = _along(game, direction, full, empty, tolerance=tolerance)
                sums += added
                means.append(added.mean(axis=1))
    except BudgetSpentError:
        if not means:
            raise
    used = len(means)
    # The two halves of a pair depend on each other, so pairs are what is counted.
    pairs = np.stack(means[: used - used % 2]).reshape(-1, 2, game.unit_count).mean(axis=1) if used > 1 else None
    errors = np.zeros(game.unit_count)
    if pairs is not None and len(pairs) > 1:
        errors = pairs.std(axis=0, ddof=1) / math.sqrt(len(pairs))
    return [
        _widened(_summed(row / used, scale=scale), float(error)) for row, error in zip(sums, errors, strict=True)
    ], used


def _along(
    game: Game,
    order: NDArray[np.int64],
    full: NDArray[np.float64],
    empty: NDArray[np.float64],
    *,
    tolerance: float,
) -> NDArray[np.float64]:
    """What each unit adds on each item when units join in this order."""
    added = np.zeros((game.unit_count, len(full)))
    before, joined = empty, []
    for place, unit in enumerate(order.tolist()):
        if tolerance and abs(float(full.mean() - before.mean())) <= tolerance:
            break
        joined.append(unit)
        after = full if place == game.unit_count - 1 else game.scores(joined)
        added[unit] = after - before
        before = after
    return added


def _summed(item_values: NDArray[np.float64], *, scale: float) -> UnitValue:
    value = float(item_values.mean())
    if len(item_values) < 2:  # noqa: PLR2004  # one item has no spread
        return UnitValue(value=value, low=None, high=None, item_values=item_values)
    interval = mean_difference(item_values, scale=scale)(CONFIDENCE)
    return UnitValue(value=value, low=interval.low, high=interval.high, item_values=item_values)


def _widened(unit: UnitValue, error: float) -> UnitValue:
    """An interval that also covers what the sampled orders leave open, errors of both kinds adding as variances."""
    if unit.low is None or unit.high is None:
        return unit
    reach = _Z * error
    return UnitValue(
        value=unit.value,
        low=unit.value - math.hypot(unit.value - unit.low, reach),
        high=unit.value + math.hypot(unit.high - unit.value, reach),
        item_values=unit.item_values,
    )
