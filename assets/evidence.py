"""Assets of the evidence room: diffs, comparisons, gate verdicts and promotions, by run date."""

import datetime as dt
from collections.abc import Iterator
from typing import Literal

import dagster as dg
import polars as pl

from assets.gate_presentation import SHOWN_PAIRS, code_links, draw_latencies, gate_check, read_beside
from assets.partitions import RUN_DATES, run_dates
from assets.presentation import (
    comparison_table,
    contingency_table,
    pairs_by_kind,
    verdicts_with_evidence,
)
from assets.tables import asset_key, table_metadata, table_spec
from assets.token_scorings import FORCED_TABLES, SCORING_TABLES, forced_results
from lake.store import Lake
from pipelines.evidence.divergence_steps import measure_token_divergence
from pipelines.evidence.listing import list_verdicts
from pipelines.evidence.parted_pairs import count_divergences, list_parted_pairs
from pipelines.evidence.policy import Policy
from pipelines.evidence.render import side_by_side
from pipelines.evidence.render_tokens import divergence_counts, parted_side_by_side
from pipelines.evidence.steps import compare_runs, count_contingencies, diff_outputs, judge_gates, promote_runs
from pipelines.evidence.telling import count_kinds, list_flips, most_different_pairs
from resources.installation import Installation

EVIDENCE_TABLES = (
    "gold.output_diffs",
    "gold.contingencies",
    "gold.token_divergences",
    "gold.token_positions",
    "gold.forced_divergences",
    "gold.divergence_bands",
    "gold.run_comparisons",
    "gold.gate_results",
    "gold.promoted_runs",
)
# What judging records beside its verdicts.
RECORDED_TABLES = ("gold.policies",)
EVIDENCE_KEYS = tuple(map(asset_key, EVIDENCE_TABLES))
RECOMPUTE_TAG = "benchlake/recompute"
NO_FLIPS = "No sample is right on one side alone."
_BACKFILL = dg.BackfillPolicy.single_run()
_TOKEN_INPUTS = ("silver.runs", "silver.outputs", "silver.output_tokens")
_FORCED_INPUTS = ("silver.runs", *SCORING_TABLES)


def _mode(context: dg.AssetExecutionContext) -> Literal["changed", "all"]:
    """Only what changed, unless the run or backfill carries the tag `benchlake/recompute: all`."""
    return "all" if context.run.tags.get(RECOMPUTE_TAG) == "all" else "changed"


@dg.multi_asset(
    name="compared_runs",
    specs=[
        table_spec("gold.output_diffs", deps=["silver.runs", "silver.outputs"], partitions_def=RUN_DATES),
        table_spec("gold.contingencies", deps=["silver.runs", "silver.outputs"], partitions_def=RUN_DATES),
        table_spec("gold.token_divergences", deps=_TOKEN_INPUTS, partitions_def=RUN_DATES),
        table_spec("gold.token_positions", deps=_TOKEN_INPUTS, partitions_def=RUN_DATES),
        *(table_spec(table, deps=_FORCED_INPUTS, partitions_def=RUN_DATES) for table in FORCED_TABLES),
        table_spec(
            "gold.run_comparisons",
            deps=["silver.runs", "silver.baselines", "gold.output_diffs"],
            partitions_def=RUN_DATES,
        ),
    ],
    backfill_policy=_BACKFILL,
    pool="evidence",
)
def compared_runs(
    context: dg.AssetExecutionContext, installation: dg.ResourceParam[Installation]
) -> Iterator[dg.MaterializeResult[None]]:
    """Pair the runs of each date by the policy, diff outputs, count who is right, see where tokens part, sum it up."""
    lake, policy, dates = installation.lake, installation.policy, run_dates(context)
    diffs = diff_outputs(lake, policy, dates, mode=_mode(context))
    pairs = most_different_pairs(lake, dates, limit=SHOWN_PAIRS)
    facts = table_metadata(lake, EVIDENCE_TABLES)
    yield dg.MaterializeResult(
        asset_key=asset_key("gold.output_diffs"),
        metadata={
            **facts["gold.output_diffs"],
            "rows written": diffs.rows_written,
            "most different pairs": dg.MetadataValue.md(pairs_by_kind(count_kinds(lake, dates), pairs)),
        },
    )
    counted = count_contingencies(lake, policy, dates, mode=_mode(context))
    yield from _measure_tokens(lake, policy, dates, mode=_mode(context))
    yield from forced_results(lake, policy, dates, mode=_mode(context))
    compared = compare_runs(lake, policy, dates, mode=_mode(context))
    yield dg.MaterializeResult(
        asset_key=asset_key("gold.contingencies"),
        metadata={
            **table_metadata(lake, ["gold.contingencies"])["gold.contingencies"],
            "rows written": counted.rows_written,
            "right and wrong": dg.MetadataValue.md(
                contingency_table(lake.read("gold.contingencies", where={"run_date": dates}))
            ),
            "flips": dg.MetadataValue.md(side_by_side(list_flips(lake, dates, limit=SHOWN_PAIRS), none=NO_FLIPS)),
        },
    )
    comparisons = lake.read("gold.run_comparisons", where={"run_date": dates})
    yield dg.MaterializeResult(
        asset_key=asset_key("gold.run_comparisons"),
        metadata={
            **table_metadata(lake, ["gold.run_comparisons"])["gold.run_comparisons"],
            "rows written": compared.rows_written,
            "comparisons": dg.MetadataValue.md(comparison_table(comparisons)),
            **_pictures(lake, comparisons),
        },
    )


def _pictures(lake: Lake, comparisons: pl.DataFrame) -> dict[str, dg.MetadataValue[str | None]]:
    """How long the answers of both runs took, and what code they were of, as far as anybody knows."""
    drawn = draw_latencies(lake, comparisons.filter(pl.col("comparability") != "incomparable").sort("comparison_id"))
    ids = sorted({*comparisons["candidate_run_id"], *comparisons["baseline_run_id"]})
    links = code_links(comparisons, lake.read("silver.runs", columns=["run_id", "code_version"], where={"run_id": ids}))
    shown = {"latencies": "\n\n".join(drawn.values()), "code": links}
    return {name: dg.MetadataValue.md(text) for name, text in shown.items() if text}


def _measure_tokens(
    lake: Lake, policy: Policy, dates: list[dt.date], *, mode: Literal["changed", "all"]
) -> Iterator[dg.MaterializeResult[None]]:
    measured = measure_token_divergence(lake, policy, dates, mode=mode)
    counts = count_divergences(lake, dates)
    facts = table_metadata(lake, ["gold.token_divergences", "gold.token_positions"])
    by_kind = counts.group_by("divergence_kind").agg(pl.col("pair_count").sum()).sort("divergence_kind")
    yield dg.MaterializeResult(
        asset_key=asset_key("gold.token_divergences"),
        metadata={
            **facts["gold.token_divergences"],
            "rows written": measured.rows_written,
            **{kind.replace("_", " "): count for kind, count in by_kind.iter_rows()},
            "pairs by kind": dg.MetadataValue.md(divergence_counts(counts)),
            "where they part": dg.MetadataValue.md(
                parted_side_by_side(list_parted_pairs(lake, dates, limit=SHOWN_PAIRS))
            ),
        },
    )
    yield dg.MaterializeResult(asset_key=asset_key("gold.token_positions"), metadata=facts["gold.token_positions"])


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
        beside = read_beside(lake, policy, verdicts, dates)
        facts = table_metadata(lake, EVIDENCE_TABLES)
        yield dg.MaterializeResult(
            asset_key=gates_key,
            metadata={
                **facts["gold.gate_results"],
                "verdicts": dg.MetadataValue.md(verdicts_with_evidence(verdicts, beside.pairs, beside.parted)),
            },
        )
        yield dg.MaterializeResult(
            asset_key=asset_key("gold.promoted_runs"),
            metadata={**facts["gold.promoted_runs"], "rows written": promoted.rows_written},
        )
        # Last, so that evidence and promotions are materialised when a blocking check fails the step.
        yield from (gate_check(gate, verdicts, beside, gates_key) for gate in policy.gates)

    return judged
