"""Commands that take rows out of the lake, as files with a manifest."""

from __future__ import annotations

import datetime as dt
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from studio.options import JsonOption, open_installation

if TYPE_CHECKING:
    from resources.installation import Installation

ExportFormat = Literal["json", "csv", "parquet", "every-eval-ever"]


def register(app: typer.Typer) -> None:
    """Add the commands of this module."""
    app.command()(export)


def export(
    folder: Annotated[Path, typer.Argument(metavar="FOLDER", help="A new or empty folder for the files.")],
    what: Annotated[
        list[str],
        typer.Argument(
            metavar="WHAT",
            help="runs, outputs, evidence, notes, scenarios, decisions, databits, examples, optimization, or project.",
        ),
    ],
    words: Annotated[
        list[str] | None,
        typer.Option("--run", help="Only these runs: the beginning of an id, or a filter as KEY=GLOB; repeatable."),
    ] = None,
    form: Annotated[
        ExportFormat, typer.Option("--format", help="json (lines), csv, parquet, or every-eval-ever (0.3.0).")
    ] = "parquet",
    pin: Annotated[
        str | None, typer.Option("--pin", help="Keep the table versions under this name, to export the same again.")
    ] = None,
    organization: Annotated[str, typer.Option(help="Who publishes it; every-eval-ever asks for it.")] = "unknown",
    as_json: JsonOption = False,
) -> None:
    """Write chosen tables into a folder: one file a table, and manifest.json with versions, counts and sha256.

    json and parquet can be read back, row for row:  benchlake import FOLDER. In csv no cell can become a formula.
    every-eval-ever writes runs with their scored outputs for other tools. Schemas:  benchlake schema silver.runs

    Example:  benchlake export out runs outputs --run tag='experiment-*' --run since=7d --format json
    """
    from studio.progress import file_progress

    installation, now = open_installation(), dt.datetime.now(dt.UTC)
    with file_progress(enabled=not as_json) as progress:
        if form == "every-eval-ever":
            _exchange(installation, folder, what, words or [], organization=organization, now=now, as_json=as_json)
            return
        from pipelines.experiments.exports import export_tables, pin_export

        result = export_tables(
            installation.lake, folder, what=what, form=form, words=words or (), now=now, progress=progress
        )
    if pin:
        pin_export(installation.lake, result, name=pin, now=now)
    if as_json:
        sys.stdout.write((folder / "manifest.json").read_text("utf-8"))
        return
    for table in result.tables:
        sys.stdout.write(f"{table.name}: {table.row_count} rows, {table.size_bytes} bytes\n")
    if not result.row_count:
        sys.stdout.write("These tables have no rows yet. Make some:  benchlake nightly   or   benchlake import PATH\n")
        return
    back = "" if form == "csv" else f" Read it back anywhere:  benchlake import {folder}"
    sys.stdout.write(f"{result.row_count} rows in {len(result.tables)} files.{back}\n")


def _exchange(
    installation: Installation,
    folder: Path,
    what: list[str],
    words: list[str],
    *,
    organization: str,
    now: dt.datetime,
    as_json: bool,
) -> None:
    import json
    from dataclasses import asdict

    from lake.errors import UserError
    from pipelines.experiments.every_eval_ever import export_runs
    from resources.night_reports import own_version

    if set(what) - {"runs", "outputs", "project"}:
        raise UserError("every-eval-ever holds runs with their outputs: benchlake export FOLDER runs --format ...")
    if folder.exists() and any(folder.iterdir()):
        raise UserError(f"{folder} is not empty. Name a new folder, so that no older file is taken for part of it.")
    chosen = words or ["status=*"]
    result = export_runs(
        installation.lake, folder, chosen, organization=organization, library_version=own_version(), now=now
    )
    if as_json:
        sys.stdout.write(json.dumps(asdict(result)) + "\n")
        return
    left = f" {result.unscored_run_count} runs have no score and stayed behind." if result.unscored_run_count else ""
    sys.stdout.write(f"{result.run_count} runs, {result.sample_row_count} scored samples in {folder}.{left}\n")


def import_exports(folders: list[Path], *, others: int, as_json: bool) -> int:
    """Read exports back and say what came of it; the exit code. They are not mixed with files of other tools."""
    import json

    from lake.errors import UserError
    from pipelines.experiments.export_imports import import_export
    from studio.options import say

    if others:
        raise UserError("Import exports of Benchlake alone, then the files of other tools with another command.")
    lake = open_installation().lake
    results = [import_export(lake, folder) for folder in folders]
    for message in (message for result in results for message in result.messages):
        say(message)
    files, written, rejects = (
        sum(getattr(result, name) for result in results) for name in ("file_count", "written_count", "reject_count")
    )
    runs, samples = (
        sum(result.rows.get(table, 0) for result in results) for table in ("silver.runs", "silver.outputs")
    )
    total = sum(sum(result.rows.values()) for result in results)
    if as_json:
        counts = {"files": files, "runs": runs, "samples": samples, "rejects": rejects, "rows": total}
        sys.stdout.write(json.dumps(counts) + "\n")
    else:
        sys.stdout.write(f"{files} files of an export: {total} rows, {written} new or changed, {rejects} rejects.\n")
    return 3 if rejects and not files else 0
