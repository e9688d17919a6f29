"""Credit of ancestors: nothing is made, nothing is lost."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lake.errors import UserError
from pipelines.attribution.rollup import roll_up


@st.composite
def lineages(draw):
    count = draw(st.integers(1, 8))
    units = [(f"u{index}", 1) for index in range(count)]
    parents = {
        unit: [units[p] for p in draw(st.lists(st.integers(0, index - 1), max_size=3))] if index else []
        for index, unit in enumerate(units)
    }
    valued = draw(st.lists(st.sampled_from(units), min_size=1, unique=True))
    return {unit: draw(st.floats(-1, 1)) for unit in valued}, parents


@settings(deadline=None, max_examples=80)
@given(lineage=lineages(), share=st.floats(0, 1))
def test_the_sum_is_conserved(lineage, share: float) -> None:
    values, parents = lineage
    credit = roll_up(values, parents, kept_share=share)
    assert sum(item.kept for item in credit.values()) == pytest.approx(sum(values.values()), abs=1e-9)
    assert set(values) <= set(credit)


def test_a_chain_and_a_merge_by_hand() -> None:
    a, b, c, d = ((name, 1) for name in "abcd")
    credit = roll_up({d: 1.0}, {d: [b, c], b: [a], c: [a]}, kept_share=0.5)
    assert {unit[0]: item.kept for unit, item in credit.items()} == {"d": 0.5, "b": 0.125, "c": 0.125, "a": 0.25}
    assert credit[a].received == 0.25


def test_a_root_keeps_everything_and_the_same_parent_twice_is_one() -> None:
    a, b = ("a", 1), ("b", 1)
    assert roll_up({a: 0.7}, {})[a].kept == 0.7
    assert roll_up({b: 1.0}, {b: [a, a]}, kept_share=0.0)[a].kept == 1.0


def test_a_cycle_is_told_with_its_path() -> None:
    a, b = ("a", 1), ("b", 1)
    with pytest.raises(UserError, match="cycle"):
        roll_up({a: 1.0}, {a: [b], b: [a]})
    with pytest.raises(UserError, match="0 to 1"):
        roll_up({a: 1.0}, {}, kept_share=2)
