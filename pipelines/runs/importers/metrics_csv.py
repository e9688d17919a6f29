"""CSV of metrics: training curves, histories of benchmarks, lists of metric and value.

Here is which rows become which metrics. What the columns are for is decided in `metrics_csv_shape.py`, rows are cut
in `metrics_csv_rows.py`, runs are told apart in `metrics_csv_runs.py`.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from pipelines.runs.importers.frames import BatchBuilder, ImportBatch, MetricRow
from pipelines.runs.importers.guides.metrics_csv import GUIDE
from pipelines.runs.importers.metrics_csv_rows import TableRow, read_rows
from pipelines.runs.importers.metrics_csv_runs import KIND, TableRun, TableRuns
from pipelines.runs.importers.metrics_csv_shape import TableShape, read_shape
from pipelines.runs.importers.metrics_csv_values import is_missing, read_number, read_step
from pipelines.runs.importers.protocol import FileImporter
from pipelines.runs.records import Fault, canonical_json
from pipelines.runs.redaction import redact
from pipelines.runs.sources import FileHead, Limits, SourceError, read_head

if TYPE_CHECKING:
    from collections.abc import Iterator

    from pipelines.runs.importers.guide import FormatGuide
    from pipelines.runs.importers.protocol import SourceGroup
    from pipelines.runs.tracked_metrics import TrackedMetric

_FLAGS = {"true": True, "1": True, "yes": True, "false": False, "0": False, "no": False}


class MetricsCsvImporter(FileImporter):
    """Reads tables with one run a file or run id (curves, lists of metrics), or one run a row (histories)."""

    source_kind = KIND
    version = 1

    @property
    def guide(self) -> FormatGuide:
        """What the docs say about the format."""
        return GUIDE

    def detects(self, head: FileHead) -> bool:
        """A header and rows of its width, with numbers and a column that says when, at which step or of which run."""
        is_text = head.packing != "zip" and head.record is None and not head.tables
        return is_text and read_shape(head.start) is not None

    def read(self, group: SourceGroup, *, limits: Limits) -> Iterator[ImportBatch]:
        """Batches of rows; the runs come with the last, but a run that is one row with it."""
        (file,) = group.files
        builder = BatchBuilder(file=file)
        try:
            shape = read_shape(read_head(file, limits=limits).start)
        except SourceError as error:
            shape = None
            builder.reject(error.rule, str(error))
        if shape is None:
            builder.reject("header", "The file is no table of metrics: see the guide to CSV for the columns it needs.")
        else:
            builder.keep(redact(canonical_json(list(shape.header)).encode("utf-8", "replace")), record_index=0)
            yield from _read_table(builder, TableRuns(shape=shape, group=group), limits)
        yield builder.flush()


def _read_table(builder: BatchBuilder, runs: TableRuns, limits: Limits) -> Iterator[ImportBatch]:
    for row in read_rows(builder, runs.shape, limits=limits):
        if builder.is_full:
            yield builder.flush()
        faults: list[Fault] = []
        run = _take(row, runs, builder, faults)
        builder.keep(row.raw, record_index=row.line_index, run_id=run.run_id if run else None)
        builder.note(faults, record_index=row.line_index, where=f"Line {row.line_index + 1}")
    builder.runs.extend(run.row for run in runs.runs.values())


def _take(row: TableRow, runs: TableRuns, builder: BatchBuilder, faults: list[Fault]) -> TableRun | None:
    """Add what a row measured; None if it belongs to no run."""
    step = _step(row, runs, faults)
    if step is None:
        return None
    run = runs.new_run(row) if runs.shape.mode == "rows" else runs.run_of(row)
    if run is None:
        faults.append(Fault("duplicate", "Its run came before; the first row counts."))
        return None
    if runs.shape.mode == "rows":
        builder.runs.append(run.row)
    moment = runs.time_of(row)
    run.learn_time(moment)
    read_values = _long_values if runs.shape.mode == "long" else _wide_values
    for value in read_values(row, runs, run, faults):
        measured = value._replace(step=step, recorded_at=moment)
        if run.is_new(measured.metric, measured.variant, step, measured.repeat_index):
            builder.metrics.append(measured)
        else:
            faults.append(Fault("duplicate", f"{measured.metric} at step {step} came before; the first value counts."))
    return run


def _step(row: TableRow, runs: TableRuns, faults: list[Fault]) -> int | None:
    """The row's step, 0 for tables without one; None with a fault for what is no step."""
    if "step" not in runs.shape.roles:
        return 0
    cell = runs.cell(row, "step")
    step = read_step(cell) if cell is not None else None
    if step is None and (cell is not None or runs.shape.mode == "steps"):
        faults.append(Fault("step", f"{cell or 'nothing'} is no step; the row was left out.", cell))
        return None
    return step or 0


def _wide_values(row: TableRow, runs: TableRuns, run: TableRun, faults: list[Fault]) -> Iterator[MetricRow]:
    """Values of the columns that are metrics, as if measured at step 0."""
    for place in runs.shape.metrics:
        name = runs.shape.header[place]
        value = _number(row.cells.get(name, ""), name, runs.shape, faults)
        metric = None if value is None else _metric(run, run.naming.name(name), value, faults)
        if metric is not None:
            yield metric


def _long_values(row: TableRow, runs: TableRuns, run: TableRun, faults: list[Fault]) -> Iterator[MetricRow]:
    """The one value of a row, with what the row knows of it."""
    name, cell = runs.cell(row, "metric"), runs.cell(row, "value")
    if name is None:
        faults.append(Fault("metric", "The row names no metric and was left out."))
        return
    value = _number(cell or "", name, runs.shape, faults)
    named = run.naming.name(name, unit=runs.cell(row, "unit"))
    metric = None if value is None else _metric(run, named, value, faults)
    if metric is None:
        return
    direction = _FLAGS.get((runs.cell(row, "direction") or "").lower())
    yield metric._replace(
        variant=",".join(part for part in (named.variant, runs.cell(row, "variant")) if part),
        standard_error=_spread(runs, row, "standard_error", named.scale, faults),
        standard_deviation=_spread(runs, row, "standard_deviation", named.scale, faults),
        sample_count=_whole(runs, row, "sample_count", faults),
        repeat_index=_whole(runs, row, "repeat", faults) or 0,
        is_higher_better=metric.is_higher_better if direction is None else direction,
    )


def _metric(run: TableRun, named: TrackedMetric, value: float, faults: list[Fault]) -> MetricRow | None:
    """The value under its normalised name, unless that makes it too large for a number."""
    if not math.isfinite(value * named.scale):
        faults.append(Fault(f"{named.metric}: finite", f"{named.metric} is infinite in {named.unit}."))
        return None
    return MetricRow(
        run_id=run.run_id,
        metric=named.metric,
        variant=named.variant,
        step=0,
        run_date=run.run_date,
        value=value * named.scale,
        unit=named.unit,
        is_higher_better=named.is_higher_better,
    )


def _number(cell: str, name: str, shape: TableShape, faults: list[Fault]) -> float | None:
    """A finite number; None for an empty cell, and with a fault for anything else."""
    if is_missing(cell):
        return None
    number = read_number(cell, has_decimal_comma=shape.has_decimal_comma)
    if number is None or not math.isfinite(number):
        rule = "number" if number is None else "finite"
        faults.append(
            Fault(f"{name}: {rule}", f"{name} is {cell[:80]!r}, no finite number; it is stored as null.", cell)
        )
        return None
    return number


def _spread(runs: TableRuns, row: TableRow, role: str, scale: float, faults: list[Fault]) -> float | None:
    number = _number(runs.cell(row, role) or "", role, runs.shape, faults)
    return None if number is None or number < 0 or not math.isfinite(number * scale) else number * scale


def _whole(runs: TableRuns, row: TableRow, role: str, faults: list[Fault]) -> int | None:
    cell = runs.cell(row, role)
    number = read_step(cell) if cell is not None else None
    if cell is not None and (number is None or number < 0):
        faults.append(Fault(f"{role}: count", f"{role} is {cell[:80]!r}, no whole number from 0.", cell))
        return None
    return number
