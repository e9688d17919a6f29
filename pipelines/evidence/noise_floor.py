"""The margin `auto`: how far apart two runs seem to be between which nothing changed.

Pure: a gate and outputs laid side by side in, a margin and where it came from out. Which runs are of unchanged code is
`unchanged_code.py`.

Repeats within a run are looked at first; without them, runs of unchanged code. A run beside its own repeats has no true
effect, so the far end of that interval is what the gate cannot tell from nothing. Between runs more differs than within
one (the machine's load, what was warm), so there the effects themselves are looked at: each run beside the one before
it of the same code. Successive differences stay small where a level creeps (von Neumann, Kent, Bellinson and Hart 1941,
Annals of Mathematical Statistics 12:153-162), and the next such difference lies within Student's t times their root
mean square. The margin is never less than what the samples of one pair can tell.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from statistics import median
from typing import Literal, NamedTuple

import polars as pl

from pipelines.evidence.gate_families import Evidence, find_evidence, samples_of
from pipelines.evidence.policy import AUTO, Gate
from pipelines.evidence.unchanged_code import Chain

# Fewer pairs than this say next to nothing about their spread: four runs of one commit have three.
MIN_HISTORY_PAIRS = 3

_SIDES = ("candidate", "baseline")

OutputsOf = Callable[[str, str], pl.DataFrame]
"""The outputs of two runs, the later as candidate, laid side by side as `gates.lay_side_by_side` does."""


@dataclass(frozen=True, kw_only=True)
class NoiseFloor:
    """A margin, or None with the reason why there is none; `note` is a sentence in either case."""

    margin: float | None
    note: str
    source: Literal["repeats", "history"] | None = None
    run_ids: tuple[str, ...] = ()


class _Noise(NamedTuple):
    """One pair without a true effect, both numbers as distances from no effect (of logarithms for a ratio)."""

    effect: float
    far_end: float


class History:
    """Runs of unchanged code, by kind, whose pairs are measured when a gate asks, and each once.

    `chains` are those of `unchanged_code.Support`. One history may serve many comparisons: `seen` holds what was
    measured, by gate and pair.
    """

    def __init__(
        self,
        chains: Sequence[Sequence[Chain]] = (),
        *,
        outputs_of: OutputsOf | None = None,
        seen: dict[tuple[str, str, str], _Noise | None] | None = None,
    ) -> None:
        self.chains = chains
        self._outputs_of = outputs_of
        self._seen = {} if seen is None else seen

    def noise(self, gate: Gate, earlier: str, later: str) -> _Noise | None:
        """What the gate finds between two runs; None when they have too few samples in common."""
        key = (gate.name, earlier, later)
        if key not in self._seen:
            assert self._outputs_of is not None
            outputs = samples_of(gate, self._outputs_of(later, earlier))
            self._seen[key] = _noise_of(gate, find_evidence(gate, outputs))
        return self._seen[key]


NO_HISTORY = History()


def noise_floor(gate: Gate, outputs: pl.DataFrame, history: History = NO_HISTORY) -> NoiseFloor:
    """The margin `auto` of a gate for outputs laid side by side: from repeats, else from runs of unchanged code.

    Of the two runs, or of their kinds, the noisier one counts.
    """
    repeats = [_noise_of(gate, find_evidence(gate, _last_repeats(outputs, side))) for side in _SIDES]
    ends = [noise.far_end for noise in repeats if noise is not None]
    if ends:
        return NoiseFloor(
            margin=_as_margin(gate, max(ends)),
            note=f"The margin is the noise between the last two repeats of one run ({AUTO}).",
            source="repeats",
        )
    measured = [_from_chains(gate, chains, history) for chains in history.chains]
    known = [floor for floor in measured if floor.margin is not None]
    if known:
        return max(known, key=lambda floor: floor.margin or 0.0)
    pair_count = max((len(_pairs(chains)) for chains in history.chains), default=0)
    return NoiseFloor(
        margin=None,
        note=(
            f"The margin is {AUTO}, which needs to know the noise: two repeats of at least {gate.minimum_n} samples in "
            f"one of the runs, or {MIN_HISTORY_PAIRS} pairs of earlier runs of the same code and settings (there are "
            f"{pair_count}). Ask the suite with --repeats 2 or more, run the same commit again, or set a margin."
        ),
    )


def _from_chains(gate: Gate, chains: Sequence[Chain], history: History) -> NoiseFloor:
    """The margin from the runs of one kind."""
    found: list[_Noise] = []
    used: dict[str, None] = {}
    freedom = 0.0
    for chain in chains:
        count = 0
        for earlier, later in pairwise(chain):
            noise = history.noise(gate, earlier, later)
            if noise is not None:
                found.append(noise)
                used |= dict.fromkeys((earlier, later))
                count += 1
        freedom += _degrees_of_freedom(count)
    if len(found) < MIN_HISTORY_PAIRS:
        return NoiseFloor(margin=None, note="")
    from scipy import stats

    spread = math.sqrt(sum(noise.effect**2 for noise in found) / len(found))
    reach = float(stats.t.ppf((1 + gate.confidence) / 2, freedom)) * spread
    margin = max(reach, median(noise.far_end for noise in found))
    return NoiseFloor(
        margin=_as_margin(gate, margin),
        note=(
            f"The margin is the noise between runs of unchanged code ({AUTO}): {len(found)} pairs of {len(used)} runs "
            "before the candidate, each beside the one before it of the same code and settings."
        ),
        source="history",
        run_ids=tuple(used),
    )


def _degrees_of_freedom(pair_count: int) -> float:
    """What successive differences of so many pairs know, in degrees of freedom of a variance.

    Of n values the mean square successive difference has a variance of (3n - 4) / (n - 1)^2 times the squared variance
    of a value; a chi-square over its d degrees of freedom has 2 / d.
    """
    return 2 * pair_count**2 / (3 * pair_count - 1) if pair_count else 0.0


def _pairs(chains: Sequence[Chain]) -> list[tuple[str, str]]:
    return [pair for chain in chains for pair in pairwise(chain)]


def _noise_of(gate: Gate, found: Evidence) -> _Noise | None:
    if found.effect is None or found.interval_at is None or found.sample_count < gate.minimum_n:
        return None
    distances = [abs(number) for number in _distances(gate, found.effect, *found.interval_at(gate.confidence))]
    return _Noise(effect=distances[0], far_end=max(distances[1:]))


def _distances(gate: Gate, *numbers: float) -> Iterator[float]:
    return (math.log(number) for number in numbers) if gate.is_ratio else iter(numbers)


def _as_margin(gate: Gate, distance: float) -> float:
    return math.exp(distance) if gate.is_ratio else distance


def _last_repeats(outputs: pl.DataFrame, side: str) -> pl.DataFrame:
    """The last repeat of one run as candidate beside the one before as baseline; the first may be a cold start."""
    own = outputs.filter(pl.col(f"{side}_status").is_not_null())
    last = own["repeat_index"].max()
    if not isinstance(last, int) or last == 0:
        return outputs.clear()
    measured = ["status", "scores", "latency_ms", "time_to_first_token_ms"]
    sides = [
        own.filter(pl.col("repeat_index") == index).select(
            "sample_id", *(pl.col(f"{side}_{name}").alias(f"{role}_{name}") for name in measured)
        )
        for role, index in zip(_SIDES, (last, last - 1), strict=True)
    ]
    both = sides[0].join(sides[1], on="sample_id")
    return both.with_columns(pl.lit(0, dtype=outputs["repeat_index"].dtype).alias("repeat_index"))
