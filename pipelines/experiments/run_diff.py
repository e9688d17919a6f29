"""What differs between a few runs, as one typed value: settings, metrics, curves, code, outputs and verdicts.

What belongs here: the shape of a `RunDiff` and the pure functions that make it from rows. Reading the rows is
`reading.py`, words and tables for people `run_diff_texts.py`. What exactly differs between two outputs is the evidence
room's business; here it is counted.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Literal

import orjson
import polars as pl

from lake.errors import UserError
from pipelines.experiments.curves import Axis, Curve, align_curves
from pipelines.experiments.metric_diffs import MetricDiff, diff_metrics
from pipelines.runs.parameters import read_parameters

MAX_RUNS = 20
SettingGroup = Literal["parameter", "environment", "fingerprint", "code"]


@dataclass(frozen=True, kw_only=True)
class ComparedRun:
    """A run as a column of a comparison; the first of a comparison is its baseline."""

    run_id: str
    suite: str
    backend: str
    model: str
    engine: str | None
    status: str
    started_at: str
    tags: tuple[str, ...]
    commit: str | None
    branch: str | None
    pull_request: str | None
    is_dirty: bool | None


@dataclass(frozen=True, kw_only=True)
class SettingDiff:
    """One setting over all runs, None where a run does not have it; a unit where the name or source says one."""

    group: SettingGroup
    name: str
    values: tuple[str | None, ...]
    value_types: tuple[str | None, ...]
    unit: str | None
    is_different: bool


@dataclass(frozen=True, kw_only=True)
class OutputSummary:
    """How a run's outputs stand beside the baseline's: pairs by sample and repeat, equal by digest of the text."""

    run_id: str
    output_count: int
    ok_count: int
    failed_count: int
    paired_count: int
    identical_count: int
    mismatched_prompt_count: int


@dataclass(frozen=True, kw_only=True)
class VerdictSummary:
    """What the gates said of a run as candidate, by verdict, and the names of the blocking gates that failed."""

    run_id: str
    counts: Mapping[str, int]
    failed_gates: tuple[str, ...]


@dataclass(frozen=True, kw_only=True)
class RunDiff:
    """A comparison of 1 to 20 runs; tuples of values are in the order of `runs`."""

    runs: tuple[ComparedRun, ...]
    settings: tuple[SettingDiff, ...]
    metrics: tuple[MetricDiff, ...]
    curves: tuple[Curve, ...]
    outputs: tuple[OutputSummary, ...]
    verdicts: tuple[VerdictSummary, ...]

    def as_json(self) -> bytes:
        """Canonical bytes: the same comparison of the same rows always gives the same."""
        return orjson.dumps(asdict(self), option=orjson.OPT_SORT_KEYS)

    def differing(self) -> tuple[SettingDiff, ...]:
        """The settings that are not the same in all runs."""
        return tuple(setting for setting in self.settings if setting.is_different)


@dataclass(frozen=True, kw_only=True)
class RunRows:
    """What a comparison is made of: rows of silver.runs in order, and rows of other tables about these runs."""

    runs: Sequence[Mapping[str, Any]]
    parameters: pl.DataFrame
    metrics: pl.DataFrame
    outputs: pl.DataFrame
    verdicts: pl.DataFrame


def diff_runs(
    rows: RunRows,
    *,
    metrics: Sequence[str] = (),
    slices: Sequence[str] = (),
    axis: Axis = "step",
    points: int = 400,
) -> RunDiff:
    """The comparison of `rows.runs`, the first of them the baseline.

    `metrics` are globs over metric names; none means all. `slices` are tags of samples whose metrics are given apart
    as well. Curves are thinned to about `points` points each. Raises
    `UserError` for no runs, more than `MAX_RUNS`, or one run twice.
    """
    ids = [run["run_id"] for run in rows.runs]
    if not ids or len(ids) > MAX_RUNS or len(set(ids)) < len(ids):
        raise UserError(f"Compare 1 to {MAX_RUNS} different runs; {len(ids)} were named, {len(set(ids))} different.")
    return RunDiff(
        runs=tuple(map(_compared_run, rows.runs)),
        settings=tuple(_settings(rows.runs, rows.parameters)),
        metrics=tuple(diff_metrics(ids, rows.metrics, rows.outputs, names=metrics, slices=slices)),
        curves=tuple(align_curves(ids, rows.metrics, names=metrics, axis=axis, points=points)),
        outputs=tuple(_output_summaries(ids, rows.outputs)),
        verdicts=tuple(_verdict_summaries(ids, rows.verdicts)),
    )


def _compared_run(run: Mapping[str, Any]) -> ComparedRun:
    code = run["code_version"] or {}
    return ComparedRun(
        run_id=run["run_id"],
        suite=run["suite"],
        backend=run["backend"],
        model=run["model"],
        engine=run["engine"],
        status=run["status"],
        started_at=run["started_at"].isoformat(),
        tags=tuple(run["tags"]),
        commit=code.get("commit"),
        branch=code.get("branch"),
        pull_request=code.get("pull_request"),
        is_dirty=code.get("is_dirty"),
    )


_Setting = tuple[str | None, str | None, float | None, str | None]
_NO_SETTING: _Setting = (None, None, None, None)


def _settings(runs: Sequence[Mapping[str, Any]], parameters: pl.DataFrame) -> list[SettingDiff]:
    """Every setting of any run, in the order of groups and names."""
    found: dict[tuple[SettingGroup, str], dict[str, _Setting]] = {}
    for row in parameters.iter_rows(named=True):
        cell = (row["value"], row["value_type"], row["number"], row["unit"])
        found.setdefault(("parameter", row["parameter"]), {})[row["run_id"]] = cell
    for run in runs:
        for setting in read_parameters(run["run_id"], run["run_date"], run["environment"]):
            cell = (setting.value, setting.value_type, setting.number, setting.unit)
            found.setdefault(("environment", setting.parameter), {})[run["run_id"]] = cell
        for group, column in (("fingerprint", "fingerprint"), ("code", "code_version")):
            for name, value in (run[column] or {}).items():
                if value is not None:
                    cell = (str(value).lower() if isinstance(value, bool) else str(value), "text", None, None)
                    found.setdefault((group, name), {})[run["run_id"]] = cell  # type: ignore[arg-type]
    order: dict[str, int] = {"parameter": 0, "fingerprint": 1, "environment": 2, "code": 3}
    ids = [run["run_id"] for run in runs]
    return [
        _setting(group, name, [cells.get(run_id, _NO_SETTING) for run_id in ids])
        for (group, name), cells in sorted(found.items(), key=lambda item: (order[item[0][0]], item[0][1]))
    ]


def _setting(group: SettingGroup, name: str, cells: Sequence[_Setting]) -> SettingDiff:
    # 0.10 and 0.1 are one number; "0.1" as a text is the same setting written by another tool.
    meanings = {("number", number) if number is not None else (kind, value) for value, kind, number, _ in cells}
    return SettingDiff(
        group=group,
        name=name,
        values=tuple(value for value, _, _, _ in cells),
        value_types=tuple(kind for _, kind, _, _ in cells),
        unit=next((unit for _, _, _, unit in cells if unit), None),
        is_different=len(meanings) > 1,
    )


def _output_summaries(ids: Sequence[str], outputs: pl.DataFrame) -> list[OutputSummary]:
    key = ["sample_id", "repeat_index"]
    baseline = outputs.filter(pl.col("run_id") == ids[0]).select(*key, "output_digest", "prompt_digest")
    asked_alike = (pl.col("prompt_digest") == pl.col("prompt_digest_baseline")).fill_null(value=True)
    paired = (
        outputs.join(baseline, on=key, suffix="_baseline")
        .group_by("run_id")
        .agg(
            paired=asked_alike.sum(),
            mismatched=(~asked_alike).sum(),
            identical=(asked_alike & (pl.col("output_digest") == pl.col("output_digest_baseline"))).sum(),
        )
    )
    counts = outputs.group_by("run_id").agg(
        total=pl.len(),
        ok=(pl.col("status") == "ok").sum(),
        failed=pl.col("status").is_in(["error", "timeout"]).sum(),
    )
    by_run = {row["run_id"]: row for row in counts.join(paired, on="run_id", how="left").iter_rows(named=True)}
    return [
        OutputSummary(
            run_id=run_id,
            output_count=row.get("total") or 0,
            ok_count=row.get("ok") or 0,
            failed_count=row.get("failed") or 0,
            paired_count=row.get("paired") or 0,
            identical_count=row.get("identical") or 0,
            mismatched_prompt_count=row.get("mismatched") or 0,
        )
        for run_id in ids
        for row in [by_run.get(run_id, {})]
    ]


def _verdict_summaries(ids: Sequence[str], verdicts: pl.DataFrame) -> list[VerdictSummary]:
    summaries = []
    for run_id in ids:
        rows = verdicts.filter(pl.col("candidate_run_id") == run_id)
        if rows.is_empty():
            continue
        failed = rows.filter((pl.col("verdict") == "fail") & (pl.col("severity") == "block"))
        counts = rows.group_by("verdict").agg(count=pl.len()).sort("verdict")
        summaries.append(
            VerdictSummary(
                run_id=run_id,
                counts=dict(counts.iter_rows()),
                failed_gates=tuple(failed["gate"].unique().sort()),
            )
        )
    return summaries
