"""How far a candidate's backend is from the baseline's on the baseline's own outputs: numbers and bands. Pure.

Rows of `gold.forced_divergences` (a sample) and `gold.divergence_bands` (a comparison) from rows of
`silver.scored_tokens`. Both sides were given the same tokens, so every position counts, also behind the one at which
the free-running outputs part. Means over a comparison are over positions, and their standard errors are clustered by
sample, since the positions of one output are alike.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any, Literal

import numpy as np
import polars as pl

from lake.tables import contract_of
from lake.tables.token_scorings import BANDS
from pipelines.evidence.token_arrays import Numbers

FORCED, BAND_ROWS = "gold.forced_divergences", "gold.divergence_bands"
# Part of every comparison's input digest where there is a scoring: raise it when the same tokens give other rows.
FORCED_VERSION = 1

Band = Literal["same", "close", "degraded", "broken"]
# Highest mean divergence of each band but the last, in nats. Eight-bit weights or caches measure 0.0002 to 0.004
# against full precision, five bits 0.005, three bits 0.05 to 0.16 (docs/token-divergence.md).
BAND_LIMITS_NATS: Mapping[Band, float] = {"same": 0.001, "close": 0.01, "degraded": 0.1}

# What lists must cover, on both sides in the mean, for the lower bound to tell the band: with 98.9 % of the embedded
# model's probability it was 94 % of the divergence, with 99.9 % it was 98 %.
TELLING_COVERAGE = 0.98

SCORED_COLUMNS = (
    "scoring_id", "sample_id", "repeat_index", "logprobs", "reference_logprobs", "kl_lower", "kl_upper", "has_same_top",
    "top_k_counts", "covered_ratios", "reference_covered_ratios",
)  # fmt: skip
_PER_POSITION = SCORED_COLUMNS[3:]
_IDENTITY = ["comparison_id", "run_date", "candidate_run_id", "baseline_run_id", "scoring_id"]
_SAMPLE = [*_IDENTITY, "sample_id", "repeat_index"]


def band_of(mean_kl: float) -> Band:
    """The band of a mean divergence in nats."""
    return next((band for band, limit in BAND_LIMITS_NATS.items() if mean_kl <= limit), "broken")


def band_words(row: Mapping[str, Any]) -> str:
    """The band of a row of `gold.divergence_bands`, or from which to which it may be."""
    if row["band"] is not None:
        return str(row["band"])
    return (
        f"{row['best_band']} or worse"
        if row["worst_band"] == BANDS[-1]
        else "{best_band} to {worst_band}".format(**row)
    )


def forced_rows(matched: pl.DataFrame, scored: pl.DataFrame) -> pl.DataFrame:
    """Rows of `gold.forced_divergences`.

    `matched` has comparison_id, run_date, both run ids and scoring_id; `scored` has `SCORED_COLUMNS`.
    """
    positions = _positions(matched, scored)
    known = pl.col("kl_lower").is_not_null()
    difference = _probability_difference()
    rows = positions.group_by(_SAMPLE, maintain_order=True).agg(
        position_count=known.sum().cast(pl.Int64),
        is_exact=(pl.col("kl_lower") == pl.col("kl_upper")).all(),
        mean_kl_lower=pl.col("kl_lower").mean(),
        mean_kl_upper=pl.col("kl_upper").mean(),
        max_kl_lower=pl.col("kl_lower").max(),
        same_top_ratio=pl.col("has_same_top").cast(pl.Float64).mean(),
        mean_probability_difference=difference.mean(),
        rms_probability_difference=(difference**2).mean().sqrt(),
        candidate_perplexity=_perplexity("logprobs"),
        baseline_perplexity=_perplexity("reference_logprobs"),
        top_k_count=pl.col("top_k_counts").min(),
        candidate_covered_ratio=pl.col("covered_ratios").mean(),
        baseline_covered_ratio=pl.col("reference_covered_ratios").mean(),
    )
    contract = contract_of(FORCED)
    return (
        rows.filter(pl.col("position_count") > 0)
        .select(list(contract.dtypes))
        .cast(pl.Schema(contract.dtypes))
        .sort("comparison_id", "sample_id", "repeat_index")
    )


def band_rows(matched: pl.DataFrame, scored: pl.DataFrame) -> pl.DataFrame:
    """Rows of `gold.divergence_bands`; `matched` has a `suite` besides."""
    rows = []
    for key, positions in _positions(matched, scored).group_by([*_IDENTITY, "suite"], maintain_order=True):
        known = positions.filter(pl.col("kl_lower").is_not_null())
        if known.height:
            rows.append({**dict(zip([*_IDENTITY, "suite"], key, strict=True)), **_band_numbers(known)})
    contract = contract_of(BAND_ROWS)
    return pl.DataFrame(rows, schema=contract.dtypes).sort("comparison_id")


def clustered_mean(values: Numbers, clusters: Sequence[Any] | pl.Series) -> tuple[float, float | None]:
    """The mean of values and its standard error, clustered; None with one cluster.

    The ratio estimator of a mean over clusters of unequal size (Cochran 1977, 6.3), with n / (n - 1).
    """
    frame = pl.DataFrame({"cluster": clusters, "value": values})
    sums = frame.group_by("cluster").agg(pl.col("value").sum().alias("sum"), pl.len().alias("count")).sort("cluster")
    mean = float(values.mean())
    if sums.height < 2:  # noqa: PLR2004  # one cluster has no spread
        return mean, None
    residuals = (sums["sum"] - mean * sums["count"]).to_numpy()
    variance = float((residuals**2).sum()) * sums.height / (sums.height - 1)
    return mean, math.sqrt(variance) / len(values)


def _band_numbers(positions: pl.DataFrame) -> dict[str, Any]:
    samples = positions["sample_id"]
    lower, upper = positions["kl_lower"].to_numpy(), positions["kl_upper"].to_numpy()
    mean_lower, lower_error = clustered_mean(lower, samples)
    mean_upper, upper_error = clustered_mean(upper, samples)
    same_top, same_top_error = clustered_mean(positions["has_same_top"].cast(pl.Float64).to_numpy(), samples)
    difference = positions.select(_probability_difference()).to_series().drop_nulls().to_numpy()
    perplexities = positions.select(
        candidate_perplexity=_perplexity("logprobs"), baseline_perplexity=_perplexity("reference_logprobs")
    ).row(0, named=True)
    best, worst = band_of(mean_lower), band_of(mean_upper)
    is_exact = bool((lower == upper).all())
    covered = [positions[name].mean() for name in ("covered_ratios", "reference_covered_ratios")]
    basis = _band_basis(is_exact=is_exact, is_one_band=best == worst, covered=covered)
    return {
        "band": best if basis else None,
        "band_basis": basis,
        "best_band": best,
        "worst_band": worst,
        "is_exact": is_exact,
        "sample_count": positions.select("sample_id", "repeat_index").n_unique(),
        "position_count": positions.height,
        "mean_kl_lower": mean_lower,
        "mean_kl_lower_standard_error": lower_error,
        "mean_kl_upper": mean_upper,
        "mean_kl_upper_standard_error": upper_error,
        "median_kl_lower": float(np.median(lower)),
        "p95_kl_lower": float(np.quantile(lower, 0.95)),
        "p99_kl_lower": float(np.quantile(lower, 0.99)),
        "max_kl_lower": float(lower.max()),
        "same_top_ratio": same_top,
        "same_top_standard_error": same_top_error,
        "mean_probability_difference": float(difference.mean()) if len(difference) else None,
        "rms_probability_difference": math.sqrt(float((difference**2).mean())) if len(difference) else None,
        **perplexities,
        "top_k_count": positions["top_k_counts"].min(),
        "candidate_covered_ratio": covered[0],
        "baseline_covered_ratio": covered[1],
    }


def _band_basis(*, is_exact: bool, is_one_band: bool, covered: Sequence[Any]) -> str | None:
    """Why the band of the lower bound is the band; None where it may be a worse one."""
    if is_exact:
        return "exact"
    if is_one_band:
        return "bounds"
    return "coverage" if min(covered) >= TELLING_COVERAGE else None


def _positions(matched: pl.DataFrame, scored: pl.DataFrame) -> pl.DataFrame:
    """One row per comparison and scored token, in order."""
    flat = scored.select(SCORED_COLUMNS).sort("scoring_id", "sample_id", "repeat_index")
    flat = flat.filter(pl.col("logprobs").list.len() > 0).explode(_PER_POSITION, empty_as_null=False)
    columns = [*_IDENTITY, *(["suite"] if "suite" in matched.columns else [])]
    # Of bounds that rounding put the wrong way round neither would be one.
    return (
        matched.select(columns)
        .sort("comparison_id")
        .join(flat, on="scoring_id", maintain_order="left_right")
        .with_columns(kl_upper=pl.max_horizontal("kl_lower", "kl_upper"))
    )


def _probability_difference() -> pl.Expr:
    return pl.col("logprobs").exp().clip(0, 1) - pl.col("reference_logprobs").exp().clip(0, 1)


def _perplexity(name: str) -> pl.Expr:
    """Of the positions that both sides know; past what a float holds it is no number."""
    both = pl.col("logprobs").is_not_null() & pl.col("reference_logprobs").is_not_null()
    value = (-pl.col(name).filter(both).mean()).exp()
    return pl.when(value.is_finite()).then(value)
