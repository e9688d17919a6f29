"""Values of units as people read them. Reads a lake, writes nothing."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import orjson
import polars as pl

from lake.errors import UserError
from lake.store import Lake
from pipelines.attribution.lineage_credit import read_units
from pipelines.attribution.recording import ATTRIBUTIONS, DELTAS, FINDING_WORDS, method_text
from pipelines.databits.lineage_drawing import Mark
from pipelines.databits.lineage_graph import LineageGraph
from pipelines.databits.reading import find_databit, read_versions
from pipelines.databits.units import DatabitKey, readable_text
from pipelines.drawing import BETTER, NEUTRAL, WORSE
from pipelines.embeddings.texts import text_of_json
from pipelines.optimization.items import EXAMPLES
from pipelines.optimization.recording import RUNS
from pipelines.optimization.steps import NO_RUN_YET, read_run

_LABEL_CHARACTERS = 60


def read_values(lake: Lake, reference: str, *, method: str | None = None) -> pl.DataFrame:
    """Values of the run that `reference` names, best first within a method; raises `UserError` when there are none."""
    run_id = read_run(lake, reference)["optimization_run_id"]
    rows = lake.read(ATTRIBUTIONS, where={"run_id": run_id})
    if rows.is_empty():
        raise UserError(
            f"Nothing of optimisation run {run_id[:8]} is attributed yet. Do it with: benchlake attribution run "
            f"{run_id[:8]}"
        )
    found = rows if method is None else rows.filter(pl.col("method") == method)
    if found.is_empty():
        known = ", ".join(rows["method"].unique().sort())
        raise UserError(
            f"Optimisation run {run_id[:8]} has no values by {method}; it has some by {known}. Make them:  "
            f"benchlake attribution run {run_id[:8]} --method {method}"
        )
    return found.sort(["method", "settings", "value", "unit_id"], descending=[False, False, True, False])


def top_units(lake: Lake, reference: str, *, method: str | None = None, count: int = 10) -> pl.DataFrame:
    """The `count` most helpful and the `count` most harmful units of a run, method by method, with what they say.

    Ranked by what is sure: the lower end of the interval on the helpful side, the upper on the harmful one, so that a
    large value that is mostly noise does not come before a smaller one that is not.
    """
    rows = read_values(lake, reference, method=method)
    parts = [_ends(part, count) for part in rows.partition_by("method", "settings", maintain_order=True)]
    return with_labels(lake, pl.concat(parts))


def _ends(rows: pl.DataFrame, count: int) -> pl.DataFrame:
    """Both ends of one method's ranking, the surely helpful first, the surely harmful last."""
    order = ["value", "unit_id"]
    best = rows.sort(pl.col("interval_low").fill_null(float("-inf")), *order, descending=[True, True, False])
    helpful = best.head(min(count, (rows.height + 1) // 2))
    left = rows.join(helpful, on="attribution_id", how="anti")
    worst = left.sort(pl.col("interval_high").fill_null(float("inf")), *order, descending=False).head(count)
    return pl.concat([helpful, worst.reverse()])


def missing_values(lake: Lake) -> str | None:
    """Why no unit has any value, and what to do; None where some have."""
    if lake.row_count(ATTRIBUTIONS):
        return None
    return "Nothing is attributed yet. Do it:  benchlake attribution run latest" if lake.row_count(RUNS) else NO_RUN_YET


def missing_deltas(lake: Lake, *, is_filtered: bool) -> str:
    """Why there is no change of a value, and what to do."""
    if is_filtered and lake.row_count(DELTAS):
        return "No change of a value matches. All of them:  benchlake attribution deltas"
    return missing_values(lake) or (
        "No unit has values in two runs of one template, so nothing changed. Make another run:  "
        "benchlake dspy optimize TEMPLATE   then:  benchlake attribution run latest"
    )


def unit_history(lake: Lake, unit: str) -> pl.DataFrame:
    """Every value of the unit whose id begins with `unit`, by run and version, with the run's template and start.

    Of an example its data unit's credit is among them. Raises `UserError` when none or several units are meant.
    """
    known = lake.read(ATTRIBUTIONS, columns=["unit_id"])["unit_id"].unique()
    ids = known.filter(known.str.starts_with(unit)).to_list()
    if len(ids) != 1:
        raise UserError.not_one(
            "unit with a value", unit, ids, see="benchlake attribution top", none=missing_values(lake) or ""
        )
    example = lake.read(EXAMPLES, columns=["databit_id"], where={"example_id": ids})
    rows = lake.read(ATTRIBUTIONS, where={"unit_id": [*ids, *example["databit_id"]]})
    runs = lake.read(RUNS, columns=["optimization_run_id", "template", "started_at"])
    joined = rows.join(runs.rename({"optimization_run_id": "run_id"}), on="run_id")
    return joined.sort("unit_kind", "method", "settings", "started_at", "unit_version", descending=False)


def list_deltas(lake: Lake, *, unit: str | None = None, run: str | None = None) -> pl.DataFrame:
    """Changes of values, the largest first, of a unit or of a run's values only if so asked."""
    where = {} if run is None else {"run_id": read_run(lake, run)["optimization_run_id"]}
    rows = lake.read(DELTAS, where=where or None)
    if unit is not None:
        rows = rows.filter(pl.col("unit_id").str.starts_with(unit))
    return rows.sort(["is_distinct", pl.col("effect").abs(), "delta_id"], descending=[True, True, False])


def with_labels(lake: Lake, rows: pl.DataFrame) -> pl.DataFrame:
    """Rows of gold.attributions with a column `label`: what the unit says in a few words."""
    kinds = {kind: part["unit_id"].unique().to_list() for (kind,), part in rows.group_by("unit_kind")}
    labels: dict[tuple[str, int | None], str] = {}
    if "example" in kinds:
        found = lake.read(EXAMPLES, columns=["example_id", "inputs"], where={"example_id": kinds["example"]})
        labels |= {(example_id, None): text_of_json(inputs) for example_id, inputs in found.iter_rows()}
    if "databit" in kinds:
        found = read_versions(lake, kinds["databit"], columns=["databit_id", "version", "content"])
        labels |= {(unit, version): readable_text(content) for unit, version, content in found.iter_rows()}
    texts = [
        " ".join(labels.get(key, "(not in the lake)").split())[:_LABEL_CHARACTERS]
        for key in rows.select("unit_id", "unit_version").iter_rows()
    ]
    return rows.with_columns(label=pl.Series(texts, dtype=pl.String))


def readable_values(rows: pl.DataFrame) -> pl.DataFrame:
    """Rows of `top_units` as a table that fits a terminal."""
    return rows.select(
        method_text(rows).alias("method"),
        unit=pl.format("{}\n{}", pl.col("unit_id").str.head(8), pl.col("label").str.head(24)),
        value=pl.format("{}\n{}", value_text("value"), pl.col("finding").replace_strict(FINDING_WORDS)),
        n="sample_count",
    )


def value_text(name: str) -> pl.Expr:
    """A number of three digits with its interval behind it."""
    ends = [pl.col(end).round_sig_figs(2).cast(pl.String) for end in ("interval_low", "interval_high")]
    between = pl.format("({} to {})", *ends).fill_null("(no interval)")
    return pl.format("{} {}", pl.col(name).round_sig_figs(3), between)


@dataclass(frozen=True, kw_only=True)
class CreditMark(Mark):
    """A mark that also says what it stands for."""

    value: float
    finding: str


def find_unit(lake: Lake, word: str, reference: str) -> DatabitKey:
    """The version that a word means: an example by the beginning of its id, as a run showed it, or a data unit.

    An example that the run gave no value means its data unit as it is now. Raises `UserError` when the word means none
    or several.
    """
    run_id = str(read_run(lake, reference)["optimization_run_id"])
    rows = lake.read(ATTRIBUTIONS, columns=["unit_id"], where={"run_id": run_id, "unit_kind": "example"})
    ids = rows.filter(pl.col("unit_id").str.starts_with(word))["unit_id"].unique().to_list()
    if len(ids) == 1:
        return DatabitKey(*read_units(lake, run_id, ids)[ids[0]])
    examples = lake.read(EXAMPLES, columns=["example_id", "databit_id", "databit_version"])
    found = examples.filter(pl.col("example_id").str.starts_with(word)) if word else examples.clear()
    if found.height == 1:
        return DatabitKey(*found.select("databit_id", "databit_version").row(0))
    return find_databit(lake, word)


def lineage_marks(lake: Lake, graph: LineageGraph, reference: str, *, of: str) -> Mapping[DatabitKey, CreditMark]:
    """How the versions of a graph are drawn by the credit that a run's values by the method `of` gave them.

    Colour says the finding, its strength the value beside the largest; raises `UserError` when the run has no credit.
    """
    values = read_values(lake, reference, method="lineage_rollup")
    methods = pl.Series([orjson.loads(text)["of"] for text in values["settings"]], dtype=pl.String)
    rows = values.filter(methods == of)
    if rows.is_empty():
        raise UserError.unknown("method with credit of this run", of, methods.unique().sort())
    largest = max(rows["value"].abs().max() or 0.0, 1e-12)
    wanted = {node.key for node in graph.nodes}
    colours = {"helpful": BETTER, "harmful": WORSE, "indistinguishable": NEUTRAL}
    return {
        key: CreditMark(
            value=row["value"],
            finding=row["finding"],
            colour=colours[row["finding"]],
            strength=abs(row["value"]) / largest,
            text=f"{row['value']:+.3g} {_short_finding(row)}",
        )
        for row in rows.iter_rows(named=True)
        if (key := DatabitKey(row["unit_id"], row["unit_version"])) in wanted
    }


def _short_finding(row: Mapping[str, object]) -> str:
    return f"({row['finding'] if row['finding'] != 'indistinguishable' else 'not told from 0'})"
