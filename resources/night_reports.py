"""The report of a night as files in the state folder and a row that says where they are."""

from __future__ import annotations

import datetime as dt
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import TYPE_CHECKING

import polars as pl

from lake.identity import file_digest
from lake.tables import contract_of

if TYPE_CHECKING:
    from resources.installation import Installation

REPORTS = "gold.reports"


@dataclass(frozen=True, kw_only=True)
class WrittenReport:
    """Title, first sentence, and the files: HTML, Markdown, PDF."""

    title: str
    summary: str
    paths: tuple[Path, ...]


def write_night_report(installation: Installation, date: dt.date, *, now: dt.datetime) -> WrittenReport:
    """Write the report of a date in every form, over the one that may stand there, and record it."""
    from pipelines.experiments.reports.contents import night_report
    from pipelines.experiments.reports.files import write_report

    commands = [f"benchlake report night --date {date}", f"benchlake gate --date {date}"]
    report = night_report(
        installation.lake, installation.policy, date, now=now, version=own_version(), commands=commands
    )
    folder = installation.state.reports / date.isoformat()
    paths = write_report(report, folder, stem="night", forms=["html", "markdown", "pdf"])
    row = {
        "report_kind": "night",
        "subject_id": date.isoformat(),
        "run_date": date,
        "title": report.title,
        "summary": report.summary,
        "files": [
            {
                "name": path.relative_to(installation.state.home).as_posix(),
                "sha256": file_digest(path),
                "size_bytes": path.stat().st_size,
            }
            for path in paths
        ],
        "made_at": now,
    }
    installation.lake.upsert(REPORTS, pl.DataFrame([row], schema=contract_of(REPORTS).dtypes))
    return WrittenReport(title=report.title, summary=report.summary, paths=tuple(paths))


def own_version() -> str:
    """The version of Benchlake that is installed; unknown in a source tree that is not."""
    try:
        return version("benchlake")
    except PackageNotFoundError:
        return "unknown"
