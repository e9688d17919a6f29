"""The command that lays runs side by side."""

from __future__ import annotations

import datetime as dt
import sys
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from studio.options import JsonOption, open_installation, say

if TYPE_CHECKING:
    from pipelines.experiments.run_diff import RunDiff

ComparisonFormat = Literal["table", "markdown", "json"]
ComparisonFormatOption = Annotated[
    ComparisonFormat, typer.Option("--format", help="table for people, markdown to paste, json for programs.")
]
ExpertOption = Annotated[
    bool, typer.Option("--expert", help="Everything: settings and metrics that agree too, with intervals.")
]


def register(app: typer.Typer) -> None:
    """Add the commands of this module."""
    app.command()(explore)


def explore(
    words: Annotated[
        list[str],
        typer.Argument(metavar="RUN", help="Beginnings of run ids, the baseline first; or filters as KEY=GLOB."),
    ],
    metric: Annotated[list[str] | None, typer.Option(help="Metrics to show, as globs; all when absent.")] = None,
    slices: Annotated[list[str] | None, typer.Option("--slice", help="Tag of samples to look at apart.")] = None,
    axis: Annotated[
        Literal["step", "time", "tokens"], typer.Option(help="What the curves of logged metrics run over.")
    ] = "step",
    expert: ExpertOption = False,
    form: ComparisonFormatOption = "table",
    as_json: JsonOption = False,
) -> None:
    """Lay 1 to 20 runs side by side: settings that differ, metrics better or worse, curves, outputs, verdicts.

    The first run named is the baseline. Filters mean the newest runs they admit, at most 20, oldest first. What
    exactly differs between two outputs:  benchlake diff BASELINE CANDIDATE; whether it may ship:  benchlake compare

    Example:  benchlake explore 3fa2 81bc 9d01 --metric 'loss*' --axis time
    Example:  benchlake explore tag='experiment-*' since=7d --format markdown
    """
    from pipelines.experiments.reading import read_run_rows
    from pipelines.experiments.run_diff import MAX_RUNS, diff_runs
    from pipelines.runs.remarks import find_run, find_runs

    lake = open_installation().lake
    ids = [word for word in words if "=" not in word]
    filters = [word for word in words if "=" in word]
    chosen = [str(find_run(lake, word)["run_id"]) for word in ids]
    if filters:
        found = find_runs(lake, filters, now=dt.datetime.now(dt.UTC)).sort("started_at", "run_id")
        chosen.extend(run_id for run_id in found["run_id"].tail(MAX_RUNS - len(chosen)) if run_id not in chosen)
    rows = read_run_rows(lake, chosen)
    diff = diff_runs(rows, metrics=metric or (), slices=slices or (), axis=axis)
    if metric and not diff.metrics and not diff.curves:
        known = sorted({found.metric for found in diff_runs(rows, axis=axis).metrics})
        say(f"No metric of these runs is called {' or '.join(metric)}. There are: {', '.join(known) or 'none'}.")
    show_comparison(diff, "json" if as_json else form, expert=expert)


def show_comparison(diff: RunDiff, form: ComparisonFormat, *, expert: bool) -> None:
    """Write a comparison to standard output in the form that was asked for."""
    from pipelines.experiments.run_diff_texts import (
        as_markdown,
        headline,
        metric_frame,
        output_frame,
        setting_frame,
    )
    from studio.rendering import print_table, printable

    view: Literal["summary", "expert"] = "expert" if expert else "summary"
    if form == "json":
        sys.stdout.write(diff.as_json().decode() + "\n")
        return
    if form == "markdown":
        sys.stdout.write(as_markdown(diff, view=view))
        return
    sys.stdout.write(printable(headline(diff)) + "\n\n")
    metrics, settings = metric_frame(diff, view=view), setting_frame(diff, view=view)
    if metrics.height:
        print_table(metrics, title="Metrics")
    if settings.height:
        print_table(settings, title="Settings")
    print_table(output_frame(diff), title="Outputs")
    if not expert:
        sys.stdout.write("Everything, with intervals:  --expert. Keep this comparison:  benchlake scenarios --help\n")
