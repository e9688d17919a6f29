"""The course of metrics over steps, time or tokens, aligned between runs and thinned so that no peak is lost.

Pure. The thinning is the largest-triangle-three-buckets rule (Steinarsson 2013) by the library tsdownsample, with the
minimum and maximum of each bucket as candidates, so that a spike of one step stays in the picture.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import polars as pl

from pipelines.runs.run_query import matches

Axis = Literal["step", "time", "tokens"]
AXIS_UNITS: dict[Axis, str] = {"step": "steps", "time": "s", "tokens": "tokens"}
# Logged beside other metrics, this says how many tokens a step had seen.
TOKEN_METRICS = ("tokens_seen", "num_tokens", "total_tokens", "input_token_count")


@dataclass(frozen=True, kw_only=True)
class Curve:
    """One metric of one run: `x` in the unit of the axis from the run's first point, `y` in `unit`."""

    run_id: str
    metric: str
    variant: str
    unit: str
    axis: Axis
    x: tuple[float, ...]
    y: tuple[float, ...]
    point_count: int


def align_curves(
    ids: Sequence[str], metrics: pl.DataFrame, *, names: Sequence[str] = (), axis: Axis = "step", points: int = 400
) -> Iterator[Curve]:
    """Curves of every metric that some run has at more than one step; repeats of a step are averaged.

    Over time a point needs `recorded_at`; over tokens the run needs one of `TOKEN_METRICS` at the same step. Points
    without a place on the axis are left out, and a curve without any is too.
    """
    stepped = metrics.filter(pl.col("step").n_unique().over("run_id", "metric", "variant") > 1)
    placed = _placed(stepped, axis).drop_nulls("x")
    averaged = (
        placed.group_by("run_id", "metric", "variant", "x")
        .agg(y=pl.col("value").sort().mean(), unit=pl.col("unit").first())
        .sort("metric", "variant", "run_id", "x")
    )
    order = {run_id: place for place, run_id in enumerate(ids)}
    curves = [
        _curve(str(run_id), str(metric), str(variant), axis, rows, points)
        for (metric, variant, run_id), rows in averaged.group_by("metric", "variant", "run_id", maintain_order=True)
        if run_id in order and rows.height > 1 and (not names or matches(str(metric), names))
    ]
    yield from sorted(curves, key=lambda curve: (curve.metric, curve.variant, order[curve.run_id]))


def _placed(metrics: pl.DataFrame, axis: Axis) -> pl.DataFrame:
    if axis == "step":
        return metrics.with_columns(x=pl.col("step").cast(pl.Float64))
    if axis == "time":
        since = pl.col("recorded_at") - pl.col("recorded_at").min().over("run_id")
        return metrics.with_columns(x=since.dt.total_microseconds() / 1e6)
    tokens = (
        metrics.filter(pl.col("metric").is_in(TOKEN_METRICS))
        .group_by("run_id", "step")
        .agg(x=pl.col("value").max().cast(pl.Float64))
    )
    return metrics.join(tokens, on=["run_id", "step"], how="left")


def _curve(run_id: str, metric: str, variant: str, axis: Axis, rows: pl.DataFrame, points: int) -> Curve:
    x, y = rows["x"].to_numpy(), rows["y"].to_numpy()
    kept = thin(x, y, points=points)
    return Curve(
        run_id=run_id,
        metric=metric,
        variant=variant,
        unit=str(rows["unit"][0]),
        axis=axis,
        x=tuple(x[kept].tolist()),
        y=tuple(y[kept].tolist()),
        point_count=len(x),
    )


def thin(x: np.ndarray, y: np.ndarray, *, points: int) -> np.ndarray:
    """Places of at most about `points` points that keep the shape; always the first, last, lowest and highest."""
    if len(x) <= max(points, 4):
        return np.arange(len(x))
    from tsdownsample import MinMaxLTTBDownsampler

    kept = MinMaxLTTBDownsampler().downsample(  # type: ignore[no-untyped-call]
        np.ascontiguousarray(x), np.ascontiguousarray(y), n_out=points
    )
    return np.unique(np.concatenate([kept.astype(np.int64), [0, len(x) - 1, int(y.argmin()), int(y.argmax())]]))
