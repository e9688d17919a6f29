"""The cheapest segmentation by trying them all: what `pipelines.trends.partitioning` must find."""

from __future__ import annotations

from itertools import combinations, pairwise
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from numpy.typing import NDArray

    Floats = NDArray[np.float64]


def segmentation_cost(values: Floats, cuts: list[int], *, penalty: float, residual: Callable[[Floats], float]) -> float:
    """Sum of the segments' residual sums of squares, and the penalty for each cut."""
    edges = [0, *cuts, len(values)]
    return sum(residual(values[a:b]) for a, b in pairwise(edges)) + penalty * len(cuts)


def cheapest_segmentation(
    values: Floats, *, penalty: float, minimum_length: int, residual: Callable[[Floats], float]
) -> list[int]:
    """Cuts of the cheapest segmentation with segments of at least `minimum_length`; exponential, for short series."""
    return min(
        _segmentations(len(values), minimum_length),
        key=lambda cuts: segmentation_cost(values, cuts, penalty=penalty, residual=residual),
    )


def about_mean(values: Floats) -> float:
    """Sum of squares about the mean."""
    return float(((values - values.mean()) ** 2).sum())


def about_line(values: Floats) -> float:
    """Sum of squares about the least-squares line."""
    places = np.arange(len(values))
    return float(((values - np.polyval(np.polyfit(places, values, 1), places)) ** 2).sum())


def _segmentations(count: int, minimum_length: int) -> Iterator[list[int]]:
    for cut_count in range(count // minimum_length):
        for cuts in combinations(range(minimum_length, count - minimum_length + 1), cut_count):
            edges = [0, *cuts, count]
            if all(b - a >= minimum_length for a, b in pairwise(edges)):
                yield list(cuts)
