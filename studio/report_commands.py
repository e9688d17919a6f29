"""Commands that write reports and say where things are."""

from __future__ import annotations

import datetime as dt
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from studio.explore_command import ExpertOption
from studio.options import JsonOption, open_installation

if TYPE_CHECKING:
    from pipelines.experiments.links import DeepLink
    from pipelines.experiments.reports.blocks import Report

ReportForm = Literal["html", "markdown", "pdf"]
FormOption = Annotated[list[str] | None, typer.Option("--format", help="html (default), markdown or pdf; repeatable.")]
OutOption = Annotated[
    Path | None,
    typer.Option(
        "--output", "-o", help="File to write (one format), or - for standard output; else a name in reports/."
    ),
]

report_app = typer.Typer(
    no_args_is_help=True,
    help="One file that says what happened and why: HTML that needs nothing else, Markdown, or PDF.",
)
link_app = typer.Typer(
    no_args_is_help=True, help="Where a thing is: its page in the Dagster UI, its command, its query."
)


def register(app: typer.Typer) -> None:
    """Add the commands of this module."""
    app.add_typer(report_app, name="report")
    app.add_typer(link_app, name="link")


@report_app.command("runs")
def report_runs(
    words: Annotated[list[str], typer.Argument(metavar="RUN", help="Beginnings of run ids, the baseline first.")],
    form: FormOption = None,
    out: OutOption = None,
    expert: ExpertOption = False,
) -> None:
    """Write a comparison of 1 to 20 runs; of two also gates, latency, and the outputs that differ side by side.

    Example:  benchlake report runs 81bc 3fa2 --format html --format pdf
    """
    from pipelines.experiments.reports.contents import comparison_report
    from pipelines.runs.remarks import find_run

    installation = open_installation()
    lake = installation.lake
    ids = [str(find_run(lake, word)["run_id"]) for word in words]
    report = comparison_report(
        lake,
        installation.policy,
        ids,
        now=dt.datetime.now(dt.UTC),
        version=_version(),
        commands=[f"benchlake explore {' '.join(ids)} --expert"],
    )
    _write(report, "runs-" + "-".join(run_id[:8] for run_id in ids[:4]), form, out, expert=expert)


@report_app.command("night")
def report_night(
    date: Annotated[
        dt.datetime | None, typer.Option("--date", formats=["%Y-%m-%d"], help="UTC run date; newest when absent.")
    ] = None,
    form: FormOption = None,
    out: OutOption = None,
    expert: ExpertOption = False,
) -> None:
    """Write what happened on a run date: verdicts, outputs, tokens, time, trends, scenarios and decisions.

    Example:  benchlake report night --format html --format markdown
    """
    from lake.errors import UserError
    from pipelines.evidence.listing import newest_run_date
    from pipelines.experiments.reports.contents import night_report

    installation = open_installation()
    lake = installation.lake
    day = date.date() if date else newest_run_date(lake)
    if day is None:
        raise UserError("No runs yet. Make some:  benchlake nightly   or   benchlake import PATH")
    if lake.read("silver.runs", columns=["run_id"], where={"run_date": day}).is_empty():
        raise UserError(f"There are no runs of {day}, so nothing to report. Of which dates there are:  benchlake runs")
    report = night_report(
        lake,
        installation.policy,
        day,
        now=dt.datetime.now(dt.UTC),
        version=_version(),
        commands=[f"benchlake report night --date {day}", f"benchlake gate --date {day}"],
    )
    _write(report, f"night-{day}", form, out, expert=expert)


@report_app.command("series")
def report_series(
    word: Annotated[str, typer.Argument(metavar="SERIES", help="Beginning of the series' id (benchlake trends).")],
    form: FormOption = None,
    out: OutOption = None,
) -> None:
    """Write the course of one metric with its picture and the changes found in it.

    Example:  benchlake report series 5c0e --format pdf
    """
    from pipelines.experiments.reports.contents import trend_report

    lake = open_installation().lake
    report = trend_report(
        lake, word, now=dt.datetime.now(dt.UTC), version=_version(), commands=[f"benchlake report series {word}"]
    )
    _write(report, f"series-{word[:8]}", form, out, expert=False)


@report_app.command("optimization")
def report_optimization(
    word: Annotated[str, typer.Argument(metavar="RUN", help="Beginning of the optimisation run's id.")],
    form: FormOption = None,
    out: OutOption = None,
) -> None:
    """Write an optimisation run: what the test set says, every trial with its interval, and what it cost.

    Example:  benchlake report optimization 9a3f --format html
    """
    from pipelines.experiments.reports.contents import optimization_report
    from pipelines.optimization.steps import read_run

    lake = open_installation().lake
    report = optimization_report(
        lake, word, now=dt.datetime.now(dt.UTC), version=_version(), commands=[f"benchlake dspy show {word}"]
    )
    # By id, so that the report of a later run named `latest` takes no other's place.
    _write(report, f"optimization-{read_run(lake, word)['optimization_run_id'][:8]}", form, out, expert=False)


def _write(report: Report, stem: str, forms: list[str] | None, out: Path | None, *, expert: bool) -> None:
    from lake.errors import UserError
    from pipelines.experiments.reports.files import render, write_report

    wanted = [_form(word) for word in forms or ["html"]]
    view: Literal["summary", "expert"] = "expert" if expert else "summary"
    if out is None:
        for path in write_report(report, Path("reports"), stem=stem, forms=wanted, view=view):
            sys.stdout.write(f"{path}\n")
        return
    if len(wanted) > 1:
        raise UserError("--output names one file: give one --format, or leave --output away.")
    content = render(report, wanted[0], view=view)
    if str(out) == "-":
        sys.stdout.buffer.write(content)
        return
    out.parent.mkdir(parents=True, exist_ok=True)
    out.write_bytes(content)
    sys.stdout.write(f"{out}\n")


def _form(word: str) -> ReportForm:
    """The form that a word names; Typer cannot check the members of a list."""
    from lake.errors import UserError

    known: dict[str, ReportForm] = {"html": "html", "markdown": "markdown", "pdf": "pdf"}
    if word not in known:
        raise UserError.unknown("format", word, known)
    return known[word]


def _version() -> str:
    from resources.night_reports import own_version

    return own_version()


@link_app.command("run")
def link_run_command(
    word: Annotated[str, typer.Argument(metavar="RUN", help="Beginning of the run's id.")], as_json: JsonOption = False
) -> None:
    """Say where a run is.

    Example:  benchlake link run 3fa2 --json
    """
    from pipelines.experiments.links import link_run
    from pipelines.runs.remarks import find_run

    run = find_run(open_installation().lake, word)
    _say_link(link_run(run["run_id"], run["run_date"]), as_json=as_json)


@link_app.command("pair")
def link_pair_command(
    baseline: Annotated[str, typer.Argument(metavar="BASELINE", help="Beginning of a run's id.")],
    candidate: Annotated[str, typer.Argument(metavar="CANDIDATE", help="Beginning of the id of the run beside it.")],
    as_json: JsonOption = False,
) -> None:
    """Say where two runs stand beside each other.

    Example:  benchlake link pair 81bc 3fa2
    """
    from pipelines.experiments.links import link_pair
    from pipelines.runs.remarks import find_run

    lake = open_installation().lake
    run, other = find_run(lake, candidate), find_run(lake, baseline)
    _say_link(link_pair(run["run_id"], other["run_id"], run["run_date"]), as_json=as_json)


@link_app.command("sample")
def link_sample_command(
    word: Annotated[str, typer.Argument(metavar="RUN", help="Beginning of the run's id.")],
    sample: Annotated[str, typer.Argument(metavar="SAMPLE", help="Id of the sample.")],
    as_json: JsonOption = False,
) -> None:
    """Say where one sample of a run is.

    Example:  benchlake link sample 3fa2 fact-japan
    """
    from lake.errors import UserError
    from pipelines.experiments.links import link_sample
    from pipelines.runs.remarks import find_run

    lake = open_installation().lake
    run = find_run(lake, word)
    where = {"run_date": run["run_date"], "run_id": run["run_id"]}
    known = lake.read("silver.outputs", columns=["sample_id"], where=where)["sample_id"].unique().sort().to_list()
    if sample not in known:
        raise UserError.unknown(f"sample of run {run['run_id'][:8]}", sample, known)
    _say_link(link_sample(run["run_id"], sample, run["run_date"]), as_json=as_json)


@link_app.command("series")
def link_series_command(
    word: Annotated[str, typer.Argument(metavar="SERIES", help="Beginning of the series' id.")],
    as_json: JsonOption = False,
) -> None:
    """Say where the course of a metric is.

    Example:  benchlake link series 5c0e
    """
    from pipelines.experiments.links import link_series
    from pipelines.trends.listing import find_series

    _say_link(link_series(find_series(open_installation().lake, word)), as_json=as_json)


@link_app.command("decision")
def link_decision_command(
    word: Annotated[str, typer.Argument(metavar="ID", help="Beginning of the decision's id.")],
    as_json: JsonOption = False,
) -> None:
    """Say where a decision is.

    Example:  benchlake link decision 7c1e
    """
    from pipelines.experiments.decisions import find_decision
    from pipelines.experiments.links import link_decision

    _say_link(link_decision(find_decision(open_installation().lake, word)["decision_id"]), as_json=as_json)


@link_app.command("scenario")
def link_scenario_command(
    name: Annotated[str, typer.Argument(metavar="NAME", help="Name of the scenario.")], as_json: JsonOption = False
) -> None:
    """Say where a scenario is.

    Example:  benchlake link scenario 'embedded backends'
    """
    from pipelines.experiments.links import link_scenario
    from pipelines.experiments.scenarios import find_scenario

    _say_link(link_scenario(find_scenario(open_installation().lake, name)["scenario_id"]), as_json=as_json)


def _say_link(link: DeepLink, *, as_json: bool) -> None:
    import json
    from dataclasses import asdict

    from studio.rendering import printable

    if as_json:
        sys.stdout.write(json.dumps(asdict(link)) + "\n")
        return
    for name, value in (("page", link.page), ("command", link.command), ("sql", link.sql)):
        sys.stdout.write(f"{name:<8} {printable(value)}\n")
