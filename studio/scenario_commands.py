"""Commands of scenarios: save a comparison with its data, see it again as it was, compute it on today's."""

from __future__ import annotations

import datetime as dt
import shlex
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from studio.explore_command import ComparisonFormatOption, ExpertOption, show_comparison
from studio.options import AuthorOption, FormatOption, JsonOption, ReasonOption, open_installation, read_act

if TYPE_CHECKING:
    from pipelines.experiments.scenarios import Rerun

NameArgument = Annotated[str, typer.Argument(metavar="NAME", help="Name of the scenario, or the beginning of its id.")]
VersionOption = Annotated[int | None, typer.Option("--version", min=1, help="Version; the newest when absent.")]

scenario_app = typer.Typer(
    no_args_is_help=True,
    help="Comparisons with a name: saved with their data, replayed to the byte, rerun on today's (silver.scenarios).",
)


def register(app: typer.Typer) -> None:
    """Add the commands of this module."""
    app.add_typer(scenario_app, name="scenarios")


@scenario_app.command("template")
def scenario_template() -> None:
    """Print a scenario file to start from; the one that Benchlake ships, with its comments.

    Example:  benchlake scenarios template > nightlies.yaml
    """
    from resources.shipped_experiments import SCENARIO_PATH

    sys.stdout.write(SCENARIO_PATH.read_text("utf-8"))


@scenario_app.command("save")
def scenario_save(
    file: Annotated[
        Path | None, typer.Argument(metavar="FILE", help="Scenario as YAML or JSON; else give --name and --run.")
    ] = None,
    name: Annotated[str | None, typer.Option(help="Name of the scenario.")] = None,
    run: Annotated[
        list[str] | None, typer.Option("--run", help="Beginning of a run id, or a filter as KEY=GLOB.")
    ] = None,
    baseline: Annotated[str | None, typer.Option(help="Run id or filter that means the baseline.")] = None,
    newest: Annotated[int, typer.Option(min=1, max=20, help="How many of the runs that filters mean.")] = 5,
    metric: Annotated[list[str] | None, typer.Option(help="Metrics to show, as globs.")] = None,
    reason: ReasonOption = None,
    author: AuthorOption = None,
) -> None:
    """Save a comparison as the next version of a scenario, with the table versions it was computed from.

    The night computes every scenario again when its runs change, and shows what moved.

    Example:  benchlake scenarios save --name 'last nights' --run branch=main --run tag=nightly --baseline 3fa2
    """
    from lake.errors import UserError
    from pipelines.experiments.scenarios import parse_scenario, save_scenario
    from resources.written_files import read_object

    if file is not None:
        content, source = read_object(file), str(file)
    elif name and run:
        content, source = (
            {
                "name": name,
                "runs": _choice(run, newest),
                "baseline": _choice([baseline], 1) if baseline else None,
                "metrics": metric or [],
            },
            "the options",
        )
    else:
        raise UserError("Give a FILE, or --name and --run. See:  benchlake scenarios save --help")
    row = save_scenario(open_installation().lake, parse_scenario(content, source=source), act=read_act(author, reason))
    count, name_word = len(row["run_ids"]), shlex.quote(row["name"])
    sys.stdout.write(
        f"{row['name']}, version {row['version_index']}: {count} run{'' if count == 1 else 's'}.\n"
        f"See it again:     benchlake scenarios show {name_word}\n"
        f"On today's data:  benchlake scenarios rerun {name_word}\n"
    )


def _choice(words: list[str], newest: int) -> dict[str, object]:
    return {
        "run_ids": [word for word in words if "=" not in word],
        "filters": [word for word in words if "=" in word],
        "newest": newest,
    }


@scenario_app.command("list")
def scenario_list(form: FormatOption = "table", as_json: JsonOption = False) -> None:
    """Show the scenarios by name, with version, author and how many runs each means.

    Example:  benchlake scenarios list --json
    """
    import polars as pl

    from pipelines.experiments.scenarios import list_scenarios
    from studio.rendering import emit

    rows = list_scenarios(open_installation().lake)
    if rows.is_empty() and form == "table" and not as_json:
        sys.stdout.write("No scenario yet. Start from:  benchlake scenarios template > my.yaml\n")
        return
    shown = rows.select(
        "name",
        "description",
        version="version_index",
        runs=pl.col("run_ids").list.len(),
        saved=pl.col("created_at").dt.strftime("%Y-%m-%d"),
        by="created_by",
    )
    emit(rows if as_json or form == "json" else shown, "json" if as_json else form)


@scenario_app.command("show")
def scenario_show(
    name: NameArgument,
    version: VersionOption = None,
    expert: ExpertOption = False,
    form: ComparisonFormatOption = "table",
    as_json: JsonOption = False,
) -> None:
    """Replay a scenario: the comparison as it was when it was saved, from the table versions of that moment.

    With --json the bytes are those that were saved; anything else is an error (exit 4).

    Example:  benchlake scenarios show 'embedded backends' --expert
    """
    from pipelines.experiments.scenarios import find_scenario, replay_scenario

    lake = open_installation().lake
    diff = replay_scenario(lake, find_scenario(lake, name, version=version))
    show_comparison(diff, "json" if as_json else form, expert=expert)


@scenario_app.command("rerun")
def scenario_rerun(
    name: NameArgument,
    save: Annotated[bool, typer.Option("--save", help="Save today's comparison as the next version.")] = False,
    expert: ExpertOption = False,
    form: ComparisonFormatOption = "table",
    as_json: JsonOption = False,
    reason: ReasonOption = None,
    author: AuthorOption = None,
) -> None:
    """Compute a scenario on today's runs and data, and show what moved since it was saved.

    Example:  benchlake scenarios rerun 'embedded backends' --save --reason 'new kernels'
    """
    from pipelines.experiments.scenarios import find_scenario, rerun_scenario, save_scenario, scenario_of

    lake = open_installation().lake
    row = find_scenario(lake, name)
    if save:
        saved = save_scenario(lake, scenario_of(row), act=read_act(author, reason))
        sys.stderr.write(f"Saved as version {saved['version_index']}.\n")
    found = rerun_scenario(lake, row, now=dt.datetime.now(dt.UTC))
    if as_json or form == "json":
        sys.stdout.write(_as_json(found) + "\n")
        return
    show_comparison(found.today, form, expert=expert)
    _show_movements(found, is_markdown=form == "markdown")


def _as_json(found: Rerun) -> str:
    from dataclasses import asdict

    import orjson

    moved = [asdict(movement) for movement in found.movements]
    return orjson.dumps({"movements": moved, "today": asdict(found.today)}, option=orjson.OPT_SORT_KEYS).decode()


def _show_movements(found: Rerun, *, is_markdown: bool) -> None:
    from pipelines.experiments.run_diff_texts import markdown_table, movement_frame
    from studio.rendering import print_table

    if not found.movements:
        sys.stdout.write("Nothing moved since it was saved.\n")
    elif is_markdown:
        sys.stdout.write(f"\n### Moved since it was saved\n\n{markdown_table(movement_frame(found.movements))}\n")
    else:
        print_table(movement_frame(found.movements), title="Moved since it was saved")


@scenario_app.command("delete")
def scenario_delete(name: NameArgument, reason: ReasonOption = None, author: AuthorOption = None) -> None:
    """Put a scenario away: it is listed no more, the night leaves it alone, its data versions may be cleaned up.

    Example:  benchlake scenarios delete 'last nights' --reason 'superseded by the weekly one'
    """
    from pipelines.experiments.scenarios import delete_scenario

    row = delete_scenario(open_installation().lake, name, act=read_act(author, reason))
    sys.stdout.write(f"{row['name']} is put away. Saving it again brings it back.\n")
