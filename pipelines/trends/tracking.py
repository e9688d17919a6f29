"""The same change recognised night after night: stable ids, states, events. Rows of `gold.trend_regressions`.

Pure: a series, what the detector says of it now, what stood before and what people said, in; rows out. The time comes
in as an argument.

A change that moves by a few runs as history grows, in the same direction, is the same change. A suspicion that later
runs do not bear out goes away; a confirmed change never does, but is recovered when the series is back, or when the
detector sees it no more.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import polars as pl

from lake.identity import derived_id
from lake.tables import contract_of
from pipelines.trends.detector import ChangePoint, Detection

REGRESSIONS = "gold.trend_regressions"
Row = dict[str, Any]
# How far a change may move and still be the same; kinks are less exact than steps.
_SAME_WITHIN = {"step": 3, "slope": 6}
# An environment that changed this near explains a change.
_EVENT_WITHIN = 2
_IDENTITY = ("suite", "backend", "model", "branch", "metric", "variant", "slice_kind", "slice_value", "unit")


@dataclass(frozen=True, kw_only=True)
class Tracked:
    """Rows that shall stand for a series, and the ids of suspicions that go."""

    rows: list[Row]
    dismissed_ids: list[str]


def track_changes(
    series: pl.DataFrame,
    detection: Detection,
    *,
    q_values: Sequence[float],
    standing: Sequence[Row],
    acknowledgements: Mapping[str, Row],
    now: dt.datetime,
) -> Tracked:
    """What stands of the changes of one series. `series` has its rows of `gold.trend_series` in order.

    `standing` are its rows of `gold.trend_regressions`, `acknowledgements` the latest act about each change.
    """
    places = {run_id: place for place, run_id in enumerate(series["run_id"])}
    points = series.to_dicts()
    taken = _match(detection.change_points, standing, places)
    rows = []
    for point, q in zip(detection.change_points, q_values, strict=True):
        known = taken.get(point.index)
        row = _seen(points, point, q=q, known=known, now=now)
        act = acknowledgements.get(row["change_id"])
        rows.append(_with_state(row, act, is_back=_is_back(detection, point), now=now))
    gone = [row for row in standing if row["change_id"] not in {each["change_id"] for each in rows}]
    dismissed = [row["change_id"] for row in gone if row["confirmed_at"] is None and row["acknowledged_at"] is None]
    rows += [_unseen(row, now=now) for row in gone if row["change_id"] not in dismissed]
    return Tracked(rows=rows, dismissed_ids=dismissed)


def direction_of(
    before: float, after: float, *, is_higher_better: bool | None
) -> Literal["regression", "improvement", "shift"]:
    """Whether the change is against the metric's better direction, with it, or neither can be said."""
    if is_higher_better is None or before == after:
        return "shift"
    return "improvement" if (after > before) == is_higher_better else "regression"


def _match(points: Sequence[ChangePoint], standing: Sequence[Row], places: Mapping[str, int]) -> dict[int, Row]:
    """Standing changes by the index at which they are seen now; the nearest pairs first."""
    pairs = sorted(
        (abs(places[row["first_run_id"]] - point.index), point.index, row["change_id"])
        for row in standing
        if row["first_run_id"] in places
        for point in points
        if (point.after > point.before) == (row["after"] > row["before"])
        and abs(places[row["first_run_id"]] - point.index) <= _SAME_WITHIN[point.kind]
    )
    by_id = {row["change_id"]: row for row in standing}
    taken: dict[int, Row] = {}
    for _, index, change_id in pairs:
        if index not in taken and change_id in by_id:
            taken[index] = by_id.pop(change_id)
    return taken


def _seen(points: Sequence[Row], point: ChangePoint, *, q: float, known: Row | None, now: dt.datetime) -> Row:
    """The row of a change that the detector sees, before anything is said of its state."""
    first, last, newest = points[point.index], points[point.previous_index], points[-1]
    if known and known["p_value"] == point.p and known["q_value"] is not None:
        # The night in which it was looked at decides on q, not a look at this series alone since then.
        q = known["q_value"]
    sign = "up" if point.after > point.before else "down"
    return {
        **{name: newest[name] for name in _IDENTITY},
        "change_id": known["change_id"] if known else derived_id("change", newest["series_id"], first["run_id"], sign),
        "series_id": newest["series_id"],
        "direction": direction_of(point.before, point.after, is_higher_better=newest["is_higher_better"]),
        "kind": point.kind,
        "is_current": True,
        "first_run_id": first["run_id"],
        "last_run_id": last["run_id"],
        "first_commit": first["commit"],
        "last_commit": last["commit"],
        "repository_url": known["repository_url"] if known else None,
        "commit_count": None,
        "merged_pull_requests": None,
        "pull_requests": _pull_requests(points[point.previous_index + 1 : point.index + 1]),
        "changed_at": first["ordered_at"],
        "run_date": first["run_date"],
        "before": point.before,
        "after": point.after,
        "before_spread": point.before_spread,
        "after_spread": point.after_spread,
        "change_ratio": point.change_ratio,
        "p_value": point.p,
        "q_value": q,
        "confidence": 1 - q if point.support == "confirmed" else None,
        "later_count": point.later_count,
        "event_id": _event_id(points, point.index),
        "suspected_at": known["suspected_at"] if known else now,
        "confirmed_at": (known["confirmed_at"] if known else None) or (now if point.support == "confirmed" else None),
        "recovered_at": known["recovered_at"] if known else None,
        "is_sample": newest["is_sample"],
    }


def _with_state(row: Row, act: Row | None, *, is_back: bool, now: dt.datetime) -> Row:
    is_accepted = act is not None and not act["is_withdrawn"]
    return {
        **row,
        "recovered_at": (row["recovered_at"] or now) if is_back else None,
        "acknowledged_at": act["acknowledged_at"] if act is not None and is_accepted else None,
        "acknowledged_by": act["acknowledged_by"] if act is not None and is_accepted else None,
        "acknowledged_reason": act["reason"] if act is not None and is_accepted else None,
        "state": _state(is_back=is_back, is_accepted=is_accepted, is_confirmed=row["confirmed_at"] is not None),
    }


def _state(*, is_back: bool, is_accepted: bool, is_confirmed: bool) -> str:
    if is_back:
        return "recovered"
    if is_accepted:
        return "acknowledged"
    return "confirmed" if is_confirmed else "suspected"


def _is_back(detection: Detection, point: ChangePoint) -> bool:
    """Whether a later change, itself confirmed, has brought the series at least half of the way back."""
    later = [each for each in detection.change_points if each.index > point.index and each.support == "confirmed"]
    if not later:
        return False
    newest = later[-1].after
    halfway = (point.before + point.after) / 2
    return newest <= halfway if point.after > point.before else newest >= halfway


def _unseen(row: Row, *, now: dt.datetime) -> Row:
    """A change that was confirmed and is seen no more, because the runs that showed it are gone or outweighed."""
    return {**row, "is_current": False, "state": "recovered", "recovered_at": row["recovered_at"] or now}


def _pull_requests(points: Sequence[Row]) -> list[str]:
    return list(dict.fromkeys(point["pull_request"] for point in points if point["pull_request"]))


def _event_id(points: Sequence[Row], index: int) -> str | None:
    """The change of environment at this place, if there is one; the same for every series that it touches."""
    around = sorted(
        range(max(index - _EVENT_WITHIN, 1), min(index + _EVENT_WITHIN + 1, len(points))),
        key=lambda place: abs(place - index),
    )
    for place in around:
        old, new = points[place - 1]["environment_digest"], points[place]["environment_digest"]
        if old is not None and new is not None and old != new:
            return derived_id("environment", old, new, points[place]["backend"], points[place]["model"])
    return None


def as_rows(rows: Sequence[Row]) -> pl.DataFrame:
    """The rows as a frame of `gold.trend_regressions`."""
    return pl.DataFrame(rows, schema=contract_of(REGRESSIONS).dtypes)
