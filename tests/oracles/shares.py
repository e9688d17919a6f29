"""Wilson's interval by solving its equation, and Newcombe's as printed in the papers, step by step."""

from __future__ import annotations

import math

Z_95 = 1.959963984540054


def wilson_by_bisection(successes: int, total: int) -> tuple[float, float]:
    """The shares p at which |successes/total - p| is 1.96 standard errors *of p*; found by halving, not by formula."""
    observed = successes / total

    def root(inner: float, outer: float) -> float:
        for _ in range(200):
            middle = (inner + outer) / 2
            is_inside = abs(observed - middle) <= Z_95 * math.sqrt(middle * (1 - middle) / total)
            inner, outer = (middle, outer) if is_inside else (inner, middle)
        return inner

    return root(observed, 0.0), root(observed, 1.0)


def newcombe_paired(e: int, f: int, g: int, h: int) -> tuple[float, float]:
    """Method 10 of Newcombe 1998, Statistics in Medicine 17:2635, in the paper's letters (f, g are the discordant)."""
    n = e + f + g + h
    theta = (f - g) / n
    l2, u2 = wilson_by_bisection(e + f, n)
    l3, u3 = wilson_by_bisection(e + g, n)
    dl2, du2 = (e + f) / n - l2, u2 - (e + f) / n
    dl3, du3 = (e + g) / n - l3, u3 - (e + g) / n
    product = (e + f) * (g + h) * (e + g) * (f + h)
    if product == 0:
        phi = 0.0
    else:
        numerator = e * h - f * g
        if numerator > n / 2:
            numerator -= n / 2
        elif numerator >= 0:
            numerator = 0
        phi = numerator / math.sqrt(product)
    delta = math.sqrt(max(dl2**2 - 2 * phi * dl2 * du3 + du3**2, 0))
    epsilon = math.sqrt(max(du2**2 - 2 * phi * du2 * dl3 + dl3**2, 0))
    return theta - delta, theta + epsilon
