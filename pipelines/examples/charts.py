"""Pictures of what examples are worth, as SVG text.

Pure: estimates in, SVG out.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import polars as pl

from pipelines.drawing import ACCENT, BETTER, NEUTRAL, WORSE, draw

if TYPE_CHECKING:
    import altair as alt

_WIDTH, _HEIGHT = 520, 220
_KINDS = {
    "helps": (BETTER, "triangle-up"),
    "harms": (WORSE, "triangle-down"),
    "unclear": (NEUTRAL, "circle"),
}
MAX_SHOWN = 30


def effectiveness_chart(history: pl.DataFrame, *, title: str) -> str:
    """EffectivenessChart: the estimate of one example after each of its days of use, with its 95% band; SVG.

    `history` is of `effect_over_time`. Days before the minimum exposure have no estimate and are left out. Raises
    `ValueError` when there is nothing to draw.
    """
    known = history.filter(pl.col("effectiveness_score").is_not_null())
    if known.is_empty():
        raise ValueError("The example has no estimate yet.")
    import altair as alt

    base = alt.Chart(known.to_arrow())
    day = alt.X("day:T", title="last day counted (UTC)", axis=alt.Axis(format="%d %b %y", labelOverlap=True))
    band = base.mark_area(opacity=0.2, color=ACCENT).encode(
        x=day, y=alt.Y("effectiveness_low:Q", title="lift of the score"), y2="effectiveness_high:Q"
    )
    bars = base.mark_rule(color=ACCENT, opacity=0.35).encode(x=day, y="effectiveness_low:Q", y2="effectiveness_high:Q")
    line = base.mark_line(color=ACCENT, strokeWidth=2).encode(x=day, y="effectiveness_score:Q")
    points = base.mark_point(filled=True, size=60, opacity=1).encode(
        x=day, y="effectiveness_score:Q", color=_colour(), shape=_shape()
    )
    zero = alt.Chart(pl.DataFrame({"y": [0.0]}).to_arrow()).mark_rule(strokeDash=[4, 3], color=NEUTRAL).encode(y="y:Q")
    chart = (zero + band + bars + line + points).properties(width=_WIDTH, height=_HEIGHT, title=title)
    return draw(chart.to_json())


def effects_chart(effects: pl.DataFrame, *, title: str) -> str:
    """The examples with the largest estimates either way, with their 95% intervals; SVG.

    `effects` has the columns of gold.example_effects and `label`, what the axis calls an example. Raises `ValueError`
    when none has an estimate.
    """
    known = effects.filter(pl.col("effectiveness_score").is_not_null())
    if known.is_empty():
        raise ValueError("No example has an estimate yet.")
    import altair as alt

    shown = known.sort(pl.col("effectiveness_score").abs(), descending=True).head(MAX_SHOWN)
    shown = shown.sort("effectiveness_score", "example_id", descending=[True, False]).with_columns(
        label=pl.format("{}  {}", pl.col("example_id").str.head(8), pl.col("label").str.head(40))
    )
    # An axis has one place for equal labels.
    again = pl.int_range(1, pl.len() + 1).over("label")
    shown = shown.with_columns(
        label=pl.when(again > 1).then(pl.format("{} ({})", "label", again)).otherwise(pl.col("label"))
    )
    base = alt.Chart(shown.to_arrow())
    name = alt.Y("label:N", title=None, sort=shown["label"].to_list(), axis=alt.Axis(labelLimit=320))
    rules = base.mark_rule(color=NEUTRAL).encode(
        y=name, x=alt.X("effectiveness_low:Q", title="lift of the score, 95% interval"), x2="effectiveness_high:Q"
    )
    points = base.mark_point(filled=True, size=70, opacity=1).encode(
        y=name, x="effectiveness_score:Q", color=_colour(), shape=_shape()
    )
    zero = alt.Chart(pl.DataFrame({"x": [0.0]}).to_arrow()).mark_rule(strokeDash=[4, 3], color=NEUTRAL).encode(x="x:Q")
    return draw((zero + rules + points).properties(width=_WIDTH - 120, title=title).to_json())


def _colour() -> alt.Color:
    import altair as alt

    scale = alt.Scale(domain=list(_KINDS), range=[colour for colour, _ in _KINDS.values()])
    return alt.Color("effect_kind:N", title=None, scale=scale, legend=alt.Legend(orient="bottom"))


def _shape() -> alt.Shape:
    import altair as alt

    scale = alt.Scale(domain=list(_KINDS), range=[shape for _, shape in _KINDS.values()])
    return alt.Shape("effect_kind:N", title=None, scale=scale, legend=alt.Legend(orient="bottom"))
