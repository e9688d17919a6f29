"""What is divided: a utility of sets of units, evaluated once per set and item.

What belongs here: the coalition game that ablation and Shapley values share, with its cache and budget. Where the
scores come from (a program asked again with some of its demos) is the caller's `Utility`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, MutableMapping
from dataclasses import dataclass, field
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

Coalition: TypeAlias = frozenset[int]
Scores: TypeAlias = NDArray[np.float64]
Utility: TypeAlias = Callable[[Coalition], Scores]
"""Scores of the same items, in the same order, when only these units take part; from 0 to 1 unless stated."""


class BudgetSpentError(Exception):
    """Another coalition would cost more evaluations than were allowed; what was evaluated stands."""


@dataclass
class Game:
    """A utility over `unit_count` units with every coalition evaluated at most once.

    `known` may hold coalitions evaluated before, by an interrupted call for instance; `on_evaluated` is told each new
    one, so that it can be kept. `budget` is the number of new coalitions allowed; one more raises `BudgetSpentError`.
    """

    unit_count: int
    utility: Utility
    budget: int | None = None
    known: MutableMapping[Coalition, Scores] = field(default_factory=dict)
    on_evaluated: Callable[[Coalition, Scores], None] | None = None
    evaluated_count: int = 0

    def scores(self, units: Iterable[int]) -> Scores:
        """Scores of the items with only these units."""
        coalition = frozenset(units)
        if coalition not in self.known:
            if self.budget is not None and self.evaluated_count >= self.budget:
                raise BudgetSpentError
            found = np.asarray(self.utility(coalition), dtype=np.float64)
            self.known[coalition] = found
            self.evaluated_count += 1
            if self.on_evaluated:
                self.on_evaluated(coalition, found)
        return self.known[coalition]

    @property
    def everyone(self) -> Coalition:
        """All units."""
        return frozenset(range(self.unit_count))


def table_game(values: Mapping[Coalition, float], unit_count: int) -> Game:
    """A game whose utility is a table of one number a coalition."""
    return Game(unit_count=unit_count, utility=lambda coalition: np.array([values[coalition]]))
