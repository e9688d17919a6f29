"""What the commands of the example store share: their options, and how examples are shown."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    import polars as pl

    from pipelines.examples.catalogue import Catalogue, ExampleFilter
    from pipelines.examples.labels import Condition

ExampleId = Annotated[str, typer.Argument(metavar="ID", help="Id of the example, or how it begins.")]
InputOption = Annotated[
    list[str] | None, typer.Option("--input", "-i", metavar="NAME=VALUE", help="An input field; may be repeated.")
]
FunctionOption = Annotated[str | None, typer.Option("--function", help="Program, prompt or task that it is for.")]
DomainOption = Annotated[str | None, typer.Option("--domain", help="Field of knowledge.")]
TagOption = Annotated[list[str] | None, typer.Option("--tag", help="A label; may be repeated.")]
LicenseOption = Annotated[str | None, typer.Option("--license", help="Licence as an SPDX expression, such as MIT.")]
SourceOption = Annotated[str | None, typer.Option("--source", help="Where it is from.")]
MinEffectOption = Annotated[
    float | None, typer.Option("--min-effectiveness", help="Only examples whose estimated lift is at least this.")
]
LimitOption = Annotated[int, typer.Option("--limit", "-n", min=1, help="How many at most.")]

# Characters of a cell, so that a row is a line of a terminal.
_SHOWN_INPUT, _SHOWN_OUTPUT = 34, 16
# Labels of a kind that are named where none matches.
_SHOWN_LABELS = 8

NO_EXAMPLES = "No examples. Add one:  benchlake examples add --help   (or run: benchlake nightly)"


def label_filter(  # one label each
    function: str | None,
    domain: str | None,
    tags: list[str] | None,
    source: str | None,
    license_: str | None,
    min_effectiveness: float | None,
    *,
    has_deleted: bool,
) -> ExampleFilter:
    """The filter that label options describe."""
    from pipelines.examples.catalogue import ExampleFilter

    return ExampleFilter(
        function_name=function,
        domain=domain,
        tags=tuple(tags or ()),
        source=source,
        license=license_,
        min_effectiveness=min_effectiveness,
        has_deleted=has_deleted,
    )


def tell_no_match(catalogue: Catalogue, wanted: ExampleFilter) -> str:
    """What to do where a filter admits nothing: which condition it is, and which labels there are instead."""
    from pipelines.examples.labels import weigh_conditions

    stored = catalogue.living.height
    conditions = weigh_conditions(catalogue, wanted)
    if not catalogue.rows.height or not (stored or wanted.has_deleted):
        return NO_EXAMPLES
    if not conditions:
        return "No example is left on this page. From the beginning:  benchlake examples list"
    lines = [f"No example matches; {stored} are stored. All of them:  benchlake examples list"]
    return "\n".join([*lines, *(f"  {_tell_condition(condition)}" for condition in conditions)])


def _tell_condition(condition: Condition) -> str:
    option = "--min-effectiveness" if condition.kind == "effectiveness" else f"--{condition.kind}"
    count = condition.example_count
    if count:
        return f"{option} {condition.wanted}: {count} example{'' if count == 1 else 's'} alone."
    told = f"{option} {condition.wanted}: no example."
    if condition.kind == "effectiveness":
        return f"{told} Highest estimate: {condition.known[0] if condition.known else 'none yet'}."
    if not condition.known:
        return f"{told} None has a {condition.kind} at all."
    more = len(condition.known) - _SHOWN_LABELS
    return f"{told} There are: {', '.join(condition.known[:_SHOWN_LABELS])}{f', and {more} more' if more > 0 else ''}."


def readable_examples(rows: pl.DataFrame) -> pl.DataFrame:
    """Listed or found examples with the columns that fit a terminal."""
    import polars as pl

    is_found = "rank" in rows.columns
    ranks = [pl.col("rank"), pl.col("similarity").round(3), pl.col("keyword_score").round(2).alias("words")]
    labels = [pl.col("tags").list.join(", "), pl.col("usage_count").alias("uses")]
    return rows.select(
        *(ranks if is_found else []),
        pl.col("example_id").str.head(8).alias("example"),
        pl.col("inputs").map_elements(_short_inputs, return_dtype=pl.String),
        pl.col("expected_output").str.head(_SHOWN_OUTPUT).alias("output"),
        *([] if is_found else labels),
        pl.col("effectiveness_score").round(3).alias("lift"),
    )


def _short_inputs(inputs: str) -> str:
    from pipelines.examples.store import shown_inputs

    text = " ".join(shown_inputs(inputs).split())
    return text if len(text) <= _SHOWN_INPUT else text[: _SHOWN_INPUT - 1] + "…"


def write_json(value: object) -> None:
    """One JSON document on standard output."""
    import orjson

    sys.stdout.write(orjson.dumps(value).decode() + "\n")
