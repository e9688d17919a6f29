"""Changes of series in words for people, and what the detector says of outside series also as JSON for programs."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from pipelines.trends.detector import Detection


def change_text(row: Mapping[str, Any]) -> str:
    """A change of a series on a line, and below it the pages of the pull requests between its commits."""
    from pipelines.plain_texts import shown_number
    from pipelines.trends.code_history import linked_pull_requests
    from pipelines.trends.listing import between_words
    from studio.rendering import printable

    commits = f"{(row['last_commit'] or '?')[:8]}..{(row['first_commit'] or '?')[:8]}"
    between = between_words(row)
    line = (
        f"{row['change_id'][:8]}  {row['state']} {row['direction']} since {row['changed_at']:%Y-%m-%d}: "
        f"{shown_number(row['before'])} became {shown_number(row['after'])}, {commits}"
        f"{f' ({between})' if between else ''}"
    )
    pages = [f"          {page}" for _, page in linked_pull_requests(row) if page]
    return "".join(f"{printable(each)}\n" for each in (line, *pages))


def print_detections(files: list[Path], series: list[list[float]], *, as_json: bool) -> None:
    """Print what is found in each series; false discoveries are controlled over all of them together."""
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
