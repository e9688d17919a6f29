"""Commands of the decision ledger: record, revise, find, ask promises again, take decisions along as Markdown."""

from __future__ import annotations

import datetime as dt
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from studio.options import AuthorOption, FormatOption, JsonOption, ReasonOption, open_installation, read_act

if TYPE_CHECKING:
    from lake.store import Lake

DecisionArgument = Annotated[str, typer.Argument(metavar="ID", help="Beginning of the decision's id.")]

decision_app = typer.Typer(
    no_args_is_help=True,
    help="What was decided, on which runs, and the KPI it promises to keep (silver.decisions).",
)


def register(app: typer.Typer) -> None:
    """Add the commands of this module."""
    app.add_typer(decision_app, name="decisions")


@decision_app.command("template")
def decision_template() -> None:
    """Print a decision file to start from; the one that Benchlake ships, with every field.

    Example:  benchlake decisions template > cache.yaml
    """
    from resources.shipped_experiments import DECISION_PATH

    sys.stdout.write(DECISION_PATH.read_text("utf-8"))


@decision_app.command("record")
def decision_record(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="Decision as YAML or JSON (decisions template).")],
    author: AuthorOption = None,
    reason: ReasonOption = None,
) -> None:
    """Write a decision into the ledger; its KPI is asked at once, and again whenever the data changes.

    Example:  benchlake decisions record cache.yaml
    """
    from pipelines.experiments.decisions import parse_entry, record_decision
    from resources.written_files import read_object

    lake, act = open_installation().lake, read_act(author, reason)
    row = record_decision(lake, parse_entry(read_object(file), source=str(file)), act=act)
    sys.stdout.write(f"{row['decision_id']}  {row['status']}: {_line(row['title'])}\n")
    _ask(lake, row["decision_id"], now=act.at)


@decision_app.command("revise")
def decision_revise(
    word: DecisionArgument,
    file: Annotated[
        Path | None, typer.Option("--file", help="File with the fields to change; fields not in it stay.")
    ] = None,
    status: Annotated[str | None, typer.Option(help="proposed, accepted, superseded or reverted.")] = None,
    superseded_by: Annotated[str | None, typer.Option("--by-decision", help="Decision that takes its place.")] = None,
    expected: Annotated[
        int | None, typer.Option("--expect-revision", min=1, help="Refuse if somebody revised it since this one.")
    ] = None,
    reason: ReasonOption = None,
    author: AuthorOption = None,
) -> None:
    """Write the next revision of a decision; the ones before stay and can be read.

    Example:  benchlake decisions revise 7c1e --status accepted --reason 'confirmed on three nights'
    """
    from lake.errors import UserError
    from pipelines.experiments.decisions import find_decision, parse_changes, revise_decision
    from resources.written_files import read_object

    lake, act = open_installation().lake, read_act(author, reason)
    changes: dict[str, Any] = parse_changes(read_object(file), source=str(file)) if file else {}
    if status:
        changes["status"] = status
    if superseded_by:
        changes |= {"superseded_by": find_decision(lake, superseded_by)["decision_id"], "status": "superseded"}
    if not changes:
        raise UserError("Nothing to change: give --file, --status or --by-decision.")
    row = revise_decision(lake, word, changes, act=act, expected_revision=expected)
    sys.stdout.write(
        f"{row['decision_id']}  revision {row['revision_index']}, {row['status']}: {_line(row['title'])}\n"
    )
    _ask(lake, row["decision_id"], now=act.at)


@decision_app.command("list")
def decision_list(
    tag: Annotated[list[str] | None, typer.Option(help="Has a tag like this.")] = None,
    run: Annotated[str | None, typer.Option(help="Rests on the run whose id begins so.")] = None,
    kpi: Annotated[str | None, typer.Option(help="Its KPI is called like this.")] = None,
    status: Annotated[str | None, typer.Option(help="proposed, accepted, superseded or reverted.")] = None,
    text: Annotated[str | None, typer.Option(help="Words in title, problem, decision or alternatives.")] = None,
    since: Annotated[str | None, typer.Option(help="Recorded at or after: 7d, 2w, or an ISO date.")] = None,
    until: Annotated[str | None, typer.Option(help="Recorded before: 7d, 2w, or an ISO date.")] = None,
    form: FormatOption = "table",
    as_json: JsonOption = False,
) -> None:
    """Show decisions, newest first, with their status and whether their promise holds.

    Example:  benchlake decisions list --tag compression --status accepted
    """
    import polars as pl

    from pipelines.experiments.decision_checks import newest_checks
    from pipelines.experiments.decisions import DECISIONS, filter_decisions, newest_revisions
    from pipelines.runs.run_query import parse_instant
    from studio.rendering import emit

    lake, now = open_installation().lake, dt.datetime.now(dt.UTC)
    rows = filter_decisions(
        newest_revisions(lake.read(DECISIONS)),
        tags=tag or (),
        run_id=run,
        kpi=kpi,
        status=status,
        text=text,
        since=parse_instant(since, now=now) if since else None,
        until=parse_instant(until, now=now) if until else None,
    )
    is_for_people = form == "table" and not as_json
    if rows.is_empty() and is_for_people:
        sys.stdout.write("No decision matches. Write one:  benchlake decisions template > my.yaml\n")
        return
    checked = rows.join(newest_checks(lake).select("decision_id", "verdict", "value"), on="decision_id", how="left")
    shown = checked.select(
        "status",
        "title",
        "verdict",
        "author",
        id=pl.col("decision_id").str.head(8),
        kpi="kpi_name",
        recorded=pl.col("recorded_at").dt.strftime("%Y-%m-%d"),
    ).select("id", "recorded", "status", "title", "kpi", "verdict", "author")
    emit(shown if is_for_people else checked, "json" if as_json else form)


@decision_app.command("show")
def decision_show(word: DecisionArgument, as_json: JsonOption = False) -> None:
    """Show one decision with its alternatives, runs, history and promise, as Markdown (MADR).

    Example:  benchlake decisions show 7c1e
    """
    from studio.rendering import as_json as json_of

    lake = open_installation().lake
    if as_json:
        from pipelines.experiments.decisions import DECISIONS, find_decision

        decision_id = find_decision(lake, word)["decision_id"]
        sys.stdout.write(
            json_of(lake.read(DECISIONS, where={"decision_id": decision_id}).sort("revision_index")) + "\n"
        )
        return
    from studio.rendering import printable

    sys.stdout.write("\n".join(map(printable, _madr(lake, word).splitlines())) + "\n")


@decision_app.command("check")
def decision_check(form: FormatOption = "table", as_json: JsonOption = False) -> None:
    """Ask every accepted decision's KPI on today's data; exit 1 if a promise is broken, 2 if one is not measured.

    Example:  benchlake decisions check --json
    """
    from pipelines.experiments.decision_checks import check_decisions, newest_checks
    from studio.rendering import emit

    lake = open_installation().lake
    check_decisions(lake, now=dt.datetime.now(dt.UTC))
    checks = newest_checks(lake)
    if checks.is_empty() and form == "table" and not as_json:
        sys.stdout.write("No accepted decision has a KPI. See them all:  benchlake decisions list\n")
    else:
        columns = ("title", "verdict", "kpi_name", "value", "comparison", "threshold", "unit", "reason")
        emit(checks if as_json or form == "json" else checks.select(columns), "json" if as_json else form)
    verdicts = set(checks["verdict"])
    raise typer.Exit(1 if "fail" in verdicts else 2 if "inconclusive" in verdicts else 0)


@decision_app.command("export")
def decision_export(
    folder: Annotated[Path, typer.Argument(metavar="FOLDER", help="Where the Markdown files go; made if needed.")],
) -> None:
    """Write every decision as a Markdown file (MADR 4), one each, named by date and title.

    Example:  benchlake decisions export docs/decisions
    """
    from pipelines.experiments.decision_texts import file_name_of
    from pipelines.experiments.decisions import DECISIONS, newest_revisions

    lake = open_installation().lake
    folder.mkdir(parents=True, exist_ok=True)
    rows = newest_revisions(lake.read(DECISIONS))
    for row in rows.iter_rows(named=True):
        (folder / file_name_of(row)).write_text(_madr(lake, row["decision_id"]), encoding="utf-8")
    if rows.is_empty():
        sys.stdout.write("No decision to write yet. Record one:  benchlake decisions template > my.yaml\n")
        return
    sys.stdout.write(f"{rows.height} decisions written to {folder}.\n")


def _madr(lake: Lake, word: str) -> str:
    from pipelines.experiments.decision_checks import newest_checks
    from pipelines.experiments.decision_texts import as_madr
    from pipelines.experiments.decisions import DECISIONS, find_decision

    row = find_decision(lake, word)
    history = lake.read(DECISIONS, where={"decision_id": row["decision_id"]}).sort("revision_index").to_dicts()
    checks = [check for check in newest_checks(lake).to_dicts() if check["decision_id"] == row["decision_id"]]
    return as_madr(row, history=history, check=checks[0] if checks else None)


def _ask(lake: Lake, decision_id: str, *, now: dt.datetime) -> None:
    from pipelines.experiments.decision_checks import check_decisions, newest_checks
    from pipelines.experiments.decision_texts import check_sentence

    check_decisions(lake, now=now)
    for check in newest_checks(lake).to_dicts():
        if check["decision_id"] == decision_id:
            sys.stdout.write(_line(check_sentence(check)) + "\n")


def _line(text: str) -> str:
    from studio.rendering import printable

    return printable(text)
