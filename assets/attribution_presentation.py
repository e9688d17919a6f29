"""Values of units as the Dagster UI can show them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import dagster as dg
import polars as pl

from assets.presentation import markdown_table, number
from lake.store import Lake
from pipelines.attribution.charts import values_chart
from pipelines.attribution.listing import list_deltas, top_units
from pipelines.attribution.recording import ATTRIBUTIONS, DELTAS, EVALUATIONS, FINDING_WORDS, MethodResult
from pipelines.drawing import as_markdown_image
from pipelines.evidence.render import escape_markdown
from resources.attribution import AttributionEnd

_SHOWN_UNITS, _SHOWN_DELTAS = 5, 20
# What is told about the model itself first.
_TOLD_FIRST = ("leave_one_out", "shapley_exact", "shapley_sampled", "knn_shapley", "influence_proxy")


def attribution_metadata(lake: Lake, ends: Sequence[AttributionEnd]) -> dict[str, dict[str, Any]]:
    """Metadata of each table: what each method found, the ends of its ranking as a table and as a picture."""
    if not ends:
        return {ATTRIBUTIONS: {"runs": "none is new"}}
    facts: dict[str, Any] = {
        "runs": len(ends),
        "methods": dg.MetadataValue.md(result_table([result for end in ends for result in end.results])),
    }
    if any(sum(result.counts.values()) for result in ends[-1].results):
        facts |= _values_of(lake, ends[-1].run_id)
    deltas = list_deltas(lake)
    return {
        EVALUATIONS: {"incomplete": sum(not end.is_complete for end in ends)},
        ATTRIBUTIONS: facts,
        DELTAS: {
            "new or changed": sum(end.delta_count for end in ends),
            "largest": dg.MetadataValue.md(delta_table(deltas.head(_SHOWN_DELTAS))),
        },
    }


def result_table(results: Sequence[MethodResult]) -> str:
    """What became of each method."""
    return markdown_table(
        ["run", "method", "helpful", "harmful", "indistinguishable from 0", "note"],
        (
            [
                f"`{result.run_id[:8]}`",
                result.method.replace("_", " "),
                *(str(result.counts.get(finding, 0)) for finding in FINDING_WORDS),
                escape_markdown(result.note or ("" if result.is_new else "stood already")),
            ]
            for result in results
        ),
    )


def value_table(rows: pl.DataFrame) -> str:
    """Units with value, interval and finding; rows of `top_units`."""
    return markdown_table(
        ["method", "unit", "says", "value", "interval", "finding", "n"],
        (
            [
                row["method"].replace("_", " "),
                f"`{row['unit_id'][:8]}`",
                escape_markdown(row["label"]),
                number(row["value"]),
                f"{number(row['interval_low'])} to {number(row['interval_high'])}",
                FINDING_WORDS[row["finding"]],
                str(row["sample_count"]),
            ]
            for row in rows.iter_rows(named=True)
        ),
    )


def delta_table(rows: pl.DataFrame) -> str:
    """Changes of values; rows of gold.attribution_deltas."""
    if rows.is_empty():
        return "No unit has values in two runs yet."
    return markdown_table(
        ["unit", "method", "what changed", "before", "after", "change", "interval", "distinct from 0"],
        (
            [
                f"`{row['unit_id'][:8]}`",
                row["method"].replace("_", " "),
                row["delta_kind"],
                number(row["previous_value"]),
                number(row["value"]),
                number(row["effect"]),
                f"{number(row['interval_low'])} to {number(row['interval_high'])}",
                "yes" if row["is_distinct"] else "no",
            ]
            for row in rows.iter_rows(named=True)
        ),
    )


def _values_of(lake: Lake, run_id: str) -> dict[str, Any]:
    rows = top_units(lake, run_id, count=_SHOWN_UNITS)
    method = next(name for name in (*_TOLD_FIRST, "lineage_rollup") if name in rows["method"])
    first = rows.filter(pl.col("method") == method)
    # Of one method there may be several settings; a picture has one.
    picture = values_chart(
        first.filter(pl.col("settings") == first["settings"][0]), title=f"{method.replace('_', ' ')} of {run_id[:8]}"
    )
    return {
        "units": dg.MetadataValue.md(value_table(rows)),
        "ValuesChart": dg.MetadataValue.md(as_markdown_image(picture, alt="values of units")),
    }
