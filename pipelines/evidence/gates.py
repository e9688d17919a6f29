"""What each gate finds: a verdict with its numbers and the reasons in sentences.

Pure: outputs of two runs laid side by side, a gate and a comparability in, a `Judgement` out; the same inputs give the
same bytes, in whatever order the rows come. Intervals are `intervals.py`, reading and writing rows is `steps.py`.

A gate states non-regression. It passes when the whole interval of the effect is inside the margin, fails when all of it
is beyond, and is inconclusive between. Missing evidence is inconclusive, never a pass; runs that cannot be compared
are incomparable, without a number.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal

import polars as pl

from pipelines.evidence.intervals import (
    Interval,
    mean_difference,
    median_ratio,
    paired_share_difference,
    share_difference,
)
from pipelines.evidence.policy import ANY_SCORER, Family, Gate

# Part of every verdict's input digest: raise it when the same evidence would be judged otherwise.
GATE_VERSION = 2
# A first repeat whose median latency is this many times that of the later ones was a cold start.
COLD_START_RATIO = 1.5

Verdict = Literal["pass", "fail", "inconclusive", "incomparable"]

# An interval this many times wider than the effect's distance from the margin asks for 10,000 times the samples.
_HOPELESS = 100

FAILED = ("error", "timeout")
_SIDES = ("candidate", "baseline")
_SCORES = pl.List(pl.Struct({"scorer": pl.String(), "value": pl.Float64()}))


@dataclass(frozen=True, kw_only=True)
class Judgement:
    """The computed columns of a row of `gold.gate_results`.

    `candidate_value` and `baseline_value` are in the metric's own unit (ms for a latency); effect and interval are in
    the gate's. `p_value` and `q_value` are left to the issue that brings false-discovery control.
    """

    verdict: Verdict
    reasons: tuple[str, ...]
    sample_count: int = 0
    candidate_value: float | None = None
    baseline_value: float | None = None
    effect: float | None = None
    interval: Interval | None = None
    p_value: float | None = None
    q_value: float | None = None


@dataclass(frozen=True, kw_only=True)
class Evidence:
    """What a family found, before it is held against the margin; without an effect there is nothing to hold."""

    sample_count: int
    left_out: tuple[str, ...] = ()
    candidate_value: float | None = None
    baseline_value: float | None = None
    effect: float | None = None
    interval: Interval | None = None
    description: str = ""
    missing: str = ""


def lay_side_by_side(candidate: pl.DataFrame, baseline: pl.DataFrame) -> pl.DataFrame:
    """Outputs of two runs joined by sample and repeat, sorted; where one side has none its columns are null.

    Both frames have sample_id, repeat_index, status, scores, latency_ms and time_to_first_token_ms.
    """
    keys = ["sample_id", "repeat_index"]
    measured = ["status", "scores", "latency_ms", "time_to_first_token_ms"]
    sides = [
        side.select(*keys, *(pl.col(name).alias(f"{prefix}_{name}") for name in measured))
        for prefix, side in zip(_SIDES, (candidate, baseline), strict=True)
    ]
    return sides[0].join(sides[1], on=keys, how="full", coalesce=True).sort(keys)


def judge(gate: Gate, outputs: pl.DataFrame, *, incomparable: Sequence[str] = ()) -> Judgement:
    """The verdict of one gate on outputs laid side by side; `incomparable` are the reasons why it may have none."""
    if incomparable:
        return Judgement(verdict="incomparable", reasons=tuple(incomparable))
    found = _FAMILIES[gate.family](gate, outputs.sort("sample_id", "repeat_index"))
    if found.effect is None or found.interval is None:
        return Judgement(
            verdict="inconclusive", sample_count=found.sample_count, reasons=(found.missing, *found.left_out)
        )
    verdict, why = _verdict(gate, found, found.effect, found.interval)
    return Judgement(
        verdict=verdict,
        sample_count=found.sample_count,
        candidate_value=found.candidate_value,
        baseline_value=found.baseline_value,
        effect=found.effect,
        interval=found.interval,
        reasons=(_numbers(gate, found.description, found.effect, found.interval), *why, *found.left_out),
    )


def _score_parity(gate: Gate, outputs: pl.DataFrame) -> Evidence:
    """Mean over samples of candidate score minus baseline score; scorers, then repeats, are averaged first."""
    pairs = _paired_scores(outputs, metric=gate.metric)
    both = outputs.filter(pl.all_horizontal(pl.col(f"{side}_status").is_not_null() for side in _SIDES))
    unscored = both["sample_id"].n_unique() - pairs.height
    left_out = _left_out(unscored, "sample", "for want of a score on both sides")
    if not pairs.height:
        what = "score" if gate.metric == ANY_SCORER else f"score by {gate.metric}"
        return Evidence(sample_count=0, left_out=left_out, missing=f"No sample has a {what} on both sides.")
    candidate, baseline = pairs["candidate"].to_numpy(), pairs["baseline"].to_numpy()
    differences = candidate - baseline
    if pairs["is_binary"].all():
        won, had = candidate == 1, baseline == 1
        interval = paired_share_difference(
            int((won & had).sum()),
            int((won & ~had).sum()),
            int((~won & had).sum()),
            int((~won & ~had).sum()),
            confidence=gate.confidence,
        )
    else:
        highest = max(1.0, float(candidate.max()), float(baseline.max()))
        lowest = min(0.0, float(candidate.min()), float(baseline.min()))
        interval = mean_difference(differences, scale=highest - lowest, confidence=gate.confidence)
    return Evidence(
        sample_count=pairs.height,
        left_out=left_out,
        candidate_value=float(candidate.mean()),
        baseline_value=float(baseline.mean()),
        effect=float(differences.mean()),
        interval=interval,
        description=f"mean {gate.metric} {candidate.mean():.4f} against {baseline.mean():.4f}: difference",
    )


def _latency_regression(gate: Gate, outputs: pl.DataFrame) -> Evidence:
    """Median latency over samples, candidate over baseline; a sample's latency is the median of its repeats.

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
            sample_count=0, left_out=left_out, missing=f"No sample was answered with a {gate.metric} on both sides."
        )
    warm = _without_cold_start(timed, list(columns.values()))
    left_out += _left_out(timed.height - warm.height, "pair", "of the first repeat, a cold start")
    medians = warm.group_by("sample_id").agg(*(pl.col(columns[side]).median().alias(side) for side in _SIDES))
    medians = medians.sort("sample_id")
    candidate, baseline = (float(medians[side].median()) for side in _SIDES)  # type: ignore[arg-type]
    interval = median_ratio(medians["candidate"].to_numpy(), medians["baseline"].to_numpy(), confidence=gate.confidence)
    return Evidence(
        sample_count=medians.height,
        left_out=left_out,
        candidate_value=candidate,
        baseline_value=baseline,
        effect=candidate / baseline,
        interval=interval,
        description=f"median {gate.metric} {candidate:.1f} ms against {baseline:.1f} ms: ratio",
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


def _failure_rate(gate: Gate, outputs: pl.DataFrame) -> Evidence:
    """Share of all of a run's outputs that ended in error or timeout; outputs that somebody cancelled do not count."""
    counts = []
    cancelled = 0
    for side in _SIDES:
        statuses = outputs[f"{side}_status"].drop_nulls()
        ended = statuses.filter(statuses != "cancelled")
        cancelled += statuses.len() - ended.len()
        counts += [int(ended.is_in(FAILED).sum()), ended.len()]
    left_out = _left_out(cancelled, "output", "that were cancelled")
    c_failed, c_total, b_failed, b_total = counts
    if not c_total or not b_total:
        return Evidence(
            sample_count=0, left_out=left_out, missing=f"Outputs that ended: candidate {c_total}, baseline {b_total}."
        )
    return Evidence(
        sample_count=min(c_total, b_total),
        left_out=left_out,
        candidate_value=c_failed / c_total,
        baseline_value=b_failed / b_total,
        effect=c_failed / c_total - b_failed / b_total,
        interval=share_difference(c_failed, c_total, b_failed, b_total, confidence=gate.confidence),
        description=f"{c_failed} of {c_total} outputs failed against {b_failed} of {b_total}: difference",
    )


_FAMILIES: dict[Family, Callable[[Gate, pl.DataFrame], Evidence]] = {
    "score_parity": _score_parity,
    "latency_regression": _latency_regression,
    "failure_rate": _failure_rate,
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


@dataclass(frozen=True, kw_only=True)
class _Distance:
    """How far the worse and the better end of the interval and the effect lie inside the margin (negative: beyond)."""

    worse_end: float
    better_end: float
    effect: float
    half_width: float


def _distance(gate: Gate, effect: float, interval: Interval) -> _Distance:
    width = (interval.high - interval.low) / 2
    if gate.family == "score_parity":
        low, high = (interval.low, interval.high) if gate.is_higher_better else (-interval.high, -interval.low)
        signed = effect if gate.is_higher_better else -effect
        return _Distance(
            worse_end=low + gate.margin, better_end=high + gate.margin, effect=signed + gate.margin, half_width=width
        )
    return _Distance(
        worse_end=gate.margin - interval.high,
        better_end=gate.margin - interval.low,
        effect=gate.margin - effect,
        half_width=width,
    )


def _verdict(gate: Gate, found: Evidence, effect: float, interval: Interval) -> tuple[Verdict, list[str]]:
    distance = _distance(gate, effect, interval)
    if found.sample_count < gate.minimum_n:
        return "inconclusive", [
            f"{found.sample_count} samples are fewer than the {gate.minimum_n} that the gate asks for."
        ]
    if distance.worse_end >= 0:
        return "pass", ["The whole interval is inside the margin."]
    if distance.better_end < 0:
        return "fail", ["The whole interval is beyond the margin."]
    return "inconclusive", ["The interval reaches over the margin.", *_deciding_count(found.sample_count, distance)]


def _deciding_count(count: int, distance: _Distance) -> list[str]:
    """About how many samples would decide it: an interval's width shrinks with the root of their number."""
    # An effect on the margin lies there for all that anybody will ever measure.
    if distance.half_width >= _HOPELESS * abs(distance.effect):
        return []
    needed = count * (distance.half_width / abs(distance.effect)) ** 2
    if needed <= count:
        return []
    return [f"About {_rounded_up(needed)} samples would decide it if the effect stays the same."]


def _rounded_up(number: float) -> int:
    """Two significant digits are all that such a forecast has."""
    step = 10 ** max(len(str(int(number))) - 2, 0)
    return int(-(-number // step) * step)


def _numbers(gate: Gate, description: str, effect: float, interval: Interval) -> str:
    digits = ".2f" if gate.family == "latency_regression" else "+.4f"
    limit = -gate.margin if gate.family == "score_parity" and gate.is_higher_better else gate.margin
    ends = f"[{interval.low:{digits}}, {interval.high:{digits}}] at {gate.confidence:.0%} confidence"
    return f"{description[0].upper()}{description[1:]} {effect:{digits}} {ends}, margin {limit:{digits}}."


def _left_out(count: int, noun: str, why: str) -> tuple[str, ...]:
    if not count:
        return ()
    return (f"Left out: {count} {noun}{'' if count == 1 else 's'} {why}.",)
