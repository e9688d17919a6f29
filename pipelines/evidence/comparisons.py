"""Rows of `gold.output_diffs` and `gold.run_comparisons` from planned comparisons, runs and outputs.

Pure: frames in, frames out. The plan is `pairing.py`, reading and writing is `steps.py`.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import polars as pl

from pipelines.evidence.change_kinds import ChangeKind
from pipelines.evidence.comparability import Coverage, assess, fatal_differences
from pipelines.evidence.output_diffs import diff_pairs

DIFFED_COLUMNS = (
    "run_id", "sample_id", "repeat_index", "prompt_digest", "output", "output_digest", "reference", "status", "scores",
)  # fmt: skip
COUNTED_COLUMNS = ("run_id", "sample_id", "repeat_index", "prompt_digest")

_COUNTED_KINDS: tuple[ChangeKind, ...] = ("formatting", "wording", "content", "empty", "error")
_OUTPUT_KEY = ["sample_id", "repeat_index"]
_COMPARISON = ["comparison_id", "run_date", "candidate_run_id", "baseline_run_id"]
_ASKED_ALIKE = (pl.col("candidate_prompt_digest") == pl.col("baseline_prompt_digest")).fill_null(value=True)

Runs = Mapping[str, Mapping[str, Any]]
"""Rows of `silver.runs` by run id."""


def diff_comparisons(plan: pl.DataFrame, runs: Runs, outputs: pl.DataFrame) -> pl.DataFrame:
    """One row of `gold.output_diffs` per pair of outputs of the planned comparisons, in the order of their key."""
    pairs = comparable_pairs(plan, runs, outputs).drop("suite").sort("comparison_id", *_OUTPUT_KEY)
    known = pairs.with_columns(reference=pl.coalesce("candidate_reference", "baseline_reference"))
    return diff_pairs(known.drop("candidate_reference", "baseline_reference"))


def comparable_pairs(plan: pl.DataFrame, runs: Runs, outputs: pl.DataFrame) -> pl.DataFrame:
    """The pairs that may be compared, with the suite, of the planned comparisons whose runs did the same task.

    A pair that was not asked the same prompt is left out: what differs would be a number about nothing. `outputs` has
    a `prompt_digest`, which the result has no longer.
    """
    pairs = pair_outputs(plan.filter(~_is_fatal(plan, runs)), outputs).filter(_ASKED_ALIKE)
    return pairs.drop("candidate_prompt_digest", "baseline_prompt_digest").join(
        plan.select("comparison_id", "suite"), on="comparison_id"
    )


def pair_outputs(plan: pl.DataFrame, outputs: pl.DataFrame) -> pl.DataFrame:
    """Each planned comparison with the outputs that both its runs have, columns prefixed by their side."""
    measured = [name for name in outputs.columns if name not in {"run_id", *_OUTPUT_KEY}]
    candidate, baseline = (
        outputs.select(
            pl.col("run_id").alias(f"{side}_run_id"),
            *_OUTPUT_KEY,
            *(pl.col(name).alias(f"{side}_{name}") for name in measured),
        )
        for side in ("candidate", "baseline")
    )
    return (
        plan.select(_COMPARISON)
        .join(candidate, on="candidate_run_id")
        .join(baseline, on=["baseline_run_id", *_OUTPUT_KEY])
    )


def sum_up(plan: pl.DataFrame, runs: Runs, outputs: pl.DataFrame, diffs: pl.DataFrame) -> pl.DataFrame:
    """One row of `gold.run_comparisons` per planned comparison, without `input_versions`.

    `outputs` has `COUNTED_COLUMNS`, `diffs` comparison_id, change_kind and similarity_ratio. An incomparable
    comparison has no numbers about differences.
    """
    counts = dict(outputs.group_by("run_id").agg(pl.len()).iter_rows())
    pairs = (
        pair_outputs(plan, outputs)
        .group_by("comparison_id")
        .agg(paired_count=pl.len(), mismatched_prompt_count=(~_ASKED_ALIKE).sum())
    )
    by_comparison = {row["comparison_id"]: row for row in pairs.to_dicts()}
    differences = diffs.group_by("comparison_id").agg(
        identical_count=(pl.col("change_kind") == "identical").sum().cast(pl.Int64),
        changed_count=(pl.col("change_kind") != "identical").sum().cast(pl.Int64),
        **{f"{kind}_count": (pl.col("change_kind") == kind).sum().cast(pl.Int64) for kind in _COUNTED_KINDS},
        # Sorted, because a sum of floats depends on its order and rows come in the order of files.
        mean_similarity_ratio=pl.col("similarity_ratio").sort().mean(),
    )
    rows = [_comparison_row(row, runs, counts, by_comparison.get(row["comparison_id"])) for row in plan.to_dicts()]
    summary = pl.DataFrame(rows, schema_overrides={"reasons": pl.List(pl.String)})
    if summary.is_empty():
        return summary
    is_comparable = pl.col("comparability") != "incomparable"
    return summary.join(differences, on="comparison_id", how="left").with_columns(
        pl.when(is_comparable).then(
            pl.col("identical_count", "changed_count", *(f"{kind}_count" for kind in _COUNTED_KINDS)).fill_null(0)
        ),
        pl.when(is_comparable).then("mean_similarity_ratio").alias("mean_similarity_ratio"),
    )


def _comparison_row(
    plan: Mapping[str, Any], runs: Runs, counts: Mapping[str, int], pairs: Mapping[str, int] | None
) -> dict[str, object]:
    candidate, baseline = plan["candidate_run_id"], plan["baseline_run_id"]
    coverage = Coverage(
        candidate_count=counts.get(candidate, 0),
        baseline_count=counts.get(baseline, 0),
        paired_count=pairs["paired_count"] if pairs else 0,
        mismatched_prompt_count=pairs["mismatched_prompt_count"] if pairs else 0,
    )
    found = assess(candidate=runs[candidate], baseline=runs[baseline], coverage=coverage)
    return {
        **{name: plan[name] for name in (*_COMPARISON, "pairing", "suite", "input_digest")},
        "comparability": found.level,
        "reasons": list(found.reasons),
        "candidate_sample_count": coverage.candidate_count,
        "baseline_sample_count": coverage.baseline_count,
        "paired_sample_count": coverage.paired_count,
    }


def _is_fatal(plan: pl.DataFrame, runs: Runs) -> pl.Series:
    fatal = [
        bool(fatal_differences(runs[candidate]["fingerprint"], runs[baseline]["fingerprint"]))
        for candidate, baseline in plan.select("candidate_run_id", "baseline_run_id").iter_rows()
    ]
    return pl.Series(fatal, dtype=pl.Boolean)
