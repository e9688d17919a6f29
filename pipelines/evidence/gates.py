"""What each gate finds: a verdict with its numbers and the reasons in sentences.

Pure: outputs of two runs laid side by side, a gate and a comparability in, a `Judgement` out; the same inputs give the
same bytes, in whatever order the rows come. What each family finds is
`gate_families.py`, the statistics are `statistics.py`, reading and writing rows is `steps.py`.

A gate states non-regression. It passes when the whole interval of the effect is inside the margin, fails when all of it
is beyond, and is inconclusive between. Missing evidence is inconclusive, never a pass; runs that cannot be compared
are incomparable, without a number.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal

import polars as pl

from pipelines.evidence.gate_families import FAILED, Evidence, find_evidence, samples_of
from pipelines.evidence.noise_floor import NO_HISTORY, History, NoiseFloor, noise_floor
from pipelines.evidence.policy import Gate
from pipelines.evidence.statistics import (
    Direction,
    Interval,
    control_false_discoveries,
    detectable_worsening,
    one_sided_p,
)

__all__ = ["FAILED", "GATE_VERSION", "Judgement", "Verdict", "judge", "judge_together", "lay_side_by_side"]

# Part of every verdict's input digest: raise it when the same evidence would be judged otherwise.
GATE_VERSION = 4

Verdict = Literal["pass", "fail", "inconclusive", "incomparable"]

# An interval this many times wider than the effect's distance from the margin asks for 10,000 times the samples.
_HOPELESS = 100
# So many samples must lie beyond a quantile before it is judged: 200 for p95, 1,000 for p99.
_BEYOND_QUANTILE = 10

_SIDES = ("candidate", "baseline")
# q is p times a ratio of whole numbers.
_ROUNDING = 1e-9


@dataclass(frozen=True, kw_only=True)
class Judgement:
    """The computed columns of a row of `gold.gate_results`.

    `candidate_value` and `baseline_value` are in the metric's own unit (ms for a latency); effect, interval, margin and
    `minimum_detectable_effect` are in the gate's. `noise` is where the margin `auto` came from.
    """

    verdict: Verdict
    reasons: tuple[str, ...]
    sample_count: int = 0
    margin: float | None = None
    candidate_value: float | None = None
    baseline_value: float | None = None
    effect: float | None = None
    interval: Interval | None = None
    minimum_detectable_effect: float | None = None
    p_value: float | None = None
    q_value: float | None = None
    noise: NoiseFloor | None = None
    rerun_ids: tuple[str, ...] | None = None


def lay_side_by_side(candidate: pl.DataFrame, baseline: pl.DataFrame) -> pl.DataFrame:
    """Outputs of two runs joined by sample and repeat, sorted; where one side has none its columns are null.

    Both frames have sample_id, repeat_index, status, scores, latency_ms, time_to_first_token_ms and tags.
    """
    keys = ["sample_id", "repeat_index"]
    measured = ["status", "scores", "latency_ms", "time_to_first_token_ms"]
    sides = [
        side.select(*keys, *(pl.col(name).alias(f"{prefix}_{name}") for name in measured))
        for prefix, side in zip(_SIDES, (candidate, baseline), strict=True)
    ]
    tags = pl.concat([candidate.select(*keys, "tags"), baseline.select(*keys, "tags")]).unique(keys, keep="first")
    both = sides[0].join(sides[1], on=keys, how="full", coalesce=True)
    return both.join(tags, on=keys, how="left").sort(keys)


def judge_together(
    gates: Sequence[Gate],
    outputs: pl.DataFrame,
    incomparable: Sequence[Sequence[str]],
    *,
    history: History = NO_HISTORY,
) -> list[Judgement]:
    """The verdicts of all gates on one comparison; `incomparable` are, for each, the reasons why it may have none.

    The more gates a policy has, the sooner one of them fails by chance. So a failure stands only if it does after
    control of the false-discovery rate over the gates of the comparison (Benjamini and Hochberg): its q must not
    exceed the tail of the gate's own interval, else it is inconclusive. A pass needs no such control: it is no
    discovery, and a run is promoted only if all pass.
    """
    found = [
        judge(gate, outputs, incomparable=why, history=history) for gate, why in zip(gates, incomparable, strict=True)
    ]
    q_values = control_false_discoveries([judgement.p_value for judgement in found])
    return [_controlled(*each) for each in zip(gates, found, q_values, strict=True)]


def _controlled(gate: Gate, found: Judgement, q_value: float | None) -> Judgement:
    found = replace(found, q_value=q_value)
    tail = (1 - gate.confidence) / 2
    if found.verdict != "fail" or q_value is None or q_value <= tail + _ROUNDING:
        return found
    why = (
        f"Alone it would fail (p {found.p_value:.2g}), but among the gates of this comparison a result like it comes "
        f"by chance too often (q {q_value:.2g}, limit {tail:g})."
    )
    return replace(found, verdict="inconclusive", reasons=(*found.reasons, why))


def judge(
    gate: Gate, outputs: pl.DataFrame, *, incomparable: Sequence[str] = (), history: History = NO_HISTORY
) -> Judgement:
    """The verdict of one gate on outputs laid side by side; `incomparable` are the reasons why it may have none.

    `history` are runs of unchanged code, from which the margin `auto` comes when neither run has repeats.
    """
    if incomparable:
        return Judgement(verdict="incomparable", reasons=tuple(incomparable), margin=gate.fixed_margin)
    wanted = samples_of(gate, outputs)
    found = find_evidence(gate, wanted)
    if found.effect is None or found.interval_at is None:
        return Judgement(
            verdict="inconclusive",
            sample_count=found.sample_count,
            margin=gate.fixed_margin,
            reasons=(found.missing, *found.notes),
        )
    if gate.fixed_margin is not None:
        return _judgement(gate, found, margin=gate.fixed_margin)
    noise = noise_floor(gate, wanted, history)
    judged = replace(_judgement(gate, found, margin=noise.margin), noise=noise)
    if noise.margin is None:
        return replace(judged, reasons=(noise.note, *found.notes))
    return replace(judged, reasons=(*judged.reasons, noise.note))


def _judgement(gate: Gate, found: Evidence, *, margin: float | None) -> Judgement:
    assert found.effect is not None
    assert found.interval_at is not None
    interval = found.interval_at(gate.confidence)
    known = Judgement(
        verdict="inconclusive",
        reasons=(),
        sample_count=found.sample_count,
        margin=margin,
        candidate_value=found.candidate_value,
        baseline_value=found.baseline_value,
        effect=found.effect,
        interval=interval,
    )
    if margin is None:
        return known
    distance = _distance(gate, margin, found.effect, interval)
    verdict, why = _verdict(gate, found, distance)
    detectable = _detectable(gate, margin, (found.failing_at or found.interval_at)(gate.confidence))
    if verdict == "inconclusive":
        why.append(_what_could_fail(gate, detectable))
    limit, worse = _limit(gate, margin)
    return replace(
        known,
        verdict=verdict,
        minimum_detectable_effect=detectable,
        p_value=one_sided_p(found.interval_at, limit, worse=worse),
        reasons=(_numbers(gate, margin, found.description, found.effect, interval), *why, *found.notes),
    )


def _limit(gate: Gate, margin: float) -> tuple[float, Direction]:
    """Where acceptable ends, in the unit of the effect, and on which side of it is worse."""
    if gate.family == "score_parity" and gate.is_higher_better:
        return -margin, "below"
    return margin, "above"


@dataclass(frozen=True, kw_only=True)
class _Distance:
    """How far the worse and the better end of the interval and the effect lie inside the margin (negative: beyond)."""

    worse_end: float
    better_end: float
    effect: float
    half_width: float


def _distance(gate: Gate, margin: float, effect: float, interval: Interval) -> _Distance:
    width = (interval.high - interval.low) / 2
    if gate.family == "score_parity":
        low, high = (interval.low, interval.high) if gate.is_higher_better else (-interval.high, -interval.low)
        signed = effect if gate.is_higher_better else -effect
        return _Distance(worse_end=low + margin, better_end=high + margin, effect=signed + margin, half_width=width)
    return _Distance(
        worse_end=margin - interval.high,
        better_end=margin - interval.low,
        effect=margin - effect,
        half_width=width,
    )


def _verdict(gate: Gate, found: Evidence, distance: _Distance) -> tuple[Verdict, list[str]]:
    needed = max(gate.minimum_n, _samples_for_quantile(gate))
    if found.sample_count < needed:
        why = f", for p{100 * gate.quantile:g}" if needed > gate.minimum_n else ""
        return "inconclusive", [
            f"{found.sample_count} samples are fewer than the {needed} that the gate asks for{why}."
        ]
    if distance.worse_end >= 0:
        return "pass", ["The whole interval is inside the margin."]
    if distance.better_end < 0:
        return "fail", ["The whole interval is beyond the margin."]
    # Where the evidence itself leaves room, more samples would not close it.
    deciding = [] if found.failing_at is not None else _deciding_count(found.sample_count, distance)
    return "inconclusive", ["The interval reaches over the margin.", *deciding]


def _samples_for_quantile(gate: Gate) -> int:
    if gate.quantile <= 0.5:  # noqa: PLR2004  # up to the median, minimum_n says enough
        return 0
    # Half of a sample less, so that 1 - 0.95 in floating point does not ask for one more.
    return math.ceil(_BEYOND_QUANTILE / (1 - gate.quantile) - 0.5)


def _detectable(gate: Gate, margin: float, interval: Interval) -> float:
    """The smallest true effect, on the worse side, that the gate would have failed with 80 % power."""
    if gate.is_ratio:
        half = (math.log(interval.high) - math.log(interval.low)) / 2
        return math.exp(detectable_worsening(half, margin=math.log(margin), confidence=gate.confidence))
    size = detectable_worsening((interval.high - interval.low) / 2, margin=margin, confidence=gate.confidence)
    return -size if _limit(gate, margin)[1] == "below" else size


def _what_could_fail(gate: Gate, detectable: float) -> str:
    shown = f"{detectable:.2f}" if gate.is_ratio else f"{detectable:+.4f}"
    return f"With these samples the smallest effect that would fail four times in five is {shown}."


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


def _numbers(gate: Gate, margin: float, description: str, effect: float, interval: Interval) -> str:
    digits = ".2f" if gate.family == "latency_regression" else "+.4f"
    limit, _ = _limit(gate, margin)
    ends = f"[{interval.low:{digits}}, {interval.high:{digits}}] at {gate.confidence:.0%} confidence"
    return f"{description[0].upper()}{description[1:]} {effect:{digits}} {ends}, margin {limit:{digits}}."
