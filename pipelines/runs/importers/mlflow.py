"""MLflow: runs of a tracking server's database or of a file store, read without MLflow (measured with 3.18).

Here is recognising and what order things are read in. A database is `mlflow_database.py`; of a file store,
`mlflow_folders.py` knows where things lie and `mlflow_files.py` reads them.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from pipelines.runs.importers.frames import BatchBuilder, ImportBatch
from pipelines.runs.importers.guides.mlflow import GUIDE
from pipelines.runs.importers.mlflow_database import is_tracking_database, read_database
from pipelines.runs.importers.mlflow_files import RunFolder, named_parts, read_small
from pipelines.runs.importers.mlflow_folders import META, claim_of, group_of, is_run_meta, kind_of_folder, parts_beside
from pipelines.runs.importers.mlflow_runs import KIND, traces_run
from pipelines.runs.importers.mlflow_tables import is_database
from pipelines.runs.importers.mlflow_trace_files import read_traces, started_at, trace_folders
from pipelines.runs.records import as_object

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from pipelines.runs.importers.guide import FormatGuide
    from pipelines.runs.importers.protocol import Claim, SourceGroup
    from pipelines.runs.sources import FileHead, Limits, SourceFile


class MlflowImporter:
    """Reads the runs of a database, one run's folder of a file store, or the traces there that belong to no run."""

    source_kind = KIND
    version = 1

    @property
    def guide(self) -> FormatGuide:
        """What the docs say about the format."""
        return GUIDE

    def detects(self, head: FileHead) -> bool:
        """A database with MLflow's tables, or the meta.yaml of a run."""
        return is_tracking_database(head.tables) or (head.record is None and is_run_meta(head.start))

    def claims(self, path: Path, /) -> Claim | None:
        """Parts of runs and traces by the folder they lie in, and what only lies there."""
        return claim_of(path)

    def group_key(self, file: SourceFile) -> str:
        """The folder of the run, or of traces and their day; a database is read by itself."""
        return group_of(file.path) if claim_of(file.path) == "part" else file.sha256

    def companions(self, path: Path, /) -> list[Path]:
        """All parts of the same run, and what it shares with others."""
        return parts_beside(path)

    def read(self, group: SourceGroup, *, limits: Limits) -> Iterator[ImportBatch]:
        """Batches in the order of the runs; a run's row comes after everything else of it."""
        (file,) = group.files
        if not file.parts and is_database(file):
            yield from read_database(group)
        elif file.parts and kind_of_folder(file.path) != "run":
            yield from _read_loose_traces(group, limits)
        else:
            yield from _read_run(group, limits)


def _read_run(group: SourceGroup, limits: Limits) -> Iterator[ImportBatch]:
    (file,) = group.files
    builder = BatchBuilder(file=file)
    folder = RunFolder(group=group, builder=builder, limits=limits)
    yield from folder.read_small()
    if folder.header or file.parts:
        run = folder.open_run()
        yield from folder.read_metrics(run)
        yield from read_traces(trace_folders(named_parts(file), below="../traces/"), run, builder, limits=limits)
        builder.runs.append(run.row)
    yield builder.flush()


def _read_loose_traces(group: SourceGroup, limits: Limits) -> Iterator[ImportBatch]:
    """Traces that no run was open for, as one run a day."""
    (bundle,) = group.files
    builder = BatchBuilder(file=bundle)
    parts = named_parts(bundle)
    folders = trace_folders(parts, below="")
    experiment = dict(parts).get(f"../{META}")
    described = read_small(META, experiment, builder, run_id=None, limits=limits).value if experiment else None
    times = [moment for found in folders.values() if (moment := started_at(found, limits=limits))]
    first = min(times, default=bundle.modified_at)
    run = traces_run(as_object(described), first.date(), first, group)
    yield from read_traces(folders, run, builder, limits=limits)
    builder.runs.append(run.row)
    yield builder.flush()
