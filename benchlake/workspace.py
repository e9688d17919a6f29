"""What a program does with a lake: log a run, import files, list and read what is there.

What belongs here: signatures and what is read from outside for them (folder, code version, clock). Everything else is
a call into `pipelines` or `lake`.
"""

from __future__ import annotations

import datetime as dt
import os
import uuid
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pipelines.runs.run_lines import CodeVersion, instant

if TYPE_CHECKING:
    import polars as pl

    from lake.predicates import Slice
    from lake.query import At
    from lake.store import Lake
    from pipelines.runs.imports import ImportResult
    from pipelines.runs.run_writer import RunWriter
    from resources.installation import Installation


class Workspace:
    """An open lake with its landing folder; safe to share between threads."""

    def __init__(self, installation: Installation) -> None:
        self._installation = installation

    def __repr__(self) -> str:
        return f"Workspace({str(self.folder)!r}, lake={self.lake.uri!r})"

    @property
    def folder(self) -> Path:
        """The project's folder, whose code the runs are said to be of."""
        return self._installation.folder

    @property
    def landing(self) -> Path:
        """The landing folder, in which runs are written."""
        return self._installation.landing

    @property
    def lake(self) -> Lake:
        """The tables themselves, for everything that is not offered here."""
        return self._installation.lake

    def start_run(  # noqa: PLR0913 - the fields of a run
        self,
        *,
        suite: str,
        backend: str,
        model: str,
        parameters: Mapping[str, Any] | None = None,
        tags: Sequence[str] = (),
        engine: str | None = None,
        engine_version: str | None = None,
        environment: Mapping[str, Any] | None = None,
        fingerprint: Mapping[str, Any] | None = None,
        code_version: CodeVersion | Mapping[str, Any] | None = None,
        expected_sample_count: int | None = None,
        run_id: str | None = None,
        resume: bool = False,
    ) -> RunWriter:
        """Begin a run; use it in a `with` block, whose end ends the run and brings it into the lake.

        `suite` is what is asked (a task, a prompt set), `backend` what answers, by the name that you compare by, and
        `model` the model behind it. `fingerprint` says what must agree before this run may be compared (see
        docs/formats/benchlake.md). `code_version` is read from git and the CI system's variables when absent;
        operating system and Python version are, when `environment` is.

        With a `run_id` of your own, a run that was killed goes on where it stopped: ask `run.has_output` for what is
        there. One that has ended goes on with `resume` only. A run goes on as what it began.

        Raises `UserError` that names the argument for what cannot be logged.
        """
        from pipelines.runs.run_writer import start_run

        code = self._code_version() if code_version is None else code_version
        header = {
            "type": "run",
            "schema_version": 1,
            "run_id": str(uuid.uuid4()) if run_id is None else run_id,
            "suite": suite,
            "backend": backend,
            "model": model,
            "engine": engine,
            "engine_version": engine_version,
            "started_at": instant(_now()),
            "parameters": parameters if parameters is not None else {},
            "environment": self._environment() if environment is None else environment,
            "fingerprint": fingerprint if fingerprint is not None else {},
            "code_version": asdict(code) if isinstance(code, CodeVersion) else code,
            "tags": sorted(set(tags)) if not isinstance(tags, str) else tags,
            "expected_sample_count": expected_sample_count,
        }
        return start_run(self.lake, self.landing, header, resume=resume, is_new_id=run_id is None, clock=_now)

    def import_files(self, *paths: str | Path, format: str | None = None) -> ImportResult:  # noqa: A002  # as on the command line
        """Import files and folders that your tools wrote; without paths, what is new in the landing folder.

        The format is recognised by content unless it is named. What cannot be read is in the result's `messages` and
        a row of bronze.rejects; everything beside it lands.
        """
        from pipelines.runs.steps import import_paths

        return import_paths(self.lake, paths or [self.landing], format=format, now=_now())

    def runs(self, *words: str, limit: int = 20) -> pl.DataFrame:
        """Runs, newest first, that meet all filters: `lake.runs("suite=support", "tag=experiment-*", "since=7d")`."""
        from pipelines.runs.listing import list_runs
        from pipelines.runs.run_query import parse_query

        return list_runs(self.lake, parse_query(words, now=_now()), limit=limit)

    def sql(self, query: str, *, at: At | None = None) -> pl.DataFrame:
        """One read-only SELECT over all tables, named layer.table; `at` reads them as they were."""
        return self.lake.sql(query, at=at)

    def read(
        self, table: str, *, columns: Sequence[str] | None = None, where: Slice | None = None, at: int | None = None
    ) -> pl.DataFrame:
        """Rows of a table or of a slice of it; `at` is a version."""
        return self.lake.read(table, columns=columns, where=where, at=at)

    def _code_version(self) -> CodeVersion:
        from resources.code_version import read_code_version

        return read_code_version(self.folder, os.environ)

    def _environment(self) -> dict[str, str]:
        from resources.backends.machine import read_environment

        return read_environment(())


def _now() -> dt.datetime:
    return dt.datetime.now(dt.UTC)
