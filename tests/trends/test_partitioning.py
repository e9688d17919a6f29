"""The exact search against trying every segmentation."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipelines.trends import partitioning
from pipelines.trends.partitioning import cut_levels, cut_lines
from tests.oracles.segmentation import about_line, about_mean, cheapest_segmentation, segmentation_cost

SERIES = st.lists(st.integers(-9, 9), min_size=1, max_size=11).map(lambda numbers: np.array(numbers, dtype=np.float64))


@settings(deadline=None, max_examples=60)
@given(
    many=st.lists(SERIES, min_size=1, max_size=4), penalty=st.sampled_from([0.5, 5.0, 40.0]), length=st.integers(1, 4)
)
def test_levels_are_as_cheap_as_the_best_of_all(many: list[np.ndarray], penalty: float, length: int) -> None:
    found = cut_levels(many, penalties=[penalty] * len(many), minimum_length=length)
    for values, cuts in zip(many, found, strict=True):
        if len(values) < 2 * length:
            assert cuts == []
            continue
        best = cheapest_segmentation(values, penalty=penalty, minimum_length=length, residual=about_mean)
        costs = [segmentation_cost(values, each, penalty=penalty, residual=about_mean) for each in (cuts, best)]
        assert costs[0] == pytest.approx(costs[1], abs=1e-3)
        assert not cuts or all(b - a >= length for a, b in pairwise([0, *cuts, len(values)]))


@settings(deadline=None, max_examples=40)
@given(values=SERIES, penalty=st.sampled_from([0.5, 5.0, 40.0]), length=st.integers(2, 4))
def test_lines_are_as_cheap_as_the_best_of_all(values: np.ndarray, penalty: float, length: int) -> None:
    cuts = cut_lines(values, penalty=penalty, minimum_length=length)
    if len(values) < 2 * length:
        assert cuts == []
        return
    best = cheapest_segmentation(values, penalty=penalty, minimum_length=length, residual=about_line)
    costs = [segmentation_cost(values, each, penalty=penalty, residual=about_line) for each in (cuts, best)]
    assert costs[0] == pytest.approx(costs[1], abs=1e-6)


def test_series_side_by_side_are_cut_as_each_alone() -> None:
    rng = np.random.default_rng(5)
    many = [rng.normal(size=size) + 3 * (np.arange(size) > size / 3) for size in (8, 9, 60, 60, 61, 200)]
    together = cut_levels(many, penalties=[8.0] * len(many), minimum_length=4)
    assert together == [cut_levels([values], penalties=[8.0], minimum_length=4)[0] for values in many]
    assert all(together)


def test_a_long_series_is_cut_by_cells(monkeypatch: pytest.MonkeyPatch) -> None:
    # 1,000 values in cells of ceil(1000 / 64) = 16: the step at 500 is found within a cell.
    monkeypatch.setattr(partitioning, "MAX_CELLS", 64)
    values = np.repeat([0.0, 1.0], 500)
    [cuts] = cut_levels([values], penalties=[10.0], minimum_length=4)
    assert len(cuts) == 1
    assert abs(cuts[0] - 500) <= 16


def test_nothing_to_cut() -> None:
    assert cut_levels([np.zeros(0), np.zeros(3)], penalties=[1.0, 1.0], minimum_length=4) == [[], []]
    assert cut_lines(np.zeros(0), penalty=1.0, minimum_length=4) == []
