"""Pictures of series: what is on them, and that thousands of points stay readable."""

from __future__ import annotations

import datetime as dt

import polars as pl
import pytest

from lake.tables import contract_of
from pipelines.trends.charts import thinned, trend_chart
from pipelines.trends.pictures import draw_series
from pipelines.trends.sample_history import seed_sample_history
from pipelines.trends.steps import update_changes

NOW = dt.datetime(2026, 6, 1, tzinfo=dt.UTC)


def test_a_series_with_its_changes(lake):
    seed_sample_history(lake, now=NOW)
    update_changes(lake, now=NOW)
    [series_id] = lake.read("gold.trend_series", where={"metric": "latency_ms", "variant": "median"})[
        "series_id"
    ].unique()
    svg = draw_series(lake, series_id)
    changes = lake.read("gold.trend_regressions", where={"series_id": series_id})
    assert changes.height == 2
    assert all(commit[:8] in svg for commit in changes["first_commit"])
    assert "worse" in svg
    assert "better" in svg
    assert "made-up sample" in svg
    assert "latency_ms median (ms)" in svg


def test_thousands_of_points_keep_their_extremes():
    points = pl.DataFrame({"place": range(5000), "value": [float((place * 37) % 100) for place in range(5000)]})
    points = points.with_columns(value=pl.when(pl.col("place") == 2345).then(900.0).otherwise("value"))
    few = thinned(points)
    assert few.height <= 1_202
    assert few["value"].max() == 900
    assert few["place"].to_list() == sorted(few["place"])
    assert (few["place"][0], few["place"][-1]) == (0, 4999)


def test_nothing_to_draw():
    empty = contract_of("gold.trend_series").empty()
    with pytest.raises(ValueError, match="no runs"):
        trend_chart(empty, contract_of("gold.trend_regressions").empty(), title="")
