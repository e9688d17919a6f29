"""Runs of a CSV file: which rows belong to one, and what its settings are.

What belongs here: identity and the row of silver.runs. The values are `metrics_csv.py`.
"""

from __future__ import annotations

import datetime as dt
import uuid
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from lake.identity import derived_id
from pipelines.runs.importers.code_keys import lift_code_version
from pipelines.runs.importers.metrics_csv_values import is_missing, read_instant
from pipelines.runs.parameters import as_parameters
from pipelines.runs.records import JsonObject
from pipelines.runs.repeats import StepCounts
from pipelines.runs.tracked_metrics import MetricNaming

if TYPE_CHECKING:
    from pipelines.runs.importers.metrics_csv_rows import TableRow
    from pipelines.runs.importers.metrics_csv_shape import TableShape
    from pipelines.runs.importers.protocol import SourceGroup

KIND = "metrics_csv"


@dataclass(kw_only=True)
class TableRun:
    """A run whose rows are being read; `counts` are of each series."""

    run_id: str
    run_date: dt.date
    row: JsonObject
    naming: MetricNaming = field(default_factory=MetricNaming)
    counts: dict[tuple[str, str, int], StepCounts] = field(default_factory=dict)

    def is_new(self, metric: str, variant: str, step: int, repeat_index: int) -> bool:
        """Whether nothing was measured there yet; from now on something was."""
        return self.counts.setdefault((metric, variant, repeat_index), StepCounts()).take(step) == 0

    def learn_time(self, moment: dt.datetime | None) -> None:
        """Take a row's time for the latest that is known."""
        if moment is not None and moment > self.row["started_at"]:
            self.row["ended_at"] = moment


@dataclass(kw_only=True)
class TableRuns:
    """The runs of one file, found by their rows."""

    shape: TableShape
    group: SourceGroup
    runs: dict[tuple[str, ...], TableRun] = field(default_factory=dict)
    _first_raw: str | None = None
    # Runs of one row are many and are not kept; the ids alone take sixteen bytes each.
    _seen: set[bytes] = field(default_factory=set)

    def cell(self, row: TableRow, role: str) -> str | None:
        """What a row says in a role; None for nothing."""
        place = self.shape.roles.get(role)
        cell = row.cells.get(self.shape.header[place]) if place is not None else None
        return None if cell is None or is_missing(cell) else cell.strip()

    def time_of(self, row: TableRow) -> dt.datetime | None:
        """When a row was measured."""
        cell = self.cell(row, "time")
        return read_instant(cell) if cell else None

    def key_of(self, row: TableRow) -> tuple[str, ...]:
        """What tells the row's run from others of the file; it holds no measurement, so a corrected one stays."""
        suite = self.cell(row, "suite") or _stem(self.group)
        named = self.cell(row, "run")
        if named is not None:
            return (suite, "run", named)
        code, _ = self._code_version(row)
        if self.shape.mode == "long" and code.get("commit"):
            return (suite, "commit", code["commit"])
        if self.shape.mode == "rows":
            settings = [f"{name}={row.cells.get(name, '')}" for name in self._setting_names()]
            return (suite, "row", self.cell(row, "time") or "", code.get("commit") or "", *settings)
        # A file without a name for its run: its first row stays when it grows, and is another in another file.
        if self._first_raw is None:
            self._first_raw = row.raw.decode("utf-8", "replace")
        return (suite, "first", self._first_raw)

    def new_run(self, row: TableRow) -> TableRun | None:
        """The run that is this row; None if it came before."""
        run = self._open(self.key_of(row), row)
        identity = uuid.UUID(run.run_id).bytes
        if identity in self._seen:
            return None
        self._seen.add(identity)
        return run

    def run_of(self, row: TableRow) -> TableRun:
        """The row's run; its settings are those of its first row."""
        key = self.key_of(row)
        if key not in self.runs:
            self.runs[key] = self._open(key, row)
        return self.runs[key]

    def _open(self, key: tuple[str, ...], row: TableRow) -> TableRun:
        (file,) = self.group.files
        started_at = self.time_of(row) or file.modified_at
        code, _ = self._code_version(row)
        run = TableRun(run_id=derived_id("run", KIND, *key), run_date=started_at.date(), row={})
        names = {role: self.cell(row, role) for role in ("model", "backend", "engine", "engine_version")}
        settings = {name: cell for name in self._setting_names() if not is_missing(cell := row.cells.get(name, ""))}
        run.row = {
            **names,
            "run_id": run.run_id,
            "run_date": run.run_date,
            "source_kind": KIND,
            "source_run_id": self.cell(row, "run"),
            "file_sha256": file.sha256,
            "content_digest": self.group.content_digest,
            "suite": self.cell(row, "suite") or _stem(self.group),
            "model": names["model"] or "unknown",
            "backend": names["backend"] or "unknown",
            "parameters": as_parameters(dict(settings)),
            "code_version": code,
            "started_at": started_at,
            "status": "success",
        }
        return run

    def _code_version(self, row: TableRow) -> tuple[JsonObject, frozenset[str]]:
        cells = {name: row.cells[name] for name in self.shape.header if name in self.shape.code_names}
        return lift_code_version({name: cell.strip() for name, cell in cells.items() if not is_missing(cell)})

    def _setting_names(self) -> list[str]:
        return [self.shape.header[place] for place in self.shape.settings]


def _stem(group: SourceGroup) -> str:
    """The file's name without its endings."""
    (file,) = group.files
    return file.path.name.partition(".")[0] or "unknown"
