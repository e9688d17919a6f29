"""Commands of the example store in bulk and about uses: import, export, extract, usage, update, effectiveness."""

from __future__ import annotations

import datetime as dt
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from studio.example_options import (
    DomainOption,
    FunctionOption,
    LicenseOption,
    LimitOption,
    MinEffectOption,
    SourceOption,
    TagOption,
    label_filter,
    tell_no_match,
    write_json,
)
from studio.options import AuthorOption, FormatOption, JsonOption, open_installation, read_act, say

if TYPE_CHECKING:
    import polars as pl

EXIT_USAGE = 3


def register(app: typer.Typer) -> None:
    """Add the commands of this module to `benchlake examples`."""
    app.command("import")(import_)
    for command in (export, extract, usage, update, effectiveness):
        app.command()(command)


def import_(
    files: Annotated[list[Path], typer.Argument(metavar="FILE", help="JSONL, CSV, TSV or Parquet files.")],
    inputs: Annotated[
        list[str] | None,
        typer.Option("--input", "-i", help="Field that is an input; may be repeated."),
    ] = None,
    outputs: Annotated[
        list[str] | None,
        typer.Option("--output", "-o", help="Field that is expected; may be repeated."),
    ] = None,
    function: FunctionOption = None,
    domain: DomainOption = None,
    tags: TagOption = None,
    license_: LicenseOption = None,
    source: SourceOption = None,
    author: AuthorOption = None,
    as_json: JsonOption = False,
) -> None:
    """Import examples in bulk; importing a file again changes nothing, and edits made since stay.

    A record has its inputs and output in fields that are named, or found: question and answer, prompt and completion,
    instruction and output, inputs and expected_output and the like. What is no example is in bronze.rejects; where
    nothing else was in the files, the exit code is 3.

    Example:  benchlake examples import train.jsonl --input question --output answer --function qa --license MIT
    """
    from pipelines.examples.importing import import_examples
    from pipelines.examples.records import FieldMapping
    from studio.progress import file_progress

    labels = {"function_name": function, "domain": domain, "license": license_, "source": source}
    mapping = FieldMapping(
        inputs=inputs,
        expected_output=outputs,
        labels={name: value for name, value in labels.items() if value is not None},
        tags=tags or (),
    )
    act = read_act(author, None)
    with file_progress(enabled=not as_json) as progress:
        result = import_examples(
            open_installation().lake, files, mapping=mapping, now=act.at, author=act.author, progress=progress
        )
    # Nothing of what was named could be used: that is bad input, as in the other imports.
    has_landed = result.rejected_count < result.record_count
    status = EXIT_USAGE if result.rejected_count and not has_landed else 0
    if as_json:
        write_json(vars(result))
        raise typer.Exit(status)
    sys.stdout.write(
        f"{result.file_count} files, {result.record_count} records: {result.created_count} new, "
        f"{result.revised_count} changed, {result.unchanged_count} known, {result.deleted_count} deleted before, "
        f"{result.rejected_count} rejects.\n"
    )
    if result.rejected_count:
        say("Why:  benchlake sql 'select source_uri, record_index, message from bronze.rejects'")
    raise typer.Exit(status)


def export(
    output: Annotated[Path, typer.Argument(metavar="FILE", help="A new file, .jsonl, .csv or .parquet.")],
    function: FunctionOption = None,
    domain: DomainOption = None,
    tags: TagOption = None,
    source: SourceOption = None,
    license_: LicenseOption = None,
    min_effectiveness: MinEffectOption = None,
    override: Annotated[
        str | None,
        typer.Option("--override-licenses", metavar="REASON", help="Export in spite of licences in conflict."),
    ] = None,
) -> None:
    """Write examples to a file that can be imported again; refuses where inherited licences are in conflict.

    Where no example matches, no file is written and the exit code is 3.

    Example:  benchlake examples export qa.jsonl --function qa --min-effectiveness 0
    """
    from lake.errors import UserError
    from pipelines.examples.importing import export_rows
    from pipelines.examples.licensing import read_licenses, refuse_unlicensed
    from pipelines.examples.store import ExampleStore

    wanted = label_filter(function, domain, tags, source, license_, min_effectiveness, has_deleted=False)
    lake = open_installation().lake
    store = ExampleStore(lake)
    rows = store.all(wanted)
    if rows.is_empty():
        raise UserError(f"{output} is not written. {tell_no_match(store.catalogue(), wanted)}")
    refuse_unlicensed(read_licenses(lake, rows), override=override)
    export_rows(rows, output)
    sys.stdout.write(f"{rows.height} examples in {output}.\n")


def extract(
    run: Annotated[str, typer.Argument(metavar="RUN", help="Id of a run, or how it begins.")],
    kind: Annotated[
        Literal["best", "corrected", "both"],
        typer.Option("--kind", help="Outputs with full score, wrong ones with the reference in their place, or both."),
    ] = "both",
    license_: LicenseOption = None,
    limit: Annotated[int | None, typer.Option("--limit", "-n", min=1, help="How many at most.")] = None,
    as_json: JsonOption = False,
) -> None:
    """Put a run's best and corrected outputs into the curation queue as candidates; nothing is added by itself.

    Example:  benchlake examples extract 4f2a91c0 --kind corrected
    """
    from pipelines.examples.extraction import extract_examples
    from pipelines.runs.remarks import find_run

    lake = open_installation().lake
    result = extract_examples(
        lake, find_run(lake, run)["run_id"], kind=kind, limit=limit, license=license_, now=dt.datetime.now(dt.UTC)
    )
    if as_json:
        write_json(vars(result))
        return
    sys.stdout.write(
        f"{result.output_count} outputs: {result.best_count} with full score, {result.corrected_count} wrong with a "
        f"reference; {result.known_count} asked by an example already, {result.enqueued_count} new in the queue.\n"
        "Decide:  benchlake databits curation list   and then:  benchlake examples update\n"
    )


def usage(
    example: Annotated[str | None, typer.Argument(metavar="ID", help="Only uses of this example.")] = None,
    consumer: Annotated[str | None, typer.Option("--consumer", help="Only uses by this run.")] = None,
    limit: LimitOption = 20,
    form: FormatOption = "table",
    as_json: JsonOption = False,
) -> None:
    """List uses, newest first: which example, where, and what came of it with and without.

    Example:  benchlake examples usage 3e860bbb
    """
    import polars as pl

    from pipelines.examples.store import ExampleStore
    from pipelines.examples.usages import read_usages
    from studio.rendering import emit

    lake = open_installation().lake
    ids = None if example is None else [ExampleStore(lake).get(example)["example_id"]]
    rows = read_usages(lake, example_ids=ids, consumer_id=consumer, limit=limit)
    if as_json or form != "table":
        emit(rows, "json" if as_json else form)
    elif rows.is_empty():
        is_filtered = example is not None or consumer is not None
        sys.stdout.write(
            "No use matches. All of them:  benchlake examples usage\n"
            if is_filtered and lake.row_count("silver.example_usages")
            else "No uses recorded. The night makes some:  benchlake nightly\n"
        )
    else:
        emit(
            rows.select(
                pl.col("example_id").str.head(8).alias("example"),
                pl.col("consumer_kind").alias("by"),
                pl.col("sample_id").alias("sample"),
                pl.col("outcome_score").alias("outcome"),
                pl.col("baseline_score").alias("without"),
                pl.col("used_at").dt.strftime("%Y-%m-%d %H:%M").alias("used"),
            ),
            "table",
        )


def update(
    is_full: Annotated[bool, typer.Option("--full", help="Estimate every example again.")] = False,
    as_json: JsonOption = False,
) -> None:
    """Bring the store up to date as the night does: accepted candidates, edited data units, new uses.

    Example:  benchlake examples update
    """
    from pipelines.examples.effect_steps import update_effects
    from pipelines.examples.following import follow_feed

    lake = open_installation().lake
    followed = follow_feed(lake)
    effects = update_effects(lake, now=dt.datetime.now(dt.UTC), is_full=is_full)
    if as_json:
        write_json({"followed_count": followed, **vars(effects)})
        return
    sys.stdout.write(
        f"{followed} examples brought up to their data units; {effects.use_count} new uses, "
        f"{effects.changed_count} estimates changed.\n"
    )


def effectiveness(
    example: Annotated[str | None, typer.Argument(metavar="ID", help="One example, over time.")] = None,
    picture: Annotated[Path | None, typer.Option("--svg", help="Write a chart to this file.")] = None,
    limit: LimitOption = 20,
    form: FormatOption = "table",
    as_json: JsonOption = False,
) -> None:
    """Show what examples are worth: the lift of calls with one over the same calls without, and its 95% interval.

    Without an id, all examples with an estimate, the best first. docs/examples.md says how it is estimated.

    Example:  benchlake examples effectiveness 3e860bbb --svg effect.svg
    """
    from pipelines.examples.effect_steps import list_effects, read_effect_history
    from pipelines.examples.store import ExampleStore
    from studio.rendering import emit

    lake = open_installation().lake
    row = None if example is None else ExampleStore(lake).get(example)
    rows = list_effects(lake, limit=limit) if row is None else read_effect_history(lake, row["example_id"])
    if picture is not None:
        _draw(rows, row, picture)
    if as_json or form != "table":
        emit(rows, "json" if as_json else form)
    elif rows.is_empty():
        sys.stdout.write("No uses recorded yet, so nothing is known. The night makes some:  benchlake nightly\n")
    else:
        emit(_readable_effects(rows), "table")


def _draw(rows: pl.DataFrame, example: dict[str, Any] | None, picture: Path) -> None:
    from lake.errors import UserError
    from pipelines.examples.charts import effectiveness_chart, effects_chart
    from pipelines.examples.store import shown_inputs

    try:
        if example is None:
            svg = effects_chart(rows, title="What examples are worth")
        else:
            title = f"{example['example_id'][:8]}: {shown_inputs(example['inputs'])[:60]}"
            svg = effectiveness_chart(rows, title=title)
    except ValueError as error:
        raise UserError(f"{error} It takes 20 comparable uses.") from error
    picture.write_text(svg, encoding="utf-8")


def _readable_effects(rows: pl.DataFrame) -> pl.DataFrame:
    import polars as pl

    first = pl.col("day").cast(pl.String) if "day" in rows.columns else pl.col("example_id").str.head(8)
    return rows.select(
        first.alias("until" if "day" in rows.columns else "example"),
        *([pl.col("label").str.head(30).alias("inputs")] if "label" in rows.columns else []),
        pl.col("effect_kind").alias("effect"),
        pl.col("effectiveness_score").round(3).alias("lift"),
        pl.col("effectiveness_low").round(3).alias("low"),
        pl.col("effectiveness_high").round(3).alias("high"),
        pl.col("comparable_count").alias("n"),
    )
