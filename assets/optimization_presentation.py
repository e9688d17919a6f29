"""Optimisation runs and trials as the Dagster UI can show them."""

from __future__ import annotations

import polars as pl

from assets.presentation import markdown_table, number
from pipelines.evidence.render import escape_markdown
from pipelines.optimization.recording import Trial

_SHOWN_RUNS, _SHOWN_TRIALS = 20, 60


def run_table(runs: pl.DataFrame) -> str:
    """Optimisation runs, the newest first; rows of gold.dspy_runs."""
    if runs.is_empty():
        return "There is no optimisation run yet."
    return markdown_table(
        ["run", "template", "optimiser", "state", "trials", "before", "after", "difference", "conclusion"],
        (
            [
                f"`{row['optimization_run_id'][:8]}`",
                f"{escape_markdown(row['template'])}@{row['template_version_index']}",
                row["optimizer"].replace("_", " "),
                row["state"].replace("_", " "),
                str(row["trial_count"]),
                number(row["start_test_score"]),
                number(row["best_test_score"]),
                f"{number(row['test_interval_low'])} to {number(row['test_interval_high'])}",
                row["conclusion"].replace("_", " "),
            ]
            for row in runs.head(_SHOWN_RUNS).iter_rows(named=True)
        ),
    )


def trial_table(trials: pl.DataFrame) -> str:
    """Trials in order; rows of gold.dspy_trials."""
    if trials.is_empty():
        return "No trial ended."
    return markdown_table(
        ["trial", "kind", "split", "program", "demos", "items", "score", "interval", "instructions"],
        (
            [
                str(row["trial_index"]),
                row["trial_kind"],
                row["split"],
                f"`{row['program_id'][:8]}`",
                str(row["demo_count"]),
                str(row["item_count"]),
                number(row["score"]),
                f"{number(row['interval_low'])} to {number(row['interval_high'])}",
                escape_markdown(row["instructions"][:200]),
            ]
            for row in trials.head(_SHOWN_TRIALS).iter_rows(named=True)
        ),
    )


def trial_metadata(trial: Trial) -> dict[str, float | int | str]:
    """A trial as numbers that Dagster plots over time."""
    return {
        "trial": trial.trial_index,
        "kind": trial.trial_kind,
        "split": trial.split,
        "score": trial.score,
        "interval low": trial.interval_low,
        "interval high": trial.interval_high,
        "demos": sum(map(len, trial.facts.demos.values())),
    }
