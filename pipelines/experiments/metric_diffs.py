"""Metrics of several runs side by side: change against the baseline, better or worse, and how sure that is.

Pure: rows of silver.run_metrics and silver.outputs in, frozen values out. A metric logged over steps counts with its
last step here; its course is `curves.py`.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Literal, NamedTuple

import numpy as np
import polars as pl

from pipelines.evidence.statistics import mean_difference
from pipelines.runs.metric_names import METRIC_NAMES
from pipelines.runs.run_query import matches

CONFIDENCE = 0.95
# Two-sided normal quantile of CONFIDENCE, for standard errors that sources report.
_Z = 1.959963984540054
Judgement = Literal["better", "worse", "same", "within_noise", "different", "unknown"]


@dataclass(frozen=True, kw_only=True)
class MetricChange:
    """A run's value against the baseline's. Without an interval nothing is known about noise.

    `judgement`: better and worse by the metric's direction, `different` where it has none, `same` for equal values,
    `within_noise` where the interval holds 0, `unknown` where a side has no value.
    """

    absolute: float | None
    relative: float | None
    low: float | None
    high: float | None
    judgement: Judgement


@dataclass(frozen=True, kw_only=True)
class MetricDiff:
    """One metric over all runs; `changes` leaves out the baseline, which is the first run.

    `standard_errors` are those a source reports, or of repeats and samples; `counts` what a value sums up.
    """

    metric: str
    variant: str
    unit: str
    is_higher_better: bool | None
    values: tuple[float | None, ...]
    standard_errors: tuple[float | None, ...]
    counts: tuple[int | None, ...]
    changes: tuple[MetricChange, ...]


class _Value(NamedTuple):
    value: float
    error: float | None
    sample_count: int | None


class _Pairing(NamedTuple):
    low: float
    high: float


def diff_metrics(
    ids: Sequence[str],
    metrics: pl.DataFrame,
    outputs: pl.DataFrame,
    *,
    names: Sequence[str] = (),
    slices: Sequence[str] = (),
) -> list[MetricDiff]:
    """Every metric that any run has, in the order of names; of outputs scores, latency and failures are summed up.

    Differences of outputs are taken sample by sample, repeats averaged within the sample first, because samples
    differ more than runs do. A slice's metrics have its tag in their variant.
    """
    found = [*_recorded(ids, metrics), *_of_outputs(ids, outputs)]
    for tag in slices:
        tagged = outputs.filter(pl.col("tags").list.contains(tag))
        found.extend(replace(diff, variant=f"{diff.variant} [{tag}]".strip()) for diff in _of_outputs(ids, tagged))
    wanted = [diff for diff in found if not names or matches(diff.metric, names)]
    return sorted(wanted, key=lambda diff: (diff.metric, diff.variant))


def _recorded(ids: Sequence[str], metrics: pl.DataFrame) -> Iterator[MetricDiff]:
    last = metrics.filter(pl.col("step") == pl.col("step").max().over("run_id", "metric", "variant"))
    summed = last.group_by("run_id", "metric", "variant").agg(
        value=pl.col("value").sort().mean(),
        spread=pl.col("value").sort().std(),
        repeats=pl.len(),
        error=pl.col("standard_error").first(),
        deviation=pl.col("standard_deviation").first(),
        samples=pl.col("sample_count").first(),
        unit=pl.col("unit").first(),
        is_higher_better=pl.col("is_higher_better").first(),
    )
    for (metric, variant), rows in summed.sort("metric", "variant", "run_id").group_by(
        "metric", "variant", maintain_order=True
    ):
        by_run = {row["run_id"]: row for row in rows.iter_rows(named=True)}
        values = []
        for run_id in ids:
            row = by_run.get(run_id)
            values.append(None if row is None else _Value(row["value"], _error_of(row), row["samples"]))
        first = next(iter(by_run.values()))
        directions = {row["is_higher_better"] for row in by_run.values()}
        yield _diff(
            str(metric),
            str(variant),
            unit=first["unit"],
            is_higher_better=directions.pop() if len(directions) == 1 else None,
            values=values,
        )


def _error_of(row: dict[str, float | int | None]) -> float | None:
    """What the source says, else what its spread or its repeats say."""
    if row["error"] is not None:
        return float(row["error"])
    if row["deviation"] is not None and (row["samples"] or 0) > 1:
        return float(row["deviation"]) / math.sqrt(row["samples"] or 1)
    if row["spread"] is not None and (row["repeats"] or 0) > 1:
        return float(row["spread"]) / math.sqrt(row["repeats"] or 1)
    return None


def _of_outputs(ids: Sequence[str], outputs: pl.DataFrame) -> Iterator[MetricDiff]:
    if outputs.is_empty():
        return
    scores = (
        outputs.select("run_id", "sample_id", "scores")
        .explode("scores", empty_as_null=False)
        .drop_nulls("scores")
        .unnest("scores")
    )
    for (scorer,), rows in scores.sort("scorer").group_by("scorer", maintain_order=True):
        yield _sampled(ids, rows, metric="score", variant=str(scorer), unit="1", is_higher_better=True)
    failed = outputs.select("run_id", "sample_id", value=pl.col("status").is_in(["error", "timeout"]).cast(pl.Float64))
    yield _sampled(ids, failed, metric="failed_ratio", variant="", unit="ratio", is_higher_better=False)
    answered = outputs.filter(pl.col("status") == "ok")
    for metric in ("latency_ms", "time_to_first_token_ms"):
        known = answered.select("run_id", "sample_id", value=pl.col(metric)).drop_nulls("value")
        if not known.is_empty():
            name = METRIC_NAMES[metric]
            yield _sampled(ids, known, metric=metric, variant="mean of outputs", unit=name.unit, is_higher_better=False)
            for variant, quantile in (("median of outputs", 0.5), ("p95 of outputs", 0.95)):
                yield _quantile(ids, known, metric=metric, variant=variant, quantile=quantile)


def _sampled(
    ids: Sequence[str], rows: pl.DataFrame, *, metric: str, variant: str, unit: str, is_higher_better: bool
) -> MetricDiff:
    by_sample = rows.group_by("run_id", "sample_id").agg(pl.col("value").sort().mean()).sort("sample_id")
    values: list[_Value | None] = []
    pairings: list[_Pairing | None] = []
    scale = float(np.ptp(by_sample["value"].to_numpy())) or 1.0
    baseline = by_sample.filter(pl.col("run_id") == ids[0])
    for run_id in ids:
        own = by_sample.filter(pl.col("run_id") == run_id)
        values.append(_summed(own["value"]) if own.height else None)
        both = own.join(baseline, on="sample_id", suffix="_baseline").sort("sample_id")
        if both.height > 1 and run_id != ids[0]:
            differences = (both["value"] - both["value_baseline"]).to_numpy()
            interval = mean_difference(differences, scale=scale)(CONFIDENCE)
            pairings.append(_Pairing(interval.low, interval.high))
        else:
            pairings.append(None)
    return _diff(metric, variant, unit=unit, is_higher_better=is_higher_better, values=values, pairings=pairings)


def _summed(values: pl.Series) -> _Value:
    mean = float(values.mean())  # type: ignore[arg-type]
    error = float(values.std()) / math.sqrt(len(values)) if len(values) > 1 else None  # type: ignore[arg-type]
    return _Value(mean, error, len(values))


def _quantile(ids: Sequence[str], rows: pl.DataFrame, *, metric: str, variant: str, quantile: float) -> MetricDiff:
    """A quantile per run; the evidence room's gates have its interval, which takes a bootstrap."""
    summed = rows.group_by("run_id").agg(
        value=pl.col("value").quantile(quantile, interpolation="linear"), count=pl.len()
    )
    by_run = {run_id: _Value(value, None, count) for run_id, value, count in summed.iter_rows()}
    name = METRIC_NAMES[metric]
    values = [by_run.get(run_id) for run_id in ids]
    return _diff(metric, variant, unit=name.unit, is_higher_better=name.is_higher_better, values=values)


def _diff(
    metric: str,
    variant: str,
    *,
    unit: str,
    is_higher_better: bool | None,
    values: Sequence[_Value | None],
    pairings: Sequence[_Pairing | None] = (),
) -> MetricDiff:
    known = list(pairings) or [None] * len(values)
    return MetricDiff(
        metric=metric,
        variant=variant,
        unit=unit,
        is_higher_better=is_higher_better,
        values=tuple(value.value if value else None for value in values),
        standard_errors=tuple(value.error if value else None for value in values),
        counts=tuple(value.sample_count if value else None for value in values),
        changes=tuple(
            _change(value, values[0], pairing, is_higher_better=is_higher_better)
            for value, pairing in zip(values[1:], known[1:], strict=True)
        ),
    )


def _change(
    value: _Value | None, baseline: _Value | None, pairing: _Pairing | None, *, is_higher_better: bool | None
) -> MetricChange:
    if value is None or baseline is None:
        return MetricChange(absolute=None, relative=None, low=None, high=None, judgement="unknown")
    absolute = value.value - baseline.value
    if pairing is None and value.error is not None and baseline.error is not None and value.error + baseline.error > 0:
        half = _Z * math.hypot(value.error, baseline.error)
        pairing = _Pairing(absolute - half, absolute + half)
    return MetricChange(
        absolute=absolute,
        relative=absolute / abs(baseline.value) if baseline.value else None,
        low=pairing.low if pairing else None,
        high=pairing.high if pairing else None,
        judgement=_judge(absolute, pairing, is_higher_better=is_higher_better),
    )


def _judge(absolute: float, pairing: _Pairing | None, *, is_higher_better: bool | None) -> Judgement:
    if absolute == 0:
        return "same"
    if pairing is not None and pairing.low <= 0 <= pairing.high:
        return "within_noise"
    if is_higher_better is None:
        return "different"
    return "better" if (absolute > 0) == is_higher_better else "worse"
