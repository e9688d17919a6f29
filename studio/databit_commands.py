"""Commands of DataBits: one unit at a time, files of them, lineage, quality. The queue is `curation_commands.py`."""

from __future__ import annotations

import datetime as dt
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from studio import curation_commands
from studio.databit_content import read_content
from studio.options import AuthorOption, FormatOption, JsonOption, open_installation, say

if TYPE_CHECKING:
    from lake.store import Lake
    from pipelines.databits.revising import Changes, Hand
    from pipelines.databits.units import DatabitKey
    from resources.installation import Installation

ContentArgument = Annotated[
    str | None,
    typer.Argument(help="A text; with --content-json any JSON value; - reads standard input.", metavar="CONTENT"),
]
ContentJsonOption = Annotated[bool, typer.Option("--content-json", help="CONTENT is JSON, not a text.")]
LicenseOption = Annotated[str | None, typer.Option("--license", help="SPDX expression, for instance Apache-2.0.")]
CreatorOption = Annotated[str | None, typer.Option("--creator", help="Who made the content.")]
KeysOption = Annotated[list[str] | None, typer.Option("--key", help="Search key, plain or name=value; repeatable.")]
FromOption = Annotated[
    list[str] | None, typer.Option("--from", help="Version that it is made from, ID or ID@VERSION; repeatable.")
]
NoteOption = Annotated[str | None, typer.Option("--note", help="What is different, for whoever reads the history.")]
IdOption = Annotated[str | None, typer.Option("--id", help="Id of the new unit; derived from its content when absent.")]
ExpectOption = Annotated[
    int | None,
    typer.Option("--expect", min=1, help="Version that must still be the newest; the newest now when absent."),
]
Drawing = Literal["tree", "mermaid", "dot", "svg"]

databits_app = typer.Typer(
    no_args_is_help=True,
    help="Versioned units of data: what they hold, where they come from, what may be done with them.",
)


def register(app: typer.Typer) -> None:
    """Add the commands of DataBits to the command line."""
    for command in (
        list_, show, create, revise, fork, merge, retract, history, diff, lineage, import_, export, quality,
    ):  # fmt: skip
        name = command.__name__.rstrip("_")
        databits_app.command(name)(command)
    curation_commands.register(databits_app)
    app.add_typer(databits_app, name="databits")


def list_(
    search: Annotated[list[str] | None, typer.Option("--search", help="Word in the content; repeatable.")] = None,
    key: KeysOption = None,
    license_: LicenseOption = None,
    limit: Annotated[int, typer.Option("--limit", min=1, help="At most so many, the newest first.")] = 50,
    form: FormatOption = "table",
    as_json: JsonOption = False,
) -> None:
    """List units at their newest version, by words in them and by search keys.

    Example:  benchlake databits list --key suite=starter --key role=reference --search capital
    """
    from pipelines.databits.listing import list_databits
    from studio.rendering import emit, printable

    lake = open_installation().lake
    rows = list_databits(lake, keys=key or [], words=search or [], license_text=license_, limit=limit)
    if rows.is_empty() and form == "table" and not as_json:
        sys.stdout.write(f"{printable(_nothing_listed(lake, key or [], search or [], license_))}\n")
        return
    shown = (
        rows if as_json or form != "table" else rows.select("databit_id", "version", "text", "license", "created_by")
    )
    emit(shown, "json" if as_json else form)


def _nothing_listed(lake: Lake, keys: list[str], words: list[str], license_text: str | None) -> str:
    """What to do where no unit is listed."""
    from pipelines.databits.listing import declared_licenses, list_databits
    from pipelines.databits.search_keys import tell_no_key

    if list_databits(lake, limit=1).is_empty():
        return (
            "No DataBit yet. Take some in:  benchlake databits import FILE.jsonl, or run the night:  benchlake nightly"
        )
    if keys and list_databits(lake, keys=keys, limit=1).is_empty():
        return tell_no_key(lake, keys)
    if license_text is not None and list_databits(lake, license_text=license_text, limit=1).is_empty():
        known = ", ".join(declared_licenses(lake)[:10])
        return f"No DataBit has the licence {license_text!r}. Licences there are: {known or 'none'}."
    if words:
        told = ", ".join(map(repr, words))
        return f"No DataBit has all of this in its content: {told}. By meaning:  benchlake index search 'TEXT'"
    return "No DataBit meets all of this at once. All of them:  benchlake databits list"


def show(
    databit: Annotated[str, typer.Argument(metavar="ID[@VERSION]", help="Id or its beginning; newest version.")],
    as_json: JsonOption = False,
) -> None:
    """Show one version: content, who made it, from what, its licence, and what scorers found.

    Example:  benchlake databits show 3fa2c1d0@2
    """
    from pipelines.databits.showing import describe_version
    from studio.databit_rendering import print_version, write_json

    lake = open_installation().lake
    described = describe_version(lake, _find(lake, databit))
    if as_json:
        write_json(described)
    else:
        print_version(described)


def create(
    content: ContentArgument = None,
    content_json: ContentJsonOption = False,
    license_: LicenseOption = None,
    creator: CreatorOption = None,
    key: KeysOption = None,
    made_from: FromOption = None,
    databit_id: IdOption = None,
    note: NoteOption = None,
    by: AuthorOption = None,
    as_json: JsonOption = False,
) -> None:
    """Create a unit at version 1. Without --id the same content is the same unit, and is refused the second time.

    Example:  benchlake databits create "Paris is the capital of France." --license CC0-1.0 --key topic=geography
    """
    from pipelines.databits.revising import create_databit
    from pipelines.databits.units import Draft

    installation = open_installation()
    hand = _hand(installation, by, note)
    draft = Draft(
        content=read_content(content, is_json=content_json),
        databit_id=databit_id,
        creator=creator or hand.author,
        license=license_,
        derived_from=[_find(installation.lake, word) for word in made_from or []],
        search_keys=key or [],
    )
    _tell(create_databit(installation.lake, draft, hand=hand), "created", as_json=as_json)


def revise(
    databit: Annotated[str, typer.Argument(metavar="ID", help="Id of the unit or its beginning.")],
    content: ContentArgument = None,
    content_json: ContentJsonOption = False,
    license_: LicenseOption = None,
    creator: CreatorOption = None,
    key: KeysOption = None,
    made_from: FromOption = None,
    expect: ExpectOption = None,
    note: NoteOption = None,
    by: AuthorOption = None,
    as_json: JsonOption = False,
) -> None:
    """Write the next version of a unit; what you do not give stays as it is.

    With --expect it is refused, with both versions named, when somebody wrote another version meanwhile.

    Example:  benchlake databits revise 3fa2 "Paris is France's capital." --expect 1 --note "shorter"
    """
    from pipelines.databits.revising import revise_databit

    installation = open_installation()
    found = _newest(installation.lake, databit)
    changes = _changes(installation, content, content_json, license_, creator, key, made_from)
    written = revise_databit(
        installation.lake,
        found.databit_id,
        changes,
        expected_version=expect or found.version,
        hand=_hand(installation, by, note),
    )
    _tell(written, "revised", as_json=as_json)


def fork(
    databit: Annotated[str, typer.Argument(metavar="ID[@VERSION]", help="Version to start from.")],
    content: ContentArgument = None,
    content_json: ContentJsonOption = False,
    license_: LicenseOption = None,
    creator: CreatorOption = None,
    key: KeysOption = None,
    databit_id: IdOption = None,
    note: NoteOption = None,
    by: AuthorOption = None,
    as_json: JsonOption = False,
) -> None:
    """Make a new unit from a version of another; its lineage says so for good.

    Example:  benchlake databits fork 3fa2@1 "Paris est la capitale de la France." --key language=fr
    """
    from uuid import uuid4

    from pipelines.databits.revising import fork_databit

    installation = open_installation()
    written = fork_databit(
        installation.lake,
        _find(installation.lake, databit),
        databit_id=databit_id or str(uuid4()),
        changes=_changes(installation, content, content_json, license_, creator, key, None),
        hand=_hand(installation, by, note),
    )
    _tell(written, "forked", as_json=as_json)


def merge(
    databits: Annotated[list[str], typer.Argument(metavar="ID[@VERSION]", help="Two versions or more.")],
    content: Annotated[
        str | None, typer.Option("--content", help="The merged content; the parents' contents joined when absent.")
    ] = None,
    content_json: ContentJsonOption = False,
    license_: LicenseOption = None,
    creator: CreatorOption = None,
    key: KeysOption = None,
    databit_id: IdOption = None,
    note: NoteOption = None,
    by: AuthorOption = None,
    as_json: JsonOption = False,
) -> None:
    """Make a new unit from several; texts become paragraphs, lists one list, objects one object.

    Objects that disagree about a member are refused: give the content yourself. What licence follows from the parents
    is computed with the lineage (benchlake databits lineage).

    Example:  benchlake databits merge 3fa2 81bc@2 --note "both facts in one"
    """
    from uuid import uuid4

    from pipelines.databits.revising import merge_databits

    installation = open_installation()
    written = merge_databits(
        installation.lake,
        [_find(installation.lake, word) for word in databits],
        databit_id=databit_id or str(uuid4()),
        changes=_changes(installation, content, content_json, license_, creator, key, None),
        hand=_hand(installation, by, note),
    )
    _tell(written, "merged", as_json=as_json)


def retract(
    databit: Annotated[str, typer.Argument(metavar="ID", help="Id of the unit or its beginning.")],
    expect: ExpectOption = None,
    note: NoteOption = None,
    by: AuthorOption = None,
    as_json: JsonOption = False,
) -> None:
    """Withdraw a unit: a further version says so; history and lineage stay. Revising it takes it back.

    Example:  benchlake databits retract 3fa2 --note "wrong since 2024"
    """
    from pipelines.databits.revising import retract_databit

    installation = open_installation()
    found = _newest(installation.lake, databit)
    written = retract_databit(
        installation.lake,
        found.databit_id,
        expected_version=expect or found.version,
        hand=_hand(installation, by, note),
    )
    _tell(written, "retracted", as_json=as_json)


def history(
    databit: Annotated[str, typer.Argument(metavar="ID", help="Id of the unit or its beginning.")],
    form: FormatOption = "table",
    as_json: JsonOption = False,
) -> None:
    """Show every version of a unit, oldest first: who wrote it, when, and why.

    Example:  benchlake databits history 3fa2
    """
    import polars as pl

    from pipelines.databits.reading import read_history
    from studio.rendering import emit

    lake = open_installation().lake
    rows = read_history(lake, _newest(lake, databit).databit_id)
    if as_json or form == "json":
        emit(rows, "json")
        return
    license_id = pl.col("attribution").struct.field("license").alias("license")
    emit(rows.select("version", "created_at", "created_by", "change_note", license_id, "is_deleted", "content"), form)


def diff(
    before: Annotated[str, typer.Argument(metavar="ID@VERSION", help="One version.")],
    after: Annotated[
        str | None, typer.Argument(metavar="ID@VERSION", help="Another; the newest of the same unit when absent.")
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Say what differs between two versions: JSON path by path, texts word by word, licence and lineage too.

    Example:  benchlake databits diff 3fa2@1 3fa2@3
    """
    from pipelines.databits.reading import read_version
    from pipelines.databits.units import parse_key
    from pipelines.databits.version_diff import diff_versions
    from studio.databit_rendering import print_version_diff, version_diff_json, write_json

    lake = open_installation().lake
    keys = _find(lake, before), _find(lake, after or parse_key(before)[0])
    rows = [read_version(lake, *key) for key in keys]
    found = diff_versions(*rows)
    if as_json:
        write_json({"before": str(keys[0]), "after": str(keys[1]), **version_diff_json(found)})
    else:
        print_version_diff(found, *map(str, keys))


def lineage(
    databit: Annotated[str, typer.Argument(metavar="ID[@VERSION]", help="Version to look at; the newest.")],
    form: Annotated[
        Drawing, typer.Option("--format", help="tree for the terminal, mermaid for Markdown, dot for Graphviz, svg.")
    ] = "tree",
    output: Annotated[
        Path | None, typer.Option("--output", "-o", help="File to write to, instead of the terminal.")
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Show what a version was made from and what was made from it, with the licence that follows.

    Example:  benchlake databits lineage 3fa2 --format svg --output lineage.svg
    """
    from pipelines.databits.lineage_graph import read_graph
    from pipelines.databits.lineage_steps import update_lineage
    from pipelines.databits.showing import describe_lineage
    from studio.databit_rendering import draw, write_json

    lake = open_installation().lake
    update_lineage(lake)
    key = _find(lake, databit)
    if as_json:
        write_json(describe_lineage(lake, key))
        return
    text = draw(read_graph(lake, key), form)
    if output is None:
        sys.stdout.write(f"{text}\n")
    else:
        output.write_text(f"{text}\n", encoding="utf-8")
        say(f"{output} is written.")


def import_(
    path: Annotated[Path, typer.Argument(metavar="FILE", help="A .jsonl (.gz, .zst) or .parquet file.")],
    content: Annotated[
        str, typer.Option("--content", help="Member that holds the content; . for the whole line.")
    ] = "content",
    id_member: Annotated[
        str | None, typer.Option("--id-member", help="Member that tells units apart; their content when absent.")
    ] = None,
    source: Annotated[str | None, typer.Option("--source", help="Where they are from; the file's name.")] = None,
    license_: LicenseOption = None,
    creator: CreatorOption = None,
    key: KeysOption = None,
    by: AuthorOption = None,
    as_json: JsonOption = False,
) -> None:
    """Take in a file of units; again changes nothing, and a changed line becomes the next version of its unit.

    Files that `databits export` wrote come back with history and lineage. A line that cannot be a unit becomes a row
    of bronze.rejects, and the lines beside it land.

    Example:  benchlake databits import faq.jsonl --content answer --id-member question --license CC-BY-4.0
    """
    from pipelines.databits.importing import ImportOptions, import_databits
    from pipelines.databits.licenses import canonical_license
    from studio.databit_rendering import write_json
    from studio.progress import file_progress

    installation = open_installation()
    options = ImportOptions(
        source=source or path.name,
        content_member=content,
        id_member=id_member,
        creator=creator,
        license=None if license_ is None else canonical_license(license_),
        search_keys=tuple(key or ()),
    )
    with file_progress(enabled=not as_json) as progress:
        result = import_databits(
            installation.lake,
            path,
            options,
            now=dt.datetime.now(dt.UTC),
            author=_author(installation, by),
            on_progress=progress,
        )
    for message in result.messages:
        say(message)
    counts = {
        "lines": result.line_count,
        "written": result.written_count,
        "unchanged": result.unchanged_count,
        "rejects": result.rejected_count,
    }
    if as_json:
        write_json(counts)
    else:
        sys.stdout.write(
            f"{result.line_count} lines: {result.written_count} versions written, {result.unchanged_count} unchanged, "
            f"{result.rejected_count} rejects.\n"
        )
        if result.rejected_count:
            sys.stdout.write('See them:  benchlake sql "select record_index, rule, message from bronze.rejects"\n')
    nothing_landed = result.rejected_count and not result.written_count and not result.unchanged_count
    raise typer.Exit(3 if nothing_landed else 0)


def export(
    path: Annotated[Path, typer.Argument(metavar="FILE", help="File to write: .jsonl (.gz, .zst) or .parquet.")],
    key: KeysOption = None,
    has_history: Annotated[bool, typer.Option("--history", help="Every version, not the newest alone.")] = False,
    override: Annotated[
        str | None,
        typer.Option("--override-licenses", help="Why units go out although their licences cannot be met; recorded."),
    ] = None,
    by: AuthorOption = None,
    as_json: JsonOption = False,
) -> None:
    """Write units to a file, each with the licence that follows from all it was made from.

    Refused when a licence stands against it, naming the units, unless you say why it may be. Where no unit is chosen,
    no file is written and the exit code is 3.

    Example:  benchlake databits export train.parquet --key role=correction
    """
    from pipelines.databits.exporting import Selection, export_databits
    from studio.databit_rendering import write_json
    from studio.progress import file_progress

    installation = open_installation()
    with file_progress(enabled=not as_json) as progress:
        result = export_databits(
            installation.lake,
            path,
            Selection(search_keys=key or (), has_history=has_history),
            now=dt.datetime.now(dt.UTC),
            author=_author(installation, by),
            override_reason=override,
            on_progress=progress,
        )
    if as_json:
        write_json(
            {"rows": result.row_count, "unknown": result.unknown_license_count, "overridden": result.overridden_count}
        )
        return
    unknown = f", {result.unknown_license_count} of unknown licence" if result.unknown_license_count else ""
    overridden = f", {result.overridden_count} against their licence" if result.overridden_count else ""
    sys.stdout.write(f"{result.row_count} versions are in {path}{unknown}{overridden}.\n")


def quality(
    databit: Annotated[
        str | None, typer.Argument(metavar="ID[@VERSION]", help="One version; all of them summed up when absent.")
    ] = None,
    form: FormatOption = "table",
    as_json: JsonOption = False,
) -> None:
    """Score what is new, look for duplicates, and show what scorers found.

    Example:  benchlake databits quality 3fa2
    """
    from pipelines.databits.listing import read_scores, summarise_scores
    from pipelines.databits.steps import assess_quality, update_lineage
    from studio.rendering import emit

    lake = open_installation().lake
    update_lineage(lake)
    assess_quality(lake)
    rows = summarise_scores(lake) if databit is None else read_scores(lake, *_find(lake, databit))
    if rows.is_empty() and form == "table" and not as_json:
        sys.stdout.write("Nothing is scored: there are no DataBits. Take some in:  benchlake databits import FILE\n")
        return
    emit(rows, "json" if as_json else form)


def _find(lake: Any, word: str) -> DatabitKey:  # noqa: ANN401 - a Lake, which this module must not load to parse words
    from pipelines.databits.reading import find_databit

    return find_databit(lake, word)


def _newest(lake: Any, word: str) -> DatabitKey:  # noqa: ANN401 - as above
    from lake.errors import UserError
    from pipelines.databits.units import parse_key

    if parse_key(word)[1] is not None:
        raise UserError(f"Name the unit alone, without a version: {word.rpartition('@')[0]}.")
    return _find(lake, word)


def _author(installation: Installation, by: str | None) -> str:
    import os

    from resources.author import read_author

    return by or read_author(installation.folder, os.environ)


def _hand(installation: Installation, by: str | None, note: str | None) -> Hand:
    from pipelines.databits.revising import Hand

    return Hand(author=_author(installation, by), at=dt.datetime.now(dt.UTC), note=note)


def _changes(
    installation: Installation,
    content: str | None,
    is_json: bool,
    license_: str | None,
    creator: str | None,
    keys: list[str] | None,
    made_from: list[str] | None,
) -> Changes:
    from pipelines.databits.revising import UNCHANGED, Changes

    return Changes(
        content=UNCHANGED if content is None else read_content(content, is_json=is_json),
        license=license_,
        creator=creator,
        search_keys=keys,
        derived_from=None if made_from is None else [_find(installation.lake, word) for word in made_from],
    )


def _tell(key: DatabitKey, act: str, *, as_json: bool) -> None:
    from studio.databit_rendering import write_json

    if as_json:
        write_json({"databit_id": key.databit_id, "version": key.version, "act": act})
    else:
        sys.stdout.write(f"{key} is {act}.\n")
