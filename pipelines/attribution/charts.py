"""Pictures of values as SVG text: units of a run, and a unit over runs. Rows in, SVG out.

The lineage coloured by value is drawn by `pipelines.databits.lineage_drawing`, with the marks of `listing.py`.
"""

from __future__ import annotations

from typing import Any

import polars as pl

from pipelines.attribution.recording import FINDING_WORDS, method_text
from pipelines.drawing import BETTER, NEUTRAL, WORSE, draw

_WIDTH, _ROW_HEIGHT, _HEIGHT = 460, 22, 240
# Told apart by shape as well as by colour.
_LOOKS = {
    "helpful": (BETTER, "triangle-up"),
    "harmful": (WORSE, "triangle-down"),
    "indistinguishable": (NEUTRAL, "circle"),
}


def values_chart(rows: pl.DataFrame, *, title: str) -> str:
    """Units of one method with their intervals, the most helpful on top; SVG.

    `rows` has `unit_id`, `label`, `value`, `interval_low`, `interval_high`, `finding`. Raises `ValueError` for none.
    """
    if rows.is_empty():
        raise ValueError("There are no values to draw.")
    import altair as alt

    named = rows.sort("value", descending=True).with_columns(
        name=pl.format("{} {}", pl.col("unit_id").str.head(6), pl.col("label").str.head(40)),
        finding=pl.col("finding").replace_strict(FINDING_WORDS),
    )
    order = alt.Y("name:N", title=None, sort=named["name"].to_list(), axis=alt.Axis(labelLimit=300))
    points = alt.Chart(named.select("name", "value", "interval_low", "interval_high", "finding").to_arrow())
    colour, shape = _encodings()
    zero = alt.Chart(pl.DataFrame({"zero": [0.0]}).to_arrow()).mark_rule(color="#222222").encode(x="zero:Q")
    intervals = points.mark_rule(opacity=0.6).encode(
        x=alt.X("interval_low:Q", title="value, with its interval"), x2="interval_high:Q", y=order, color=colour
    )
    marks = points.mark_point(filled=True, size=70, opacity=1).encode(x="value:Q", y=order, color=colour, shape=shape)
    chart = (zero + intervals + marks).properties(width=_WIDTH, height=_ROW_HEIGHT * rows.height, title=title)
    return draw(chart.to_json())


def history_chart(rows: pl.DataFrame, *, title: str) -> str:
    """A unit's value over runs, one line a method; SVG.

    `rows` has the columns of `listing.unit_history`. Raises `ValueError` when there is nothing to draw.
    """
    if rows.is_empty():
        raise ValueError("There are no values to draw.")
    import altair as alt

    version = pl.when(pl.col("unit_version").is_null()).then(pl.lit("")).otherwise(pl.format("@{}", "unit_version"))
    # Runs are told apart by their place: two of a night would fall on one point of time.
    named = rows.sort("started_at").with_columns(
        place=pl.col("started_at").dt.strftime("%Y-%m-%d ") + pl.col("run_id").str.head(4) + version,
        finding=pl.col("finding").replace_strict(FINDING_WORDS),
        method=method_text(rows.sort("started_at")).str.replace_all("\n", " "),
    )
    x = alt.X("place:N", title="run (and version)", sort=named["place"].unique(maintain_order=True).to_list())
    colour, shape = _encodings()
    columns = ["place", "value", "interval_low", "interval_high", "finding", "method"]
    points = alt.Chart(named.select(columns).to_arrow())
    line = points.mark_line(color=NEUTRAL, strokeDash=[4, 3]).encode(x=x, y="value:Q")
    intervals = points.mark_rule(opacity=0.6).encode(
        x=x, y=alt.Y("interval_low:Q", title="value"), y2="interval_high:Q", color=colour
    )
    marks = points.mark_point(filled=True, size=70, opacity=1).encode(x=x, y="value:Q", color=colour, shape=shape)
    zero = points.mark_rule(color="#222222").encode(y=alt.datum(0))
    chart = (zero + line + intervals + marks).properties(width=_WIDTH, height=_HEIGHT)
    # Methods have units of their own: a scale each.
    faceted = chart.facet(row=alt.Row("method:N", title=None)).resolve_scale(y="independent").properties(title=title)
    return draw(faceted.to_json())


def _encodings() -> tuple[Any, Any]:
    import altair as alt

    words = [FINDING_WORDS[finding] for finding in FINDING_WORDS]
    colours, shapes = zip(*(_LOOKS[finding] for finding in FINDING_WORDS), strict=True)
    scale = alt.Scale(domain=words, range=list(colours))
    legend = alt.Legend(orient="bottom")
    return (
        alt.Color("finding:N", title=None, scale=scale, legend=legend),
        alt.Shape("finding:N", title=None, scale=alt.Scale(domain=words, range=list(shapes)), legend=legend),
    )
