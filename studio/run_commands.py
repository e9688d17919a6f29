"""Commands about runs: list them, tag them, note what was learnt, designate baselines."""

from __future__ import annotations

import datetime as dt
import sys
from typing import TYPE_CHECKING, Annotated

import typer

from studio.options import AuthorOption, FormatOption, JsonOption, ReasonOption, open_installation, read_act

if TYPE_CHECKING:
    import polars as pl

    from lake.store import Lake
    from pipelines.runs.remarks import Act
    from pipelines.runs.run_query import RunQuery

RunWords = Annotated[
    list[str],
    typer.Argument(
        metavar="RUN", help="Beginnings of run ids, or filters as KEY=GLOB: suite=starter branch=main since=7d."
    ),
]
OneRun = Annotated[str, typer.Argument(metavar="RUN", help="Beginning of a run id.")]

tag_app = typer.Typer(no_args_is_help=True, help="Tag and untag runs; every act is kept in silver.tag_events.")
note_app = typer.Typer(no_args_is_help=True, help="Write notes on runs and read them (silver.notes).")
baseline_app = typer.Typer(
    no_args_is_help=True, help="Designate the run that others are compared with (silver.baselines)."
)

NO_NOTES = "No notes. Write one:  benchlake note add RUN -m 'what you saw'"


def register(app: typer.Typer) -> None:
    """Add the commands of this module."""
    app.command()(runs)
    app.add_typer(tag_app, name="tag")
    app.add_typer(note_app, name="note")
    app.add_typer(baseline_app, name="baseline")


def runs(
    words: Annotated[
        list[str] | None, typer.Argument(metavar="RUN", help="Beginnings of run ids, or filters as KEY=GLOB.")
    ] = None,
    form: FormatOption = "table",
    as_json: JsonOption = False,
    suite: Annotated[list[str] | None, typer.Option(help="Suite.")] = None,
    backend: Annotated[list[str] | None, typer.Option(help="Backend.")] = None,
    model: Annotated[list[str] | None, typer.Option(help="Model.")] = None,
    engine: Annotated[list[str] | None, typer.Option(help="Inference software.")] = None,
    tag: Annotated[list[str] | None, typer.Option(help="Has a tag like this.")] = None,
    without_tag: Annotated[list[str] | None, typer.Option(help="Has no tag like this.")] = None,
    branch: Annotated[list[str] | None, typer.Option(help="Branch of the code.")] = None,
    commit: Annotated[list[str] | None, typer.Option(help="Commit, or its beginning.")] = None,
    pull_request: Annotated[list[str] | None, typer.Option("--pull-request", "--pr", help="Pull request.")] = None,
    repository_url: Annotated[list[str] | None, typer.Option("--repository", help="Repository URL.")] = None,
    is_dirty: Annotated[
        bool | None, typer.Option("--dirty/--clean", help="Whether the working tree had changes.")
    ] = None,
    status: Annotated[list[str] | None, typer.Option(help="success, error, cancelled or started.")] = None,
    source_kind: Annotated[list[str] | None, typer.Option("--source", help="Format it was imported from.")] = None,
    since: Annotated[str | None, typer.Option(help="Started at or after: 24h, 7d, 2w, or an ISO date.")] = None,
    until: Annotated[str | None, typer.Option(help="Started before: 24h, 7d, 2w, or an ISO date.")] = None,
    limit: Annotated[int, typer.Option(min=1, help="Newest runs to show.")] = 20,
) -> None:
    """List runs, newest first, with outputs and mean score; every column with --format json.

    All filters given must hold; one given several times is met by any of its values. Values are globs: * ? [abc].

    Example:  benchlake runs --tag 'experiment-*' --branch main --backend llama.cpp --since 7d
    """
    from pipelines.runs.listing import list_runs
    from pipelines.runs.run_query import parse_query
    from studio.rendering import emit
    from studio.summary import listed_runs

    given = {
        "suite": suite, "backend": backend, "model": model, "engine": engine, "tag": tag, "without_tag": without_tag,
        "branch": branch, "commit": commit, "pull_request": pull_request, "repository_url": repository_url,
        "status": status, "source_kind": source_kind,
        "since": [since] if since else None, "until": [until] if until else None,
        "is_dirty": None if is_dirty is None else [str(is_dirty)],
    }  # fmt: skip
    options = [f"{key}={value}" for key, values in given.items() for value in values or ()]
    query = parse_query([*(words or ()), *options], now=dt.datetime.now(dt.UTC))
    rows = list_runs(open_installation().lake, query, limit=limit)
    is_for_people = form == "table" and not as_json
    if rows.is_empty() and is_for_people:
        sys.stdout.write(_nothing(open_installation().lake, query))
    elif is_for_people:
        emit(listed_runs(rows), "table")
    else:
        emit(rows, "json" if as_json else form)


def _nothing(lake: Lake, query: RunQuery) -> str:
    if query.is_empty or not lake.row_count("silver.runs"):
        from pipelines.runs.remarks import NO_RUNS

        return f"{NO_RUNS}\n"
    return "No run matches. All of them:  benchlake runs\n"


@tag_app.command("add")
def tag_add(
    tag: Annotated[str, typer.Argument(metavar="TAG", help="The tag, or several separated by commas.")],
    words: RunWords,
    reason: ReasonOption = None,
    author: AuthorOption = None,
) -> None:
    """Put a tag on runs; a run that has it already stays as it is.

    Example:  benchlake tag add experiment-flash 3fa2 suite=starter since=24h
    """
    _change_tags(words, add=tag.split(","), act=read_act(author, reason))


@tag_app.command("remove")
def tag_remove(
    tag: Annotated[str, typer.Argument(metavar="TAG", help="The tag, or several separated by commas.")],
    words: RunWords,
    reason: ReasonOption = None,
    author: AuthorOption = None,
) -> None:
    """Take a tag off runs, also one that their source gave them; importing them again does not bring it back.

    Example:  benchlake tag remove nightly 3fa2 --reason 'ran during maintenance'
    """
    _change_tags(words, remove=tag.split(","), act=read_act(author, reason))


def _change_tags(words: list[str], *, act: Act, add: list[str] | None = None, remove: list[str] | None = None) -> None:
    from pipelines.runs.remarks import find_runs, tag_runs

    lake = open_installation().lake
    result = tag_runs(lake, find_runs(lake, words, now=act.at), add=add or (), remove=remove or (), act=act)
    sys.stdout.write(f"{result.changed_count} of {result.run_count} runs changed.\n")


@tag_app.command("history")
def tag_history(words: RunWords, form: FormatOption = "table", as_json: JsonOption = False) -> None:
    """Show who tagged and untagged runs, when and why, newest first.

    Example:  benchlake tag history branch=main
    """
    from pipelines.runs.remarks import TAG_EVENTS, find_runs
    from studio.rendering import emit

    lake = open_installation().lake
    ids = find_runs(lake, words, now=dt.datetime.now(dt.UTC))["run_id"].to_list()
    events = lake.read(TAG_EVENTS, where={"run_id": ids}).sort("changed_at", "event_id", descending=True)
    emit(events.select("changed_at", "run_id", "action", "tag", "changed_by", "reason"), "json" if as_json else form)


@note_app.command("add")
def note_add(
    words: Annotated[
        list[str] | None, typer.Argument(metavar="RUN", help="Beginnings of run ids, or filters as KEY=GLOB.")
    ] = None,
    text: Annotated[str, typer.Option("--text", "-m", help="The note; Markdown.")] = "",
    subject: Annotated[
        str | None,
        typer.Option(
            "--on",
            help="Instead of runs: pair:BASELINE/CANDIDATE, sample:RUN/SAMPLE, example:ID, databit:ID, "
            "scenario:NAME or decision:ID.",
        ),
    ] = None,
    author: AuthorOption = None,
) -> None:
    """Write a note on runs, or on one other thing; notes are kept and never changed.

    Example:  benchlake note add 3fa2 -m 'first run with the new tokenizer'
    Example:  benchlake note add --on pair:81bc/3fa2 -m 'differs in rounding only'
    """
    from lake.errors import UserError
    from pipelines.runs.remarks import add_note, find_runs

    lake, act = open_installation().lake, read_act(author, None)
    if (subject is None) == (not words):
        raise UserError("Name runs, or one other thing by --on KIND:ID:  benchlake note add 3fa2 -m 'what you saw'")
    if subject is not None:
        from pipelines.experiments.notes import add_subject_note

        kind, subject_id = add_subject_note(lake, subject, text, act=act)
        sys.stdout.write(f"Noted on {kind} {subject_id}.\n")
        return
    count = add_note(lake, find_runs(lake, words or [], now=act.at), text, act=act)
    sys.stdout.write(f"Noted on {count} run{'' if count == 1 else 's'}.\n")


@note_app.command("list")
def note_list(
    words: Annotated[
        list[str] | None, typer.Argument(metavar="RUN", help="Runs as for note add; all when absent.")
    ] = None,
    subject: Annotated[
        str | None, typer.Option("--on", help="Notes of one other thing, as for note add, or of a kind: --on decision.")
    ] = None,
    form: FormatOption = "table",
    as_json: JsonOption = False,
) -> None:
    """Show notes, newest first, of some runs or of all, or of another thing.

    Example:  benchlake note list tag='experiment-*' --json
    Example:  benchlake note list --on decision
    """
    from pipelines.runs.remarks import find_runs, list_notes, read_notes
    from studio.rendering import emit

    lake = open_installation().lake
    if subject is not None:
        from pipelines.experiments.notes import check_subject_kind, note_subject, subject_ids

        kind, subject_id = note_subject(lake, subject) if ":" in subject else (check_subject_kind(subject), None)
        ids = subject_ids(kind, subject_id) if subject_id else None
        emit(read_notes(lake, kind, ids), "json" if as_json else form, none=NO_NOTES)
        return
    run_ids = find_runs(lake, words, now=dt.datetime.now(dt.UTC))["run_id"].to_list() if words else None
    emit(list_notes(lake, run_ids), "json" if as_json else form, none=NO_NOTES)


@baseline_app.command("set")
def baseline_set(
    run: OneRun,
    key: Annotated[
        str,
        typer.Option(
            "--for", help="Which runs it is the yardstick for: fields in which they equal it, or FIELD=GLOB; by commas."
        ),
    ] = "suite,model,backend",
    effective: Annotated[
        dt.datetime | None,
        typer.Option(
            "--from", formats=["%Y-%m-%d"], help="First run date that is compared with it; today when absent."
        ),
    ] = None,
    reason: ReasonOption = None,
    author: AuthorOption = None,
) -> None:
    """Designate a run as the baseline of runs like it; each new one is compared with it from then on.

    Fields: suite, model, backend, engine, engine_version, branch, pull_request, repository_url, hardware, source_kind.
    The narrowest selector wins, then the latest. The policy must have a comparison with `baseline: designated`, as
    the shipped one has; the next gate or night compares what the designation touches.

    Example:  benchlake baseline set 3fa2 --for suite,model,backend,branch=main --reason 'release 1.4'
    """
    from pipelines.runs.remarks import designate_baseline, find_run

    lake, act = open_installation().lake, read_act(author, reason)
    day = effective.date() if effective else act.at.date()
    chosen = find_run(lake, run)
    selector = designate_baseline(lake, chosen, key=[word for word in key.split(",") if word], effective=day, act=act)
    sys.stdout.write(
        f"{chosen['run_id']} is the baseline of {_shown(selector)} from {day}.\n"
        "Compare what it touches:  benchlake gate\n"
    )


@baseline_app.command("withdraw")
def baseline_withdraw(
    word: Annotated[str, typer.Argument(metavar="ID", help="Beginning of the designation's or its run's id.")],
    reason: ReasonOption = None,
    author: AuthorOption = None,
) -> None:
    """End a designation from today on; what was compared with it before stays, and so does its history.

    Example:  benchlake baseline withdraw 8c1f --reason 'measured on a busy machine'
    """
    import orjson

    from pipelines.runs.remarks import withdraw_baseline

    act = read_act(author, reason)
    row = withdraw_baseline(open_installation().lake, word, effective=act.at.date(), act=act)
    sys.stdout.write(f"{_shown(orjson.loads(row['selector']))} have no designated baseline from {act.at.date()}.\n")


@baseline_app.command("list")
def baseline_list(
    history: Annotated[bool, typer.Option("--history", help="Every act, also withdrawn and replaced ones.")] = False,
    form: FormatOption = "table",
    as_json: JsonOption = False,
) -> None:
    """Show the baselines in force: for which runs, since when, by whom and why.

    Example:  benchlake baseline list --history --json
    """
    from pipelines.runs.remarks import list_baselines
    from studio.rendering import emit

    rows = list_baselines(open_installation().lake, history=history).select(
        "designation_id", "selector", "run_id", "effective_date", "designated_at", "designated_by", "reason"
    )
    is_for_people = form == "table" and not as_json
    emit(
        _readable_baselines(rows) if is_for_people else rows,
        "json" if as_json else form,
        none="No baseline is in force. Designate one:  benchlake baseline set RUN",
    )


def _readable_baselines(rows: pl.DataFrame) -> pl.DataFrame:
    import orjson
    import polars as pl

    # The shortest first, because a cell is cut.
    told = [
        _facts(dict(sorted(orjson.loads(text).items(), key=lambda item: len(item[1])))) for text in rows["selector"]
    ]
    return rows.select(
        pl.col("designation_id").str.head(8).alias("id"),
        pl.Series("of", told, dtype=pl.String),
        pl.col("run_id").str.head(8).fill_null("withdrawn").alias("baseline"),
        pl.col("effective_date").alias("from"),
        pl.col("designated_by").alias("by"),
        "reason",
    )


def _shown(selector: dict[str, str]) -> str:
    return f"runs with {_facts(selector)}"


def _facts(selector: dict[str, str]) -> str:
    return ", ".join(f"{name} {pattern}" for name, pattern in selector.items())
