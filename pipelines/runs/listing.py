"""Runs as people look for them: newest first, with how many outputs they have and how well they scored."""

from __future__ import annotations

import polars as pl

from lake.predicates import Slice
from lake.store import Lake

_OUTPUT_COLUMNS = ("run_id", "status", "latency_ms", "scores")


def list_runs(lake: Lake, *, suite: str | None = None, backend: str | None = None, limit: int = 20) -> pl.DataFrame:
    """The newest `limit` runs: identity, status, outputs, failed outputs, mean score, median latency in ms."""
    where: dict[str, str] = {}
    if suite is not None:
        where["suite"] = suite
    if backend is not None:
        where["backend"] = backend
    runs = lake.read("silver.runs", where=where or None).sort("started_at", "run_id", descending=True).head(limit)
    slice_: Slice = {"run_date": runs["run_date"].unique().to_list(), "run_id": runs["run_id"].to_list()}
    outputs = lake.read("silver.outputs", columns=_OUTPUT_COLUMNS, where=slice_)
    return runs.join(summarise_outputs(outputs), on="run_id", how="left").select(
        "run_id",
        "run_date",
        "suite",
        "backend",
        "model",
        "status",
        pl.col("output_count").fill_null(0),
        pl.col("failed_count").fill_null(0),
        "mean_score",
        "median_latency_ms",
        pl.col("code_version").struct.field("commit").str.head(12).alias("commit"),
        pl.col("tags").list.join(", "),
        "error_message",
    )


def summarise_outputs(outputs: pl.DataFrame) -> pl.DataFrame:
    """One row per run: counts, mean over samples of the mean over scorers, median latency of answered samples."""
    score = pl.col("scores").list.eval(pl.element().struct.field("value")).list.mean()
    return outputs.group_by("run_id").agg(
        pl.len().cast(pl.Int64).alias("output_count"),
        pl.col("status").is_in(["error", "timeout"]).sum().cast(pl.Int64).alias("failed_count"),
        score.mean().alias("mean_score"),
        pl.col("latency_ms").filter(pl.col("status") == "ok").median().alias("median_latency_ms"),
    )
