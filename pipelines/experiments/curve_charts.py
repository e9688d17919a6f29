"""Curves of a metric of several runs as one SVG."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from pipelines.drawing import draw
from pipelines.experiments.curves import AXIS_UNITS, Curve
from pipelines.experiments.run_diff import ComparedRun
from pipelines.experiments.run_diff_texts import label_of

_WIDTH, _HEIGHT = 560, 240
# Okabe and Ito's palette, told apart by everyone; beyond it runs share colours and differ by dash.
_COLOURS = ("#000000", "#0072b2", "#e69f00", "#009e73", "#d55e00", "#cc79a7", "#56b4e9")
_DASHES = ([1, 0], [6, 3], [2, 2])


def curve_chart(curves: Sequence[Curve], *, runs: Sequence[ComparedRun]) -> str:
    """Curves of one metric and variant as lines, a colour a run; raises `ValueError` when there are none."""
    if not curves:
        raise ValueError("There are no curves to draw.")
    import altair as alt

    labels = {run.run_id: label_of(run) for run in runs}
    names = [labels[curve.run_id] for curve in curves]
    points: list[dict[str, Any]] = [
        {"run": labels[curve.run_id], "x": x, "y": y} for curve in curves for x, y in zip(curve.x, curve.y, strict=True)
    ]
    first = curves[0]
    unit = "" if first.unit == "1" else f" ({first.unit})"
    chart = (
        alt.Chart(alt.Data(values=points))  # type: ignore[no-untyped-call]
        .mark_line(strokeWidth=1.8)
        .encode(
            x=alt.X("x:Q", title=f"{first.axis} ({AXIS_UNITS[first.axis]})" if first.axis == "time" else first.axis),
            y=alt.Y("y:Q", title=f"{first.metric}{unit}", scale=alt.Scale(zero=False)),
            color=alt.Color(
                "run:N",
                title=None,
                scale=alt.Scale(domain=names, range=[_COLOURS[i % len(_COLOURS)] for i in range(len(names))]),
                legend=alt.Legend(orient="bottom", labelLimit=360, columns=3),
            ),
            strokeDash=alt.StrokeDash(
                "run:N",
                legend=None,
                scale=alt.Scale(
                    domain=names, range=[_DASHES[i // len(_COLOURS) % len(_DASHES)] for i in range(len(names))]
                ),
            ),
        )
        .properties(width=_WIDTH, height=_HEIGHT, title=f"{first.metric} {first.variant}".strip())
    )
    return draw(chart.to_json())
