"""How far two distributions over the next token are apart, at positions that both sides were given. Pure.

Lists may be of any length up to the whole vocabulary, which is what tells this module from `token_distributions.py`:
there lists are short and pairs are many, and nothing behind a difference is compared. All numbers are in nats.

With the whole vocabulary on both sides KL(reference || candidate) is known. Otherwise it is bounded:

**Lower bound.** Tokens that both lists name are cells of their own, everything else is one cell; merging cells can only
lose divergence (data processing inequality). A second bound takes for what the candidate does not list the most that
it can be. The larger one counts.

**Upper bound.** What the reference does not list has at most the probability of the last token that it does list.
Where the candidate lists its vocabulary, that remainder is put onto the tokens that the candidate finds least likely,
which is the worst that it can be. Where it does not, a token that it leaves out may be as unlikely as the smallest
positive 32-bit float, below which engines that work in 32 bits hold nothing but zero.

A whole vocabulary is normalised again; a shorter list cannot be. llama.cpp sums tens of thousands of 32-bit floats, by
which its log-probabilities are off by up to 0.00025, and a bound from its lists by as much.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from pipelines.evidence.token_arrays import Flags, Integers, Numbers
from pipelines.evidence.token_distributions import FLOOR_LOGPROB
from pipelines.runs.backends import ScoredPositions

# Probabilities that add up to more than rounding explains are none; llama.cpp's are off by 0.00025 at worst.
_EXCESS = 1e-3
_LEAST_REST = 1e-12


@dataclass(frozen=True, kw_only=True)
class ForcedPositions:
    """One entry a position; NaN where a side has no list. `has_same_top` is 1 or 0.

    `top_k_counts` is how many tokens the shorter list names, `covered` the probability of what a list names.
    """

    kl_lower: Numbers
    kl_upper: Numbers
    has_same_top: Numbers
    top_k_counts: Numbers
    covered: Numbers
    reference_covered: Numbers


@dataclass(frozen=True, kw_only=True)
class _List:
    """One side's list at one position, sorted by id; `rest` is what the list leaves over.

    `last` is the log-probability of the last one listed, the given token apart: many engines append that one.
    """

    ids: Integers
    logprobs: Numbers
    listed_count: int
    is_vocabulary: bool
    last: float = 0.0

    @property
    def rest(self) -> float:
        return max(1.0 - float(np.exp(self.logprobs).sum()), 0.0)

    @property
    def top_id(self) -> int:
        return int(self.ids[self.logprobs.argmax()])

    @property
    def least(self) -> float:
        """The most that the log-probability of a token outside the list can be."""
        rest = math.log(max(self.rest, _LEAST_REST))
        return min(self.last, rest)


def compare_forced(reference: ScoredPositions, candidate: ScoredPositions) -> ForcedPositions:
    """Compare both sides' lists at every position; both must have been given the same tokens."""
    if not np.array_equal(reference.token_ids, candidate.token_ids):
        raise ValueError("The two sides were given different tokens.")
    found = np.array([_compare(reference, candidate, place) for place in range(len(reference.token_ids))])
    columns = found.reshape(-1, len(ForcedPositions.__dataclass_fields__)).T
    return ForcedPositions(**dict(zip(ForcedPositions.__dataclass_fields__, columns, strict=True)))


def _compare(reference: ScoredPositions, candidate: ScoredPositions, place: int) -> list[float]:
    p, q = _list(reference, place), _list(candidate, place)
    unknown = [math.nan] * len(ForcedPositions.__dataclass_fields__)
    if p is None or q is None:
        return unknown
    sums = [1.0 if side.is_vocabulary else min(float(np.exp(side.logprobs).sum()), 1.0) for side in (p, q)]
    lower, upper = _bounds(p, q)
    return [lower, upper, float(p.top_id == q.top_id), float(min(p.listed_count, q.listed_count)), sums[1], sums[0]]


def _bounds(p: _List, q: _List) -> tuple[float, float]:
    if p.is_vocabulary and q.is_vocabulary and len(p.ids) == len(q.ids):
        exact = max(float((np.exp(p.logprobs) * (p.logprobs - q.logprobs)).sum()), 0.0)
        return exact, exact
    is_shared, logprobs = _look_up(q, p.ids)
    shared = _weighted(p.logprobs[is_shared], logprobs[is_shared])
    alone = p.logprobs[~is_shared]
    lower = max(shared + _merged(p, q, is_shared), shared + _capped(p, q, is_shared), 0.0)
    upper = shared + _weighted(alone, np.full(len(alone), FLOOR_LOGPROB)) + _worst_rest(p, q, is_shared)
    return lower, max(upper, lower)


def _merged(p: _List, q: _List, is_shared: Flags) -> float:
    """Everything that not both name as one cell."""
    shared_q = float(np.exp(_look_up(q, p.ids[is_shared])[1]).sum())
    return _cell(1.0 - float(np.exp(p.logprobs[is_shared]).sum()), 1.0 - shared_q)


def _capped(p: _List, q: _List, is_shared: Flags) -> float:
    """What the reference alone names against the most that the candidate can give it, the rest as one cell."""
    alone = p.logprobs[~is_shared]
    if q.is_vocabulary or not len(alone):
        return -math.inf
    shared_q = float(np.exp(_look_up(q, p.ids[is_shared])[1]).sum())
    return _weighted(alone, np.full(len(alone), q.least)) + _cell(p.rest, 1.0 - shared_q)


def _worst_rest(p: _List, q: _List, is_shared: Flags) -> float:
    """What the reference does not list, where the candidate likes it least."""
    rest = p.rest
    if rest <= _LEAST_REST or p.is_vocabulary:
        return 0.0
    if not q.is_vocabulary:
        return rest * (p.least - FLOOR_LOGPROB)
    unlisted = np.ones(len(q.ids), dtype=np.bool_)
    unlisted[np.searchsorted(q.ids, p.ids[is_shared])] = False
    others = q.logprobs[unlisted]
    if not len(others):
        return 0.0
    # Each of these holds at most as much as the last one listed: full ones first, and what is then left on the next.
    most = math.exp(p.least)
    full_count = min(int(rest / most), len(others))
    worst = np.sort(np.partition(others, min(full_count, len(others) - 1))[: full_count + 1])
    weights = np.full(len(worst), most)
    weights[full_count:] = max(rest - full_count * most, 0.0)
    return rest * p.least - float((weights * worst).sum())


def _list(side: ScoredPositions, place: int) -> _List | None:
    """The list at a position with the given token in it; None where there is none, or its numbers make no sense."""
    ids, logprobs = side.alternative_ids[place], side.alternative_logprobs[place]
    if side.is_vocabulary:
        # Sums of thousands of 32-bit floats are off by a little, and a divergence is about little.
        total = float(np.logaddexp.reduce(logprobs))
        return _List(ids=ids, logprobs=logprobs - total, listed_count=len(ids), is_vocabulary=True)
    is_there = np.isfinite(logprobs)
    ids, logprobs = ids[is_there], logprobs[is_there]
    given, own = side.token_ids[place], side.logprobs[place]
    others = logprobs[ids != given]
    listed_count = len(ids)
    if np.isfinite(own) and given not in ids:
        ids, logprobs = np.append(ids, given), np.append(logprobs, own)
    if not listed_count or np.exp(logprobs).sum() > 1 + _EXCESS:
        return None
    order = np.argsort(ids, kind="stable")
    if (np.diff(ids[order]) == 0).any():
        return None
    return _List(
        ids=ids[order],
        logprobs=logprobs[order],
        listed_count=listed_count,
        is_vocabulary=False,
        last=float(others.min(initial=0.0)),
    )


def _look_up(side: _List, ids: Integers) -> tuple[Flags, Numbers]:
    """Which of `ids` a side lists, and their log-probabilities there (minus infinity where not)."""
    if not len(side.ids):
        return np.zeros(len(ids), dtype=np.bool_), np.full(len(ids), -np.inf)
    places = np.minimum(np.searchsorted(side.ids, ids), len(side.ids) - 1)
    is_listed = side.ids[places] == ids
    return is_listed, np.where(is_listed, side.logprobs[places], -np.inf)


def _weighted(p: Numbers, q: Numbers) -> float:
    return float((np.exp(p) * (p - q)).sum())


def _cell(p: float, q: float) -> float:
    return p * math.log(p / max(q, _LEAST_REST)) if p > _LEAST_REST else 0.0
