"""Steps of the trends room: series from new runs, changes of series that got a point, acknowledgements.

Each follows a change feed by cursor, so a night costs what is new and not what has gathered. A cursor moves after the
result is written and every write is idempotent, so a killed step is simply run again.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import polars as pl

from lake.errors import UserError
from lake.identity import derived_id, json_digest
from lake.tables import contract_of
from pipelines.trends.code_history import CodeHistory, with_code_between
from pipelines.trends.detector import DETECTOR_VERSION, MINIMUM_CHANGE_RATIO, Detection, detect_many
from pipelines.trends.series import METRIC_COLUMNS, OUTPUT_COLUMNS, RUN_COLUMNS, SERIES, series_rows
from pipelines.trends.significance import share_discoveries
from pipelines.trends.tracking import REGRESSIONS, Row, as_rows, track_changes

if TYPE_CHECKING:
    from lake.store import Lake

RUNS, POINTS, ACTS = "silver.runs", "gold.change_points", "silver.trend_acknowledgements"
SERIES_CONSUMER = "trend_series"
# A detector that says something else looks at every series again.
CHANGES_CONSUMER = f"trend_changes:{DETECTOR_VERSION}"
_RUNS_TOGETHER = 200
_SERIES_TOGETHER = 500


@dataclass(frozen=True, kw_only=True)
class SeriesResult:
    """What became of new and changed runs."""

    run_count: int
    rows_written: int
    rows_removed: int
    version: int


@dataclass(frozen=True, kw_only=True)
class ChangesResult:
    """What was looked at, and how many changes of each state stand in the series that were."""

    series_count: int
    change_point_count: int
    new_count: int
    dismissed_count: int
    version: int


def update_series(lake: Lake) -> SeriesResult:
    """Bring `gold.trend_series` up to date with runs that are new, changed or gone since the last time."""
    version = lake.version(RUNS)
    run_ids = _changed(lake, SERIES_CONSUMER, RUNS, "run_id", version=version)
    written = removed = 0
    for chunk in _parts(run_ids, _RUNS_TOGETHER):
        rows = _rows_of_runs(lake, chunk, version=version)
        standing = lake.read(SERIES, columns=["series_id", "run_id"], where={"run_id": chunk})
        written += lake.upsert(SERIES, rows).rows_written
        stale = standing.join(rows, on=["series_id", "run_id"], how="anti")
        removed += lake.remove(SERIES, stale).rows_written if stale.height else 0
    if run_ids or lake.cursor(SERIES_CONSUMER, RUNS) < version:
        lake.move_cursor(SERIES_CONSUMER, {RUNS: version})
    return SeriesResult(
        run_count=len(run_ids), rows_written=written, rows_removed=removed, version=lake.version(SERIES)
    )


def update_changes(
    lake: Lake,
    *,
    now: dt.datetime,
    minimum_change_ratio: float = MINIMUM_CHANGE_RATIO,
    history: CodeHistory | None = None,
) -> ChangesResult:
    """Look at every series that got a point (or lost one) since the last time, and follow its changes.

    False discoveries are controlled over all series that are looked at together. `history` is asked what was merged
    between the commits of a change.
    """
    versions = lake.versions([SERIES, ACTS])
    touched = {*_changed(lake, CHANGES_CONSUMER, SERIES, "series_id", version=versions[SERIES])}
    touched |= {*_acknowledged_series(lake, version=versions[ACTS])}
    series_ids = sorted(touched)
    found: dict[str, Detection] = {}
    for chunk in _parts(series_ids, _SERIES_TOGETHER):
        values = _read_series(lake, chunk, version=versions[SERIES], columns=["series_id", "value"])
        detections = detect_many(values.values(), minimum_change_ratio=minimum_change_ratio)
        found |= dict(zip(values, detections, strict=True))
    shares = share_discoveries([[point.p for point in each.change_points] for each in found.values()])
    q_values = dict(zip(found, shares, strict=True))
    new = dismissed = 0
    for chunk in _parts(series_ids, _SERIES_TOGETHER):
        added, gone = _follow(lake, chunk, found, q_values, version=versions[SERIES], now=now, history=history)
        new, dismissed = new + added, dismissed + gone
    if series_ids or lake.cursor(CHANGES_CONSUMER, SERIES) < versions[SERIES]:
        lake.move_cursor(CHANGES_CONSUMER, versions)
    return ChangesResult(
        series_count=len(series_ids),
        change_point_count=sum(len(each.change_points) for each in found.values()),
        new_count=new,
        dismissed_count=dismissed,
        version=lake.version(REGRESSIONS),
    )


def acknowledge(
    lake: Lake,
    change: str,
    *,
    author: str,
    reason: str,
    now: dt.datetime,
    is_withdrawn: bool = False,
    minimum_change_ratio: float = MINIMUM_CHANGE_RATIO,
    history: CodeHistory | None = None,
) -> Row:
    """Record that somebody accepts a change (the beginning of its id), or takes that back; gives the change as it is.

    Raises `UserError` when no change or several are meant, or when no reason is given.
    """
    row = find_change(lake, change)
    if not reason.strip():
        raise UserError("Say why, for whoever reads the history:  --reason TEXT")
    act = {
        "acknowledgement_id": derived_id("acknowledgement", row["change_id"], now.isoformat(), author),
        "change_id": row["change_id"],
        "is_withdrawn": is_withdrawn,
        "acknowledged_at": now,
        "acknowledged_by": author,
        "reason": reason.strip(),
    }
    rows = pl.DataFrame([act], schema=contract_of(ACTS).dtypes)
    lake.append(ACTS, rows, token=act["acknowledgement_id"])
    update_changes(lake, now=now, minimum_change_ratio=minimum_change_ratio, history=history)
    return find_change(lake, row["change_id"])


def find_change(lake: Lake, word: str) -> Row:
    """The one followed change whose id begins with `word`; raises `UserError` when there is none or several."""
    rows = lake.read(REGRESSIONS).filter(pl.col("change_id").str.starts_with(word))
    if rows.height == 1:
        return rows.row(0, named=True)
    if rows.is_empty():
        raise UserError(f"No change has an id that begins with {word!r}. See them:  benchlake trends --limit 1000")
    shown = ", ".join(rows["change_id"].sort().head(5))
    raise UserError(f"{rows.height} changes have an id that begins with {word!r}: {shown}. Write more of it.")


def _rows_of_runs(lake: Lake, run_ids: list[str], *, version: int) -> pl.DataFrame:
    runs = lake.read(RUNS, columns=RUN_COLUMNS, where={"run_id": run_ids}, at=version)
    where = {"run_id": run_ids, "run_date": runs["run_date"].unique().sort().to_list()}
    metrics = lake.read("silver.run_metrics", columns=METRIC_COLUMNS, where=where)
    outputs = lake.read("silver.outputs", columns=OUTPUT_COLUMNS, where=where)
    return series_rows(runs, metrics, outputs)


def _follow(
    lake: Lake,
    series_ids: list[str],
    found: dict[str, Detection],
    q_values: dict[str, list[float]],
    *,
    version: int,
    now: dt.datetime,
    history: CodeHistory | None,
) -> tuple[int, int]:
    """Write change points and followed changes of some series; how many are new, and how many were dismissed."""
    series = _read_series_rows(lake, series_ids, version=version)
    where = {"series_id": series_ids}
    standing = _by(lake.read(REGRESSIONS, where=where), "series_id")
    acts = _latest_acts(lake, [row["change_id"] for rows in standing.values() for row in rows])
    points: list[Row] = []
    rows: list[Row] = []
    dismissed: list[str] = []
    for series_id in series_ids:
        detection = found.get(series_id, _NOTHING)
        own = series.get(series_id)
        if own is not None:
            points += _point_rows(own, detection)
        tracked = track_changes(
            contract_of(SERIES).empty() if own is None else own,
            detection,
            q_values=q_values.get(series_id, []),
            standing=standing.get(series_id, []),
            acknowledgements=acts,
            now=now,
        )
        rows += tracked.rows
        dismissed += tracked.dismissed_ids
    lake.replace(POINTS, pl.DataFrame(points, schema=contract_of(POINTS).dtypes), where=where)
    if rows:
        told = _with_code(lake, rows, [row for own_rows in standing.values() for row in own_rows], history)
        lake.upsert(REGRESSIONS, as_rows(told))
    if dismissed:
        lake.remove(REGRESSIONS, pl.DataFrame({"change_id": dismissed}))
    before = {row["change_id"] for own_rows in standing.values() for row in own_rows}
    return sum(row["change_id"] not in before for row in rows), len(dismissed)


def _with_code(lake: Lake, rows: list[Row], standing: list[Row], history: CodeHistory | None) -> list[Row]:
    """The rows with their repository and what was merged between their commits."""
    first_ids = sorted({row["first_run_id"] for row in rows})
    runs = lake.read(RUNS, columns=["run_id", "code_version"], where={"run_id": first_ids})
    urls = {run_id: (code or {}).get("repository_url") for run_id, code in runs.iter_rows()}
    before = {row["change_id"]: row for row in standing}
    return [
        with_code_between(
            {**row, "repository_url": urls.get(row["first_run_id"], row["repository_url"])},
            history=history,
            standing=before.get(row["change_id"]),
        )
        for row in rows
    ]


_NOTHING = Detection(count=0, period=0, change_points=(), outliers=())


def _point_rows(series: pl.DataFrame, detection: Detection) -> Iterator[Row]:
    """Rows of `gold.change_points`."""
    run_ids = series["run_id"].to_list()
    common = {
        "series_id": series["series_id"][0],
        "point_count": len(run_ids),
        "detector_version": DETECTOR_VERSION,
        "input_digest": json_digest([run_ids, series["value"].to_list()]),
    }
    for point in detection.change_points:
        yield {
            **common,
            "run_id": run_ids[point.index],
            "kind": point.kind,
            "previous_run_id": run_ids[point.previous_index],
            "point_index": point.index,
            "support": point.support,
            "p_value": point.p,
            "before": point.before,
            "after": point.after,
            "before_spread": point.before_spread,
            "after_spread": point.after_spread,
            "change_ratio": point.change_ratio,
            "later_count": point.later_count,
        }
    changed = {point.index for point in detection.change_points}
    for outlier in detection.outliers:
        if outlier.index not in changed:
            yield {
                **common,
                "run_id": run_ids[outlier.index],
                "kind": "outlier",
                "point_index": outlier.index,
                "before": outlier.level,
                "after": outlier.value,
                "before_spread": outlier.level_spread,
                "later_count": 0,
            }


def _read_series(lake: Lake, series_ids: list[str], *, version: int, columns: list[str]) -> dict[str, list[float]]:
    rows = lake.read(SERIES, columns=[*columns, "ordered_at", "run_id"], where={"series_id": series_ids}, at=version)
    ordered = rows.sort("series_id", "ordered_at", "run_id")
    return dict(ordered.group_by("series_id", maintain_order=True).agg("value").iter_rows())


def _read_series_rows(lake: Lake, series_ids: list[str], *, version: int) -> dict[str, pl.DataFrame]:
    rows = lake.read(SERIES, where={"series_id": series_ids}, at=version).sort("series_id", "ordered_at", "run_id")
    return {str(key[0]): own for key, own in rows.group_by("series_id", maintain_order=True)}


def _changed(lake: Lake, consumer: str, table: str, column: str, *, version: int) -> list[str]:
    """Values of a column in rows that changed since the consumer last looked; of all rows where the feed is gone."""
    since = lake.cursor(consumer, table)
    if since >= version:
        return []
    try:
        rows = (
            lake.changes(table, since, until=version) if since >= 0 else lake.read(table, columns=[column], at=version)
        )
    except UserError:
        # Maintenance has removed what the feed would need; the table itself says more than enough.
        rows = lake.read(table, columns=[column], at=version)
    return rows[column].unique().sort().to_list()


def _acknowledged_series(lake: Lake, *, version: int) -> list[str]:
    change_ids = _changed(lake, CHANGES_CONSUMER, ACTS, "change_id", version=version)
    if not change_ids:
        return []
    return lake.read(REGRESSIONS, columns=["series_id"], where={"change_id": change_ids})["series_id"].to_list()


def _latest_acts(lake: Lake, change_ids: list[str]) -> dict[str, Row]:
    if not change_ids:
        return {}
    acts = lake.read(ACTS, where={"change_id": change_ids}).sort("acknowledged_at", "acknowledgement_id")
    return {row["change_id"]: row for row in acts.iter_rows(named=True)}


def _by(rows: pl.DataFrame, column: str) -> dict[str, list[Row]]:
    found: dict[str, list[Row]] = {}
    for row in rows.iter_rows(named=True):
        found.setdefault(row[column], []).append(row)
    return found


def _parts(items: Sequence[str], size: int) -> Iterator[list[str]]:
    for start in range(0, len(items), size):
        yield list(items[start : start + size])
