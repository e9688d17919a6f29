"""Steps of the runs room: read from the lake or from files, call pure functions, write, say what was done.

Assets, the command line and the web interface all call these; none of them holds logic of its own.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

from pipelines.runs.bundles import bind_parts
from pipelines.runs.import_writer import MAX_LISTED, ImportWriter
from pipelines.runs.importers import IMPORTERS, importer_of
from pipelines.runs.imports import ImportResult, Mark, Refusal, find_candidates, identify_files, plan_import
from pipelines.runs.interpreter import tuned_interpreter
from pipelines.runs.sources import Limits, SourceFile

if TYPE_CHECKING:
    import datetime as dt
    from pathlib import Path

    from lake.store import Lake


class ImportProgress(NamedTuple):
    """How far an import is: files read to their end, files to read in all, records read so far."""

    done_files: int
    file_count: int
    record_count: int


Progress = Callable[[ImportProgress], None]


def import_paths(
    lake: Lake,
    paths: Iterable[str | Path],
    *,
    root: str | Path | None = None,
    format: str | None = None,  # noqa: A002  # the word that the command line and every caller use
    now: dt.datetime,
    progress: Progress | None = None,
    limits: Limits | None = None,
) -> ImportResult:
    """Bring files and folders of files into the lake; what is there already is not read again.

    `root` is the folder that no file may lie outside of, `format` names an importer instead of recognising it,
    `progress` is called after every few thousand records and after every file. A problem with a file is a reject and
    a message, never an error. Safe to kill and to run beside itself: the mark in bronze.run_files comes last, and
    everything before it is idempotent. Raises `UserError` for an unknown format.
    """
    limits = limits or Limits()
    source_kind = importer_of(format).source_kind if format is not None else None
    found = identify_files(find_candidates(paths, root=root), limits=limits)
    files = bind_parts(found, source_kind=source_kind)
    marks = _read_marks(lake, files)
    plan = plan_import(files, marks, source_kind=source_kind, limits=limits)
    teller = _Teller(progress, file_count=sum(group.file_count for group in plan.groups))
    read_before = frozenset(
        sha256 for sha256, known in marks.items() if any(mark.source_kind in IMPORTERS for mark in known)
    )
    with tuned_interpreter(), ImportWriter(lake, now=now, read_before=read_before) as writer:
        for group in plan.groups:
            writer.read(group, limits=limits, on_batch=teller.add_records)
            teller.add_files(group.file_count)
        return writer.finish(plan)


@dataclass
class _Teller:
    """Counts what was read and tells whoever wants to know."""

    progress: Progress | None
    file_count: int
    done_files: int = 0
    record_count: int = 0

    def add_records(self, count: int) -> None:
        """Records of a file that is being read."""
        self.record_count += count
        self._tell()

    def add_files(self, count: int) -> None:
        """Files that were read to their end."""
        self.done_files += count
        self._tell()

    def _tell(self) -> None:
        if self.progress is not None:
            self.progress(ImportProgress(self.done_files, self.file_count, self.record_count))


def _read_marks(lake: Lake, files: Sequence[SourceFile | Refusal]) -> dict[str, list[Mark]]:
    digests = sorted({file.sha256 for file in files if isinstance(file, SourceFile)})
    where = {"file_sha256": digests} if len(digests) <= MAX_LISTED else None
    marks: dict[str, list[Mark]] = {}
    if digests:
        columns = ("file_sha256", "source_kind", "importer_version")
        for sha256, kind, version in lake.read("bronze.run_files", columns=columns, where=where).iter_rows():
            marks.setdefault(sha256, []).append(Mark(kind, version))
    return marks
