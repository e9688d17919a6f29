"""Commands about prompt suites: save, list, show, diff, archive, restore, export."""

from __future__ import annotations

import datetime as dt
import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from studio.options import AuthorOption, FormatOption, JsonOption, ReasonOption, open_installation, say

if TYPE_CHECKING:
    import polars as pl

_ONE = "NAME (its newest version), NAME@VERSION, or eight digits or more of a digest"
OneVersion = Annotated[str, typer.Argument(metavar="SUITE", help=f"{_ONE}.")]
OneSuite = Annotated[str, typer.Argument(metavar="SUITE", help=f"{_ONE}; or a suite file.")]
Versions = Annotated[
    str, typer.Argument(metavar="SUITE", help="NAME (all its versions), NAME@VERSION, or eight digits of a digest.")
]

suite_app = typer.Typer(
    no_args_is_help=True, help="Keep versions of prompt suites in the lake (silver.suites, silver.prompts)."
)


def register(app: typer.Typer) -> None:
    """Add the commands of this module."""
    app.add_typer(suite_app, name="suite")


@suite_app.command()
def save(
    paths: Annotated[list[Path], typer.Argument(metavar="FILE", help="Suite files, YAML.")],
    note: Annotated[str | None, typer.Option("--note", "-m", help="What is different from the version before.")] = None,
    author: AuthorOption = None,
) -> None:
    """Save suite files as new versions; content that is there already stays the version it is.

    Example:  benchlake suite save support.suite.yaml -m 'five more refund questions'
    """
    from pipelines.runs.suite_registry import save_suite
    from pipelines.runs.suites import read_suite

    installation = open_installation()
    # All are read before any is saved: a mistake in the second must not leave half of what was asked for.
    for written in [read_suite(path) for path in paths]:
        saved = save_suite(installation.lake, written, now=_now(), author=_author(author), note=note)
        which = f"{saved.suite}@{saved.version_index} ({saved.suite_digest[:12]}, {saved.prompt_count} prompts)"
        sys.stdout.write(f"Saved {which}.\n" if saved.is_new else f"Nothing new: this content is {which}.\n")
        if saved.is_archived:
            say(f"It is archived; take it out with: benchlake suite restore {saved.suite}@{saved.version_index}")
        if saved.is_new and saved.same_label_index is not None:
            say(
                f"Its author's version {saved.version!r} is also that of {saved.suite}@{saved.same_label_index}; "
                "change `version` in the file when the content changes."
            )
        if saved.is_redacted:
            say("What looks like a secret was taken out: this version can be read, but only its file can be asked.")


@suite_app.command("list")
def list_(
    suite: Annotated[str | None, typer.Argument(metavar="NAME", help="Only versions of this suite.")] = None,
    has_archived: Annotated[bool, typer.Option("--all", help="Archived versions too.")] = False,
    form: FormatOption = "table",
    as_json: JsonOption = False,
) -> None:
    """List saved versions with their prompts and how many runs asked them; every column with --format json.

    Example:  benchlake suite list support --all
    """
    from pipelines.runs.suite_registry import list_suites
    from studio.rendering import emit

    rows = list_suites(open_installation().lake, suite=suite, has_archived=has_archived)
    if as_json or form != "table":
        emit(rows, "json" if as_json else form)
    elif rows.is_empty():
        sys.stdout.write("No suites saved yet. Save one:  benchlake suite save FILE   (or run: benchlake nightly)\n")
    else:
        emit(_readable_versions(rows), "table")


@suite_app.command()
def show(reference: OneVersion, as_json: JsonOption = False) -> None:
    """Show a saved version: who saved it and why, its prompts with references, scorers and tags.

    Example:  benchlake suite show support@2 --json
    """
    import orjson

    from pipelines.runs.suite_registry import read_prompts, read_version

    lake = open_installation().lake
    version = read_version(lake, reference)
    prompts = read_prompts(lake, version["suite_digest"])
    if as_json:
        samples = prompts.drop("suite", "suite_digest").to_dicts()
        facts = {name: value for name, value in version.items() if name != "content"}
        sys.stdout.write(orjson.dumps({**facts, "prompts": samples}).decode() + "\n")
        return
    _print_version(version, prompts)


@suite_app.command()
def diff(baseline: OneSuite, candidate: OneSuite, as_json: JsonOption = False) -> None:
    """Show what differs between two versions: prompts word by word, references, scorers, tags, sampling.

    Either may be a file that is not saved yet. Equal digests, and they alone, have no differences.

    Example:  benchlake suite diff support@1 support.suite.yaml
    """
    from pipelines.runs.suite_diff import diff_suites
    from resources.suite_choice import choose_suite
    from studio.rendering import emit

    installation = open_installation()
    before, after = (choose_suite(installation, name, purpose="read").suite for name in (baseline, candidate))
    changes = diff_suites(before, after)
    if as_json:
        emit(changes, "json")
        return
    sys.stdout.write(f"{before.name} {before.digest[:12]} -> {after.name} {after.digest[:12]}\n")
    for change in changes.iter_rows(named=True):
        sys.stdout.write(_change_line(change) + "\n")
    sys.stdout.write(f"{changes.height} changes.\n" if changes.height else "No differences.\n")


@suite_app.command()
def archive(reference: Versions, reason: ReasonOption = None, author: AuthorOption = None) -> None:
    """Put versions away: still readable and named by digest, no longer asked by name.

    Example:  benchlake suite archive support@1 --reason 'asked about a product we no longer sell'
    """
    from pipelines.runs.suite_registry import archive_suite

    lake = open_installation().lake
    _say_changed(
        archive_suite(lake, reference, now=_now(), author=_author(author), reason=reason), "archived", reference
    )


@suite_app.command()
def restore(reference: Versions, reason: ReasonOption = None, author: AuthorOption = None) -> None:
    """Take versions out of the archive, so that they can be asked by name again.

    Example:  benchlake suite restore support@1 --reason 'needed to compare with last spring'
    """
    from pipelines.runs.suite_registry import restore_suite

    lake = open_installation().lake
    _say_changed(
        restore_suite(lake, reference, now=_now(), author=_author(author), reason=reason), "restored", reference
    )


@suite_app.command()
def export(
    reference: OneVersion,
    output: Annotated[
        Path | None, typer.Option("--output", "-o", help="A new file; standard output if absent.")
    ] = None,
) -> None:
    """Write a saved version as its author wrote it, YAML with comments.

    Example:  benchlake suite export support@2 --output support.suite.yaml
    """
    from lake.errors import UserError
    from pipelines.runs.suite_registry import read_version

    version = read_version(open_installation().lake, reference)
    if version["is_redacted"]:
        say("What looked like a secret was taken out of this version when it was saved.")
    if output is None:
        sys.stdout.write(version["content"])
        return
    try:
        with output.open("x", encoding="utf-8", newline="") as stream:
            stream.write(version["content"])
    except FileExistsError:
        raise UserError(f"{output} exists and is not overwritten; name another file or remove it.") from None
    except OSError as error:
        raise UserError(f"{output} cannot be written: {error.strerror}.") from None


def _readable_versions(rows: pl.DataFrame) -> pl.DataFrame:
    """The columns that fit a terminal."""
    import polars as pl

    from pipelines.runs.suite_references import SHOWN_DIGEST_CHARS

    return rows.select(
        pl.format("{}@{}", "suite", "version_index").alias("suite"),
        pl.col("suite_digest").str.head(SHOWN_DIGEST_CHARS).alias("digest"),
        pl.col("version").alias("label"),
        prompts="prompt_count",
        runs="run_count",
        saved=pl.col("created_at").dt.date(),
        note=pl.when("is_archived").then(pl.lit("(archived) ")).otherwise(pl.lit(""))
        + pl.col("change_note").fill_null(""),
    )


def _print_version(version: dict[str, Any], prompts: pl.DataFrame) -> None:
    import polars as pl

    from pipelines.runs.suite_references import shown_version
    from studio.rendering import print_table, printable

    facts = [
        ("", f"{shown_version(version)}, its author's version {version['version']}"),
        ("", version["description"]),
        ("saved", f"{version['created_at']:%Y-%m-%d %H:%M} by {version['created_by']}"),
        ("note", version["change_note"]),
        ("archived", _act_of(version, "archive") if version["is_archived"] else None),
        ("restored", _act_of(version, "restore") if not version["is_archived"] else None),
    ]
    for name, value in facts:
        if value is not None:
            sys.stdout.write(printable(f"{name}: {value}" if name else value) + "\n")
    print_table(
        prompts.select(
            "sample_id",
            "prompt",
            "reference",
            pl.col("scorers").map_elements(_short_scorers, return_dtype=pl.String),
            pl.col("tags").list.join(", "),
        )
    )


def _short_scorers(text: str) -> str:
    """`contains, numeric (tolerance 0.5)` for the canonical JSON of silver.prompts."""
    import orjson

    return ", ".join(
        f"{use['name']} ({', '.join(f'{name} {value}' for name, value in use['options'].items())})"
        if use["options"]
        else use["name"]
        for use in orjson.loads(text)
    )


def _act_of(version: dict[str, Any], act: str) -> str | None:
    done = {"archive": "archived", "restore": "restored"}[act]
    if version[f"{done}_at"] is None:
        return None
    why = f": {version[f'{act}_reason']}" if version[f"{act}_reason"] else ""
    return f"{version[f'{done}_at']:%Y-%m-%d %H:%M} by {version[f'{done}_by']}{why}"


def _change_line(change: dict[str, Any]) -> str:
    from studio.rendering import printable

    place = " ".join(filter(None, (change["part"], change["sample_id"], change["field"])))
    if change["edits"] is not None:
        value = change["edits"]
    elif change["baseline"] is None or change["candidate"] is None:
        value = change["baseline"] if change["candidate"] is None else change["candidate"]
    else:
        value = f"{change['baseline']} -> {change['candidate']}"
    return printable(f"{change['change']:<8} {place}: {value}")


def _say_changed(versions: list[dict[str, Any]], done: str, reference: str) -> None:
    from pipelines.runs.suite_references import shown_version

    for version in versions:
        sys.stdout.write(f"{shown_version(version)} {done}.\n")
    if not versions:
        sys.stdout.write(f"Nothing changed: {reference} is {done} already.\n")


def _now() -> dt.datetime:
    return dt.datetime.now(dt.UTC)


def _author(given: str | None) -> str:
    from resources.author import read_author

    return given or read_author(Path.cwd(), os.environ)
