"""Commands of the example store about single examples and searches: add, edit, show, list, search, delete.

Bulk, uses and what examples are worth: `example_data_commands.py`.
"""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from studio import example_data_commands
from studio.example_options import (
    DomainOption,
    ExampleId,
    FunctionOption,
    InputOption,
    LicenseOption,
    LimitOption,
    MinEffectOption,
    SourceOption,
    TagOption,
    label_filter,
    readable_examples,
    tell_no_match,
    write_json,
)
from studio.options import AuthorOption, FormatOption, JsonOption, ReasonOption, open_installation, read_act, say

if TYPE_CHECKING:
    import polars as pl

examples_app = typer.Typer(
    no_args_is_help=True,
    help="Keep few-shot examples: find them, see where each was used and what it was worth (silver.examples).",
)


def register(app: typer.Typer) -> None:
    """Add the commands of the example store to the command line."""
    example_data_commands.register(examples_app)
    app.add_typer(examples_app, name="examples")


@examples_app.command()
def add(
    output: Annotated[str, typer.Option("--output", "-o", help="The expected output.")],
    inputs: InputOption = None,
    function: FunctionOption = None,
    domain: DomainOption = None,
    tags: TagOption = None,
    license_: LicenseOption = None,
    source: SourceOption = None,
    note: Annotated[str | None, typer.Option("--note", "-m", help="Why it is added.")] = None,
    author: AuthorOption = None,
    is_checked: Annotated[
        bool, typer.Option("--check/--no-check", help="Warn when a stored example asks nearly the same.")
    ] = True,
    as_json: JsonOption = False,
) -> None:
    """Add an example; warns when a stored one asks nearly the same thing.

    Example:  benchlake examples add -i question='What is the capital of France?' -o Paris --function qa
    """
    from pipelines.databits.licenses import canonical_license
    from pipelines.examples.drafts import ExampleDraft, check_example
    from pipelines.examples.store import ExampleStore, as_document

    installation, act = open_installation(), read_act(author, note)
    draft = ExampleDraft(
        inputs=_fields(inputs),
        expected_output=output,
        function_name=function,
        domain=domain,
        tags=tags or (),
        source=source,
        license=None if license_ is None else canonical_license(license_),
        creator=act.author,
    )
    check_example(draft)
    near = _near_duplicates(installation, draft) if is_checked else []
    row = ExampleStore(installation.lake).create(draft, now=act.at, author=act.author, note=note)
    if as_json:
        write_json({**as_document(row), "near_duplicates": near})
        return
    sys.stdout.write(f"Added example {row['example_id']}.\n")
    for other in near:
        say(f"Nearly the same: {other['example_id'][:8]} (similarity {other['similarity']:.3f}): {other['inputs']}")


@examples_app.command()
def edit(
    example: ExampleId,
    inputs: InputOption = None,
    output: Annotated[str | None, typer.Option("--output", "-o", help="The expected output.")] = None,
    function: FunctionOption = None,
    domain: DomainOption = None,
    tags: TagOption = None,
    license_: LicenseOption = None,
    note: Annotated[str | None, typer.Option("--note", "-m", help="What changed and why.")] = None,
    author: AuthorOption = None,
    expected_version: Annotated[
        int | None, typer.Option("--expect-version", min=1, help="Refuse if it is at another version by now.")
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Change an example; what is not named stays, an empty text takes a label off. Each edit is a version.

    A new input or output is another example to a model, so its estimate begins again.

    Example:  benchlake examples edit 3e860bbb --output 'Paris.' --tag geography -m 'full sentence'
    """
    from pipelines.examples.store import ExampleChanges, ExampleStore, as_document

    act = read_act(author, note)
    store = ExampleStore(open_installation().lake)
    changes = ExampleChanges(
        inputs=_fields(inputs) if inputs else None,
        expected_output=output,
        function_name=function,
        domain=domain,
        tags=tags,
        license=license_,
    )
    row = store.update(
        store.get(example)["example_id"],
        changes,
        now=act.at,
        author=act.author,
        note=note,
        expected_version=expected_version,
    )
    if as_json:
        write_json(as_document(row))
    else:
        sys.stdout.write(f"Example {row['example_id']} is at version {row['databit_version']}.\n")


@examples_app.command()
def show(example: ExampleId, as_json: JsonOption = False) -> None:
    """Show an example: its content, labels, versions, and what using it is worth.

    Example:  benchlake examples show 3e860bbb
    """
    from pipelines.examples.store import ExampleStore, as_document

    store = ExampleStore(open_installation().lake)
    row = store.get(example)
    versions = store.history(row["example_id"]).select(
        "version", "created_at", "created_by", "change_note", "is_deleted"
    )
    if as_json:
        write_json({**as_document(row), "versions": versions.to_dicts()})
        return
    _print_example(row, versions)


@examples_app.command("list")
def list_(
    function: FunctionOption = None,
    domain: DomainOption = None,
    tags: TagOption = None,
    source: SourceOption = None,
    license_: LicenseOption = None,
    min_effectiveness: MinEffectOption = None,
    has_deleted: Annotated[bool, typer.Option("--all", help="Deleted ones too.")] = False,
    is_best_first: Annotated[
        bool, typer.Option("--best-first", help="The most effective first, instead of by id; one page only.")
    ] = False,
    after: Annotated[str | None, typer.Option("--after", help="Begin after this id: the next page.")] = None,
    limit: LimitOption = 20,
    form: FormatOption = "table",
    as_json: JsonOption = False,
) -> None:
    """List examples by id, a page at a time, filtered by their labels.

    Example:  benchlake examples list --tag geography --limit 50
    """
    from pipelines.examples.store import ExampleStore
    from studio.rendering import emit

    wanted = label_filter(function, domain, tags, source, license_, min_effectiveness, has_deleted=has_deleted)
    store = ExampleStore(open_installation().lake)
    if is_best_first:
        rows, next_after, total = store.search_by_metadata(wanted, limit=limit), None, None
    else:
        page = store.list(wanted, after=after, limit=limit)
        rows, next_after, total = page.rows, page.next_after, page.total_count
    if as_json or form != "table":
        emit(rows, "json" if as_json else form)
    elif rows.is_empty():
        _say_lines(tell_no_match(store.catalogue(), wanted))
    else:
        emit(readable_examples(rows), "table")
        if total is not None:
            sys.stdout.write(f"{rows.height} of {total} examples.\n")
    if next_after is not None:
        say(f"More:  --after {next_after}")


@examples_app.command()
def search(
    text: Annotated[str, typer.Argument(metavar="TEXT", help="What the inputs should be like.")],
    mode: Annotated[
        Literal["hybrid", "embedding", "keywords"],
        typer.Option("--mode", help="By meaning and words, by meaning alone, or by words alone."),
    ] = "hybrid",
    function: FunctionOption = None,
    domain: DomainOption = None,
    tags: TagOption = None,
    source: SourceOption = None,
    license_: LicenseOption = None,
    min_effectiveness: MinEffectOption = None,
    diversity: Annotated[
        float, typer.Option("--diversity", min=0, max=1, help="From 0, the likest, to 1, the most different.")
    ] = 0.0,
    limit: LimitOption = 10,
    form: FormatOption = "table",
    as_json: JsonOption = False,
) -> None:
    """Search examples by meaning and by words, among those with the given labels.

    Example:  benchlake examples search 'capital cities' --tag geography --diversity 0.3
    """
    from pipelines.examples.checks import count_unembedded
    from resources.example_search import open_example_search
    from studio.rendering import emit

    wanted = label_filter(function, domain, tags, source, license_, min_effectiveness, has_deleted=False)
    service = open_example_search(open_installation())
    found = service.search(text, mode=mode, wanted=wanted, count=limit, diversity=diversity)
    if mode != "keywords" and (missing := count_unembedded(service.store.catalogue(), service.vector_index())):
        say(f"{missing} examples are found by their words alone until they are embedded:  benchlake index sync")
    if as_json or form != "table":
        emit(found.rows, "json" if as_json else form)
    elif found.rows.is_empty():
        catalogue = service.store.catalogue()
        has_any = catalogue.matching(wanted).height > 0
        told = "Nothing found. See what there is:  benchlake examples list"
        _say_lines(told if has_any else tell_no_match(catalogue, wanted))
    else:
        emit(readable_examples(found.rows), "table")


@examples_app.command()
def delete(example: ExampleId, reason: ReasonOption = None, author: AuthorOption = None) -> None:
    """Delete an example: no longer found or listed, but its history and uses stay.

    Example:  benchlake examples delete 3e860bbb --reason 'the answer is out of date'
    """
    from pipelines.examples.store import ExampleStore

    act = read_act(author, reason)
    store = ExampleStore(open_installation().lake)
    row = store.delete(store.get(example)["example_id"], now=act.at, author=act.author, reason=reason)
    sys.stdout.write(f"Example {row['example_id']} deleted. Adding it again takes it back.\n")


def _say_lines(text: str) -> None:
    from studio.rendering import printable

    sys.stdout.write("".join(f"{printable(line)}\n" for line in text.splitlines()))


def _print_example(row: dict[str, Any], versions: pl.DataFrame) -> None:
    from pipelines.examples.store import shown_inputs
    from studio.rendering import print_table, printable

    score = row["effectiveness_score"]
    lift = (
        f"{score:+.3f} [{row['effectiveness_low']:+.3f}, {row['effectiveness_high']:+.3f}]"
        if score is not None
        else "unknown, too few comparable uses"
    )
    facts = [
        ("", f"{row['example_id']}{' (deleted)' if row['is_deleted'] else ''}"),
        ("inputs", shown_inputs(row["inputs"])),
        ("output", row["expected_output"]),
        ("function", row["function_name"]),
        ("domain", row["domain"]),
        ("tags", ", ".join(row["tags"]) or None),
        ("source", row["source"]),
        ("licence", row["license"]),
        ("data unit", f"{row['databit_id']}@{row['databit_version']}"),
        ("uses", str(row["usage_count"])),
        ("lift", lift),
    ]
    for name, value in facts:
        if value is not None:
            for line in (f"{name}: {value}" if name else value).splitlines():
                sys.stdout.write(printable(line) + "\n")
    print_table(versions, title="Versions")


def _near_duplicates(installation: Any, draft: Any) -> list[dict[str, Any]]:  # noqa: ANN401  # types load heavy modules
    from resources.example_search import open_example_search

    near = open_example_search(installation).near_duplicates(draft)
    return near.select("example_id", "inputs", "expected_output", "similarity").to_dicts()


def _fields(given: list[str] | None) -> dict[str, str]:
    """`NAME=VALUE` words as fields."""
    from lake.errors import UserError

    fields = {}
    for word in given or []:
        name, equals, value = word.partition("=")
        if not equals or not name.strip():
            raise UserError(f"--input {word!r} is not NAME=VALUE, such as question='What is the capital of France?'.")
        fields[name.strip()] = value
    if not fields:
        raise UserError("An example needs at least one input field:  --input question='What is …?'")
    return fields
