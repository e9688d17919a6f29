"""Commands of the curation queue: look, claim, decide, and how well the assistant agrees with people."""

from __future__ import annotations

import datetime as dt
import os
import sys
from typing import TYPE_CHECKING, Annotated

import typer

from studio.options import AuthorOption, FormatOption, JsonOption, open_installation

if TYPE_CHECKING:
    import polars as pl

    from pipelines.databits.curation import Decision
    from resources.installation import Installation

ItemArgument = Annotated[str, typer.Argument(metavar="ITEM", help="Id of the item or its beginning.")]
RuleOption = Annotated[str | None, typer.Option("--rule", help="Items of this rule alone.")]
NoteOption = Annotated[str | None, typer.Option("--note", help="Why you decide so.")]
_SHOWN = ("item_id", "rule", "reason", "state", "claimed_by", "assistant_label", "assistant_confidence")

curation_app = typer.Typer(no_args_is_help=True, help="The queue of what a person should look at.")


def register(app: typer.Typer) -> None:
    """Add the commands of the queue."""
    curation_app.command("list")(list_)
    for command in (claim, accept, edit, reject, label, stats):
        curation_app.command()(command)
    app.add_typer(curation_app, name="curation")


def list_(
    has_all: Annotated[bool, typer.Option("--all", help="Decided items too.")] = False,
    rule: RuleOption = None,
    form: FormatOption = "table",
    as_json: JsonOption = False,
) -> None:
    """List what waits, the most urgent first; what was found since the last time is put into the queue before.

    Example:  benchlake databits curation list --rule personal_data
    """
    from lake.tables.databits import CURATION_STATES
    from pipelines.databits.curation import list_items
    from pipelines.databits.steps import queue_findings

    lake = open_installation().lake
    queue_findings(lake, now=dt.datetime.now(dt.UTC))
    states = CURATION_STATES if has_all else ("open", "claimed")
    _show(list_items(lake, states=states, rule=rule), form, as_json=as_json)


def claim(
    count: Annotated[int, typer.Option("--count", min=1, help="How many.")] = 1,
    rule: RuleOption = None,
    by: AuthorOption = None,
    form: FormatOption = "table",
    as_json: JsonOption = False,
) -> None:
    """Take the most urgent items for half an hour, so that nobody else works on them; shows them whole.

    What was found since the last time is put into the queue before.

    Example:  benchlake databits curation claim --count 5
    """
    from pipelines.databits.curation import claim_items
    from pipelines.databits.steps import queue_findings
    from studio.databit_rendering import print_items

    installation, now = open_installation(), dt.datetime.now(dt.UTC)
    queue_findings(installation.lake, now=now)
    items = claim_items(installation.lake, reviewer=_author(installation, by), count=count, now=now, rule=rule)
    if as_json or form != "table":
        _show(items, form, as_json=as_json)
    elif items.is_empty():
        sys.stdout.write("Nothing waits. What was decided:  benchlake databits curation list --all\n")
    else:
        print_items(installation.lake, items)


def accept(item: ItemArgument, note: NoteOption = None, by: AuthorOption = None, as_json: JsonOption = False) -> None:
    """Accept what is proposed: it becomes a version. Where nothing is proposed, the unit is fine as it is.

    Example:  benchlake databits curation accept 9b1c
    """
    _decide(item, "accept", note=note, by=by, as_json=as_json)


def edit(
    item: ItemArgument,
    content: Annotated[
        str, typer.Argument(metavar="CONTENT", help="What should stand instead; - reads standard input.")
    ],
    content_json: Annotated[bool, typer.Option("--content-json", help="CONTENT is JSON, not a text.")] = False,
    note: NoteOption = None,
    by: AuthorOption = None,
    as_json: JsonOption = False,
) -> None:
    """Put content of your own in the place of what is proposed; it becomes a version with the item as its reason.

    Example:  benchlake databits curation edit 9b1c "Write to the office." --note "no addresses"
    """
    from studio.databit_content import read_content

    _decide(item, "edit", content=read_content(content, is_json=content_json), note=note, by=by, as_json=as_json)


def reject(item: ItemArgument, note: NoteOption = None, by: AuthorOption = None, as_json: JsonOption = False) -> None:
    """Reject a proposal; where nothing is proposed, retract the unit.

    Example:  benchlake databits curation reject 9b1c --note "it is a made-up address"
    """
    _decide(item, "reject", note=note, by=by, as_json=as_json)


def label(
    limit: Annotated[int, typer.Option("--limit", min=1, help="At most so many items.")] = 20,
    rule: RuleOption = None,
) -> None:
    """Have the configured backend say what it would do about items that wait; it decides nothing.

    Which backend: databits.assistant in benchlake.toml, else the night's first.

    Example:  benchlake databits curation label --limit 50
    """
    from pipelines.databits.assistant import label_items
    from resources.curation_assistant import open_assistant

    installation = open_installation()
    with open_assistant(installation) as assistant:
        if assistant is None:
            sys.stdout.write("No assistant is configured: databits.assistant in benchlake.toml is empty.\n")
            return
        count = label_items(installation.lake, assistant, limit=limit, rule=rule)
        sys.stdout.write(f"{count} items are labelled by {assistant.name}.\n")


def stats(form: FormatOption = "table", as_json: JsonOption = False) -> None:
    """Count items by rule and state, and say how often the assistant's label was what people decided.

    Agreement comes with its 95% interval and with Cohen's kappa, which takes out what chance alone would give.

    Example:  benchlake databits curation stats --json
    """
    from pipelines.databits.agreement import agreement_statistics, count_states
    from pipelines.databits.curation import ITEMS
    from studio.databit_rendering import write_json
    from studio.rendering import emit

    items = open_installation().lake.read(ITEMS)
    states, agreement = count_states(items), agreement_statistics(items)
    if as_json or form == "json":
        write_json({"states": states.to_dicts(), "agreement": agreement.to_dicts()})
        return
    if items.is_empty():
        sys.stdout.write("The queue never held anything. Look for something:  benchlake databits quality\n")
        return
    emit(states, form)
    if agreement.is_empty():
        sys.stdout.write("No item was both labelled by the assistant and decided by a person yet.\n")
    else:
        emit(agreement, form)


def _decide(
    item: str, decision: Decision, *, note: str | None, by: str | None, as_json: bool, content: object = ...
) -> None:
    from pipelines.databits.curation import decide_item
    from pipelines.databits.revising import UNCHANGED
    from studio.databit_rendering import write_json

    installation = open_installation()
    result = decide_item(
        installation.lake,
        item,
        decision,
        reviewer=_author(installation, by),
        now=dt.datetime.now(dt.UTC),
        content=UNCHANGED if content is ... else content,
        note=note,
    )
    if as_json:
        write_json({"item_id": result.item_id, "state": result.state, "databit": str(result.databit or "") or None})
        return
    wrote = f" and wrote {result.databit}" if result.databit else ""
    sys.stdout.write(f"{result.item_id} is {result.state}{wrote}.\n")


def _show(items: pl.DataFrame, form: FormatOption, *, as_json: bool) -> None:
    from studio.rendering import emit

    if as_json or form == "json":
        emit(items, "json")
    elif items.is_empty() and form == "table":
        sys.stdout.write("Nothing waits. Score what is new:  benchlake databits quality\n")
    else:
        emit(items.select(_SHOWN), form)


def _author(installation: Installation, by: str | None) -> str:
    from resources.author import read_author

    return by or read_author(installation.folder, os.environ)
