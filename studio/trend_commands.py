"""Commands of trends: is it getting better or worse, since when, and what was said about it."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from studio.options import JsonOption, say

if TYPE_CHECKING:
    from pipelines.trends.detector import Detection

trends_app = typer.Typer(invoke_without_command=True, help="Better or worse, and since which run and commit?")


def register(app: typer.Typer) -> None:
    """Add the commands of trends to the command line."""
    app.add_typer(trends_app, name="trends")


@trends_app.command("detect")
def trends_detect(
    files: Annotated[list[Path], typer.Argument(metavar="FILE.csv...", help="CSV files, one series each.")],
    column: Annotated[
        str | None,
        typer.Option("--value", help="Header of the column with the numbers, or its place from 0; told when absent."),
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Find where series in CSV files change, with the detector and the defaults that judge your runs.

    Rows are observations in order. Cells without a number are missing. An index counts rows from 0, without the header;
    it is the first observation of the new level. q is p after false-discovery control over the files together.

    Example:  benchlake trends detect latency.csv --value p95 --json
    """
    from lake.errors import UserError
    from pipelines.trends.csv_series import read_series

    series, problems = [], []
    for file in files:
        try:
            series.append((file, read_series(file, column=column)))
        except UserError as error:
            problems.append(str(error))
    for problem in problems:
        say(problem)
    _print_detections([file for file, _ in series], [values for _, values in series], as_json=as_json)
    raise typer.Exit(3 if problems else 0)


def _print_detections(files: list[Path], series: list[list[float]], *, as_json: bool) -> None:
    from pipelines.trends.detector import detect_many
    from pipelines.trends.significance import share_discoveries

    found = detect_many(series)
    q_values = share_discoveries([[point.p for point in detection.change_points] for detection in found])
    if as_json:
        import json

        told = [_as_told(*each) for each in zip(files, found, q_values, strict=True)]
        sys.stdout.write(json.dumps({"series": told}) + "\n")
        return
    for file, detection, own in zip(files, found, q_values, strict=True):
        sys.stdout.write(_in_words(file, detection, own))


def _as_told(file: Path, detection: Detection, q_values: list[float]) -> dict[str, object]:
    """A series as outside programs read it; docs/trends.md has the fields."""
    points = [
        {
            "index": point.index,
            "state": point.support,
            "kind": point.kind,
            "p": point.p,
            "q": q,
            "before": point.before,
            "after": point.after,
        }
        for point, q in zip(detection.change_points, q_values, strict=True)
    ]
    outliers = [{"index": each.index, "value": each.value, "level": each.level} for each in detection.outliers]
    return {
        "file": str(file),
        "n": detection.count,
        "period": detection.period,
        "change_points": points,
        "outliers": outliers,
    }


def _in_words(file: Path, detection: Detection, q_values: list[float]) -> str:
    from studio.rendering import printable

    season = f", with a season of {detection.period}" if detection.period else ""
    spikes = f", {len(detection.outliers)} outliers" if detection.outliers else ""
    count = len(detection.change_points)
    lines = [f"{printable(str(file))}: {detection.count} observations, {count} changes{season}{spikes}"]
    for point, q in zip(detection.change_points, q_values, strict=True):
        ratio = point.change_ratio
        share = "" if ratio is None else f" ({ratio:+.1%})"
        lines.append(
            f"  {point.index:>7}  {point.support} {point.kind}: {point.before:.6g} became {point.after:.6g}{share}, "
            f"q = {q:.1g}"
        )
    return "\n".join(lines) + "\n"
