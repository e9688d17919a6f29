"""What the outputs of two runs say about each gate family: the effect, and how sure one can be of it.

Pure: outputs laid side by side and a gate in, `Evidence` out. Holding it against the margin is `gates.py`, the
statistics are `statistics.py`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np
import polars as pl
from numpy.typing import NDArray

from pipelines.evidence.policy import ANY_SCORER, Family, Gate
from pipelines.evidence.statistics import (
    Interval,
    IntervalAt,
    mcnemar,
    mean_difference,
    paired_share_difference,
    quantile_ratio,
    share_difference,
)
from pipelines.evidence.token_gates import find_token_evidence
from pipelines.runs.run_query import matches

# A first repeat whose median latency is this many times that of the later ones was a cold start.
COLD_START_RATIO = 1.5
FAILED = ("error", "timeout")

_SIDES = ("candidate", "baseline")
_SCORES = pl.List(pl.Struct({"scorer": pl.String(), "value": pl.Float64()}))


@dataclass(frozen=True, kw_only=True)
class Evidence:
    """What a family found, before it is held against the margin; without an effect there is nothing to hold.

    Where the effect is known between bounds alone, `failing_at` is the interval of the bound that could fail.
    """

    sample_count: int
    notes: tuple[str, ...] = ()
    candidate_value: float | None = None
    baseline_value: float | None = None
    effect: float | None = None
    interval_at: IntervalAt | None = None
    failing_at: IntervalAt | None = None
    description: str = ""
    missing: str = ""


def samples_of(gate: Gate, outputs: pl.DataFrame) -> pl.DataFrame:
    """The samples that the gate looks at."""
    if gate.sample_tag is None:
        return outputs
    known = outputs["tags"].explode(empty_as_null=False).drop_nulls().unique().to_list()
    meant = [tag for tag in known if matches(tag, gate.sample_tag)]
    return outputs.filter(pl.col("tags").list.eval(pl.element().is_in(meant)).list.any().fill_null(value=False))


def find_evidence(gate: Gate, outputs: pl.DataFrame) -> Evidence:
    """What the gate's family finds in outputs laid side by side, whatever their order."""
    return _FAMILIES[gate.family](gate, outputs.sort("sample_id", "repeat_index"))


def _score_parity(gate: Gate, outputs: pl.DataFrame) -> Evidence:
    """Mean over samples of candidate score minus baseline score; scorers, then repeats, are averaged first."""
    pairs = _paired_scores(outputs, metric=gate.metric)
    both = outputs.filter(pl.all_horizontal(pl.col(f"{side}_status").is_not_null() for side in _SIDES))
    unscored = both["sample_id"].n_unique() - pairs.height
    left_out = _left_out(unscored, "sample", "for want of a score on both sides")
    if not pairs.height:
        what = "score" if gate.metric == ANY_SCORER else f"score by {gate.metric}"
        return Evidence(sample_count=0, notes=left_out, missing=f"No sample has a {what} on both sides.")
    candidate, baseline = pairs["candidate"].to_numpy(), pairs["baseline"].to_numpy()
    differences = candidate - baseline
    if pairs["is_binary"].all():
        interval_at, counts = _paired_shares(candidate == 1, baseline == 1)
        left_out = (*_flips(counts), *left_out)
    else:
        highest = max(1.0, float(candidate.max()), float(baseline.max()))
        lowest = min(0.0, float(candidate.min()), float(baseline.min()))
        interval_at = mean_difference(differences, scale=highest - lowest)
    return Evidence(
        sample_count=pairs.height,
        notes=left_out,
        candidate_value=float(candidate.mean()),
        baseline_value=float(baseline.mean()),
        effect=float(differences.mean()),
        interval_at=interval_at,
        description=f"mean {gate.metric} {candidate.mean():.4f} against {baseline.mean():.4f}: difference",
    )


def _latency_regression(gate: Gate, outputs: pl.DataFrame) -> Evidence:
    """A quantile of latency over samples, candidate over baseline; a sample's latency is the median of its repeats.

    The first repeat is left out on both sides if it was a cold start on either: loading and compiling are no latency.
    """
    columns = {side: f"{side}_{gate.metric}" for side in _SIDES}
    both = outputs.filter(pl.all_horizontal(pl.col(f"{side}_status").is_not_null() for side in _SIDES))
    timed = both.filter(
        *(pl.col(f"{side}_status") == "ok" for side in _SIDES), *(pl.col(columns[side]) > 0 for side in _SIDES)
    )
    left_out = _left_out(both.height - timed.height, "pair", f"with a failure or no {gate.metric} on one side")
    if timed.is_empty():
        return Evidence(
            sample_count=0, notes=left_out, missing=f"No sample was answered with a {gate.metric} on both sides."
        )
    warm = _without_cold_start(timed, list(columns.values()))
    left_out += _left_out(timed.height - warm.height, "pair", "of the first repeat, a cold start")
    medians = warm.group_by("sample_id").agg(*(pl.col(columns[side]).median().alias(side) for side in _SIDES))
    medians = medians.sort("sample_id")
    times = [medians[side].to_numpy() for side in _SIDES]
    candidate, baseline = (float(np.quantile(side, gate.quantile)) for side in times)
    interval_at = quantile_ratio(times[0], times[1], quantile=gate.quantile)
    name = "median" if gate.quantile == 0.5 else f"p{100 * gate.quantile:g}"  # noqa: PLR2004
    return Evidence(
        sample_count=medians.height,
        notes=left_out,
        candidate_value=candidate,
        baseline_value=baseline,
        effect=candidate / baseline,
        interval_at=interval_at,
        description=f"{name} {gate.metric} {candidate:.1f} ms against {baseline:.1f} ms: ratio",
    )


def _without_cold_start(timed: pl.DataFrame, columns: Sequence[str]) -> pl.DataFrame:
    later = timed.filter(pl.col("repeat_index") > 0)
    first = timed.filter(pl.col("repeat_index") == 0)
    if later.is_empty() or first.is_empty():
        return timed
    is_cold = any(
        float(first[column].median()) > COLD_START_RATIO * float(later[column].median())  # type: ignore[arg-type]
        for column in columns
    )
    return later if is_cold else timed


def _failure_rate(gate: Gate, outputs: pl.DataFrame) -> Evidence:  # noqa: ARG001  # the signature of a family
    """Share of a run's outputs that ended in error or timeout; outputs that somebody cancelled do not count.

    Where every output has its counterpart the pairs are what counts, and with repeats the samples, since repeats of
    one prompt fail together.
    """
    ended = {
        side: pl.col(f"{side}_status").is_not_null() & (pl.col(f"{side}_status") != "cancelled") for side in _SIDES
    }
    cancelled = sum(int((outputs[f"{side}_status"] == "cancelled").sum()) for side in _SIDES)
    left_out = _left_out(cancelled, "output", "that were cancelled")
    sides = [outputs.filter(ended[side])[f"{side}_status"].is_in(FAILED) for side in _SIDES]
    (c_failed, c_total), (b_failed, b_total) = ((int(side.sum()), side.len()) for side in sides)
    if not c_total or not b_total:
        return Evidence(
            sample_count=0, notes=left_out, missing=f"Outputs that ended: candidate {c_total}, baseline {b_total}."
        )
    pairs = outputs.filter(ended["candidate"] & ended["baseline"])
    is_paired = pairs.height == c_total == b_total
    has_repeats = pairs["sample_id"].n_unique() < pairs.height
    if is_paired and has_repeats:
        shares = pairs.group_by("sample_id", maintain_order=True).agg(
            pl.col(f"{side}_status").is_in(FAILED).mean().alias(side) for side in _SIDES
        )
        interval_at = mean_difference((shares["candidate"] - shares["baseline"]).to_numpy(), scale=1)
        sample_count = shares.height
    elif is_paired:
        interval_at, _ = _paired_shares(sides[0].to_numpy(), sides[1].to_numpy())
        sample_count = pairs.height
    else:
        interval_at = _at_confidence(partial(share_difference, c_failed, c_total, b_failed, b_total))
        sample_count = min(c_total, b_total)
    return Evidence(
        sample_count=sample_count,
        notes=left_out,
        candidate_value=c_failed / c_total,
        baseline_value=b_failed / b_total,
        effect=c_failed / c_total - b_failed / b_total,
        interval_at=interval_at,
        description=f"{c_failed} of {c_total} outputs failed against {b_failed} of {b_total}: difference",
    )


def _paired_shares(won: NDArray[np.bool_], had: NDArray[np.bool_]) -> tuple[IntervalAt, tuple[int, int, int, int]]:
    """The interval of the difference of two shares over the same samples, and the four counts it rests on."""
    counts = (int((won & had).sum()), int((won & ~had).sum()), int((~won & had).sum()), int((~won & ~had).sum()))
    return _at_confidence(partial(paired_share_difference, *counts)), counts


def _at_confidence(interval: Callable[..., Interval]) -> IntervalAt:
    return lambda confidence: interval(confidence=confidence)


def _flips(counts: tuple[int, int, int, int]) -> tuple[str, ...]:
    _, only_candidate, only_baseline, _ = counts
    if not only_candidate and not only_baseline:
        return ()
    return (
        (
            f"Right on the candidate's side alone: {only_candidate}, on the baseline's alone: {only_baseline}; "
            f"p {mcnemar(only_candidate, only_baseline):.2g} that they are right equally often (McNemar, exact)."
        ),
    )


def _token_divergence(gate: Gate, outputs: pl.DataFrame) -> Evidence:
    """What the pairs' tokens say; the baseline is where divergence counts from, so it has no value of its own."""
    found = find_token_evidence(gate.metric, outputs)
    return Evidence(
        sample_count=found.sample_count,
        notes=found.notes,
        candidate_value=found.effect,
        effect=found.effect,
        interval_at=found.interval_at,
        failing_at=found.failing_at,
        description=found.description,
        missing=found.missing,
    )


_FAMILIES: dict[Family, Callable[[Gate, pl.DataFrame], Evidence]] = {
    "score_parity": _score_parity,
    "latency_regression": _latency_regression,
    "failure_rate": _failure_rate,
    "token_divergence": _token_divergence,
}


def _paired_scores(outputs: pl.DataFrame, *, metric: str) -> pl.DataFrame:
    """One row per sample: mean candidate and baseline score over the scorers and repeats that both sides have."""
    keys = ["sample_id", "repeat_index"]
    long = [
        outputs.select(*keys, pl.col(f"{side}_scores").cast(_SCORES).alias("score"))
        .explode("score")
        .unnest("score")
        .filter(pl.col("scorer") == metric if metric != ANY_SCORER else pl.lit(True), pl.col("value").is_finite())
        .group_by(*keys, "scorer")
        .agg(pl.col("value").mean().alias(side))
        for side in _SIDES
    ]
    both = long[0].join(long[1], on=[*keys, "scorer"]).sort(*keys, "scorer")
    each_output = both.group_by(keys, maintain_order=True).agg(pl.col("candidate", "baseline").mean())
    # Without repeats the counts of a yes-or-no score say everything, and have an exact method of their own.
    is_binary = (pl.len() == 1) & pl.all_horizontal(pl.col(side).is_in([0.0, 1.0]).all() for side in _SIDES)
    return each_output.group_by("sample_id", maintain_order=True).agg(
        pl.col("candidate", "baseline").mean(), is_binary.alias("is_binary")
    )


def _left_out(count: int, noun: str, why: str) -> tuple[str, ...]:
    if not count:
        return ()
    return (f"Left out: {count} {noun}{'' if count == 1 else 's'} {why}.",)
