"""How long the answers of both runs of a comparison took, for a picture.

What belongs here: reading and naming. How it is drawn is `charts.py`, how it is judged `gate_families.py`.
"""

from __future__ import annotations

from typing import Any, Literal

import polars as pl

from lake.store import Lake
from pipelines.evidence.reading import OUTPUTS, RUNS
from pipelines.evidence.slices import runs_slice

TimedMetric = Literal["latency_ms", "time_to_first_token_ms"]

_SIDES = ("baseline", "candidate")


def read_latencies(lake: Lake, comparisons: pl.DataFrame, *, metric: TimedMetric = "latency_ms") -> pl.DataFrame:
    """One row per comparison, side and answer that came: comparison_id, side, name and latency_ms.

    `comparisons` has comparison_id, run_date, candidate_run_id and baseline_run_id. Only answers that ended `ok` count,
    as they do for a gate. `name` is the backend, with the beginning of the run's id where both runs have one backend.
    """
    ids = sorted({*comparisons["candidate_run_id"], *comparisons["baseline_run_id"]})
    runs = lake.read(RUNS, columns=["run_id", "run_date", "backend"], where={"run_id": ids})
    dated = comparisons.join(
        runs.select(baseline_run_id="run_id", baseline_run_date="run_date"), on="baseline_run_id", how="left"
    )
    where = {**runs_slice(dated), "status": "ok"}
    outputs = lake.read(OUTPUTS, columns=["run_id", metric], where=where).filter(pl.col(metric) > 0)
    backends = dict(runs.select("run_id", "backend").iter_rows())
    sides = pl.DataFrame(
        [
            (row["comparison_id"], row[f"{side}_run_id"], side, _name(row, side, backends))
            for row in comparisons.iter_rows(named=True)
            for side in _SIDES
        ],
        schema={"comparison_id": pl.String, "run_id": pl.String, "side": pl.String, "name": pl.String},
        orient="row",
    )
    named = sides.join(outputs.rename({metric: "latency_ms"}), on="run_id")
    return named.drop("run_id").sort("comparison_id", "side", "latency_ms")


def _name(comparison: dict[str, Any], side: str, backends: dict[str, str]) -> str:
    names = [backends.get(comparison[f"{each}_run_id"], "") for each in _SIDES]
    own = names[_SIDES.index(side)]
    return f"{side}: {own}" if names[0] != names[1] else f"{side}: {own} {comparison[f'{side}_run_id'][:8]}"
