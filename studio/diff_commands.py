"""The command that lays the outputs of two runs beside each other."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from studio.options import JsonOption, open_installation

if TYPE_CHECKING:
    import polars as pl

    from pipelines.evidence.run_diffs import RunDifferences

EXIT_INCOMPARABLE = 2
SHOWN_PAIRS = 20


def register(app: typer.Typer) -> None:
    """Add the commands of this module."""
    app.command()(diff)


def diff(
    baseline: Annotated[str, typer.Argument(metavar="BASELINE", help="Beginning of a run id.")],
    candidate: Annotated[str, typer.Argument(metavar="CANDIDATE", help="Beginning of the id of the run beside it.")],
    kinds: Annotated[
        list[str] | None,
        typer.Option("--kind", help="content, empty, error, wording, formatting or identical; repeatable."),
    ] = None,
    show_all: Annotated[bool, typer.Option("--all", help="Identical outputs too.")] = False,
    sample: Annotated[str | None, typer.Option("--sample", help="This sample alone, in full.")] = None,
    flips: Annotated[
        bool, typer.Option("--flips", help="Only pairs of which one side alone is right by some scorer.")
    ] = False,
    against_reference: Annotated[
        bool, typer.Option("--reference", help="Each side against the reference instead of the other.")
    ] = False,
    limit: Annotated[
        int | None, typer.Option(min=1, help="Pairs to show; 20 when absent, all with --format json.")
    ] = None,
    form: Annotated[
        Literal["table", "markdown", "json"],
        typer.Option("--format", help="table for a terminal, markdown to paste, json for programs."),
    ] = "table",
    as_json: JsonOption = False,
) -> None:
    """Lay the outputs of two runs side by side, the most telling differences first.

    Only outputs that differ are shown: content before wording before formatting, and lost or gained answers first
    (docs/diffs.md). The two runs need no policy that pairs them. Exits with 2 when they did not do the same task.

    Example:  benchlake diff 3fa2 8c1f --kind content
    """
    from pipelines.evidence.run_diffs import diff_runs
    from pipelines.runs.remarks import find_run
    from studio import diff_rendering

    lake = open_installation().lake
    found = diff_runs(lake, baseline=find_run(lake, baseline), candidate=find_run(lake, candidate), sample_id=sample)
    wanted = _wanted(found, kinds=kinds, show_all=show_all or sample is not None, flips=flips)
    form = "json" if as_json else form
    shown = wanted.head(limit or (wanted.height if form == "json" or sample else SHOWN_PAIRS))
    left_out = wanted.height - shown.height
    against: Literal["reference", "baseline"] = "reference" if against_reference else "baseline"
    if form == "json":
        sys.stdout.write(diff_rendering.as_json(found, shown) + "\n")
    elif form == "markdown":
        sys.stdout.write(diff_rendering.as_markdown(found, shown, left_out=left_out, against=against) + "\n")
    else:
        diff_rendering.print_differences(found, shown, left_out=left_out, against=against, is_whole=sample is not None)
    raise typer.Exit(EXIT_INCOMPARABLE if found.reasons else 0)


def _wanted(found: RunDifferences, *, kinds: list[str] | None, show_all: bool, flips: bool) -> pl.DataFrame:
    """The pairs that are asked for; a kind that is asked for by name is shown whatever else is said."""
    import polars as pl

    from lake.errors import UserError
    from pipelines.evidence.change_kinds import TELLING_ORDER

    for kind in kinds or ():
        if kind not in TELLING_ORDER:
            raise UserError.unknown("kind of change", kind, TELLING_ORDER)
    pairs = found.pairs
    if kinds:
        pairs = pairs.filter(pl.col("change_kind").is_in(kinds))
    elif not show_all and not flips:
        pairs = pairs.filter(pl.col("change_kind") != "identical")
    return pairs.filter(pl.col("flips").is_not_null()) if flips else pairs
