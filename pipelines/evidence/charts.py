"""Pictures of evidence as SVG text, made once and shown wherever people look: the Dagster UI, reports, docs.

Pure: rows in, SVG out. Which rows to draw is the caller's; Vega-Altair describes, vl-convert draws, without a
browser or a network.
"""

from __future__ import annotations

import polars as pl

from pipelines.drawing import SIDE_COLOURS, draw

# More points than pixels draw nothing more.
_MAX_POINTS = 400
_WIDTH, _HEIGHT = 520, 220


def latency_chart(latencies: pl.DataFrame, *, title: str) -> str:
    """How many answers had come by when, for both runs of a comparison, with their medians; SVG.

    `latencies` has side (`candidate` or `baseline`), name (what the legend calls it) and latency_ms, one row an answer.
    The cumulative share hides no tail, as a density would, and needs no width to be chosen. The axis is logarithmic,
    so that a ratio is a distance. Raises `ValueError` when there is nothing to draw.
    """
    known = latencies.filter(pl.col("latency_ms") > 0)
    if known.is_empty():
        raise ValueError("There are no latencies to draw.")
    import altair as alt

    curves = pl.concat([_cumulative(rows) for _, rows in known.group_by("side", maintain_order=True)])
    names = known.select("side", "name").unique().sort("side")
    colour = alt.Color(
        "name:N",
        title=None,
        scale=alt.Scale(domain=names["name"].to_list(), range=[SIDE_COLOURS[side] for side in names["side"]]),
        legend=alt.Legend(orient="bottom", labelLimit=360),
    )
    axis = alt.X("latency_ms:Q", title="latency (ms, logarithmic)", scale=alt.Scale(type="log", nice=False))
    lines = (
        alt.Chart(curves.to_arrow())
        .mark_line(interpolate="step-after", strokeWidth=2)
        .encode(x=axis, y=alt.Y("share:Q", title="answered by then", axis=alt.Axis(format="%")), color=colour)
    )
    medians = known.group_by("name").agg(pl.col("latency_ms").median())
    marks = alt.Chart(medians.to_arrow()).mark_rule(strokeDash=[4, 3]).encode(x=axis, color=colour)
    chart = (lines + marks).properties(width=_WIDTH, height=_HEIGHT, title=title)
    return draw(chart.to_json())


def _cumulative(rows: pl.DataFrame) -> pl.DataFrame:
    ordered = rows.sort("latency_ms").with_columns(share=pl.int_range(1, pl.len() + 1) / pl.len())
    if ordered.height <= _MAX_POINTS:
        return ordered
    step = ordered.height / _MAX_POINTS
    # The slowest answer is always drawn.
    return ordered[sorted({int(place * step) for place in range(_MAX_POINTS)} | {ordered.height - 1})]
