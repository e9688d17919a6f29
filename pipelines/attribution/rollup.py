"""Credit carried up the lineage: what a unit is worth is shared out among what it was made from.

Pure. Every unit keeps a part of its own credit and hands the rest to its parents in equal parts, from the youngest to
the oldest, so that the sum over all units is the sum that was handed in. A unit without parents keeps all of it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from lake.errors import UserError

Unit = tuple[str, int]
"""A data unit by id and version."""


@dataclass(frozen=True, kw_only=True)
class Credit:
    """A unit's own value, what came to it from those made of it, and what of both stays with it."""

    own: float
    received: float
    kept: float


def roll_up(
    values: Mapping[Unit, float], parents: Mapping[Unit, Sequence[Unit]], *, kept_share: float = 0.5
) -> dict[Unit, Credit]:
    """Credit of every unit and of all its ancestors; conserves the sum of `values`.

    `parents` of a version, whatever their order. `kept_share` of what a derived unit has stays with it. Raises
    `UserError` for a cycle, which the lineage itself refuses, and for a share outside 0 to 1.
    """
    if not 0 <= kept_share <= 1:
        raise UserError(f"The share that a unit keeps must be from 0 to 1, not {kept_share}.")
    order = _youngest_first(values, parents)
    received = dict.fromkeys(order, 0.0)
    credits_: dict[Unit, Credit] = {}
    for unit in order:
        own = values.get(unit, 0.0)
        whole = own + received[unit]
        above = list(dict.fromkeys(parents.get(unit, ())))
        kept = whole * kept_share if above else whole
        for parent in above:
            received[parent] += (whole - kept) / len(above)
        credits_[unit] = Credit(own=own, kept=kept, received=received[unit])
    return credits_


def _youngest_first(values: Mapping[Unit, float], parents: Mapping[Unit, Sequence[Unit]]) -> list[Unit]:
    """All units that have a value and all their ancestors, each before its parents."""
    from graphlib import CycleError, TopologicalSorter

    children: dict[Unit, set[Unit]] = {}
    waiting = list(values)
    for unit in waiting:
        children.setdefault(unit, set())
    while waiting:
        unit = waiting.pop()
        for parent in parents.get(unit, ()):
            if parent not in children:
                children[parent] = set()
                waiting.append(parent)
            children[parent].add(unit)
    try:
        return list(TopologicalSorter(children).static_order())
    except CycleError as error:
        raise UserError(f"The lineage has a cycle: {' -> '.join(str(unit) for unit in error.args[1])}.") from None
