"""Commands about templates: save, list, show, compare, pin examples, archive, export."""

from __future__ import annotations

import datetime as dt
import json
import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from studio.options import AuthorOption, FormatOption, JsonOption, ReasonOption, open_installation

if TYPE_CHECKING:
    from pipelines.optimization.template_registry import TemplateVersion

OneTemplate = Annotated[
    str, typer.Argument(metavar="TEMPLATE", help="NAME (its newest active version) or NAME@VERSION.")
]

template_app = typer.Typer(
    no_args_is_help=True, help="Keep versions of templates, from which programs are built (silver.templates)."
)


@template_app.command()
def save(
    path: Annotated[Path, typer.Argument(metavar="FILE", help="A template, YAML; docs/optimization.md has its keys.")],
    note: Annotated[str | None, typer.Option("--note", "-m", help="What is different from the version before.")] = None,
    author: AuthorOption = None,
) -> None:
    """Save a template file as the next version of its name; content that is there already stays the version it is.

    Example:  benchlake dspy templates save orders.template.yaml -m 'clearer instruction'
    """
    from lake.errors import UserError
    from pipelines.optimization.template_registry import save_template
    from pipelines.optimization.templates import parse_template

    try:
        content = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(
            f"The template file {path} cannot be read: {getattr(error, 'strerror', None) or error}."
        ) from error
    template = parse_template(content, source=str(path))
    saved = save_template(open_installation().lake, template, now=now(), author=author_of(author), note=note)
    sys.stdout.write(
        f"Saved {saved}.\n" if saved.is_new else f"Nothing new: this content is {saved} ({saved.state}).\n"
    )


@template_app.command("demo")
def save_demo_template(author: AuthorOption = None) -> None:
    """Save the demo: a template in a house style that no model knows, and 320 examples to learn it from.

    Then optimise it with:  benchlake dspy optimize transport-orders

    Example:  benchlake dspy templates demo
    """
    from resources.demo_template import save_demo

    saved = save_demo(open_installation().lake, now=now(), author=author_of(author))
    sys.stdout.write(f"{saved} is in the lake with its examples. Next:  benchlake dspy optimize {saved.template}\n")


@template_app.command("list")
def list_(
    has_archived: Annotated[bool, typer.Option("--archived", help="Archived ones too.")] = False,
    form: FormatOption = "table",
    as_json: JsonOption = False,
) -> None:
    """List templates with their newest version and how it stands.

    Example:  benchlake dspy templates list
    """
    from pipelines.optimization.template_registry import list_templates
    from studio.rendering import emit

    rows = list_templates(open_installation().lake, has_archived=has_archived)
    shown = ("template", "version_index", "state", "program_kind", "version_count", "created_at", "description")
    emit(
        rows.select(shown) if form == "table" and not as_json else rows,
        "json" if as_json else form,
        none="There is no template. Save one:  benchlake dspy templates save FILE   or the demo:  "
        "benchlake dspy templates demo",
    )


@template_app.command()
def show(reference: OneTemplate, as_json: JsonOption = False) -> None:
    """Show a version as YAML, with its state and where it comes from.

    Example:  benchlake dspy templates show transport-orders
    """
    from pipelines.optimization.template_registry import read_template
    from pipelines.optimization.templates import template_yaml
    from studio.rendering import as_json as json_of
    from studio.rendering import printable

    version = read_template(open_installation().lake, reference)
    if as_json:
        import polars as pl

        sys.stdout.write(json_of(pl.DataFrame([dict(version.row)])) + "\n")
        return
    lines = [f"# {version}: {version.row['state']}{_origin(version)}", *template_yaml(version.template).splitlines()]
    sys.stdout.write("\n".join(map(printable, lines)) + "\n")


@template_app.command()
def history(
    name: Annotated[str, typer.Argument(metavar="NAME", help="Name of the template.")],
    form: FormatOption = "table",
    as_json: JsonOption = False,
) -> None:
    """List the versions of a template: what each was made from, which run learnt it, and how it stands.

    Example:  benchlake dspy templates history transport-orders
    """
    from pipelines.optimization.template_registry import read_history
    from studio.rendering import emit

    rows = read_history(open_installation().lake, name)
    shown = ("version_index", "state", "parent_version_index", "optimization_run_id", "created_by", "change_note")
    emit(rows.select(shown) if form == "table" and not as_json else rows, "json" if as_json else form)


@template_app.command()
def diff(before: OneTemplate, after: OneTemplate) -> None:
    """Show what differs between two versions, line by line of their YAML.

    Example:  benchlake dspy templates diff transport-orders@1 transport-orders@2
    """
    from pipelines.optimization.template_registry import diff_templates
    from studio.rendering import printable

    text = diff_templates(open_installation().lake, before, after)
    sys.stdout.write("\n".join(map(printable, text.splitlines())) + "\n" if text else "Nothing differs.\n")


@template_app.command()
def pin(
    reference: OneTemplate,
    examples: Annotated[list[str], typer.Argument(metavar="EXAMPLE", help="Ids of examples, or how they begin.")],
    author: AuthorOption = None,
) -> None:
    """Save a next version that shows these examples, in this order, before each question.

    Example:  benchlake dspy templates pin transport-orders 5f0e9f52 0080abc1
    """
    from pipelines.examples.store import ExampleStore
    from pipelines.optimization.template_registry import pin_examples

    lake = open_installation().lake
    ids = [str(ExampleStore(lake).get(word)["example_id"]) for word in examples]
    saved = pin_examples(lake, reference, ids, now=now(), author=author_of(author))
    sys.stdout.write(f"Saved {saved}.\n" if saved.is_new else f"Nothing new: this content is {saved}.\n")


@template_app.command()
def archive(reference: OneTemplate, reason: ReasonOption = None) -> None:
    """Put a version, or every version of a name, away: kept with its history, no longer used.

    Example:  benchlake dspy templates archive transport-orders@1 --reason 'superseded'
    """
    from pipelines.optimization.template_registry import set_state

    _say_changed(set_state(open_installation().lake, reference, "archived", now=now(), reason=reason), "archived")


@template_app.command()
def activate(reference: OneTemplate, reason: ReasonOption = None) -> None:
    """Make a version active by hand: one out of the archive, or a learnt one that no gate has decided.

    Example:  benchlake dspy templates activate transport-orders@2 --reason 'checked by hand'
    """
    from pipelines.optimization.template_registry import set_state

    _say_changed(set_state(open_installation().lake, reference, "active", now=now(), reason=reason), "active")


@template_app.command()
def export(
    reference: OneTemplate,
    folder: Annotated[Path, typer.Option("--output", "-o", help="Folder for the files; made if absent.")] = Path(),
    program_id: Annotated[
        str | None, typer.Option("--program", help="A program of an optimisation run, by the beginning of its id.")
    ] = None,
) -> None:
    """Write a template's program: Python source that runs without Benchlake, its JSON state, and the template's YAML.

    Example:  benchlake dspy templates export transport-orders --output exported
    """
    from resources.program_files import export_program

    for path in export_program(open_installation(), reference, folder=folder, program_id=program_id):
        sys.stdout.write(f"{path}\n")


@template_app.command()
def ask(
    reference: OneTemplate,
    inputs: Annotated[
        str | None,
        typer.Argument(metavar="INPUTS", help="A JSON object of the input fields; default the example query."),
    ] = None,
) -> None:
    """Ask a template's program one question and print its outputs as JSON.

    Example:  benchlake dspy templates ask transport-orders '{"message": "3 lamps go from Oslo to Bern"}'
    """
    from resources.program_files import ask_template

    sys.stdout.write(json.dumps(ask_template(open_installation(), reference, inputs), ensure_ascii=False) + "\n")


def now() -> dt.datetime:
    """The time, in UTC."""
    return dt.datetime.now(dt.UTC)


def author_of(given: str | None) -> str:
    """Who does it."""
    from resources.author import read_author

    return given or read_author(Path.cwd(), os.environ)


def _say_changed(changed: list[str], state: str) -> None:
    sys.stdout.write(
        "".join(f"{name} is {state}.\n" for name in changed) or f"Nothing changed: it is {state} already.\n"
    )


def _origin(version: TemplateVersion) -> str:
    row = version.row
    learnt = f", learnt by optimisation run {row['optimization_run_id'][:8]}" if row["optimization_run_id"] else ""
    parent = f", made from version {row['parent_version_index']}" if row["parent_version_index"] else ""
    return f"{parent}{learnt}; saved {row['created_at']:%Y-%m-%d %H:%M} by {row['created_by']}"
