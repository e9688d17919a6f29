"""Runs, trials and programs as people read them. Reads a lake, writes nothing."""

from __future__ import annotations

from typing import Any

import polars as pl

from lake.errors import UserError
from lake.store import Lake
from pipelines.optimization.recording import PROGRAMS, RUNS, TRIALS
from pipelines.optimization.scores import Conclusion
from pipelines.optimization.steps import NO_RUN_YET, read_run

WORDS: dict[Conclusion, str] = {
    "improved": "improved: the whole interval is above 0",
    "no_difference_shown": "no difference shown: the interval holds 0",
    "worse": "worse: the whole interval is below 0",
    "not_tested": "not tested",
}


def list_runs(lake: Lake, *, template: str | None = None) -> pl.DataFrame:
    """Optimisation runs, the newest first; raises `UserError` for a template that has none."""
    rows = lake.read(RUNS).sort("started_at", descending=True)
    if template is None:
        return rows
    found = rows.filter(pl.col("template") == template)
    if found.is_empty():
        raise UserError.unknown("template with optimisation runs", template, rows["template"].unique(), none=NO_RUN_YET)
    return found


def read_trials(lake: Lake, reference: str) -> pl.DataFrame:
    """Trials of a run in the order in which they ended."""
    run_id = read_run(lake, reference)["optimization_run_id"]
    return lake.read(TRIALS, where={"optimization_run_id": run_id}).sort("trial_index")


def read_program(lake: Lake, reference: str) -> dict[str, Any]:
    """The program whose id begins with `reference`; raises `UserError` when there is none or several."""
    rows = lake.read(PROGRAMS)
    found = rows.filter(pl.col("program_id").str.starts_with(reference))
    if found.height != 1:
        raise UserError.not_one("program", reference, found["program_id"].to_list(), see="benchlake dspy trials RUN")
    return found.row(0, named=True)


def tell_outcome(run: dict[str, Any]) -> str:
    """What the test says, in one sentence."""
    if run["conclusion"] == "not_tested":
        return f"Not tested{': ' + run['state_reason'] if run['state_reason'] else '.'}"
    return (
        f"Test on {run['test_count']} items: {run['start_test_score']:.3f} before, {run['best_test_score']:.3f} after, "
        f"difference {run['test_effect']:+.3f} with {run['confidence']:.0%} interval "
        f"[{run['test_interval_low']:+.3f}, {run['test_interval_high']:+.3f}]; {WORDS[run['conclusion']]}."
    )
