"""What the tokens of two runs that somebody names say: where they part, and how far their backends are apart.

The same as a planned comparison has in `gold.token_divergences` and `gold.divergence_bands`, without a row kept.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import polars as pl

from lake.store import Lake
from lake.tables import contract_of
from pipelines.evidence.divergence_steps import measure_parts
from pipelines.evidence.forced_divergence import BAND_ROWS, FORCED, band_rows, forced_rows
from pipelines.evidence.forced_steps import read_scored, token_evidence
from pipelines.evidence.reading import DIVERGENCES, OUTPUTS, TOKENS
from pipelines.evidence.scoring_matches import match_scorings

# What tells most comes first.
_ORDER = ("distribution_shift", "incomparable", "inconclusive", "near_tie_flip")


@dataclass(frozen=True, kw_only=True)
class PairTokens:
    """Rows of `gold.token_divergences`, `gold.forced_divergences` and `gold.divergence_bands` (one, or none)."""

    divergences: pl.DataFrame
    forced: pl.DataFrame
    bands: pl.DataFrame

    @property
    def evidence(self) -> pl.DataFrame:
        """What gates are told of it."""
        return token_evidence(self.divergences, self.forced)

    @property
    def counts(self) -> pl.DataFrame:
        """Pairs by kind of divergence and reason."""
        return (
            self.divergences.group_by("divergence_kind", "reason")
            .agg(pair_count=pl.len())
            .sort("pair_count", "divergence_kind", "reason", descending=[True, False, False], nulls_last=True)
        )

    @property
    def parted(self) -> pl.DataFrame:
        """The pairs that part, shifts first and the largest of them before the others."""
        rank = pl.col("divergence_kind").replace_strict({kind: place for place, kind in enumerate(_ORDER)}, default=9)
        parted = self.divergences.filter(pl.col("first_divergence_index").is_not_null())
        return parted.sort(
            rank, "log_odds_shift_lower", "sample_id", "repeat_index", descending=[False, True, False, False],
            nulls_last=True,
        )  # fmt: skip


def measure_two(lake: Lake, plan: pl.DataFrame, runs: Mapping[str, Mapping[str, Any]]) -> PairTokens:
    """Measure the one comparison of `plan`, whose two runs are `runs` by id."""
    versions = lake.versions([OUTPUTS, TOKENS])
    parts = [measured.divergences for _, measured, _ in measure_parts(lake, plan, runs, versions=versions)]
    matched = plan.join(match_scorings(lake, plan).select("comparison_id", "scoring_id"), on="comparison_id")
    none = contract_of(FORCED).empty(), contract_of(BAND_ROWS).empty()
    scored = read_scored(lake, matched) if matched.height else None
    return PairTokens(
        divergences=pl.concat([contract_of(DIVERGENCES).empty(), *parts]),
        forced=none[0] if scored is None else forced_rows(matched, scored),
        bands=none[1] if scored is None else band_rows(matched, scored),
    )
