"""Commands about batches: run suites on backends as one matrix, list, show, resume, cancel."""

from __future__ import annotations

import datetime as dt
import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from studio.options import AuthorOption, FormatOption, JsonOption, open_installation, say

if TYPE_CHECKING:
    import polars as pl

    from resources.batch_lanes import BatchResult, OnCell
    from resources.batches import BatchContext
    from resources.installation import Installation

# Evidence is missing, which is neither good nor a failed gate.
EXIT_UNFINISHED = 2

JobsOption = Annotated[
    int,
    typer.Option(
        "--jobs",
        "-j",
        min=1,
        help="Backends asked side by side; embedded ones share the processor, so they always take turns.",
    ),
]
OneBatch = Annotated[str, typer.Argument(metavar="BATCH", help="Name of a batch, or the beginning of its id.")]

batch_app = typer.Typer(
    no_args_is_help=True, help="Ask suites by backends as one batch that can be resumed (silver.batch_runs)."
)


def register(app: typer.Typer) -> None:
    """Add the commands of this module."""
    app.add_typer(batch_app, name="batch")


@batch_app.command()
def run(
    suites: Annotated[
        list[str] | None,
        typer.Option(
            "--suite", "-s", help="A file, NAME, NAME@VERSION or digest; repeatable. The night's when absent."
        ),
    ] = None,
    backends: Annotated[
        list[str] | None,
        typer.Option("--backend", "-b", help="A configured backend; repeatable. The night's when absent."),
    ] = None,
    repeats: Annotated[int, typer.Option(min=1, help="How often each sample is asked.")] = 1,
    tags: Annotated[list[str] | None, typer.Option("--tag", help="Label of the batch's runs; repeatable.")] = None,
    name: Annotated[
        str | None, typer.Option(help="Continues the batch of this name if there is one; made up when absent.")
    ] = None,
    jobs: JobsOption = 1,
    author: AuthorOption = None,
    as_json: JsonOption = False,
) -> None:
    """Ask every suite on every backend, import what comes back, and show scores and latencies.

    Ctrl-C, a kill or a crash loses at most the samples under way: the same command with the same --name, or `batch
    resume`, asks only what is missing. Exits 2 when a cell did not finish.

    Example:  benchlake batch run --suite starter --suite support@2 --backend llama.cpp --repeats 3 --name release-1.4
    """
    from resources.batches import BatchRequest, launch_batch
    from studio.progress import cell_progress

    installation = open_installation()
    request = BatchRequest(
        suites=tuple(suites or ()),
        backends=tuple(backends or ()),
        repeats=repeats,
        tags=tuple(tags or ()),
        name=name,
        jobs=jobs,
    )
    with cell_progress() as on_cell:
        result = launch_batch(installation, request, _context(author, on_cell))
    _finish(installation, result, as_json=as_json)


@batch_app.command()
def resume(batch: OneBatch, jobs: JobsOption = 1, author: AuthorOption = None, as_json: JsonOption = False) -> None:
    """Ask what is missing of a batch: cells that wait, failed, were cut off or were cancelled.

    The suites are asked as they were launched, whatever became of their files. Exits 2 when a cell did not finish.

    Example:  benchlake batch resume release-1.4
    """
    from resources.batches import resume_batch
    from studio.progress import cell_progress

    installation = open_installation()
    with cell_progress() as on_cell:
        result = resume_batch(installation, batch, _context(author, on_cell), jobs=jobs)
    _finish(installation, result, as_json=as_json)


@batch_app.command("list")
def list_(
    form: FormatOption = "table",
    as_json: JsonOption = False,
    limit: Annotated[int, typer.Option(min=1, help="Newest batches to show.")] = 20,
) -> None:
    """List batches, newest first, with how far they are; suites, backends and tags with --format json.

    Example:  benchlake batch list --json
    """
    import polars as pl

    from pipelines.runs.batch_steps import list_batches
    from studio.rendering import emit

    installation = open_installation()
    rows = list_batches(installation.lake, limit=limit)
    if as_json or form != "table":
        emit(rows, "json" if as_json else form)
        return
    if rows.is_empty():
        sys.stdout.write("No batches yet. Launch one:  benchlake batch run --suite starter --backend llama.cpp\n")
        return
    emit(
        rows.select(
            "batch",
            "state",
            runs=pl.format("{} of {}", "finished_count", "cell_count"),
            outputs=pl.format("{} of {}", "answered_count", "expected_count"),
            failed="failed_count",
            launched=pl.format("{} by {}", pl.col("requested_at").dt.strftime("%Y-%m-%d %H:%M"), "requested_by"),
        ),
        "table",
    )
    _say_interrupted(installation, rows.filter(pl.col("state") == "running"))


@batch_app.command()
def show(batch: OneBatch, form: FormatOption = "table", as_json: JsonOption = False) -> None:
    """Show the cells of a batch: state, outputs, score, latency, and why one failed.

    Example:  benchlake batch show release-1.4
    """
    import polars as pl

    from pipelines.runs.batch_steps import find_batch, list_cells
    from studio.rendering import emit

    installation = open_installation()
    cells = list_cells(installation.lake, find_batch(installation.lake, batch))
    if as_json or form != "table":
        emit(cells, "json" if as_json else form)
        return
    _print_cells(cells)
    _say_interrupted(installation, cells.filter(pl.col("state") == "running").head(1))


@batch_app.command()
def cancel(batch: OneBatch) -> None:
    """Take back the cells of a batch that have not ended; what they have answered stays for a resume.

    A process that is asking the batch, on any machine that shares the lake, stops within seconds, behind the samples
    that are under way. Finished runs stay.

    Example:  benchlake batch cancel release-1.4
    """
    from pipelines.runs.batch_steps import cancel_batch, find_batch

    lake = open_installation().lake
    count = cancel_batch(lake, find_batch(lake, batch), now=dt.datetime.now(dt.UTC))
    sys.stdout.write(f"{count} runs cancelled.\n" if count else f"Nothing changed: {batch} has ended.\n")


def _finish(installation: Installation, result: BatchResult, *, as_json: bool) -> None:
    """Show what the batch came to, and exit by it."""
    from pipelines.runs.batch_steps import list_cells
    from studio.rendering import emit

    cells = list_cells(installation.lake, result.batch_id)
    if as_json:
        emit(cells, "json")
    else:
        _print_cells(cells)
        sys.stdout.write(f"Its runs:  benchlake runs --tag batch:{result.batch_id}\n")
        if result.unfinished:
            sys.stdout.write(
                f"{len(result.unfinished)} not finished. Ask what is missing:  benchlake batch resume {result.name}\n"
            )
    raise typer.Exit(EXIT_UNFINISHED if result.unfinished else 0)


def _print_cells(cells: pl.DataFrame) -> None:
    import polars as pl

    from studio.rendering import print_table, printable

    name = cells["batch"][0]
    print_table(
        cells.select(
            pl.format("{}\n{}", "suite", pl.col("suite_digest").str.head(8)).alias("suite"),
            "backend",
            "state",
            outputs=pl.format("{} of {}", "answered_count", "expected_count"),
            failed="failed_count",
            score="mean_score",
            latency_ms="median_latency_ms",
        ),
        title=f"Batch {printable(name)} (score: mean; latency: median)",
    )
    for cell in cells.filter(pl.col("error_message").is_not_null()).iter_rows(named=True):
        sys.stdout.write(printable(f"{cell['suite']} on {cell['backend']}: {cell['error_message']}") + "\n")


def _say_interrupted(installation: Installation, running: pl.DataFrame) -> None:
    """A row that says running may be left by a process that was killed; say so rather than let it look alive."""
    from resources.batches import is_asked_here

    for batch_id, name in running.select("batch_id", "batch").iter_rows():
        if not is_asked_here(installation, batch_id):
            say(
                f"Nobody on this machine is asking {name}. If no other machine does, it was killed; "
                f"continue it with: benchlake batch resume {name}"
            )


def _context(author: str | None, on_cell: OnCell | None) -> BatchContext:
    from resources.author import read_author
    from resources.batches import BatchContext

    return BatchContext(
        clock=lambda: dt.datetime.now(dt.UTC),
        author=author or read_author(Path.cwd(), os.environ),
        on_message=say,
        on_cell=on_cell,
    )
