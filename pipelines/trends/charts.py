"""Pictures of a series as SVG text: its runs, the level of each segment, where it changed and by which commit.

Pure: rows in, SVG out; see `pipelines/drawing.py` for how they become a picture.
"""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import polars as pl

from pipelines.drawing import ACCENT, BETTER, NEUTRAL, WORSE, draw
from pipelines.plain_texts import shown_number
from pipelines.trends.scores import median, spread

_WIDTH, _HEIGHT = 760, 260
# More points than this are drawn as the lowest and the highest of each of so many stretches: no extreme is lost.
_MAX_POINTS = 1_200
# Smaller the more there are, so that a line of thousands stays a line.
_POINT_SIZE, _SMALLEST_POINT = 6_000, 3
_BAND_SPREADS = 2
_LABEL_ROWS = 3
_TEXT = "#24292f"


def trend_chart(points: pl.DataFrame, changes: pl.DataFrame, *, title: str, outliers: tuple[str, ...] = ()) -> str:
    """A series with its levels and changes; SVG. Raises `ValueError` when there is nothing to draw.

    `points` are the rows of `gold.trend_series` of one series in order, `changes` its current rows of
    `gold.trend_regressions`, `outliers` run ids. The horizontal axis is the order of runs: time would push nights of
    many runs into one place, and leave holes where nobody ran anything.
    """
    if points.is_empty():
        raise ValueError("There are no runs to draw.")
    import altair as alt

    placed = points.with_row_index("place").with_columns(is_outlier=pl.col("run_id").is_in(list(outliers)))
    unit = points["unit"][0]
    marks = _marks(placed, changes)
    levels = _levels(placed, [mark["place"] for mark in marks])
    x = alt.X("place:Q", title="run, oldest first", scale=alt.Scale(domain=[0, max(points.height - 1, 1)], nice=False),
              axis=alt.Axis(grid=False, tickMinStep=1))  # fmt: skip
    name = points["metric"][0] + (f" {points['variant'][0]}" if points["variant"][0] else "")
    y = alt.Y("value:Q", title=f"{name} ({unit})" if unit != "1" else name, scale=_scale(alt, placed, levels))
    band = (
        alt.Chart(levels.to_arrow())
        .mark_rect(color=ACCENT, opacity=0.12)
        .encode(x=alt.X("first:Q"), x2="last:Q", y=alt.Y("low:Q"), y2="high:Q")
    )
    level = (
        alt.Chart(levels.to_arrow())
        .mark_rule(color=ACCENT, strokeWidth=2.5)
        .encode(x="first:Q", x2="last:Q", y="level:Q")
    )
    usual = placed.filter(~pl.col("is_outlier"))
    size = max(_POINT_SIZE // max(usual.height, 60), _SMALLEST_POINT)
    dots = alt.Chart(thinned(usual).to_arrow()).mark_circle(color=NEUTRAL, size=size, opacity=0.75).encode(x=x, y=y)
    layers = [band, dots, level]
    odd = placed.filter("is_outlier")
    if odd.height:
        layers.append(
            alt.Chart(odd.select("place", "value").to_arrow())
            .mark_point(shape="cross", color=NEUTRAL, size=55, strokeWidth=1.5, angle=45)
            .encode(x=x, y=y)
        )
    if marks:
        layers += _change_layers(alt, marks, levels, last=points.height - 1)
    chart = alt.layer(*layers).properties(width=_WIDTH, height=_HEIGHT, title=title).configure_view(stroke=None)
    return draw(chart.to_json())


def thinned(points: pl.DataFrame) -> pl.DataFrame:
    """At most `_MAX_POINTS` rows of place and value: the lowest and the highest of equal stretches, and both ends."""
    known = points.select("place", "value")
    if known.height <= _MAX_POINTS:
        return known
    stretch = pl.int_range(pl.len()) * (_MAX_POINTS // 2 - 1) // pl.len()
    extremes = known.group_by(stretch.alias("stretch")).agg(
        pl.col("place").get(pl.col("value").arg_min()).alias("low"),
        pl.col("place").get(pl.col("value").arg_max()).alias("high"),
    )
    kept = {*extremes["low"], *extremes["high"], known["place"][0], known["place"][-1]}
    return known.filter(pl.col("place").is_in(sorted(kept)))


def _marks(placed: pl.DataFrame, changes: pl.DataFrame) -> list[dict[str, Any]]:
    """Where changes are, with what is written beside them; older ones give way when there are many."""
    places = dict(placed.select("run_id", "place").iter_rows())
    known = [row for row in changes.iter_rows(named=True) if row["is_current"] and row["first_run_id"] in places]
    marks = []
    for row in sorted(known, key=lambda row: places[row["first_run_id"]]):
        ratio = row["change_ratio"]
        share = f"{ratio:+.1%}" if ratio is not None else shown_number(row["after"] - row["before"], is_signed=True)
        arrow = {"regression": "worse", "improvement": "better", "shift": "shift"}[row["direction"]]
        commit = (row["first_commit"] or "")[:8]
        doubt = " ?" if row["state"] == "suspected" else ""
        marks.append(
            {
                "place": places[row["first_run_id"]],
                "label": f"{share} {arrow}{doubt}",
                "commit": commit,
                "colour": {"regression": WORSE, "improvement": BETTER, "shift": NEUTRAL}[row["direction"]],
            }
        )
    return marks


def _levels(placed: pl.DataFrame, cuts: list[int]) -> pl.DataFrame:
    """First and last run of each segment, its level and the band that noise keeps to."""
    values = placed["value"].to_numpy()
    rows = []
    for start, end in pairwise([0, *cuts, len(values)]):
        own = values[start:end]
        middle, usual = median(own), spread(own)
        rows.append(
            {
                "first": float(start),
                "last": float(end - 1 if end == len(values) else end),
                "level": middle,
                "low": middle - _BAND_SPREADS * usual,
                "high": middle + _BAND_SPREADS * usual,
            }
        )
    return pl.DataFrame(rows)


def _change_layers(alt: Any, marks: list[dict[str, Any]], levels: pl.DataFrame, *, last: int) -> list[Any]:  # noqa: ANN401 - the module
    """A line and a label for each change, and the old level drawn on beyond the newest one, for comparison."""
    shown = [
        {**mark, "row": 12 + 24 * (index % _LABEL_ROWS), "side": "right" if mark["place"] > 0.8 * last else "left"}
        for index, mark in enumerate(marks)
    ]
    baseline = [{"from": float(marks[-1]["place"]), "to": float(last), "value": levels["level"][-2]}]
    layers = [
        alt.Chart(_inline(alt, baseline)).mark_rule(color=_TEXT, strokeDash=[4, 4], opacity=0.6).encode(
            x="from:Q", x2="to:Q", y="value:Q"
        ),
        alt.Chart(_inline(alt, shown)).mark_rule(strokeWidth=1.2).encode(
            x="place:Q", color=alt.Color("colour:N", scale=None)
        ),
    ]  # fmt: skip
    for side, offset in (("left", 5), ("right", -5)):
        own = [mark for mark in shown if mark["side"] == side]
        if own:
            text = alt.Chart(_inline(alt, own))
            style = {"align": side, "dx": offset, "fontSize": 11}
            where = {"x": "place:Q", "y": alt.Y("row:Q", scale=None)}
            bold = text.mark_text(fontWeight="bold", **style)
            layers.append(bold.encode(text="label:N", color=alt.Color("colour:N", scale=None), **where))
            plain = text.mark_text(dy=12, font="monospace", color=_TEXT, **style)
            layers.append(plain.encode(text="commit:N", **where))
    return layers


def _inline(alt: Any, rows: list[dict[str, Any]]) -> Any:  # noqa: ANN401 - the module and its class
    return alt.InlineData(values=rows)


def _scale(alt: Any, placed: pl.DataFrame, levels: pl.DataFrame) -> Any:  # noqa: ANN401 - the module and its class
    """All values but the wildest, so that one spike does not flatten the rest; those are drawn at the edge."""
    usual = placed.filter(~pl.col("is_outlier"))["value"]
    shown = usual if len(usual) else placed["value"]
    low = min(float(shown.min()), float(levels["low"].min()))  # type: ignore[arg-type]  # a column of numbers
    high = max(float(shown.max()), float(levels["high"].max()))  # type: ignore[arg-type]
    room = (high - low) * 0.08 or abs(high) * 0.1 or 1.0
    # Labels stand above the values.
    return alt.Scale(domain=[low - room, high + (high - low) * 0.35 + room], clamp=True, zero=False, nice=False)
