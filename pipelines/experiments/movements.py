"""What moved between two comparisons of the same scenario: runs that came and went, values, settings, verdicts."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Literal

from pipelines.experiments.run_diff import RunDiff

MovementKind = Literal["run_added", "run_removed", "metric", "setting", "verdict"]


@dataclass(frozen=True, kw_only=True)
class Movement:
    """One thing that is not as it was; `before` and `after` as text, None where it did not exist."""

    kind: MovementKind
    run_id: str
    name: str
    before: str | None
    after: str | None


def find_movements(saved: RunDiff, today: RunDiff) -> Iterator[Movement]:
    """Everything that differs, of the runs that both have by value, in the order of kinds and names."""
    before, after = ({run.run_id for run in diff.runs} for diff in (saved, today))
    for run in today.runs:
        if run.run_id not in before:
            yield Movement(kind="run_added", run_id=run.run_id, name=run.backend, before=None, after=run.started_at)
    for run in saved.runs:
        if run.run_id not in after:
            yield Movement(kind="run_removed", run_id=run.run_id, name=run.backend, before=run.started_at, after=None)
    shared = before & after
    parts: tuple[tuple[MovementKind, dict[tuple[str, str], str | None], dict[tuple[str, str], str | None]], ...] = (
        ("metric", _metrics(saved), _metrics(today)),
        ("setting", _settings(saved), _settings(today)),
        ("verdict", _verdicts(saved), _verdicts(today)),
    )
    for kind, old, new in parts:
        yield from _moved(kind, old, new, shared)


def _moved(
    kind: MovementKind,
    old: Mapping[tuple[str, str], str | None],
    new: Mapping[tuple[str, str], str | None],
    shared: set[str],
) -> Iterator[Movement]:
    for key in sorted({*old, *new}):
        name, run_id = key
        if run_id in shared and old.get(key) != new.get(key):
            yield Movement(kind=kind, run_id=run_id, name=name, before=old.get(key), after=new.get(key))


def _metrics(diff: RunDiff) -> dict[tuple[str, str], str | None]:
    return {
        (f"{metric.metric} {metric.variant}".strip(), run.run_id): None if value is None else f"{value:.6g}"
        for metric in diff.metrics
        for run, value in zip(diff.runs, metric.values, strict=True)
    }


def _settings(diff: RunDiff) -> dict[tuple[str, str], str | None]:
    return {
        (f"{setting.group} {setting.name}", run.run_id): value
        for setting in diff.settings
        for run, value in zip(diff.runs, setting.values, strict=True)
    }


def _verdicts(diff: RunDiff) -> dict[tuple[str, str], str | None]:
    return {
        ("gates", summary.run_id): ", ".join(f"{count} {verdict}" for verdict, count in sorted(summary.counts.items()))
        for summary in diff.verdicts
    }
