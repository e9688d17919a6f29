"""The database of an MLflow tracking server (`mlflow.db`): runs with parameters, tags and metrics, then traces.

What belongs here: which rows make a run, streamed table beside table in the order of the runs, whatever revision the
schema has. What they mean is `mlflow_runs.py`; how rows are read safely is `mlflow_tables.py`.
"""

from __future__ import annotations

from itertools import islice
from typing import TYPE_CHECKING

from pipelines.runs.importers.frames import BatchBuilder, ImportBatch
from pipelines.runs.importers.mlflow_database_traces import DatabaseTraces
from pipelines.runs.importers.mlflow_records import keep_record
from pipelines.runs.importers.mlflow_runs import RunFacts, TrackedRun, measured, read_run, runtime_metric
from pipelines.runs.importers.mlflow_tables import BROKEN, OrderedRows, Tables, open_tables, reason_of
from pipelines.runs.records import Fault, JsonObject, as_list, as_object, as_text
from pipelines.runs.repeats import StepCounts

if TYPE_CHECKING:
    from collections.abc import Iterator

    from pipelines.runs.importers.protocol import SourceGroup

# Rows of metrics that are one raw record: a row alone is smaller than what keeping it costs.
_METRIC_ROWS = 1_000
# All parameters or tags of a run together; MLflow allows 8,000 characters each.
_PAIRS_LENGTH = 16 << 20
_KEPT_EXPERIMENTS = 1_000


def is_tracking_database(tables: frozenset[str]) -> bool:
    """Whether a database with these tables is MLflow's, of any revision."""
    return {"experiments", "runs", "metrics", "params", "tags"} <= tables


def read_database(group: SourceGroup) -> Iterator[ImportBatch]:
    """Batches of all runs in the order of their ids, then of the traces; what is broken becomes rejects."""
    (file,) = group.files
    builder = BatchBuilder(file=file)
    try:
        with open_tables(file) as tables:
            yield from _RunReader(tables, group, builder).read()
            if tables.oversize_count:
                message = f"{tables.oversize_count} cells are longer than any that MLflow writes and were left out."
                builder.reject("cell_length", message)
    except BROKEN as error:
        builder.reject(
            "database", f"The database cannot be read further: {reason_of(error)}. What came before was imported."
        )
    yield builder.flush()


class _RunReader:
    """The tables that tell of runs, read side by side."""

    def __init__(self, tables: Tables, group: SourceGroup, builder: BatchBuilder) -> None:
        self._tables, self._group, self._builder = tables, group, builder
        self._experiments: dict[str, JsonObject] = {}
        self._beside = {
            table: OrderedRows(tables.rows(table, by="run_uuid", then=then))
            for table, then in {
                "params": ("key",),
                "tags": ("key",),
                "metrics": ("key", "step", "timestamp", "value"),
                "latest_metrics": ("key",),
            }.items()
        }
        self._traces = DatabaseTraces(tables, group, builder)
        self._inputs = OrderedRows(tables.rows("inputs", by="destination_id", then=("source_id",)))
        self._metric_records = 0
        self._series = ("", "")
        self._counts = StepCounts()

    def read(self) -> Iterator[ImportBatch]:
        """Batches of the runs; a table that ends early costs what it held, not the others."""
        try:
            last = None
            for index, (run_id, row) in enumerate(self._tables.rows("runs", by="run_uuid")):
                if run_id == last:
                    message = f"Run {run_id} came before; its first row counts."
                    self._builder.reject("duplicate", message, record_index=index)
                    continue
                last = run_id
                yield from self._read_run(run_id, row, index)
            if nameless := self._tables.count_without("runs", "run_uuid"):
                self._builder.reject("runs: run_uuid", f"{nameless} runs have no id and were left out.")
        except BROKEN as error:
            self._builder.reject("runs: database", f"The table runs ends early: {reason_of(error)}.")
        for table, rows in self._beside.items():
            rows.finish()
            if rows.problem:
                self._builder.reject(f"{table}: database", f"The table {table} ends early: {rows.problem}.")
            strays = rows.strays + self._tables.count_without(table, "run_uuid")
            if strays:
                self._builder.reject(f"{table}: run_uuid", f"{strays} rows of {table} are of no run and were left out.")
        yield from self._traces.read_loose()

    def _read_run(self, run_id: str, row: JsonObject, index: int) -> Iterator[ImportBatch]:
        faults: list[Fault] = []
        run = read_run(self._facts(run_id, row, index), self._group, faults)
        yield from self._full()
        known: set[str] = set()
        for stretch in self._stretches("metrics", run):
            known.update(self._add_stretch("metrics", stretch, run, faults))
            yield from self._full()
        # Where the history is gone, the last value of each metric may still be there.
        for stretch in self._stretches("latest_metrics", run):
            self._add_stretch("latest_metrics", [row for row in stretch if row.get("key") not in known], run, faults)
            yield from self._full()
        yield from self._traces.read_linked(run)
        self._builder.note(faults, record_index=index, where=f"Run {run_id}")
        self._builder.metrics.extend(runtime_metric(run))
        self._builder.runs.append(run.row)

    def _full(self) -> Iterator[ImportBatch]:
        """The batch, when it is time for one."""
        if self._builder.is_full:
            yield self._builder.flush()

    def _facts(self, run_id: str, row: JsonObject, index: int) -> RunFacts:
        """All that is known of a run but its metrics, as one record whose secrets are taken out."""
        record = {
            "run": row,
            "experiment": self._experiment(row.get("experiment_id")),
            "params": self._pairs("params", run_id),
            "tags": self._pairs("tags", run_id),
            "datasets": [found for entry in self._inputs.of(run_id) if (found := self._dataset(entry))],
        }
        clean = keep_record(record, self._builder, member="runs", record_index=index, run_id=run_id)
        return RunFacts(
            run_id=run_id,
            header=as_object(clean.get("run")),
            experiment=as_object(clean.get("experiment")),
            params=as_object(clean.get("params")),
            tags=as_object(clean.get("tags")),
            datasets=[as_object(entry) for entry in as_list(clean.get("datasets"))],
        )

    def _pairs(self, table: str, run_id: str) -> JsonObject:
        pairs: JsonObject = {}
        length = 0
        for row in self._beside[table].of(run_id):
            length += len(as_text(row.get("value")) or "")
            if length <= _PAIRS_LENGTH:
                pairs.setdefault(as_text(row.get("key")) or "", row.get("value"))
        if length > _PAIRS_LENGTH:
            message = (
                f"The {table} of run {run_id} are longer than {_PAIRS_LENGTH:,} characters; the rest was left out."
            )
            self._builder.reject(f"{run_id}: {table}", message)
        return pairs

    def _experiment(self, experiment_id: object) -> JsonObject:
        key = as_text(experiment_id) or ""
        if key not in self._experiments:
            if len(self._experiments) >= _KEPT_EXPERIMENTS:
                self._experiments.clear()
            self._experiments[key] = next(iter(self._tables.find("experiments", experiment_id=experiment_id)), {})
        return self._experiments[key]

    def _dataset(self, entry: JsonObject) -> JsonObject | None:
        found = next(iter(self._tables.find("datasets", dataset_uuid=entry.get("source_id"))), None)
        return {key: found.get(key) for key in ("name", "digest")} if found else None

    def _stretches(self, table: str, run: TrackedRun) -> Iterator[list[JsonObject]]:
        """Rows of the run, as many at a time as make a raw record."""
        rows = self._beside[table].of(run.run_id)
        while stretch := list(islice(rows, _METRIC_ROWS)):
            yield stretch

    def _add_stretch(self, table: str, rows: list[JsonObject], run: TrackedRun, faults: list[Fault]) -> set[str]:
        """Keep and add the rows; returns the names of their metrics."""
        if not rows:
            return set()
        columns = list(rows[0])
        record = {"columns": columns, "rows": [list(row.values()) for row in rows]}
        clean = keep_record(record, self._builder, member=table, record_index=self._metric_records, run_id=run.run_id)
        self._metric_records += 1
        for row in (dict(zip(columns, as_list(cells), strict=False)) for cells in as_list(clean.get("rows"))):
            self._add_value(row, run, faults)
        return {as_text(row.get("key")) or "" for row in rows}

    def _add_value(self, row: JsonObject, run: TrackedRun, faults: list[Fault]) -> None:
        key = as_text(row.get("key")) or ""
        if row.get("is_nan") in (1, True, "1"):
            faults.append(Fault(f"metrics.{key}: finite", f"metrics.{key} is NaN, which is not a measurement."))
            return
        measurement = measured(run, key, row.get("value"), step=row.get("step"), at=row.get("timestamp"), faults=faults)
        if measurement is not None:
            if (run.run_id, key) != self._series:
                self._series, self._counts = (run.run_id, key), StepCounts()
            self._builder.metrics.append(measurement._replace(repeat_index=self._counts.take(measurement.step)))
