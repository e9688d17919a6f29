"""How sure a difference is: mean durations per repeat of the work, and the interval of their difference.

Pure. Samples that both runs were asked are pairs, and the interval is Student's t of their differences. Steps of two
trainings are not the same steps, so theirs is Welch's interval of two means (B. L. Welch, Biometrika 34, 1947). Both
change sign with the sides. Where a repeat lacks a thing, its duration there is 0.

What belongs to no repeat (kernels that nothing ties to the call that launched them, work before the first step) counts
in the difference by its duration / number of repeats, as it does in the wall time. Nobody can say which repeats it is
of, so that the interval reaches from where it would be without that to where it would be with all of it; where nothing
belongs to any repeat, there is no interval.
"""

from __future__ import annotations

from collections.abc import Collection
from typing import TYPE_CHECKING, Literal

import numpy as np
import polars as pl

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from pipelines.timelines.profiles import Profile

CONFIDENCE = 0.95
# What rows are told by: their name, or the path of names from the outermost span.
Grain = Literal["name", "path"]
_SIDES = ("candidate", "baseline")


def common_kind(baseline: Profile, candidate: Profile) -> str:
    """What both runs repeated; `run` if that is not the same thing, or no sample was asked of both."""
    kind = baseline.repeat_kind
    if kind != candidate.repeat_kind:
        return "run"
    return "run" if kind == "sample" and not baseline.repeat_ids.keys() & candidate.repeat_ids.keys() else kind


def effects(
    nodes: pl.DataFrame, baseline: Profile, candidate: Profile, *, kind: str, grain: Grain = "name"
) -> pl.DataFrame:
    """effect_ns, interval_low_ns and interval_high_ns for each row of `nodes`, in its order.

    `nodes` has candidate_name_id and baseline_name_id (of paths: path_id), null where that side never did it, and the
    total_ns of both.
    """
    nothing = pl.Series([None] * nodes.height, dtype=pl.Float64)
    if kind == "run":
        effect = nodes["candidate_total_ns"].cast(pl.Float64) - nodes["baseline_total_ns"]
        return pl.DataFrame({"effect_ns": effect, "interval_low_ns": nothing, "interval_high_ns": nothing})
    ours, theirs = _by_node(nodes, candidate, "candidate", grain), _by_node(nodes, baseline, "baseline", grain)
    if kind == "sample":
        mean, half = _paired(ours, theirs, nodes, common=candidate.repeat_ids.keys() & baseline.repeat_ids.keys())
    else:
        mean, half = _unpaired(ours, theirs, nodes, counts=(len(candidate.repeat_ids), len(baseline.repeat_ids)))
    rest = _rest(nodes, ours, candidate, "candidate") - _rest(nodes, theirs, baseline, "baseline")
    is_repeated = np.zeros(nodes.height, dtype=bool)
    is_repeated[pl.concat([ours["node"], theirs["node"]]).to_numpy()] = True
    ends = {"low": mean - half + np.minimum(rest, 0), "high": mean + half + np.maximum(rest, 0)}
    return pl.DataFrame(
        {"effect_ns": mean + rest}
        | {f"interval_{name}_ns": np.where(is_repeated, values, np.nan) for name, values in ends.items()}
    ).with_columns(pl.col("interval_low_ns", "interval_high_ns").fill_nan(None))


def _by_node(nodes: pl.DataFrame, profile: Profile, side: str, grain: Grain) -> pl.DataFrame:
    """node, repeat_id, its total_ns and the mean of that repeat under the name of the side; only where there is any."""
    ids = nodes.select(node=pl.int_range(pl.len()), id=f"{side}_{grain}_id").drop_nulls()
    counts = pl.DataFrame(
        {"repeat_id": list(profile.repeat_ids), "times": list(profile.repeat_ids.values())},
        schema={"repeat_id": pl.String, "times": pl.Int64},
    )
    repeats = profile.repeats if grain == "name" else profile.path_repeats
    return (
        repeats.join(ids, left_on=f"{grain}_id", right_on="id")
        .join(counts, on="repeat_id")
        .select("node", "repeat_id", "total_ns", **{side: pl.col("total_ns") / pl.col("times")})
    )


def _rest(nodes: pl.DataFrame, own: pl.DataFrame, profile: Profile, side: str) -> NDArray[np.float64]:
    """Per node what belongs to no repeat / the number of repeats."""
    inside = own.group_by("node").agg(pl.col("total_ns").sum())
    total = nodes[f"{side}_total_ns"].to_numpy().astype(np.int64)
    total[inside["node"].to_numpy()] -= inside["total_ns"].to_numpy()
    rest: NDArray[np.float64] = total / max(profile.repeat_count, 1)
    return rest


def _paired(
    candidate: pl.DataFrame, baseline: pl.DataFrame, nodes: pl.DataFrame, *, common: Collection[str]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    both = candidate.join(baseline, on=["node", "repeat_id"], how="full", coalesce=True)
    differences = both.filter(pl.col("repeat_id").is_in(sorted(common))).select(
        "node", difference=pl.col("candidate").fill_null(0.0) - pl.col("baseline").fill_null(0.0)
    )
    count = len(common)
    total, squares = _sums(differences, "difference", nodes.height)
    mean = total / max(count, 1)
    return mean, _half(count - 1, _variance(total, squares, count) / max(count, 1))


def _unpaired(
    candidate: pl.DataFrame, baseline: pl.DataFrame, nodes: pl.DataFrame, *, counts: tuple[int, int]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    sums = [_sums(rows, side, nodes.height) for rows, side in zip((candidate, baseline), _SIDES, strict=True)]
    means = [total / max(count, 1) for (total, _), count in zip(sums, counts, strict=True)]
    errors = [_variance(*one, count) / max(count, 1) for one, count in zip(sums, counts, strict=True)]
    variance = errors[0] + errors[1]
    with np.errstate(invalid="ignore", divide="ignore"):
        freedom = variance**2 / sum(error**2 / (count - 1) for error, count in zip(errors, counts, strict=True))
    # Without any spread there is nothing to estimate, and any number of degrees gives the same interval of width 0.
    return means[0] - means[1], _half(np.where(variance == 0, 1.0, freedom), variance)


def _sums(rows: pl.DataFrame, column: str, height: int) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Per node the sum and the sum of squares."""
    # Sorted, so that the sums do not depend on the order of rows.
    ordered = rows.sort("node", column)
    places, values = ordered["node"].to_numpy(), ordered[column].to_numpy()
    sums = [np.bincount(places, weights, height).astype(np.float64) for weights in (values, values**2)]
    return sums[0], sums[1]


def _variance(total: NDArray[np.float64], squares: NDArray[np.float64], count: int) -> NDArray[np.float64]:
    """Of `count` values; NaN where there are too few to tell."""
    if count < 2:  # noqa: PLR2004  # one value has no spread
        return np.full(total.size, np.nan)
    spread = np.maximum(squares - total**2 / count, 0.0)
    # What is left of equal values after rounding is no spread.
    return np.where(spread <= 1e-12 * squares, 0.0, spread) / (count - 1)


def _half(freedom: NDArray[np.float64] | int, variance_of_mean: NDArray[np.float64]) -> NDArray[np.float64]:
    from scipy import stats

    if isinstance(freedom, int) and freedom < 1:
        return np.full(variance_of_mean.size, np.nan)
    quantile = stats.t.ppf((1 + CONFIDENCE) / 2, freedom)
    half: NDArray[np.float64] = quantile * np.sqrt(variance_of_mean)
    return half
