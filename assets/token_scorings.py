"""Assets of teacher-forced mode: the night's backends score each other's tokens, and what it says of comparisons."""

import datetime as dt
from collections.abc import Iterator
from typing import Literal

import dagster as dg
import polars as pl

from assets.presentation import markdown_table, number
from assets.rooms import Room
from assets.tables import asset_key, table_metadata, table_spec
from lake.store import Lake
from pipelines.evidence.band_texts import kl_words
from pipelines.evidence.forced_divergence import band_words
from pipelines.evidence.forced_steps import measure_forced_divergence
from pipelines.evidence.policy import Policy
from pipelines.evidence.render import escape_markdown
from pipelines.evidence.scoring_steps import ScoringResult
from resources.installation import Installation
from resources.token_scorings import score_night

SCORING_TABLES = ("silver.token_scorings", "silver.scored_tokens")
FORCED_TABLES = ("gold.forced_divergences", "gold.divergence_bands")
_INPUTS = ("silver.runs", "silver.outputs", "silver.output_tokens")


@dg.multi_asset(
    name="scored_tokens",
    specs=[table_spec(table, deps=_INPUTS) for table in SCORING_TABLES],
    pool="inference",
    can_subset=False,
)
def scored_tokens(
    context: dg.AssetExecutionContext, installation: dg.ResourceParam[Installation]
) -> Iterator[dg.MaterializeResult[None]]:
    """Have the night's backends score the tokens of those they are compared with; what is scored is left as it is."""
    results = score_night(installation, clock=lambda: dt.datetime.now(dt.UTC), on_message=context.log.info)
    facts = table_metadata(installation.lake, SCORING_TABLES)
    for table in SCORING_TABLES:
        yield dg.MaterializeResult(
            asset_key=asset_key(table),
            metadata={**facts[table], "what was scored": dg.MetadataValue.md(_scoring_table(results))},
        )


def forced_results(
    lake: Lake, policy: Policy, dates: list[dt.date], *, mode: Literal["changed", "all"]
) -> Iterator[dg.MaterializeResult[None]]:
    """Measure how far backends are from each other on given tokens, and tell it; a part of `compared_runs`."""
    measured = measure_forced_divergence(lake, policy, dates, mode=mode)
    bands = lake.read("gold.divergence_bands", where={"run_date": dates})
    facts = table_metadata(lake, FORCED_TABLES)
    yield dg.MaterializeResult(
        asset_key=asset_key("gold.divergence_bands"),
        metadata={
            **facts["gold.divergence_bands"],
            "rows written": measured.rows_written,
            "bands": dg.MetadataValue.md(band_table(bands)),
        },
    )
    yield dg.MaterializeResult(
        asset_key=asset_key("gold.forced_divergences"), metadata=facts["gold.forced_divergences"]
    )


def band_table(bands: pl.DataFrame) -> str:
    """Bands with the numbers behind them; rows of `gold.divergence_bands`."""
    if bands.is_empty():
        return "No comparison of these dates has scored tokens."
    return markdown_table(
        [
            "band",
            "suite",
            "candidate",
            "baseline",
            "mean KL",
            "p99 (lower bound)",
            "same likeliest",
            "probability differs by",
            "tokens",
        ],
        (
            [
                f"**{band_words(row)}**",
                escape_markdown(row["suite"]),
                f"`{row['candidate_run_id'][:8]}`",
                f"`{row['baseline_run_id'][:8]}`",
                kl_words(row),
                number(row["p99_kl_lower"], "nats"),
                f"{100 * row['same_top_ratio']:.1f} %",
                number(row["rms_probability_difference"]),
                f"{row['position_count']} of {row['sample_count']} outputs",
            ]
            for row in bands.sort("suite", "comparison_id").iter_rows(named=True)
        ),
    )


def _scoring_table(results: list[ScoringResult]) -> str:
    if not results:
        return "Nothing was to be scored: no two backends of the night are compared, or their scorings stand."
    return markdown_table(
        ["backend", "reference", "outputs", "tokens", "failed", "the first failure"],
        (
            [
                escape_markdown(result.backend),
                escape_markdown(result.reference),
                f"{result.scored_count} of {result.output_count}",
                str(result.position_count),
                str(result.failed_count),
                escape_markdown(result.first_error or ""),
            ]
            for result in results
        ),
    )


ROOM = Room(
    assets=(scored_tokens,),
    tables=SCORING_TABLES,
    night=tuple(map(asset_key, SCORING_TABLES)),
)
