"""Commands of trends: is it getting better or worse, since when, and what was said about it."""

from __future__ import annotations

import datetime as dt
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from studio.options import AuthorOption, FormatOption, JsonOption, open_installation, read_act, say

if TYPE_CHECKING:
    from lake.store import Lake

trends_app = typer.Typer(invoke_without_command=True)

# A screen or two; what is left out is told.
SHOWN_ROWS = 30

OneSeries = Annotated[str, typer.Argument(metavar="SERIES", help="Beginning of the id of a series, or of a change.")]
SuiteOption = Annotated[str | None, typer.Option("--suite", help="Only this suite; a glob.")]
BackendOption = Annotated[str | None, typer.Option("--backend", help="Only this backend; a glob.")]
ModelOption = Annotated[str | None, typer.Option("--model", help="Only this model; a glob.")]
BranchOption = Annotated[str | None, typer.Option("--branch", help="Only this branch; a glob.")]
MetricOption = Annotated[str | None, typer.Option("--metric", help="Only this metric; a glob.")]
SamplesOption = Annotated[
    bool, typer.Option("--samples/--no-samples", help="With or without the made-up sample history.")
]
LimitOption = Annotated[
    int | None, typer.Option(min=1, help=f"So many rows; {SHOWN_ROWS} in a table, all in json and csv when absent.")
]
EXIT_REGRESSION = 1


def register(app: typer.Typer) -> None:
    """Add the commands of trends to the command line."""
    app.add_typer(trends_app, name="trends")


@trends_app.callback()
def trends(
    context: typer.Context,
    since: Annotated[
        str | None, typer.Option("--since", help="Changes since then: 30d, 12h, or an ISO 8601 date or instant.")
    ] = None,
    until: Annotated[str | None, typer.Option("--until", help="Changes before then.")] = None,
    regressions: Annotated[bool, typer.Option("--regressions", help="Only changes for the worse.")] = False,
    states: Annotated[
        list[str] | None,
        typer.Option("--state", help="Only suspected, confirmed, recovered or acknowledged ones; may be repeated."),
    ] = None,
    suite: SuiteOption = None,
    backend: BackendOption = None,
    model: ModelOption = None,
    branch: BranchOption = None,
    metric: MetricOption = None,
    samples: SamplesOption = True,
    limit: LimitOption = None,
    use_states: Annotated[
        bool, typer.Option("--exit-code", help="Exit 1 when a confirmed regression is listed, for CI.")
    ] = False,
    form: FormatOption = "table",
    as_json: JsonOption = False,
) -> None:
    """Better or worse, and since which run and commit? Lists the changes of every series.

    New runs are looked at first. A change is suspected when first seen, confirmed when later runs bear it out,
    recovered when the series is back, acknowledged when somebody accepted it. docs/trends.md says how it is found.

    Example:  benchlake trends --since 30d --regressions
    """
    if context.invoked_subcommand is not None:
        return
    import polars as pl

    from lake.errors import UserError
    from lake.tables.trends import STATES
    from pipelines.runs.run_query import parse_instant
    from pipelines.trends.listing import ChangeQuery, list_changes, readable_changes
    from studio.rendering import emit, print_table

    for state in states or []:
        if state not in STATES:
            raise UserError.unknown("state", state, STATES)
    now = dt.datetime.now(dt.UTC)
    lake = _up_to_date(now)
    query = ChangeQuery(
        since=parse_instant(since, now=now) if since else None,
        until=parse_instant(until, now=now) if until else None,
        directions=["regression"] if regressions else [],
        states=list(states or []),
        suite=suite,
        backend=backend,
        model=model,
        branch=branch,
        metric=metric,
        is_sample=None if samples else False,
    )
    rows = list_changes(lake, query)
    if as_json or form != "table":
        emit(rows if limit is None else rows.head(limit), "json" if as_json else form)
    elif rows.is_empty():
        sys.stdout.write(_nothing(lake.row_count("gold.trend_series")))
    else:
        told = readable_changes(rows.head(limit or SHOWN_ROWS)).drop("q", "runs_since")
        # What lies between stands below the commits: an eighth column would not fit a narrow terminal.
        between = pl.when(pl.col("between") == "").then(pl.lit("")).otherwise(pl.lit("\n") + pl.col("between"))
        shown = told.with_columns(pl.col("commits") + between).drop("between")
        print_table(shown, title="Changes", verdict_column="state")
        sys.stdout.write(_more(rows.height - shown.height, "changes"))
        sys.stdout.write(
            "Look at one:  benchlake trends show CHANGE   Accept one:  benchlake trends acknowledge CHANGE\n"
        )
    is_failed = not rows.filter(direction="regression", state="confirmed").is_empty()
    raise typer.Exit(EXIT_REGRESSION if use_states and is_failed else 0)


def _up_to_date(now: dt.datetime) -> Lake:
    """The lake, with series and changes brought up to date with its runs."""
    from pipelines.trends.steps import update_changes, update_series

    installation = open_installation()
    update_series(installation.lake)
    ratio = installation.config.trends.minimum_change_ratio
    update_changes(installation.lake, now=now, minimum_change_ratio=ratio, history=installation.code_history)
    return installation.lake


def _nothing(point_count: int) -> str:
    if point_count == 0:
        return (
            "No series yet; the night makes them of all runs:  benchlake nightly   "
            "See a made-up history:  benchlake trends seed\n"
        )
    return (
        "No change that you ask for. A series needs eight runs first; see which there are:  benchlake trends series\n"
    )


@trends_app.command("series")
def trends_series(
    since: Annotated[
        str | None, typer.Option("--since", help="Count runs since then: 30d, 12h, or an ISO 8601 date or instant.")
    ] = None,
    until: Annotated[str | None, typer.Option("--until", help="Count runs before then.")] = None,
    suite: SuiteOption = None,
    backend: BackendOption = None,
    model: ModelOption = None,
    branch: BranchOption = None,
    metric: MetricOption = None,
    samples: SamplesOption = True,
    limit: LimitOption = None,
    form: FormatOption = "table",
    as_json: JsonOption = False,
) -> None:
    """List the series: what is followed over runs, how many runs it has, its newest value; the longest first.

    With --since and --until only the runs between count, by the order of the series, and series without any are left
    out.

    Example:  benchlake trends series --metric "latency*" --since 30d
    """
    from pipelines.runs.run_query import parse_instant
    from pipelines.trends.listing import SeriesQuery, list_series, readable_series
    from studio.rendering import emit, print_table

    now = dt.datetime.now(dt.UTC)
    query = SeriesQuery(
        since=parse_instant(since, now=now) if since else None,
        until=parse_instant(until, now=now) if until else None,
        suite=suite,
        backend=backend,
        model=model,
        branch=branch,
        metric=metric,
        is_sample=None if samples else False,
    )
    lake = _up_to_date(now)
    rows = list_series(lake, query)
    chosen = "json" if as_json else form
    if chosen != "table":
        emit(rows if limit is None else rows.head(limit), chosen)
    elif rows.is_empty():
        sys.stdout.write(_no_series(lake.row_count("gold.trend_series")))
    else:
        shown = readable_series(rows.head(limit or SHOWN_ROWS))
        print_table(shown, title=f"{shown.height} of {rows.height} series")
        sys.stdout.write(_more(rows.height - shown.height, "series"))
        sys.stdout.write("Look at one:  benchlake trends show SERIES\n")


def _no_series(point_count: int) -> str:
    if point_count == 0:
        return _nothing(0)
    return "No series that you ask for. See all of them:  benchlake trends series\n"


def _more(count: int, what: str) -> str:
    """How many rows a table leaves out and how to see them; nothing when it leaves out none."""
    if count <= 0:
        return ""
    return (
        f"{count} more {what}. Narrow them by --suite, --backend, --model, --branch, --metric, --since or --until; "
        "see more by --limit 100, all by --json.\n"
    )


@trends_app.command("show")
def trends_show(
    series: OneSeries,
    svg: Annotated[Path | None, typer.Option("--svg", help="Write the picture of the series to this file.")] = None,
    form: FormatOption = "table",
    as_json: JsonOption = False,
) -> None:
    """Show the runs of one series in order, and draw it: levels, noise band, changes with their commits.

    Below the table stand its changes, with the pull requests that were merged between the two levels.

    Example:  benchlake trends show 3fa2 --svg latency.svg
    """
    from pipelines.trends.listing import changes_of, find_series, read_series
    from pipelines.trends.pictures import draw_series
    from studio.rendering import emit
    from studio.trend_rendering import change_text

    lake = _up_to_date(dt.datetime.now(dt.UTC))
    series_id = find_series(lake, series)
    if svg is not None:
        svg.write_text(draw_series(lake, series_id), encoding="utf-8")
        say(f"Drawn to {svg}.")
    rows = read_series(lake, series_id)
    chosen = "json" if as_json else form
    shown = ["ordered_at", "value", "unit", "sample_count", "commit", "pull_request", "run_id"]
    emit(rows.select(shown) if chosen == "table" else rows, chosen)
    if chosen == "table":
        for change in changes_of(lake, series_id).iter_rows(named=True):
            sys.stdout.write(change_text(change))


@trends_app.command("acknowledge")
def trends_acknowledge(
    change: Annotated[str, typer.Argument(metavar="CHANGE", help="Beginning of the id of a change.")],
    reason: Annotated[str, typer.Option("--reason", help="Why it is accepted, for whoever reads the history.")],
    author: AuthorOption = None,
    withdraw: Annotated[bool, typer.Option("--withdraw", help="Take an acknowledgement back.")] = False,
) -> None:
    """Accept a change, so that it no longer fails or warns; the act stays in silver.trend_acknowledgements.

    Example:  benchlake trends acknowledge 3fa2 --reason "the new tokenizer is slower and worth it"
    """
    from pipelines.trends.steps import acknowledge
    from studio.rendering import printable

    act = read_act(author, reason)
    installation = open_installation()
    row = acknowledge(
        installation.lake,
        change,
        author=act.author,
        reason=reason,
        now=act.at,
        is_withdrawn=withdraw,
        minimum_change_ratio=installation.config.trends.minimum_change_ratio,
        history=installation.code_history,
    )
    words = [row["suite"], row["backend"], row["metric"], row["variant"]]
    sys.stdout.write(f"{row['change_id'][:8]} {printable(' '.join(filter(None, words)))}: now {row['state']}.\n")


@trends_app.command("seed")
def trends_seed(
    run_count: Annotated[
        int, typer.Option("--runs", min=0, help="Ask the night's suite so often, the second half on one thread.")
    ] = 0,
    backend: Annotated[str, typer.Option("--backend", help="Embedded backend that is asked.")] = "llama.cpp",
    remove: Annotated[bool, typer.Option("--remove", help="Take the made-up history away again.")] = False,
) -> None:
    """Make a history to look at: a made-up one at once, or a real one by asking the suite again and again.

    The made-up one is 120 nights of six metrics in which a commit gets slower, a release loses score until it is fixed,
    and an engine upgrade makes everything faster; every row is marked as a sample. With --runs nothing is made up: the
    runs land as any others do, tagged seeded-history.

    Example:  benchlake trends seed
    Example:  benchlake trends seed --runs 12
    """
    from pipelines.trends.sample_history import remove_sample_history, seed_sample_history

    now = dt.datetime.now(dt.UTC)
    lake = open_installation().lake
    if remove:
        sys.stdout.write(f"{remove_sample_history(lake)} rows of the sample history taken away.\n")
    elif run_count:
        _ask_again(backend, run_count, now)
    else:
        written = seed_sample_history(lake, now=now)
        sys.stdout.write(f"{written} rows of the sample history written.\n" if written else "It is there already.\n")
    _up_to_date(dt.datetime.now(dt.UTC))
    sys.stdout.write("Look:  benchlake trends\n")


def _ask_again(backend: str, run_count: int, now: dt.datetime) -> None:
    from pipelines.runs.steps import import_paths
    from resources.seeded_history import run_seeded_history

    installation = open_installation()
    results = run_seeded_history(installation, backend=backend, run_count=run_count, now=now, on_message=say)
    imported = import_paths(installation.lake, [result.path for result in results], now=dt.datetime.now(dt.UTC))
    sys.stdout.write(f"{len(results)} runs asked, {imported.samples} samples imported.\n")


@trends_app.command("detect")
def trends_detect(
    files: Annotated[list[Path], typer.Argument(metavar="FILE.csv", help="CSV files, one series each.")],
    column: Annotated[
        str | None,
        typer.Option("--value", help="Header of the column with the numbers, or its place from 0; told when absent."),
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Find where series in CSV files change, with the detector and the defaults that judge your runs.

    Rows are observations in order. Cells without a number are missing. An index counts rows from 0, without the header;
    it is the first observation of the new level. q is p after false-discovery control over the files together.

    Example:  benchlake trends detect latency.csv --value p95 --json
    """
    from lake.errors import UserError
    from pipelines.trends.csv_series import read_series
    from studio.trend_rendering import print_detections

    series, problems = [], []
    for file in files:
        try:
            series.append((file, read_series(file, column=column)))
        except UserError as error:
            problems.append(str(error))
    for problem in problems:
        say(problem)
    print_detections([file for file, _ in series], [values for _, values in series], as_json=as_json)
    raise typer.Exit(3 if problems else 0)
