"""Pictures of evidence as SVG text, made once and shown wherever people look: the Dagster UI, reports, docs.

Pure: rows in, SVG out. Which rows to draw is the caller's; Vega-Altair describes, vl-convert draws, without a
browser or a network.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import polars as pl

from pipelines.drawing import SIDE_COLOURS, draw

if TYPE_CHECKING:
    import altair as alt

# More points than pixels draw nothing more.
_MAX_POINTS = 400
_WIDTH, _HEIGHT = 520, 220
# Tokens drawn of one position.
_MAX_ALTERNATIVES = 6


def latency_chart(latencies: pl.DataFrame, *, title: str, quantity: str = "latency") -> str:
    """How many answers had come by when, for both runs of a comparison, with their medians; SVG.

    `latencies` has side (`candidate` or `baseline`), name (what the legend calls it) and latency_ms, one row an answer.
    The cumulative share hides no tail, as a density would, and needs no width to be chosen. The axis is logarithmic,
    so that a ratio is a distance; `quantity` is what it calls what was timed. Raises `ValueError` when there is
    nothing to draw.
    """
    known = latencies.filter(pl.col("latency_ms") > 0)
    if known.is_empty():
        raise ValueError("There are no latencies to draw.")
    import altair as alt

    curves = pl.concat([_cumulative(rows) for _, rows in known.group_by("side", maintain_order=True)])
    colour = _side_colour(known)
    axis = alt.X("latency_ms:Q", title=f"{quantity} (ms, logarithmic)", scale=alt.Scale(type="log", nice=False))
    lines = (
        alt.Chart(curves.to_arrow())
        .mark_line(interpolate="step-after", strokeWidth=2)
        .encode(x=axis, y=alt.Y("share:Q", title="answered by then", axis=alt.Axis(format="%")), color=colour)
    )
    medians = known.group_by("name").agg(pl.col("latency_ms").median())
    marks = alt.Chart(medians.to_arrow()).mark_rule(strokeDash=[4, 3]).encode(x=axis, color=colour)
    chart = (lines + marks).properties(width=_WIDTH, height=_HEIGHT, title=title)
    return draw(chart.to_json())


def alternatives_chart(alternatives: pl.DataFrame, *, chosen: Sequence[str]) -> str:
    """What both sides gave the likeliest tokens at one position, as probabilities; SVG.

    `alternatives` has side, name (what the legend calls it), token (as it may be shown) and logprob (nats). The tokens
    in `chosen` come first, then the likeliest; a token that a side did not list has no bar there.
    """
    import altair as alt

    likeliest = alternatives.sort("logprob", descending=True)["token"].unique(maintain_order=True).to_list()
    shown = list(dict.fromkeys((*chosen, *likeliest)))[:_MAX_ALTERNATIVES]
    bars = alternatives.filter(pl.col("token").is_in(shown)).with_columns(probability=pl.col("logprob").exp())
    chart = (
        alt.Chart(bars.group_by("side", "name", "token").agg(pl.col("probability").max()).sort("side").to_arrow())
        .mark_bar(height=7)
        .encode(
            x=alt.X("probability:Q", title="probability at this position", axis=alt.Axis(format="%")),
            y=alt.Y("token:N", title=None, sort=shown, axis=alt.Axis(labelFont="monospace", labelLimit=200)),
            yOffset=alt.YOffset("side:N", sort=["baseline", "candidate"]),
            color=_side_colour(alternatives),
        )
        .properties(width=_WIDTH - 160, height=alt.Step(9))
    )
    return draw(chart.to_json())


def _side_colour(rows: pl.DataFrame) -> alt.Color:
    """The colour of each side, under what the legend calls it."""
    import altair as alt

    names = rows.select("side", "name").unique().sort("side")
    return alt.Color(
        "name:N",
        title=None,
        scale=alt.Scale(domain=names["name"].to_list(), range=[SIDE_COLOURS[side] for side in names["side"]]),
        legend=alt.Legend(orient="bottom", labelLimit=360),
    )


def _cumulative(rows: pl.DataFrame) -> pl.DataFrame:
    ordered = rows.sort("latency_ms").with_columns(share=pl.int_range(1, pl.len() + 1) / pl.len())
    if ordered.height <= _MAX_POINTS:
        return ordered
    step = ordered.height / _MAX_POINTS
    # The slowest answer is always drawn.
    return ordered[sorted({int(place * step) for place in range(_MAX_POINTS)} | {ordered.height - 1})]
