"""Commands of attribution: value the units of an optimisation run, and look at values, changes and lineage."""

from __future__ import annotations

import datetime as dt
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from studio.options import FormatOption, JsonOption, open_installation

if TYPE_CHECKING:
    from pipelines.attribution.recording import MethodResult
    from resources.attribution import AttributionEnd

OneRun = Annotated[str, typer.Argument(metavar="RUN", help="Beginning of an optimisation run's id, or `latest`.")]
# As resources/attribution.py has them; a test compares the two.
AskedMethodName = Literal["knn_shapley", "influence_proxy", "leave_one_out", "shapley_exact", "shapley_sampled"]
MethodName = Literal[
    "knn_shapley", "influence_proxy", "leave_one_out", "shapley_exact", "shapley_sampled", "lineage_rollup"
]
Drawing = Literal["svg", "mermaid"]

attribution_app = typer.Typer(
    no_args_is_help=True,
    help="What each example and data unit contributed to an optimisation run, with how sure that is.",
)


def register(app: typer.Typer) -> None:
    """Add the commands of attribution to the command line."""
    app.add_typer(attribution_app, name="attribution")


@attribution_app.command()
def run(
    run_: OneRun = "latest",
    method: Annotated[
        list[str] | None,
        typer.Option(
            help="knn_shapley, influence_proxy, leave_one_out, shapley_exact or shapley_sampled; repeatable. Default: "
            "the first three."
        ),
    ] = None,
    split: Annotated[
        Literal["test", "validation"],
        typer.Option(help="Whose items are asked. Choose demos by validation items, or the test is used up."),
    ] = "test",
    max_items: Annotated[int | None, typer.Option(min=1, help="Most items asked for each set of demos.")] = None,
    budget_calls: Annotated[int | None, typer.Option(min=1, help="Calls allowed, for each method that asks.")] = None,
    budget_seconds: Annotated[float | None, typer.Option(min=0, help="Time allowed, for each.")] = None,
    orders: Annotated[int, typer.Option(min=2, help="Orders that shapley_sampled draws.")] = 64,
    tolerance: Annotated[
        float, typer.Option(min=0, max=1, help="Score points within which an order is cut short; a bias of as much.")
    ] = 0.0,
    seed: Annotated[int, typer.Option(help="Seed of the orders.")] = 0,
    k: Annotated[int, typer.Option("--k", min=1, help="Neighbours that vote, of knn_shapley.")] = 5,
    language_model: Annotated[
        str | None, typer.Option("--model", help="Configured language model; default the run's own.")
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Value the demos and examples of an optimisation run, and credit the data units they were made from.

    leave_one_out and the two Shapley methods ask the run's best program again, on the same held-out items, with only
    some of its demos: what they say is about the model. knn_shapley and influence_proxy look at vectors alone: good
    for finding wrong labels, no evidence about the model. Every evaluation is kept when it ends, so the same command
    takes up what a budget or a kill cut short, and nothing that stands for the same inputs is computed again.

    Example:  benchlake attribution run latest --method leave_one_out --budget-seconds 60
    """
    from pipelines.optimization.spending import Budget
    from resources.attribution import DEFAULT_METHODS, AttributionPlan, attribute_run, check_methods
    from studio.progress import file_progress

    plan = AttributionPlan(
        methods=check_methods(method or DEFAULT_METHODS),
        split=split,
        max_items=max_items,
        budget=Budget(calls=budget_calls, seconds=budget_seconds),
        orders=orders,
        tolerance=tolerance,
        seed=seed,
        k=k,
        language_model=language_model,
    )
    with file_progress(enabled=True) as progress:
        end = attribute_run(
            open_installation(),
            run_,
            plan,
            clock=lambda: dt.datetime.now(dt.UTC),
            on_evaluated=None if progress is None else lambda name, done, most: progress(done, most, name),
        )
    if as_json:
        _print_json(end)
    else:
        _print_end(end)


@attribution_app.command()
def top(
    run_: OneRun = "latest",
    method: Annotated[MethodName | None, typer.Option(help="Only values by this method.")] = None,
    count: Annotated[int, typer.Option("-n", "--count", min=1, help="So many of either end.")] = 10,
    chart: Annotated[
        Path | None, typer.Option("--svg", help="Write values with intervals as an SVG file, too; needs --method.")
    ] = None,
    form: FormatOption = "table",
    as_json: JsonOption = False,
) -> None:
    """Show the most helpful and the most harmful units of a run, each with interval and finding.

    A unit is called helpful or harmful only where the whole 95 % interval is on one side of 0; else it is
    indistinguishable from 0, whatever its rank. Units are ranked by the nearer end of the interval. Of many units, one
    in twenty that does nothing is called so by chance.

    Example:  benchlake attribution top latest --method leave_one_out --svg demos.svg
    """
    from lake.errors import UserError
    from pipelines.attribution.charts import values_chart
    from pipelines.attribution.listing import readable_values, top_units
    from studio.rendering import emit

    rows = top_units(open_installation().lake, run_, method=method, count=count)
    if chart is not None:
        if rows["method"].n_unique() > 1 or rows["settings"].n_unique() > 1:
            known = ", ".join(rows["method"].unique().sort())
            raise UserError(f"A picture has one scale, and so one method; add --method: {known}.")
        chart.write_text(values_chart(rows, title=f"What units are worth, by {rows['method'][0]}"), encoding="utf-8")
    if as_json or form != "table":
        emit(rows, "json" if as_json else form)
        return
    emit(readable_values(rows), form)


@attribution_app.command()
def unit(
    unit_: Annotated[str, typer.Argument(metavar="UNIT", help="Beginning of the id of an example or data unit.")],
    chart: Annotated[Path | None, typer.Option("--svg", help="Write value against run as an SVG file, too.")] = None,
    form: FormatOption = "table",
    as_json: JsonOption = False,
) -> None:
    """Show a unit's values over versions and runs; of an example, those of its data unit beside them.

    Example:  benchlake attribution unit 3fa2c0d1 --svg unit.svg
    """
    import polars as pl

    from pipelines.attribution.charts import history_chart
    from pipelines.attribution.listing import unit_history, value_text
    from pipelines.attribution.recording import FINDING_WORDS, method_text
    from studio.rendering import emit

    rows = unit_history(open_installation().lake, unit_)
    if chart is not None:
        chart.write_text(history_chart(rows, title="Value of a unit over runs"), encoding="utf-8")
    if as_json or form != "table":
        emit(rows, "json" if as_json else form)
        return
    emit(
        rows.select(
            pl.format("{}\n{}", pl.col("run_id").str.head(8), "template").alias("run"),
            unit=pl.format("{} {}", "unit_kind", pl.col("unit_version").cast(pl.String).fill_null("")),
            method=method_text(rows),
            value=pl.format("{}\n{}", value_text("value"), pl.col("finding").replace_strict(FINDING_WORDS)),
        ),
        form,
    )


@attribution_app.command()
def deltas(
    unit_: Annotated[str | None, typer.Argument(metavar="UNIT", help="Beginning of a unit's id.")] = None,
    run_: Annotated[str | None, typer.Option("--run", help="Only changes that this run brought.")] = None,
    form: FormatOption = "table",
    as_json: JsonOption = False,
) -> None:
    """List how units' values changed, from version to version and from run to run, the surest and largest first.

    Values of the same template, method and settings are compared, taken as independent.

    Example:  benchlake attribution deltas --run latest
    """
    import polars as pl

    from pipelines.attribution.listing import list_deltas, missing_deltas, value_text
    from studio.rendering import emit

    lake = open_installation().lake
    rows = list_deltas(lake, unit=unit_, run=run_)
    if as_json or form != "table":
        emit(rows, "json" if as_json else form)
        return
    told = pl.when("is_distinct").then(pl.lit("distinct from 0")).otherwise(pl.lit("indistinguishable from 0"))
    emit(
        rows.select(
            pl.col("unit_id").str.head(8).alias("unit"),
            pl.col("method").str.replace_all("_", " "),
            pl.col("delta_kind").alias("what changed"),
            values=pl.format("{} to {}", pl.col("previous_value").round_sig_figs(3), pl.col("value").round_sig_figs(3)),
            change=pl.format("{}\n{}", value_text("effect"), told),
        ),
        form,
        none=missing_deltas(lake, is_filtered=unit_ is not None or run_ is not None) if rows.is_empty() else "",
    )


@attribution_app.command()
def lineage(
    unit_: Annotated[str, typer.Argument(metavar="UNIT", help="Data unit (ID or ID@VERSION) or example.")],
    run_: Annotated[str, typer.Option("--run", help="Run whose values colour the drawing.")] = "latest",
    of: Annotated[AskedMethodName, typer.Option("--of", help="Method whose credit is drawn.")] = "leave_one_out",
    form: Annotated[Drawing, typer.Option("--format", help="svg, or mermaid for Markdown.")] = "svg",
    output: Annotated[Path | None, typer.Option("-o", "--output", help="File instead of standard output.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="The versions with their credit as JSON rows.")] = False,
) -> None:
    """Draw what a unit was made from and what was made of it, coloured by the credit that a run gave each version.

    Green helped, orange harmed, grey is indistinguishable from 0; the stronger, the larger beside the run's largest.

    Example:  benchlake attribution lineage 3fa2c0d1 --run latest --output lineage.svg
    """
    import polars as pl

    from pipelines.attribution.listing import find_unit, lineage_marks
    from pipelines.databits.lineage_drawing import draw_lineage
    from pipelines.databits.lineage_graph import read_graph
    from pipelines.databits.lineage_texts import as_mermaid
    from studio.rendering import emit

    lake = open_installation().lake
    graph = read_graph(lake, find_unit(lake, unit_, run_))
    marks = lineage_marks(lake, graph, run_, of=of)
    if as_json:
        emit(
            pl.DataFrame(
                [
                    {
                        "unit_id": node.key.databit_id,
                        "unit_version": node.key.version,
                        "label": node.label,
                        "value": mark.value if (mark := marks.get(node.key)) else None,
                        "finding": mark.finding if mark else None,
                        "parents": [str(parent) for parent in graph.parents.get(node.key, ())],
                    }
                    for node in graph.nodes
                ],
                schema_overrides={"value": pl.Float64, "finding": pl.String, "parents": pl.List(pl.String)},
            ),
            "json",
        )
        return
    text = draw_lineage(graph, marks=marks) if form == "svg" else as_mermaid(graph, marks=marks)
    if output is not None:
        output.write_text(text + "\n", encoding="utf-8")
    else:
        sys.stdout.write(text + "\n")


def _print_json(end: AttributionEnd) -> None:
    import orjson

    rows = [
        {
            "method": result.method,
            "is_new": result.is_new,
            "is_complete": result.is_complete,
            **{f"{finding}_count": count for finding, count in result.counts.items()},
            "note": result.note,
        }
        for result in end.results
    ]
    facts = {"run_id": end.run_id, "is_complete": end.is_complete, "delta_count": end.delta_count, "methods": rows}
    sys.stdout.write(orjson.dumps(facts).decode() + "\n")


def _print_end(end: AttributionEnd) -> None:
    from studio.rendering import printable

    lines = [f"Attribution of optimisation run {end.run_id[:8]}:", *map(_line, end.results)]
    lines.append(f"{end.delta_count} changes of values written.")
    lines.append(f"Look closer:  benchlake attribution top {end.run_id[:8]}")
    sys.stdout.write("\n".join(map(printable, lines)) + "\n")


def _line(result: MethodResult) -> str:
    from pipelines.attribution.recording import FINDING_WORDS

    name = result.method.replace("_", " ")
    counts = ", ".join(f"{result.counts.get(finding, 0)} {words}" for finding, words in FINDING_WORDS.items())
    told = counts if any(result.counts.values()) else "no values"
    known = "" if result.is_new or not any(result.counts.values()) else " (stood already)"
    return f"  {name}: {told}{known}.{' ' + result.note if result.note else ''}"
