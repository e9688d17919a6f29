"""Assets of the evidence room: diffs, comparisons, gate verdicts and promotions, by run date."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Literal

import dagster as dg

from assets.partitions import RUN_DATES, run_dates
from assets.presentation import comparison_table, gate_table
from assets.tables import asset_key, table_metadata, table_spec
from pipelines.evidence.policy import Policy
from pipelines.evidence.render import side_by_side
from pipelines.evidence.steps import compare_runs, diff_outputs, judge_gates, most_different_pairs, promote_runs
from resources.installation import Installation

RECOMPUTE_TAG = "benchlake/recompute"
_BACKFILL = dg.BackfillPolicy.single_run()


def _mode(context: dg.AssetExecutionContext) -> Literal["changed", "all"]:
    """Only what changed, unless the run or backfill carries the tag `benchlake/recompute: all`."""
    return "all" if context.run.tags.get(RECOMPUTE_TAG) == "all" else "changed"


@dg.multi_asset(
    name="compared_outputs",
    specs=[
        table_spec("gold.output_diffs", deps=["silver.runs", "silver.outputs"], partitions_def=RUN_DATES),
        table_spec("gold.run_comparisons", deps=["silver.runs", "gold.output_diffs"], partitions_def=RUN_DATES),
    ],
    backfill_policy=_BACKFILL,
    pool="evidence",
)
def compared_outputs(
    context: dg.AssetExecutionContext, installation: dg.ResourceParam[Installation]
) -> Iterator[dg.MaterializeResult[None]]:
    """Pair runs by the policy, diff their outputs word by word, and sum up each pair of runs."""
