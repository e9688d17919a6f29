"""What a run file holds already when a writer opens it: what may not be logged again, and how the run began.

What belongs here: reading a run's own file to go on with it. Writing is `run_writer.py`.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

from lake.errors import UserError
from pipelines.runs.live_files import LiveFile, StandingLine
from pipelines.runs.records import SHAPE_ERRORS, JsonObject
from pipelines.runs.run_lines import Line

# Written with the end, by the writer itself.
CLOSING_METRICS = frozenset({"runtime_ms", "fallback_count"})
# What a run that goes on may not change; what is not given again stays as it was.
_FIXED = ("suite", "backend", "model", "engine", "engine_version", "tags", "fingerprint", "expected_sample_count")


class Repeats:
    """Which repeats of which metric, variant and step are logged.

    They nearly always come in order, so a number a step is kept, how many there are from 0 on, and a set of those
    that came before their turn: a run may log millions of steps.
    """

    def __init__(self) -> None:
        self._counts: dict[tuple[str, str], dict[int, int]] = {}
        self._early: set[tuple[str, str, int, int]] = set()

    def next_index(self, metric: str, variant: str, step: int) -> int:
        """The first repeat that is not logged."""
        return self._counts.get((metric, variant), {}).get(step, 0)

    def has(self, metric: str, variant: str, step: int, index: int) -> bool:
        """Whether a repeat is logged."""
        return index < self.next_index(metric, variant, step) or (metric, variant, step, index) in self._early

    def add(self, metric: str, variant: str, step: int, index: int) -> None:
        """Note a repeat."""
        self._early.add((metric, variant, step, index))
        count = self.next_index(metric, variant, step)
        while (metric, variant, step, count) in self._early:
            self._early.remove((metric, variant, step, count))
            count += 1
        self._counts.setdefault((metric, variant), {})[step] = count


@dataclass(kw_only=True)
class RunProgress:
    """A run as far as it is written. `fallbacks` are sums that the end of the run has still to write."""

    run_id: str
    started_at: dt.datetime
    is_new: bool
    outputs: set[tuple[str, int]] = field(default_factory=set)
    repeats: Repeats = field(default_factory=Repeats)
    parameters: dict[str, Any] = field(default_factory=dict)
    span_ids: set[str] = field(default_factory=set)
    fallbacks: dict[str, int] = field(default_factory=dict)

    def take(self, line: JsonObject) -> None:
        """Note what a line of the file says."""
        kind = line.get("type")
        if kind == "output":
            self.outputs.add((str(line["sample_id"]), int(line["repeat_index"])))
        elif kind == "metric":
            self.repeats.add(line["metric"], line["variant"], int(line["step"]), int(line["repeat_index"]))
        elif kind == "param":
            self.parameters.setdefault(line["parameter"], line["value"])
        elif kind == "span" and line["span_id"] is not None:
            self.span_ids.add(line["span_id"])


def read_progress(file: LiveFile, header: Line, *, resume: bool) -> RunProgress:
    """What `file` holds of the run of `header`; one that has ended loses its last lines, so that it can go on.

    Raises `UserError` if the run has ended and `resume` is not set, if it began otherwise than `header` says, or if
    the file is not one that this writer made.
    """
    lines = iter(file.standing_lines())
    first = next(lines, None)
    if first is None:
        return _begun(header, is_new=True)
    begun = first.value or {}
    if begun.get("type") != "run" or begun.get("run_id") != header["run_id"] or "started_at" not in begun:
        raise UserError(
            f"start_run: {file.path} is there already and is not the file of run {header['run_id']}. "
            "Choose another run_id, or move the file away."
        )
    progress = _begun(begun, is_new=False)
    try:
        closing = _take_all(progress, lines)
    except SHAPE_ERRORS as error:
        raise UserError(
            f"start_run: {file.path} holds lines that this writer did not make ({type(error).__name__}: {error}), so "
            "it cannot go on. Choose another run_id."
        ) from error
    if closing and not resume:
        raise UserError(
            f"start_run: the run {progress.run_id} has ended ({closing[-1][1]['status']}). Go on with it by "
            "resume=True, or leave run_id out for a new run."
        )
    _refuse_other_beginning(begun, progress, header)
    if closing:
        file.cut(closing[0][0])
        # They are counted on, and written again with the next end.
        progress.fallbacks = {
            line["variant"]: int(line["value"]) for _, line in closing[:-1] if line["metric"] == "fallback_count"
        }
    return progress


def _begun(header: Line, *, is_new: bool) -> RunProgress:
    return RunProgress(
        run_id=header["run_id"],
        started_at=dt.datetime.fromisoformat(header["started_at"]),
        is_new=is_new,
        parameters=dict(header.get("parameters") or {}),
    )


def _take_all(progress: RunProgress, lines: Iterable[StandingLine]) -> list[tuple[int, JsonObject]]:
    """Note every line but those that close the run; these are given with their places: its sums, and its end."""
    last: list[tuple[int, JsonObject]] = []
    for offset, value in lines:
        line = value or {}
        last.append((offset, line))
        is_sum = line.get("type") == "metric" and line.get("metric") in CLOSING_METRICS
        if not is_sum and line.get("type") != "end":
            for _, passed in last:
                progress.take(passed)
            last = []
    ended_at = last[-1][1].get("ended_at") if last and last[-1][1].get("type") == "end" else None
    closing = [entry for entry in last if ended_at in {entry[1].get("recorded_at"), entry[1].get("ended_at")}]
    for entry in last:
        if ended_at is None or entry not in closing:
            progress.take(entry[1])
    return closing if ended_at is not None else []


def _refuse_other_beginning(begun: Line, progress: RunProgress, header: Line) -> None:
    for name in _FIXED:
        if header.get(name) and header[name] != begun.get(name):
            raise _other(begun, name, begun.get(name), header[name])
    before, now = ((line.get("code_version") or {}).get("commit") for line in (begun, header))
    if before and now and before != now:
        remedy = ", or say code_version={'commit': ...} if it is the same code"
        raise _other(begun, "commit", before, now, remedy=remedy)
    for name, value in (header.get("parameters") or {}).items():
        if progress.parameters.get(name, value) != value:
            raise _other(begun, f"parameter {name}", progress.parameters[name], value)


def _other(begun: Line, name: str, before: object, now: object, *, remedy: str = "") -> UserError:
    return UserError(
        f"start_run: the run {begun['run_id']} began with {name} {before!r}, this call says {now!r}. What a run is "
        f"about stays as it began: start another run{remedy}."
    )
