"""Assets of the evidence room: diffs, comparisons, gate verdicts and promotions, by run date."""

from collections.abc import Iterator
from typing import Literal

import dagster as dg

from assets.partitions import RUN_DATES, run_dates
from assets.presentation import comparison_table, gate_check, verdicts_with_evidence
from assets.tables import asset_key, table_metadata, table_spec
from pipelines.evidence.listing import list_verdicts
from pipelines.evidence.policy import Policy
from pipelines.evidence.render import side_by_side
from pipelines.evidence.steps import compare_runs, diff_outputs, judge_gates, most_different_pairs, promote_runs
from resources.installation import Installation

EVIDENCE_TABLES = ("gold.output_diffs", "gold.run_comparisons", "gold.gate_results", "gold.promoted_runs")
EVIDENCE_KEYS = tuple(map(asset_key, EVIDENCE_TABLES))
RECOMPUTE_TAG = "benchlake/recompute"
SHOWN_PAIRS = 10
_BACKFILL = dg.BackfillPolicy.single_run()


def _mode(context: dg.AssetExecutionContext) -> Literal["changed", "all"]:
    """Only what changed, unless the run or backfill carries the tag `benchlake/recompute: all`."""
    return "all" if context.run.tags.get(RECOMPUTE_TAG) == "all" else "changed"


@dg.multi_asset(
    name="compared_runs",
    specs=[
        table_spec("gold.output_diffs", deps=["silver.runs", "silver.outputs"], partitions_def=RUN_DATES),
        table_spec("gold.run_comparisons", deps=["silver.runs", "gold.output_diffs"], partitions_def=RUN_DATES),
    ],
    backfill_policy=_BACKFILL,
    pool="evidence",
)
def compared_runs(
    context: dg.AssetExecutionContext, installation: dg.ResourceParam[Installation]
) -> Iterator[dg.MaterializeResult[None]]:
    """Pair the runs of each date by the policy, diff their outputs word by word, sum up each pair of runs."""
    lake, policy, dates = installation.lake, installation.policy, run_dates(context)
    diffs = diff_outputs(lake, policy, dates, mode=_mode(context))
    pairs = most_different_pairs(lake, dates, limit=SHOWN_PAIRS)
    facts = table_metadata(lake, EVIDENCE_TABLES)
    yield dg.MaterializeResult(
        asset_key=asset_key("gold.output_diffs"),
        metadata={
            **facts["gold.output_diffs"],
            "rows written": diffs.rows_written,
            "most different pairs": dg.MetadataValue.md(
                side_by_side(pairs)
                if pairs.height
                else "No outputs differ, or none could be compared: gold/run_comparisons says which, and why."
            ),
        },
    )
    compared = compare_runs(lake, policy, dates, mode=_mode(context))
    comparisons = lake.read("gold.run_comparisons", where={"run_date": dates})
    yield dg.MaterializeResult(
        asset_key=asset_key("gold.run_comparisons"),
        metadata={
            **table_metadata(lake, ["gold.run_comparisons"])["gold.run_comparisons"],
            "rows written": compared.rows_written,
            "comparisons": dg.MetadataValue.md(comparison_table(comparisons)),
        },
    )


def judged_gates(policy: Policy) -> dg.AssetsDefinition:
    """The verdicts, with one check per gate of `policy`, and the promotions that follow from them.

    One step writes both: the verdicts of bad runs must not keep the good runs of a date from being promoted, while a
    blocking check that fails stops whatever is downstream of the promotions.
    """
    gates_key = asset_key("gold.gate_results")

    @dg.multi_asset(
        name="judged_gates",
        specs=[
            table_spec("gold.gate_results", deps=["gold.run_comparisons", "silver.outputs"], partitions_def=RUN_DATES),
            table_spec("gold.promoted_runs", deps=["gold.gate_results", "silver.runs"], partitions_def=RUN_DATES),
        ],
        check_specs=[
            dg.AssetCheckSpec(
                gate.name,
                asset=gates_key,
                blocking=gate.severity == "block",
                description=f"{gate.family} on {gate.metric}, margin {gate.margin}; {gate.severity}s when it fails.",
            )
            for gate in policy.gates
        ],
        backfill_policy=_BACKFILL,
        pool="evidence",
    )
    def judged(
        context: dg.AssetExecutionContext, installation: dg.ResourceParam[Installation]
    ) -> Iterator[dg.MaterializeResult[None] | dg.AssetCheckResult]:
        lake, dates = installation.lake, run_dates(context)
        judge_gates(lake, policy, dates, mode=_mode(context))
        promoted = promote_runs(lake, policy, dates)
        verdicts = list_verdicts(lake, dates=dates)
        pairs = most_different_pairs(lake, dates, limit=SHOWN_PAIRS)
        facts = table_metadata(lake, EVIDENCE_TABLES)
        yield dg.MaterializeResult(
            asset_key=gates_key,
            metadata={
                **facts["gold.gate_results"],
                "verdicts": dg.MetadataValue.md(verdicts_with_evidence(verdicts, pairs)),
            },
        )
        yield dg.MaterializeResult(
            asset_key=asset_key("gold.promoted_runs"),
            metadata={**facts["gold.promoted_runs"], "rows written": promoted.rows_written},
        )
        # Last, so that evidence and promotions are materialised when a blocking check fails the step.
        yield from (gate_check(gate, verdicts, pairs, gates_key) for gate in policy.gates)

    return judged
