"""The command line. Each command parses its words, calls one step, and prints; none holds logic of its own.

Imports are inside the commands: `benchlake --help` answers before a data-frame library could load.
"""

from __future__ import annotations

import datetime as dt
import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from lake.errors import BenchlakeError, UserError
from studio import (
    attribution_commands,
    batch_commands,
    databit_commands,
    decision_commands,
    demo_command,
    diff_commands,
    dspy_commands,
    example_commands,
    explore_command,
    export_commands,
    gate_commands,
    index_commands,
    report_commands,
    run_commands,
    scenario_commands,
    schema_command,
    suite_commands,
    timeline_commands,
    token_commands,
    trend_commands,
)
from studio.options import FormatOption, JsonOption, open_installation, say

if TYPE_CHECKING:
    from lake.query import At

EXIT_GATE_FAILED = 1
EXIT_INCONCLUSIVE = 2
EXIT_USAGE = 3
EXIT_INTERNAL = 4
# As a shell says that a program was ended by SIGPIPE.
EXIT_READER_LEFT = 141

app = typer.Typer(
    name="benchlake",
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    help="""Evidence for LLM engineering: runs, outputs, differences and verdicts as rows you can query.

    Start with:  benchlake nightly   runs the shipped suite on two embedded backends and judges them.
    Then:        benchlake ui        shows lineage, diffs and gates in Dagster.

    State lives in .benchlake/ (BENCHLAKE_HOME moves it, BENCHLAKE_LAKE puts the tables elsewhere).
    Exit codes: 0 good, 1 a gate failed, 2 inconclusive or incomparable, 3 bad usage or input, 4 internal error.""",
)

run_commands.register(app)
gate_commands.register(app)
diff_commands.register(app)
token_commands.register(app)
trend_commands.register(app)
timeline_commands.register(app)
suite_commands.register(app)
batch_commands.register(app)
databit_commands.register(app)
index_commands.register(app)
example_commands.register(app)
dspy_commands.register(app)
attribution_commands.register(app)
explore_command.register(app)
scenario_commands.register(app)
decision_commands.register(app)
export_commands.register(app)
report_commands.register(app)
schema_command.register(app)
demo_command.register(app)


def main() -> None:
    """Entry point: maps errors to messages and exit codes."""
    try:
        status = app(standalone_mode=False)
    except UserError as error:
        say(str(error))
        sys.exit(EXIT_USAGE)
    except BenchlakeError as error:
        say(str(error))
        sys.exit(EXIT_INTERNAL)
    except SystemExit:
        # Typer and Rich end so, with 1, when who reads the output has gone, as `head` does; no gate failed.
        sys.exit(EXIT_READER_LEFT)
    except Exception as error:  # noqa: BLE001  # the last resort: no traceback unless asked for
        sys.exit(_unexpected(error))
    sys.exit(status if isinstance(status, int) else 0)


def _unexpected(error: Exception) -> int:
    if isinstance(error, typer.Exit):
        return error.exit_code
    show = getattr(error, "show", None)
    if callable(show):
        # Typer's usage errors, whose base class is private, know how to show themselves.
        show()
        _show_example(error)
        return EXIT_USAGE
    if isinstance(error, typer.Abort):
        say("Interrupted.")
        return EXIT_INTERNAL
    if os.environ.get("BENCHLAKE_DEBUG"):
        raise error
    say(f"Internal error: {type(error).__name__}: {error}\nSet BENCHLAKE_DEBUG=1 to see where.")
    return EXIT_INTERNAL


def _show_example(error: Exception) -> None:
    """The example of the command that was called in a way that it does not know."""
    command = getattr(getattr(error, "ctx", None), "command", None)
    for line in (getattr(command, "help", None) or "").splitlines():
        if line.strip().startswith("Example:"):
            say(line.strip())


@app.command("import")
def import_(
    paths: Annotated[list[Path], typer.Argument(metavar="PATH", help="Files or folders; folders are searched.")],
    as_json: JsonOption = False,
    source_kind: Annotated[
        str | None, typer.Option("--format", help="Name of the format (below); recognised by content when absent.")
    ] = None,
) -> None:
    """Import runs from files that your tools wrote; folders may mix formats.

    The format is detected by content. Importing the same file again changes nothing. What cannot be read becomes a
    row of bronze.rejects with file, line and reason, and everything beside it lands.

    Formats: asv, benchlake, chrome_trace (PyTorch profiler too), inspect, llama_cpp (server, llama-bench), lm_eval,
    metrics_csv, mlflow (mlruns/ or mlflow.db), openai (request/response pairs, batch files), otel, promptfoo,
    vllm_bench. What each reads: docs/formats.md. A folder that benchlake export wrote is read back row for row.

    Example:  benchlake import logs/ results/samples_gsm8k.jsonl
    """
    from pipelines.experiments.export_imports import is_export
    from pipelines.runs.steps import import_paths
    from studio.export_commands import import_exports
    from studio.progress import file_progress

    exports = [path for path in paths if is_export(path)]
    if exports:
        raise typer.Exit(import_exports(exports, others=len(paths) - len(exports), as_json=as_json))
    with file_progress(enabled=not as_json) as progress:
        result = import_paths(
            open_installation().lake,
            paths,
            format=source_kind,
            now=dt.datetime.now(dt.UTC),
            progress=None
            if progress is None
            else lambda step: progress(step.done_files, step.file_count, f"{step.record_count:,} records of files"),
        )
    for message in result.messages:
        say(message)
    # Nothing of what was named could be used: that is bad input, though the reasons are kept as rows.
    nothing_landed = result.rejects and not result.files and not result.unchanged_files
    status = EXIT_USAGE if nothing_landed or not all(path.exists() for path in paths) else 0
    if as_json:
        import json

        counts = {"files": result.files, "runs": result.runs, "samples": result.samples, "rejects": result.rejects}
        sys.stdout.write(json.dumps(counts) + "\n")
        raise typer.Exit(status)
    unchanged = f", {result.unchanged_files} unchanged" if result.unchanged_files else ""
    sys.stdout.write(
        f"{result.files} files imported{unchanged}: {result.runs} runs, {result.samples} samples, "
        f"{result.rejects} rejects.\n"
    )
    if not (result.files or result.unchanged_files or result.rejects):
        sys.stdout.write("Nothing to import was found. Files to try it on:  benchlake demo\n")
    if result.rejects:
        sys.stdout.write('See them:  benchlake sql "select source_uri, record_index, message from bronze.rejects"\n')
    raise typer.Exit(status)


@app.command()
def sql(
    query: Annotated[str, typer.Argument(metavar="QUERY", help="One SELECT; tables are named layer.table.")],
    form: FormatOption = "table",
    as_json: JsonOption = False,
    at: Annotated[
        list[str] | None,
        typer.Option("--at", help="Time travel: an ISO instant for all tables, or layer.table=VERSION; repeatable."),
    ] = None,
) -> None:
    """Query the lake with DuckDB SQL, read-only, with time travel.

    Example:  benchlake sql "select backend, count(*) from silver.outputs join silver.runs using (run_id) group by all"
    """
    from studio.rendering import emit

    rows = open_installation().lake.sql(query, at=_parse_at(at or []))
    # A result is what was asked for, to the last digit.
    emit(
        rows,
        "json" if as_json else form,
        none="No rows. Which tables have any:  benchlake tables",
        is_exact=True,
    )


def _parse_at(words: list[str]) -> At | None:
    if not words:
        return None
    versions: dict[str, int] = {}
    for word in words:
        table, equals, version = word.partition("=")
        if equals and version.isdigit():
            versions[table] = int(version)
            continue
        try:
            instant = dt.datetime.fromisoformat(word)
        except ValueError:
            raise UserError(f"--at {word!r} is neither an ISO 8601 instant nor layer.table=VERSION.") from None
        return instant if instant.tzinfo else instant.replace(tzinfo=dt.UTC)
    return versions


@app.command()
def tables(form: FormatOption = "table", as_json: JsonOption = False) -> None:
    """List the tables and views: what one row is, how many there are, newest version.

    Without a version: a table that nothing was written to yet, or a view, which is computed when it is asked.
    """
    import polars as pl

    from lake.tables import CONTRACTS
    from lake.views import VIEWS
    from studio.rendering import emit

    lake = open_installation().lake
    versions = lake.versions(list(CONTRACTS))
    of_tables = [
        (table, lake.row_count(table), versions[table] if versions[table] >= 0 else None, contract.grain)
        for table, contract in CONTRACTS.items()
    ]
    of_views = [(name, None, None, f"View: {view.description}") for name, view in VIEWS.items()]
    rows = pl.DataFrame(
        [*of_tables, *of_views],
        schema={"table": pl.String, "rows": pl.Int64, "version": pl.Int64, "grain": pl.String},
        orient="row",
    )
    emit(rows, "json" if as_json else form)


@app.command()
def nightly(
    use_verdicts: Annotated[
        bool, typer.Option("--exit-code", help="Exit 1 or 2 by the gates' verdicts, for CI; else 0 once it ran.")
    ] = False,
) -> None:
    """Run the main job once, here: ask the suite, import, diff, judge; then say what came out.

    A killed night is taken up where it stopped; a second one on the same day asks nothing again.
    """
    from studio.night import run_night

    raise typer.Exit(run_night(open_installation(), use_verdicts=use_verdicts))


@app.command()
def ui(
    port: Annotated[int, typer.Option(help="Port on 127.0.0.1.")] = 3000,
) -> None:
    """Serve the Dagster UI on loopback, with schedules and sensors running. Stop it with Ctrl-C."""
    from studio.night import serve_ui

    raise typer.Exit(serve_ui(open_installation(), port=port))


@app.command()
def maintain(
    names: Annotated[
        list[str] | None, typer.Argument(metavar="TABLE", help="Tables as layer.table; all when absent.")
    ] = None,
    retention_hours: Annotated[
        int, typer.Option(min=0, help="Keep files of versions younger than this readable.")
    ] = 168,
) -> None:
    """Compact, checkpoint and vacuum tables. Pinned versions and unread changes stay readable."""
    lake = open_installation().lake
    for table in names or lake.tables():
        result = lake.maintain(table, retention_hours=retention_hours)
        if result is None:
            sys.stdout.write(f"{table}: nothing is written yet, or somebody else maintains it now.\n")
        else:
            sys.stdout.write(
                f"{table}: {result.row_count} rows, {result.files_before} files became {result.files_after}, "
                f"{result.files_vacuumed} old files removed, {len(result.kept_versions)} versions kept.\n"
            )


if __name__ == "__main__":
    main()
