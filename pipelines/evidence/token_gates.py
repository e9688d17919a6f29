"""What token divergence says to a gate: the effect, and how sure one can be of it. Pure.

The metrics, each worse when it is larger, and each of the candidate against the baseline by nature:

- `mean_kl`: mean KL(baseline || candidate) in nats over all positions of the baseline's outputs, which the candidate's
  backend was given (teacher-forced). From lists of the likeliest tokens it is known between bounds; the interval then
  reaches from the low end of the lower bound's to the high end of the upper bound's, so that short lists can show that
  a backend is too far away, but never that it is near.
- `other_top_ratio`: share of those positions at which the likeliest token is another one.
- `shift_ratio`: share of free-running pairs that part by a distribution shift rather than at a near tie or not at all.

The first two are means over positions; samples are what is resampled, since the positions of one output are alike.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import polars as pl
from numpy.typing import NDArray

from pipelines.evidence.forced_divergence import BAND_LIMITS_NATS
from pipelines.evidence.statistics import Interval, IntervalAt, mean_difference, wilson

# Kinds of divergence that say whether the distribution moved.
_DECIDED = ("identical", "near_tie_flip", "distribution_shift")
# What a sample may be off by when none of those at hand differs from another: what is measured of a broken backend, its
# least divergence and its share of other tokens.
_UNSEEN_NATS = BAND_LIMITS_NATS["degraded"]
_UNSEEN_RATIO = 0.3

TOKEN_COLUMNS = {
    "divergence_kind": pl.String(),
    "position_count": pl.Int64(),
    "mean_kl_lower": pl.Float64(),
    "mean_kl_upper": pl.Float64(),
    "same_top_ratio": pl.Float64(),
}
"""What a pair's tokens say, beside its outputs: null where nobody knows."""


@dataclass(frozen=True, kw_only=True)
class TokenEvidence:
    """As `gate_families.Evidence`: what was found, or what is `missing`."""

    sample_count: int
    notes: tuple[str, ...] = ()
    effect: float | None = None
    interval_at: IntervalAt | None = None
    failing_at: IntervalAt | None = None
    description: str = ""
    missing: str = ""


def find_token_evidence(metric: str, pairs: pl.DataFrame) -> TokenEvidence:
    """What `pairs`, sorted by sample and repeat, say of a metric; columns that nobody joined are unknown."""
    lacking = [name for name in TOKEN_COLUMNS if name not in pairs.columns]
    pairs = pairs.with_columns(pl.lit(None, dtype=TOKEN_COLUMNS[name]).alias(name) for name in lacking)
    return _METRICS[metric](pairs)


def _mean_kl(pairs: pl.DataFrame) -> TokenEvidence:
    scored = _forced(pairs)
    if scored.is_empty():
        return _unscored()
    lower, upper = (_clustered(scored, f"mean_kl_{end}") for end in ("lower", "upper"))
    low, high = float(lower.mean()), float(upper.mean())
    low_at, high_at = (mean_difference(values, scale=_UNSEEN_NATS) for values in (lower, upper))
    is_exact = bool((scored["mean_kl_lower"] == scored["mean_kl_upper"]).all())
    known = "" if is_exact else f" (lower bound; upper bound {high:.4f})"
    return TokenEvidence(
        sample_count=scored.height,
        notes=() if is_exact else ("The lists of the two sides leave room for all between the bounds.",),
        effect=low,
        interval_at=lambda confidence: Interval(max(low_at(confidence).low, 0.0), high_at(confidence).high),
        failing_at=None if is_exact else low_at,
        description=f"mean KL over {_positions(scored)} positions of given tokens{known}:",
    )


def _other_top_ratio(pairs: pl.DataFrame) -> TokenEvidence:
    scored = _forced(pairs).with_columns(other_top_ratio=1 - pl.col("same_top_ratio"))
    if scored.is_empty():
        return _unscored()
    values = _clustered(scored, "other_top_ratio")
    interval_at = mean_difference(values, scale=_UNSEEN_RATIO)
    return TokenEvidence(
        sample_count=scored.height,
        effect=float(values.mean()),
        interval_at=lambda confidence: Interval(max(interval_at(confidence).low, 0.0), interval_at(confidence).high),
        description=f"share of {_positions(scored)} given tokens at which the likeliest is another one:",
    )


def _shift_ratio(pairs: pl.DataFrame) -> TokenEvidence:
    """Share of samples; of the repeats of one sample the worst counts, since they part together."""
    known = pairs.filter(pl.col("divergence_kind").is_not_null())
    decided = known.filter(pl.col("divergence_kind").is_in(_DECIDED))
    open_count = known.height - decided.height
    notes = (f"Left out: {open_count} pairs of which nobody can tell why they part.",) if open_count else ()
    if decided.is_empty():
        return TokenEvidence(sample_count=0, notes=notes, missing="No pair has tokens on both sides that can be told.")
    shifted = decided.group_by("sample_id").agg((pl.col("divergence_kind") == "distribution_shift").any().alias("is"))
    count, total = int(shifted["is"].sum()), shifted.height
    return TokenEvidence(
        sample_count=total,
        notes=notes,
        effect=count / total,
        interval_at=lambda confidence: wilson(count, total, confidence=confidence),
        description=f"{count} of {total} samples part by a distribution shift: share",
    )


_METRICS: dict[str, Callable[[pl.DataFrame], TokenEvidence]] = {
    "mean_kl": _mean_kl,
    "other_top_ratio": _other_top_ratio,
    "shift_ratio": _shift_ratio,
}


def _forced(pairs: pl.DataFrame) -> pl.DataFrame:
    """One row per sample whose tokens were scored, with means over all positions of its repeats."""
    scored = pairs.filter(pl.col("position_count") > 0)
    weight = pl.col("position_count")
    means = ("mean_kl_lower", "mean_kl_upper", "same_top_ratio")
    return scored.group_by("sample_id", maintain_order=True).agg(
        weight.sum(), *(((pl.col(name) * weight).sum() / weight.sum()).alias(name) for name in means)
    )


def _clustered(scored: pl.DataFrame, name: str) -> NDArray[np.float64]:
    """A value per sample whose mean is the mean over positions, and whose spread is that of the ratio estimator."""
    weights = scored["position_count"].to_numpy().astype(np.float64)
    values = scored[name].to_numpy()
    mean = float((values * weights).sum() / weights.sum())
    clustered: NDArray[np.float64] = mean + weights / weights.mean() * (values - mean)
    return clustered


def _positions(scored: pl.DataFrame) -> str:
    return f"{int(scored['position_count'].sum()):,}"


def _unscored() -> TokenEvidence:
    return TokenEvidence(
        sample_count=0,
        missing="The candidate's backend has not scored the baseline's tokens. Do it with: benchlake score-tokens "
        "BASELINE --backend CANDIDATE'S",
    )
