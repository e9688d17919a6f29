"""Pictures of optimisation runs as SVG text. Rows in, SVG out."""

from __future__ import annotations

import polars as pl

from pipelines.drawing import ACCENT, BETTER, NEUTRAL, draw

_WIDTH, _HEIGHT = 560, 240
# Told apart by shape as well as by colour.
_SPLITS = {"train": (NEUTRAL, "circle"), "validation": (ACCENT, "square"), "test": (BETTER, "triangle-up")}


def trial_chart(trials: pl.DataFrame, *, title: str) -> str:
    """Score against trial with its interval, by split, and the best validation score so far as a line; SVG.

    `trials` has the columns of gold.dspy_trials. Raises `ValueError` when there is nothing to draw.
    """
    if trials.is_empty():
        raise ValueError("There are no trials to draw.")
    import altair as alt

    rows = trials.sort("trial_index").select("trial_index", "split", "score", "interval_low", "interval_high")
    best = rows.filter(split="validation").with_columns(pl.col("score").cum_max().alias("best"))
    known = [split for split in _SPLITS if split in rows["split"].to_list()]
    colour = alt.Color(
        "split:N",
        title=None,
        scale=alt.Scale(domain=known, range=[_SPLITS[split][0] for split in known]),
        legend=alt.Legend(orient="bottom"),
    )
    shape = alt.Shape(
        "split:N", title=None, scale=alt.Scale(domain=known, range=[_SPLITS[split][1] for split in known])
    )
    place = alt.X("trial_index:Q", title="trial", axis=alt.Axis(tickMinStep=1, format="d"))
    scale = alt.Scale(domain=[0, 1])
    points = alt.Chart(rows.to_arrow())
    intervals = points.mark_rule(opacity=0.5).encode(
        x=place, y=alt.Y("interval_low:Q", title="score", scale=scale), y2="interval_high:Q", color=colour
    )
    marks = points.mark_point(filled=True, size=70, opacity=1).encode(
        x=place, y=alt.Y("score:Q", scale=scale), color=colour, shape=shape
    )
    line = (
        alt.Chart(best.to_arrow())
        .mark_line(interpolate="step-after", strokeDash=[4, 3], color=ACCENT)
        .encode(x=place, y=alt.Y("best:Q", scale=scale))
    )
    chart = (intervals + line + marks).properties(width=_WIDTH, height=_HEIGHT, title=title)
    return draw(chart.to_json())
