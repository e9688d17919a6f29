"""Series made in code: noise of several kinds, and runs whose outputs make a series."""

from __future__ import annotations

import datetime as dt
from typing import Any

import numpy as np
import polars as pl

from lake.store import Lake
from lake.tables import contract_of
from tests.evidence.rows import run

START = dt.datetime(2026, 1, 1, tzinfo=dt.UTC)


def noise(kind: str, count: int, rng: np.random.Generator) -> np.ndarray:
    """Noise without any change; see docs/trust.md for what each kind is."""
    if kind == "heavy_tailed":
        return rng.standard_t(2, size=count)
    if kind == "heteroscedastic":
        return rng.normal(size=count) * np.exp(np.linspace(-1, 1, count))
    if kind == "quantised":
        return np.round(rng.normal(size=count))
    values = rng.normal(size=count + 50)
    if kind == "autocorrelated":
        for place in range(1, len(values)):
            values[place] += 0.3 * values[place - 1]
    return values[50:]


NOISES = ("normal", "heavy_tailed", "heteroscedastic", "autocorrelated", "quantised")


def put_runs(lake: Lake, values: list[float], *, first: int = 0, metric: str = "latency_ms", **changes: Any) -> None:
    """Runs on consecutive days, each with one value of a metric; `first` is the day of the first."""
    runs, metrics = [], []
    for day, value in enumerate(values, start=first):
        row = run(f"run-{day:04}", started_at=START + dt.timedelta(days=day), **changes)
        runs.append(row)
        metrics.append(
            {
                "run_id": row["run_id"],
                "metric": metric,
                "variant": "",
                "step": 0,
                "repeat_index": 0,
                "run_date": row["run_date"],
                "value": value,
                "unit": "ms",
                "is_higher_better": False,
            }
        )
    lake.upsert("silver.run_metrics", pl.DataFrame(metrics, schema_overrides=contract_of("silver.run_metrics").dtypes))
    lake.upsert("silver.runs", pl.DataFrame(runs, schema=contract_of("silver.runs").dtypes))


def stepped(*levels: tuple[int, float], spread: float = 0.5, seed: int = 3) -> list[float]:
    """So many values about each level, in order."""
    rng = np.random.default_rng(seed)
    return [float(value) for count, level in levels for value in rng.normal(level, spread, size=count)]
