"""The picture of a series, from the lake: what `charts.py` needs is read here."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pipelines.trends.charts import trend_chart
from pipelines.trends.listing import read_series
from pipelines.trends.tracking import REGRESSIONS

if TYPE_CHECKING:
    import polars as pl

    from lake.store import Lake


def draw_series(lake: Lake, series_id: str) -> str:
    """A series as SVG, with its levels, changes and outliers; raises `ValueError` when it has no runs."""
    points = read_series(lake, series_id)
    where = {"series_id": series_id}
    changes = lake.read(REGRESSIONS, where=where)
    outliers = lake.read("gold.change_points", columns=["run_id"], where={**where, "kind": "outlier"})
    return trend_chart(points, changes, title=_title(points), outliers=tuple(outliers["run_id"]))


def _title(points: pl.DataFrame) -> str:
    row = points.row(0, named=True) if points.height else {}
    names = [row.get("suite"), row.get("backend"), row.get("model"), row.get("slice_value")]
    sample = " (made-up sample)" if row.get("is_sample") else ""
    return " / ".join(dict.fromkeys(name for name in names if name)) + sample
