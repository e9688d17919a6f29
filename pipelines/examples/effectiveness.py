"""What an example is worth: the lift of calls with it over comparable calls without it, shrunken, with its interval.

Pure: uses in, estimates out. The step that follows the change feed is `pipelines/examples/effect_steps.py`.

An average of successes says which samples an example was tried on, not what it did: one that retrieval gives to the
hardest questions looks bad however much it helps. So only what differs within a stratum counts, where the sample, the
model and its settings are the same.

1. **Observations.** Within a stratum, calls with the same examples in the same order are one observation, their mean:
   a deterministic model, or a cache, gives the same answer every night, and that is not new evidence.
2. **Lift.** In stratum g, an example with n1 observations with it and n0 without has the difference d_g of their means.
   The lift is the mean of d_g with weights w_g = n1 n0 / (n1 + n0) (Mantel and Haenszel), which is the best weighting
   of equally noisy strata. A use whose own baseline is known is compared with that, as a stratum of its own (n1 = n0).
3. **Standard error.** sqrt(sum of w_g s2_g) / sum of w_g. s2_g is the variance of the stratum's observations, drawn to
   that of a yes-or-no outcome with the same mean (a Beta(1, 1) prior on the mean, weight `VARIANCE_PRIOR_WEIGHT`), so
   that three successes of three are not taken for certainty.
4. **Shrinkage.** True lifts are taken to be normal round 0 with a standard deviation that is fitted to all examples by
   maximum marginal likelihood (empirical Bayes; Efron and Morris 1973). The posterior mean is the effectiveness score,
   its central 95% the interval. Below `MINIMUM_COMPARABLE` comparable calls there is no score.

Examples that are always used together share their credit; nothing in the uses could part them.
"""

from __future__ import annotations

import math

import numpy as np
import polars as pl

ESTIMATOR_VERSION = 1
MINIMUM_COMPARABLE = 20
VARIANCE_PRIOR_WEIGHT = 2.0
# Two-sided 95% of the normal distribution.
_Z = 1.959963984540054
# In units of a score from 0 to 1: an example that lifts outcomes by a tenth is a good one.
DEFAULT_PRIOR_SCALE = 0.1
# Fewer examples than this say too little about how much examples differ.
MINIMUM_FITTED = 8
# Sums depend on the order of rows in the last digits, which would be told as a change.
_DECIMALS = 9
_SCALES = np.geomspace(0.01, 0.5, 80)

USED_COLUMNS = ("example_id", "stratum", "call_id", "position", "outcome_score", "baseline_score", "used_at")


def estimate_lifts(usages: pl.DataFrame) -> pl.DataFrame:
    """Counts, lift and standard error of every example in `usages` (the columns `USED_COLUMNS`), by example_id.

    An example's figures are right when `usages` holds every use of every stratum that it occurs in. lift and
    standard_error are null where nothing is comparable.
    """
    exposure = usages.group_by("example_id").agg(
        usage_count=pl.len().cast(pl.Int64), first_used_at=pl.col("used_at").min(), last_used_at=pl.col("used_at").max()
    )
    beside = _beside(usages.filter(pl.col("outcome_score").is_not_null()))
    weight, paired_weight = pl.col("weight"), pl.col("paired_count") / 2
    sums = beside.group_by("example_id").agg(
        scored_count=pl.col("count").sum(),
        comparable_count=pl.col("comparable_count").sum(),
        stratum_count=(pl.col("comparable_count") > 0).sum().cast(pl.Int64),
        mean_outcome_score=pl.col("sum").sum() / pl.col("count").sum(),
        total=(weight + paired_weight).sum(),
        difference=(weight * pl.col("difference") + paired_weight * pl.col("paired_difference")).sum(),
        variance=((weight + paired_weight) * pl.col("variance")).sum(),
    )
    has_any = pl.col("total") > 0
    return (
        exposure.join(sums, on="example_id", how="left")
        .with_columns(pl.col("scored_count", "comparable_count", "stratum_count").fill_null(0))
        .with_columns(
            lift=pl.when(has_any).then(pl.col("difference") / pl.col("total")).round(_DECIMALS),
            standard_error=pl.when(has_any).then(pl.col("variance").sqrt() / pl.col("total")).round(_DECIMALS),
            mean_outcome_score=pl.col("mean_outcome_score").round(_DECIMALS),
        )
        .drop("total", "difference", "variance")
        .sort("example_id")
    )


def fit_prior_scale(lifts: pl.DataFrame) -> float:
    """Standard deviation of true lifts round 0, by maximum marginal likelihood over the examples used enough."""
    enough = lifts.filter(pl.col("comparable_count") >= MINIMUM_COMPARABLE)
    if enough.height < MINIMUM_FITTED:
        return DEFAULT_PRIOR_SCALE
    lift, error = enough["lift"].to_numpy(), enough["standard_error"].to_numpy()
    spread = np.square(_SCALES)[:, None] + np.square(error)[None, :]
    likelihood = -0.5 * (np.log(spread) + np.square(lift)[None, :] / spread).sum(axis=1)
    return float(_SCALES[int(np.argmax(likelihood))])


def shrink(lifts: pl.DataFrame, *, prior_scale: float) -> pl.DataFrame:
    """`lifts` with prior_scale, effectiveness_score, its 95% interval and effect_kind."""
    prior, noise = prior_scale**2, pl.col("standard_error").pow(2)
    is_known = pl.col("comparable_count") >= MINIMUM_COMPARABLE
    centre = pl.col("lift") * prior / (prior + noise)
    margin = _Z * (prior * noise / (prior + noise)).sqrt()
    return lifts.with_columns(
        prior_scale=pl.lit(prior_scale),
        effectiveness_score=pl.when(is_known).then(centre),
        effectiveness_low=pl.when(is_known).then(centre - margin),
        effectiveness_high=pl.when(is_known).then(centre + margin),
    ).with_columns(
        effect_kind=pl.when(~is_known)
        .then(pl.lit("too_few_uses"))
        .when(pl.col("effectiveness_low") > 0)
        .then(pl.lit("helps"))
        .when(pl.col("effectiveness_high") < 0)
        .then(pl.lit("harms"))
        .otherwise(pl.lit("unclear"))
    )


def keep_prior_scale(standing: float | None, fitted: float) -> float:
    """The scale to go on with: the standing one while the fitted one is within a quarter of it.

    Every score depends on it, so that each small move would write every example again.
    """
    if standing is None or abs(math.log(fitted / standing)) > math.log(1.25):
        return fitted
    return standing


def effect_over_time(usages: pl.DataFrame, example_id: str, *, prior_scale: float, points: int = 40) -> pl.DataFrame:
    """The estimate as it stood after each of up to `points` of the example's days of use.

    Columns: day (the UTC date whose uses are the last counted), then those of `shrink`. `usages` as in
    `estimate_lifts`.
    """
    own = usages.filter(pl.col("example_id") == example_id)
    days = own["used_at"].dt.date().unique().sort()
    if days.len() > points:
        days = days.gather(np.unique(np.linspace(0, days.len() - 1, points).round().astype(int)))
    steps = []
    for day in days:
        until = usages.filter(pl.col("used_at").dt.date() <= day)
        lifts = estimate_lifts(until).filter(pl.col("example_id") == example_id)
        steps.append(shrink(lifts, prior_scale=prior_scale).select(pl.lit(day).alias("day"), pl.all()))
    return pl.concat(steps) if steps else shrink(estimate_lifts(own), prior_scale=prior_scale)


def _beside(scored: pl.DataFrame) -> pl.DataFrame:
    """One row per example and stratum: observations with and without it, their difference, weight and variance."""
    seen = _observations(scored)
    strata = _stratum_moments(seen)
    known = pl.col("baseline_score").is_not_null()
    own = (
        _memberships(scored)
        .join(seen, on=["stratum", "arrangement"])
        .group_by("example_id", "stratum")
        .agg(
            count=pl.len().cast(pl.Int64),
            sum=pl.col("outcome_score").sum(),
            open_count=(~known).sum().cast(pl.Int64),
            open_sum=pl.col("outcome_score").filter(~known).sum(),
            paired_count=known.sum().cast(pl.Int64),
            paired_difference=(pl.col("outcome_score") - pl.col("baseline_score")).mean().fill_null(0.0),
        )
        .join(strata, on="stratum")
        .with_columns(
            without_count=pl.col("stratum_observations") - pl.col("count"),
            without_sum=pl.col("stratum_sum") - pl.col("sum"),
        )
    )
    is_comparable = (pl.col("without_count") > 0) & (pl.col("open_count") > 0)
    both = pl.col("open_count") * pl.col("without_count") / (pl.col("open_count") + pl.col("without_count"))
    return own.with_columns(
        comparable_count=pl.col("paired_count") + pl.when(is_comparable).then("open_count").otherwise(0),
        weight=pl.when(is_comparable).then(both).otherwise(0.0),
        difference=pl.when(is_comparable)
        .then(pl.col("open_sum") / pl.col("open_count") - pl.col("without_sum") / pl.col("without_count"))
        .otherwise(0.0),
    )


def _arranged(scored: pl.DataFrame) -> pl.DataFrame:
    """Calls with `arrangement`: which examples they had, in which order."""
    return scored.group_by("stratum", "call_id").agg(
        arrangement=pl.col("example_id").sort_by("position", "example_id").str.join("\x1f"),
        outcome_score=pl.col("outcome_score").mean(),
        baseline_score=pl.col("baseline_score").mean(),
    )


def _observations(scored: pl.DataFrame) -> pl.DataFrame:
    """One row per stratum and arrangement, with the means of its calls."""
    return (
        _arranged(scored)
        .group_by("stratum", "arrangement")
        .agg(pl.col("outcome_score").mean(), pl.col("baseline_score").mean())
    )


def _memberships(scored: pl.DataFrame) -> pl.DataFrame:
    """Which examples are in which arrangement of a stratum; twice in one is once."""
    return (
        scored.select("stratum", "call_id", "example_id")
        .join(_arranged(scored).select("stratum", "call_id", "arrangement"), on=["stratum", "call_id"])
        .select("stratum", "arrangement", "example_id")
        .unique()
    )


def _stratum_moments(seen: pl.DataFrame) -> pl.DataFrame:
    """Observations, their sum and their variance by stratum; baselines are observations of the variance too."""
    values = pl.concat([pl.col("outcome_score"), pl.col("baseline_score").drop_nulls()])
    moments = seen.group_by("stratum").agg(
        stratum_observations=pl.len().cast(pl.Int64),
        stratum_sum=pl.col("outcome_score").sum(),
        value_count=values.len(),
        value_sum=values.sum(),
        value_squares=(values * values).sum(),
    )
    mean = (pl.col("value_sum") + 1) / (pl.col("value_count") + 2)
    # Rounding can leave a hair below zero where all values are equal.
    squares = (pl.col("value_squares") - pl.col("value_sum").pow(2) / pl.col("value_count")).clip(lower_bound=0)
    weight = VARIANCE_PRIOR_WEIGHT
    variance = (squares + weight * mean * (1 - mean)) / (pl.col("value_count") - 1 + weight)
    return moments.select("stratum", "stratum_observations", "stratum_sum", variance=variance)
