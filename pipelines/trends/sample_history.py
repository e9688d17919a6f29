"""A made-up history of nights, so that trends can be looked at before there is a history of one's own.

Nothing of it was measured, and every row says so: its suite and source are called sample, `is_sample` is true. What
happens in it is written down here: a slower commit, a release that loses score and the fix, an engine upgrade that
makes everything faster, spikes, and a metric to which nothing happens.
"""

from __future__ import annotations

import datetime as dt
from dataclasses import dataclass

import numpy as np
import polars as pl

from lake.identity import derived_id, text_digest
from lake.store import Lake
from lake.tables import contract_of
from pipelines.trends.series import SERIES, series_id

SUITE = SOURCE_KIND = "sample"
NIGHTS = 120
_SEED = 20_260_101
_SLOWER, _WORSE, _FIXED, _UPGRADED = 84, 40, 62, 100


@dataclass(frozen=True)
class _Metric:
    metric: str
    variant: str
    unit: str
    is_higher_better: bool
    level: float
    noise_ratio: float
    # Night from which on the level is multiplied.
    changes: tuple[tuple[int, float], ...]
    spikes: tuple[int, ...] = ()


_METRICS = (
    _Metric("latency_ms", "median", "ms", False, 412.0, 0.012, ((_SLOWER, 1.07), (_UPGRADED, 0.86)), (23, 57)),
    _Metric("latency_ms", "p95", "ms", False, 705.0, 0.03, ((_SLOWER, 1.09), (_UPGRADED, 0.85)), (23, 71)),
    _Metric("output_tokens_per_s", "", "tokens/s", True, 96.0, 0.011, ((_SLOWER, 0.935), (_UPGRADED, 1.16))),
    _Metric("mean_score", "contains", "1", True, 0.71, 0.012, ((_WORSE, 0.93), (_FIXED, 1.075))),
    _Metric("failure_ratio", "", "ratio", False, 0.02, 0.2, ()),
    _Metric("peak_memory_bytes", "", "bytes", False, 5.4e8, 0.004, ((110, 1.04),)),
)  # fmt: skip


def seed_sample_history(lake: Lake, *, now: dt.datetime) -> int:
    """Put the sample history into `gold.trend_series`, ending the day before `now`; rows written.

    A history that is there already stays as it is, on the days that it began with.
    """
    if has_sample_history(lake):
        return 0
    return lake.upsert(SERIES, sample_rows(last_date=now.date() - dt.timedelta(days=1))).rows_written


def has_sample_history(lake: Lake) -> bool:
    """Whether the sample history is in the lake."""
    return lake.read(SERIES, columns=["series_id"], where={"suite": SUITE, "source_kind": SOURCE_KIND}).height > 0


def remove_sample_history(lake: Lake) -> int:
    """Take the sample history out of `gold.trend_series` again; rows removed."""
    keys = lake.read(SERIES, columns=["series_id", "run_id"], where={"suite": SUITE, "source_kind": SOURCE_KIND})
    return lake.remove(SERIES, keys).rows_written if keys.height else 0


def sample_rows(*, last_date: dt.date) -> pl.DataFrame:
    """Rows of `gold.trend_series` for `NIGHTS` nights that end with `last_date`; the same for the same date."""
    rng = np.random.default_rng(_SEED)
    rows = [row for metric in _METRICS for row in _rows_of(metric, rng, last_date=last_date)]
    return pl.DataFrame(rows, schema=contract_of(SERIES).dtypes)


def _rows_of(metric: _Metric, rng: np.random.Generator, *, last_date: dt.date) -> list[dict[str, object]]:
    identity = {
        "suite": SUITE, "backend": "sample", "model": "sample", "branch": "main", "source_kind": SOURCE_KIND,
        "metric": metric.metric, "variant": metric.variant, "slice_kind": "run", "slice_value": "",
    }  # fmt: skip
    values = np.full(NIGHTS, metric.level) * (1 + metric.noise_ratio * rng.standard_normal(NIGHTS))
    for night, factor in metric.changes:
        values[night:] *= factor
    values[list(metric.spikes)] *= 1.6
    own_id = series_id(**identity)
    return [
        {
            **identity,
            **_run(night, last_date - dt.timedelta(days=NIGHTS - 1 - night)),
            "series_id": own_id,
            "unit": metric.unit,
            "is_higher_better": metric.is_higher_better,
            "value": float(max(value, 0.0)),
            "is_sample": True,
        }
        for night, value in enumerate(values)
    ]


def _run(night: int, date: dt.date) -> dict[str, object]:
    return {
        "run_id": derived_id("sample_run", night),
        "run_date": date,
        "ordered_at": dt.datetime(date.year, date.month, date.day, 2, tzinfo=dt.UTC),
        "is_commit_time": False,
        "commit": text_digest(f"sample commit {night}")[:40],
        "pull_request": str(200 + night) if night in {_SLOWER, _WORSE, _FIXED} else None,
        "environment_digest": text_digest(f"sample engine {int(night >= _UPGRADED)}"),
    }
