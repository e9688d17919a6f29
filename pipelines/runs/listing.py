"""Runs as people look for them: newest first, with how many outputs they have and how well they scored."""

from __future__ import annotations

import polars as pl

from lake.predicates import Slice
from lake.store import Lake
from pipelines.runs.remarks import in_force
from pipelines.runs.run_query import RunQuery, exact_values, filter_runs

_OUTPUT_COLUMNS = ("run_id", "status", "latency_ms", "scores")


def list_runs(lake: Lake, query: RunQuery | None = None, *, limit: int = 20) -> pl.DataFrame:
    """The newest `limit` runs that the query means: identity, status, outputs, scores, code version, tags, notes.

    Columns: run_id, run_date, started_at, suite, backend, model, source_kind, status, output_count, failed_count,
    mean_score, median_latency_ms, commit, branch, pull_request, is_dirty, repository_url, tags, note_count,
    is_baseline (of a designation in force), error_message.
    """
    query = query or RunQuery()
    where = exact_values(query, ("suite", "backend", "model", "status", "source_kind"))
    runs = filter_runs(lake.read("silver.runs", where=where or None), query)
    runs = runs.sort("started_at", "run_id", descending=True).head(limit)
    ids = runs["run_id"].to_list()
    slice_: Slice = {"run_date": runs["run_date"].unique().to_list(), "run_id": ids}
    outputs = lake.read("silver.outputs", columns=_OUTPUT_COLUMNS, where=slice_)
    notes = lake.read("silver.notes", columns=["subject_id"], where={"subject_kind": "run", "subject_id": ids})
    baselines = in_force(lake.read("silver.baselines"))["run_id"].unique()
    code = pl.col("code_version").struct
    return (
        runs.join(summarise_outputs(outputs), on="run_id", how="left", maintain_order="left")
        .join(
            notes.group_by(pl.col("subject_id").alias("run_id")).agg(note_count=pl.len()),
            on="run_id",
            how="left",
            maintain_order="left",
        )
        .select(
            "run_id",
            "run_date",
            "started_at",
            "suite",
            "backend",
            "model",
            "source_kind",
            "status",
            pl.col("output_count").fill_null(0),
            pl.col("failed_count").fill_null(0),
            "mean_score",
            "median_latency_ms",
            code.field("commit"),
            code.field("branch"),
            code.field("pull_request"),
            code.field("is_dirty"),
            code.field("repository_url"),
            pl.col("tags").list.join(", "),
            pl.col("note_count").fill_null(0).cast(pl.Int64),
            pl.col("run_id").is_in(baselines.implode()).alias("is_baseline"),
            "error_message",
        )
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
