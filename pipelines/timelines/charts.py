"""Pictures of timelines as SVG: a waterfall from the baseline's wall time to the candidate's, and both lanes.

Pure: what was told of a difference, or spans, in; SVG out. Drawn without a browser or a network (`drawing.py`).
"""

from __future__ import annotations

import json
from itertools import accumulate
from typing import Any

import polars as pl

from pipelines.drawing import BETTER, NEUTRAL, WORSE, draw
from pipelines.plain_texts import shown_number
from pipelines.timelines.families import family_expr
from pipelines.timelines.telling import TimelineAnswer, contribution_rows, signed_ms

MAX_BARS = 10
_WIDTH = 620
_BAR_HEIGHT = 24
_CUT_RATIO = 0.8
_BARS = {"row": pl.String(), "family": pl.String(), "start_ms": pl.Float64(), "end_ms": pl.Float64()}
# Families that get a colour of their own in a lane; the rest is grey.
_COLOURS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9", "#7a5195", "#a6761d")
_NAME_CHARACTERS = 44
# Pieces of a lane that are closer than this part of the picture are drawn as one.
_RESOLUTION = 1_000


def waterfall_chart(answer: TimelineAnswer, *, title: str) -> str:
    """Bars from the baseline's wall time over each contribution to the candidate's; SVG."""
    parts = contribution_rows(answer, limit=MAX_BARS)
    levels = list(accumulate((part.delta_ms for part in parts), initial=answer.baseline_wall_ms))
    rows: list[dict[str, Any]] = [_whole("baseline", answer.baseline_wall_ms, 0)]
    for place, (part, before, after) in enumerate(zip(parts, levels, levels[1:], strict=False), start=1):
        sign = "slower" if part.delta_ms > 0 else "faster"
        rows.append(
            {"place": place, "name": _short(part.family), "low": before, "high": after, "kind": sign,
             "label": signed_ms(part.delta_ms) + ("" if part.points is None else f" ({part.points:+.1f} points)"),
             "end": max(before, after)}
        )  # fmt: skip
    rows.append(_whole("candidate", answer.candidate_wall_ms, len(rows)))
    lowest = min(min(row["low"], row["high"]) for row in rows[1:-1]) if parts else 0.0
    # Small changes of a long time would be slivers at the end of long bars: the axis then begins below the lowest.
    highest = max(max(row["low"], row["high"]) for row in rows)
    start = max(0.0, lowest - 0.5 * (highest - lowest)) if lowest > _CUT_RATIO * highest else 0.0
    # Names are places on the axis, so no two may be equal.
    for place, row in enumerate(rows):
        row["name"] += " " * [one["name"].strip() for one in rows[:place]].count(row["name"])
    order = [row["name"] for row in rows]
    y = {"field": "name", "type": "nominal", "sort": order, "title": None,
         "axis": {"labelLimit": 300, "ticks": False, "domain": False}}  # fmt: skip
    scale = {"domain": [start, highest + 0.22 * (highest - start)], "nice": False, "zero": False}
    cut = ", axis does not begin at 0" if start else ""
    spec = {
        "$schema": "https://vega.github.io/schema/vega-lite/v6.json",
        "title": {"text": title, "anchor": "start", "fontSize": 13},
        "width": _WIDTH,
        "height": {"step": _BAR_HEIGHT},
        "data": {"values": [row | {"low": max(start, row["low"])} for row in rows]},
        "layer": [
            {
                "mark": {"type": "bar", "height": {"band": 0.7}},
                "encoding": {
                    "y": y,
                    "x": {"field": "low", "type": "quantitative", "scale": scale,
                          "title": f"wall time per {answer.repeat_kind} (ms){cut}"},
                    "x2": {"field": "high"},
                    "color": {"field": "kind", "type": "nominal", "title": None, "legend": {"orient": "bottom"},
                              "scale": {"domain": ["slower", "faster", "whole"], "range": [WORSE, BETTER, NEUTRAL]}},
                },
            },
            {
                "mark": {"type": "text", "align": "left", "dx": 4, "fontSize": 11},
                "encoding": {
                    "y": y,
                    "x": {"field": "end", "type": "quantitative", "scale": scale},
                    "text": {"field": "label", "type": "nominal"},
                },
            },
        ],
        "config": {"view": {"stroke": None}},
    }  # fmt: skip
    return draw(json.dumps(spec))


def lanes_chart(baseline: pl.DataFrame, candidate: pl.DataFrame, *, title: str) -> str:
    """The two timelines one above the other on one clock that begins with each; SVG.

    Both are spans of the same stretch of work (a step, a sample, a run) with lane, device, span_kind, name, depth,
    start_ns and duration_ns. Each lane of a device shows its outermost spans, on the CPU one level further in where
    that is a mark of a step or a request. Raises `ValueError` when there is nothing to draw.
    """
    sides = {"baseline": _outer(baseline), "candidate": _outer(candidate)}
    if all(rows.is_empty() for rows in sides.values()):
        raise ValueError("There are no spans to draw.")
    longest_ms = max(float(rows["end_ms"].max() or 0.0) for rows in sides.values())  # type: ignore[arg-type]  # numbers
    drawn = pl.concat(
        [_joined(rows, longest_ms).with_columns(side=pl.lit(side)) for side, rows in sides.items() if rows.height]
    )
    largest = (
        drawn.group_by("family")
        .agg(total=(pl.col("end_ms") - pl.col("start_ms")).sum())
        .sort("total", "family", descending=[True, False])["family"]
        .head(len(_COLOURS))
        .to_list()
    )
    shown = drawn.with_columns(
        family=pl.when(pl.col("family").is_in(largest)).then(pl.col("family")).otherwise(pl.lit("other"))
    )
    names = [*largest, *(["other"] if "other" in shown["family"].to_list() else [])]
    spec = {
        "$schema": "https://vega.github.io/schema/vega-lite/v6.json",
        "title": {"text": title, "anchor": "start", "fontSize": 13},
        "data": {"values": shown.to_dicts()},
        "facet": {"row": {"field": "side", "type": "nominal", "title": None, "sort": ["baseline", "candidate"],
                          "header": {"labelAngle": 0, "labelAlign": "left", "labelFontWeight": "bold",
                                     "labelOrient": "top", "labelAnchor": "start"}}},
        "spec": {
            "width": _WIDTH,
            "height": {"step": 22},
            "mark": {"type": "bar", "height": {"band": 0.86}},
            "encoding": {
                "y": {"field": "row", "type": "nominal", "title": None, "sort": None,
                      "axis": {"labelLimit": 160, "ticks": False, "domain": False}},
                "x": {"field": "start_ms", "type": "quantitative", "title": "ms since it began",
                      "scale": {"domain": [0, longest_ms], "nice": False}},
                "x2": {"field": "end_ms"},
                "color": {"field": "family", "type": "nominal", "title": None, "sort": names,
                          "legend": {"orient": "bottom", "columns": 3, "labelLimit": 240},
                          "scale": {"domain": names, "range": [*_COLOURS[: len(largest)], NEUTRAL]}},
            },
        },
        "resolve": {"scale": {"y": "independent"}},
        "spacing": 12,
        "config": {"view": {"stroke": "#dddddd"}},
    }  # fmt: skip
    return draw(json.dumps(spec))


def _whole(side: str, wall_ms: float, place: int) -> dict[str, Any]:
    return {
        "place": place,
        "name": side,
        "low": 0.0,
        "high": wall_ms,
        "kind": "whole",
        "label": f"{shown_number(wall_ms)} ms",
        "end": wall_ms,
    }


def _outer(spans: pl.DataFrame) -> pl.DataFrame:
    """The spans of each lane that are drawn, in milliseconds since the first, with their row and family."""
    if spans.is_empty():
        return pl.DataFrame(schema=_BARS)
    is_mark = pl.col("span_kind").is_in(["step", "request"])
    levels = spans.with_columns(level=pl.col("depth") - pl.col("depth").min().over("lane"))
    marks = levels.filter(is_mark).select("lane", "level").unique().group_by("lane").agg(pl.col("level").max() + 1)
    chosen = (
        levels.join(marks, on="lane", how="left", suffix="_inside")
        .filter((pl.col("level") <= pl.col("level_inside").fill_null(0)) & ~is_mark & (pl.col("duration_ns") > 0))
        .with_columns(family_expr())
    )
    origin = pl.lit(int(spans["start_ns"].min() or 0))  # type: ignore[arg-type]  # a number
    lanes = chosen.select("device", "lane").unique().sort("device", "lane", descending=[True, False])
    numbered = lanes.with_columns(
        row=pl.format("{} {}", pl.col("device").str.to_uppercase(), pl.int_range(1, pl.len() + 1).over("device"))
    )
    # The busiest rows alone: a picture of two hundred threads shows none.
    busiest = chosen.group_by("lane").agg(busy=pl.col("duration_ns").sum()).sort("busy", descending=True).head(6)
    return (
        chosen.join(busiest, on="lane", how="semi")
        .join(numbered, on=["device", "lane"])
        .select(
            "row",
            pl.col("family").str.slice(0, _NAME_CHARACTERS),
            start_ms=(pl.col("start_ns") - origin) / 1e6,
            end_ms=(pl.col("start_ns") + pl.col("duration_ns") - origin) / 1e6,
        )
        .sort("row", "start_ms", descending=[False, False])
    )


def _joined(rows: pl.DataFrame, longest_ms: float) -> pl.DataFrame:
    """Neighbours of one family that no eye could tell apart as one bar, so that a picture stays small."""
    step = max(longest_ms / _RESOLUTION, 1e-9)
    gap = pl.col("start_ms") - pl.col("end_ms").shift().over("row")
    is_new = (pl.col("family") != pl.col("family").shift().over("row")) | (gap > step)
    wide = rows.with_columns(group=is_new.fill_null(value=True).cum_sum())
    merged = wide.group_by("row", "group", maintain_order=True).agg(
        pl.col("family").first(), pl.col("start_ms").min(), pl.col("end_ms").max()
    )
    # What is narrower than a dot is drawn as one dot of its place; the longest family of the dot has it.
    dots = merged.with_columns(dot=(pl.col("start_ms") / step).floor(), width=pl.col("end_ms") - pl.col("start_ms"))
    return (
        dots.sort("width", descending=True)
        .unique(["row", "dot"], keep="first", maintain_order=True)
        .sort("row", "start_ms")
        .select("row", "family", "start_ms", "end_ms")
    )


def _short(name: str) -> str:
    return name if len(name) <= _NAME_CHARACTERS else f"{name[: _NAME_CHARACTERS - 1]}\u2026"
