"""Rows of `gold.trend_series`: one number of every run that may be laid side by side.

Pure: runs, their metrics and their outputs in, rows out. Which runs are new is `series_steps.py`.

A series is told by suite, backend, model, branch, source format, metric, variant and slice. The settings and the
machine of a run are not part of it: a faster machine is a change of the same series, and its environment digest says
why.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import orjson
import polars as pl

from lake.identity import json_digest
from lake.tables import contract_of
from pipelines.evidence.contingencies import prompt_group

SERIES = "gold.trend_series"
IDENTITY = ("suite", "backend", "model", "branch", "source_kind", "metric", "variant", "slice_kind", "slice_value")
RUN_COLUMNS = (
    "run_id", "run_date", "suite", "backend", "model", "source_kind", "engine", "engine_version", "environment",
    "fingerprint", "code_version", "tags", "started_at", "status",
)  # fmt: skip
METRIC_COLUMNS = (
    "run_id", "metric", "variant", "step", "repeat_index", "value", "unit", "standard_error", "sample_count",
    "is_higher_better",
)  # fmt: skip
OUTPUT_COLUMNS = (
    "run_id", "sample_id", "status", "output_token_count", "latency_ms", "scores", "tags",
)  # fmt: skip
SAMPLE_TAG = "sample"
# Of a slice with fewer outputs every run would be an outlier.
_LEAST_OUTPUTS = 5
# The 95th percentile of fewer is the slowest one.
_LEAST_FOR_P95 = 20
_Z95 = 1.959963984540054
_MS_PER_S = 1_000


def series_rows(runs: pl.DataFrame, metrics: pl.DataFrame, outputs: pl.DataFrame) -> pl.DataFrame:
    """Rows for the successful ones of `runs`; a metric that the source itself reports goes before one from outputs."""
    done = runs.filter(pl.col("status") == "success")
    if done.is_empty():
        return contract_of(SERIES).empty()
    heads = pl.DataFrame([_head(run) for run in done.iter_rows(named=True)], schema=_HEAD_TYPES)
    values = pl.concat([_from_metrics(metrics), _from_outputs(outputs)], how="diagonal")
    rows = values.unique(
        ["run_id", "metric", "variant", "slice_kind", "slice_value"], keep="first", maintain_order=True
    )
    return _with_series_id(rows.join(heads, on="run_id"))


_HEAD_TYPES = {
    name: contract_of(SERIES).dtypes[name]
    for name in (
        "run_id", "run_date", "suite", "backend", "model", "branch", "source_kind", "ordered_at", "is_commit_time",
        "commit", "pull_request", "environment_digest", "is_sample",
    )
}  # fmt: skip


def _head(run: Mapping[str, Any]) -> dict[str, Any]:
    """What every row of a run repeats of it."""
    code = run["code_version"] or {}
    committed_at = _commit_time(run["environment"])
    return {
        **{name: run[name] for name in ("run_id", "run_date", "suite", "backend", "model", "source_kind")},
        "branch": code.get("branch") or "",
        "ordered_at": committed_at or run["started_at"],
        "is_commit_time": committed_at is not None,
        "commit": code.get("commit"),
        "pull_request": code.get("pull_request"),
        "environment_digest": environment_digest(run),
        "is_sample": SAMPLE_TAG in (run["tags"] or []),
    }


def environment_digest(run: Mapping[str, Any]) -> str | None:
    """Digest of what a run was measured on and with; None when the source says nothing of it."""
    fingerprint = run["fingerprint"] or {}
    known = {
        "engine": run["engine"],
        "engine_version": run["engine_version"],
        **{name: fingerprint.get(name) for name in ("suite_digest", "sampling_digest", "hardware", "concurrency")},
    }
    return json_digest(known) if any(value is not None for value in known.values()) else None


def _commit_time(environment: str | None) -> Any:  # noqa: ANN401 - an instant, or None
    """When the code was committed, where the source keeps it in the environment."""
    if not environment or "committed_at" not in environment:
        return None
    given = orjson.loads(environment)
    text = given.get("committed_at") if isinstance(given, dict) else None
    if not isinstance(text, str):
        return None
    return pl.Series([text]).str.to_datetime(time_unit="us", time_zone="UTC", strict=False)[0]


def _from_metrics(metrics: pl.DataFrame) -> pl.DataFrame:
    """A value per run, metric and variant: of the last step, the median over its repeats."""
    last = metrics.filter(pl.col("step") == pl.col("step").max().over("run_id", "metric", "variant"))
    half = _Z95 * pl.col("standard_error")
    return (
        last.group_by("run_id", "metric", "variant", maintain_order=True)
        .agg(
            pl.col("value").median(),
            pl.first("unit", "is_higher_better"),
            # The error of one of several repeats is not that of their median.
            pl.when(pl.len() == 1).then(pl.col("standard_error").first()).alias("standard_error"),
            pl.when(pl.len() == 1).then(pl.col("sample_count").first()).alias("sample_count"),
        )
        .with_columns(
            slice_kind=pl.lit("run"),
            slice_value=pl.lit(""),
            interval_low=pl.col("value") - half,
            interval_high=pl.col("value") + half,
        )
        .drop("standard_error")
    )


def _from_outputs(outputs: pl.DataFrame) -> pl.DataFrame:
    sliced = pl.concat(
        [
            outputs.with_columns(slice_kind=pl.lit("run"), slice_value=pl.lit("")),
            outputs.explode("tags")
            .filter(pl.col("tags").is_not_null())
            .with_columns(slice_kind=pl.lit("tag"), slice_value=pl.col("tags"))
            .with_columns(tags=pl.lit([], dtype=pl.List(pl.String))),
            outputs.with_columns(
                slice_kind=pl.lit("prompt_group"), slice_value=prompt_group(pl.col("sample_id"))
            ).filter(pl.col("slice_value").is_not_null()),
        ],
        how="vertical_relaxed",
    )
    return pl.concat([_scores(sliced), _failures(sliced), _speeds(sliced)], how="diagonal")


_SLICE = ("run_id", "slice_kind", "slice_value")


def _scores(outputs: pl.DataFrame) -> pl.DataFrame:
    """Mean score by scorer; a failed output has none and is counted as a failure instead."""
    each = outputs.filter(pl.col("status").is_in(["ok", "assert_fail"])).explode("scores").drop_nulls("scores")
    score = pl.col("scores").struct
    half = _Z95 * pl.col("value").std() / pl.len().sqrt()
    return (
        each.select(*_SLICE, variant=score.field("scorer"), value=score.field("value"))
        .drop_nulls("value")
        .group_by(*_SLICE, "variant", maintain_order=True)
        .agg(
            pl.col("value").mean(),
            sample_count=pl.len().cast(pl.Int64),
            interval_low=pl.col("value").mean() - half,
            interval_high=pl.col("value").mean() + half,
        )
        .filter(pl.col("sample_count") >= _LEAST_OUTPUTS)
        .with_columns(metric=pl.lit("mean_score"), unit=pl.lit("1"), is_higher_better=pl.lit(True))
    )


def _failures(outputs: pl.DataFrame) -> pl.DataFrame:
    """Share of outputs that ended in an error or a timeout; Wilson's interval."""
    total, failed = pl.len().cast(pl.Float64), pl.col("status").is_in(["error", "timeout"]).sum().cast(pl.Float64)
    centre = (failed + _Z95**2 / 2) / (total + _Z95**2)
    half = _Z95 * (failed * (total - failed) / total + _Z95**2 / 4).sqrt() / (total + _Z95**2)
    return (
        outputs.group_by(*_SLICE, maintain_order=True)
        .agg(
            value=failed / total,
            sample_count=pl.len().cast(pl.Int64),
            interval_low=(centre - half).clip(lower_bound=0),
            interval_high=(centre + half).clip(upper_bound=1),
        )
        .filter(pl.col("sample_count") >= _LEAST_OUTPUTS)
        .with_columns(
            metric=pl.lit("failure_ratio"), variant=pl.lit(""), unit=pl.lit("ratio"), is_higher_better=pl.lit(False)
        )
    )


def _speeds(outputs: pl.DataFrame) -> pl.DataFrame:
    """Median and 95th percentile of the latency, and tokens per second of answering."""
    timed = outputs.filter((pl.col("status") == "ok") & (pl.col("latency_ms") > 0))
    latency = pl.col("latency_ms")
    tokens = pl.when(pl.col("output_token_count") > 0).then(pl.col("output_token_count"))
    seconds = latency.filter(pl.col("output_token_count") > 0).sum() / _MS_PER_S
    found = timed.group_by(*_SLICE, maintain_order=True).agg(
        sample_count=pl.len().cast(pl.Int64),
        median=latency.median(),
        p95=latency.quantile(0.95, "linear"),
        tokens_per_s=tokens.sum() / pl.when(seconds > 0).then(seconds),
    )
    parts = (("latency_ms", "median", "median", "ms", False, _LEAST_OUTPUTS),
             ("latency_ms", "p95", "p95", "ms", False, _LEAST_FOR_P95),
             ("output_tokens_per_s", "", "tokens_per_s", "tokens/s", True, _LEAST_OUTPUTS))  # fmt: skip
    return pl.concat(
        found.filter(pl.col("sample_count") >= least).select(
            *_SLICE,
            "sample_count",
            value=column,
            metric=pl.lit(metric),
            variant=pl.lit(variant),
            unit=pl.lit(unit),
            is_higher_better=pl.lit(is_higher_better),
        )
        for metric, variant, column, unit, is_higher_better, least in parts
    ).drop_nulls("value")


def _with_series_id(rows: pl.DataFrame) -> pl.DataFrame:
    """The rows with all columns of the table; NaN and infinity say nothing about a trend and are left out."""
    identities = rows.select(IDENTITY).unique()
    named = identities.with_columns(
        series_id=pl.Series([series_id(**identity) for identity in identities.iter_rows(named=True)], dtype=pl.String)
    )
    known = rows.join(named, on=IDENTITY).filter(pl.col("value").is_finite())
    dtypes = contract_of(SERIES).dtypes
    return known.select(
        (pl.col(name) if name in known.columns else pl.lit(None)).cast(dtype).alias(name)
        for name, dtype in dtypes.items()
    )


def series_id(**identity: str) -> str:
    """Id of the series with this identity (the columns `IDENTITY`): the first 24 digits of its digest."""
    return json_digest([identity[name] for name in IDENTITY])[:24]
