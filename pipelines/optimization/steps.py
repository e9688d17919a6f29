"""Optimisation runs: launch one, ask it to stop, read what there is.

What belongs here: which run a request means, and whether it is begun, taken up or left as it is. The run itself is
`attempt.py`, what is carried back to the example store `syncing.py`.
"""

from __future__ import annotations

import datetime as dt
from typing import Any

import polars as pl

from lake.errors import UserError
from lake.identity import derived_id
from lake.store import Lake
from lake.tables import contract_of
from pipelines.databits.units import canonical_text
from pipelines.optimization.attempt import Attempt
from pipelines.optimization.dspy_adapter.programs import dspy_version
from pipelines.optimization.recording import RUNS, STOP_REQUESTS
from pipelines.optimization.requests import Models, OptimizationRequest, OptimizationResult, Watching

NO_RUN_YET = (
    "There is no optimisation run yet. Start one on the demo:  benchlake dspy templates demo   then:  "
    "benchlake dspy optimize transport-orders"
)


def optimization_run_id(request: OptimizationRequest, models: Models) -> str:
    """The run's id: the same for the same template, items, optimiser, settings, seed, models and DSPy.

    The budget is no part of it, so that a run which spent its budget can be taken up with a larger one.
    """
    return derived_id(
        "optimization_run",
        request.version.template.digest,
        request.splits.digest,
        request.optimizer,
        canonical_text(request.settings.model_dump(mode="json")),
        request.seed,
        models.engine.model,
        models.prompt_engine.model,
        dspy_version(),
    )


def launch_optimization_run(
    lake: Lake, request: OptimizationRequest, models: Models, watching: Watching
) -> OptimizationResult:
    """Search a better program; every trial is in the lake when it ends, and the test is at the end.

    A run that has finished is not repeated. One that was killed, cancelled or ran out of budget is taken up: the
    optimiser goes the same way again, with its calls answered from the engine's cache, until it comes to what is new.
    Raises `UserError` for what cannot be searched; on any other error, and on an interrupt, the row says so first.
    """
    run_id = optimization_run_id(request, models)
    standing = lake.read(RUNS, where={"optimization_run_id": run_id})
    before = standing.row(0, named=True) if standing.height else None
    if before is not None and before["state"] == "finished":
        return OptimizationResult(run_id=run_id, row=before, is_new=False)
    attempt = Attempt(lake, request, models, watching, run_id=run_id, before=before)
    return OptimizationResult(run_id=run_id, row=attempt.carry_out(), is_new=True)


def request_stop(lake: Lake, reference: str, *, now: dt.datetime, author: str, reason: str | None) -> str:
    """Ask a running run to stop: it does so before its next call, and keeps what it has. Gives its id."""
    row = read_run(lake, reference)
    if row["state"] != "running":
        raise UserError(f"The optimisation run {row['optimization_run_id'][:8]} is not running: it is {row['state']}.")
    run_id = str(row["optimization_run_id"])
    request_id = derived_id("dspy_stop_request", run_id, now.isoformat())
    request = {
        "request_id": request_id,
        "optimization_run_id": run_id,
        "requested_at": now,
        "requested_by": author,
        "reason": reason,
    }
    rows = pl.DataFrame([request], schema=contract_of(STOP_REQUESTS).dtypes)
    lake.append(STOP_REQUESTS, rows, token=request_id)
    return run_id


def read_run(lake: Lake, reference: str) -> dict[str, Any]:
    """The run whose id begins with `reference`, or the newest for `latest`; raises `UserError` if that is not one."""
    rows = lake.read(RUNS).sort("started_at")
    if rows.is_empty():
        raise UserError(NO_RUN_YET)
    found = (
        rows.tail(1) if reference == "latest" else rows.filter(pl.col("optimization_run_id").str.starts_with(reference))
    )
    if found.height != 1:
        ids = found["optimization_run_id"].to_list()
        raise UserError.not_one("optimisation run", reference, ids, see="benchlake dspy runs   (or write: latest)")
    return found.row(0, named=True)
