"""What two short lists of likely tokens say about the distributions they were cut from.

Pure, for many positions at once, in natural logarithms. A list names the k likeliest tokens of a distribution over
tens of thousands. What the rest looks like is not known, so the divergence between two distributions is not known
either: it is bounded from below and from above.

**Lower bound.** Tokens that both lists name are cells of their own, everything else is one cell on each side.
Merging cells can only lose divergence (data processing inequality), so the divergence of the cells is a lower bound.
A second one gives tokens that the baseline alone names cells of their own, and takes for the candidate's unknown
probability the most it can be: that of the last token it lists, or what its list leaves over. The larger one counts.

**Upper bound.** The candidate may find an unlisted token as unlikely as it likes, so there is no upper bound without an
assumption: that no token is less likely than the smallest positive 32-bit float, exp(`FLOOR_LOGPROB`), below which
engines that work in 32 bits hold nothing but zero. Short lists make it a wide one, which is the truth about them; for
lists that name everything both bounds are the divergence itself.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from pipelines.evidence.token_arrays import NO_ID, SIDES, Flags, Integers, Numbers, Side, TokenArrays

# ln 2**-149.
FLOOR_LOGPROB = -149 * math.log(2)
# The likeliest so many alternatives of a token are looked at: engines offer 20 at most, and a list of a whole
# vocabulary would cost its square. A list that is cut shorter keeps its bounds true.
MAX_ALTERNATIVES = 64
# Log-probabilities are written with six digits or so; probabilities that add up to more than that explains are none.
_EXCESS = 1e-3
# The least that a list leaves over, as seen from the other side: less than this is rounding.
_LEAST_REST = 1e-5
# Cells of one slice: alternatives by positions that fit into the processor's cache.
_SLICE_CELLS = 1 << 17
# Keys that stand for no token, on either side, so that they never match; ids count from 0.
_NOTHING: dict[Side, int] = {"candidate": NO_ID, "baseline": NO_ID + 1}
_CHOSEN_NOTHING: dict[Side, int] = {"candidate": NO_ID + 2, "baseline": NO_ID + 3}


@dataclass(frozen=True, kw_only=True)
class Positions:
    """Places at which both sides chose a token after the same text: on either side, indices into `tokens`.

    Two tokens are the same if their `keys` are, and likewise for alternatives and `top_keys`.
    """

    tokens: TokenArrays
    keys: Integers
    top_keys: Integers
    places: Mapping[Side, Integers]

    @property
    def count(self) -> int:
        """Positions."""
        return len(self.places["baseline"])

    @property
    def widths(self) -> Integers:
        """Alternatives of the side that has more of them."""
        counts = np.diff(self.tokens.top_starts)
        return np.maximum(counts[self.places["candidate"]], counts[self.places["baseline"]])


@dataclass(frozen=True, kw_only=True)
class Divergence:
    """For each position the bounds of KL(baseline || candidate) in nats, and the probability that each list covers.

    `has_same_top` is 1 where the likeliest token is the same, 0 where not. NaN wherever a side has no alternatives,
    or probabilities that add up to more than 1.
    """

    kl_lower: Numbers
    kl_upper: Numbers
    has_same_top: Numbers
    candidate_covered: Numbers
    baseline_covered: Numbers


@dataclass(frozen=True, kw_only=True)
class Choice:
    """How one side saw the tokens that were chosen at each position. NaN where its list does not say.

    `runner_up_gaps`: the log-probability of its own token minus that of the likeliest other one, below 0 where it did
    not choose its likeliest. `ranks`: the rank (from 1) of its own token in the other side's list, 0 when it is not in
    it. `gaps`: by how much it preferred its own token to the other's; where the other's is not listed, it is at least
    this.
    """

    runner_up_gaps: Numbers
    ranks: Integers
    gaps: Numbers
    is_other_listed: Flags


def compare_distributions(positions: Positions) -> Divergence:
    """Bound the divergence at every position."""
    results = {name: np.full(positions.count, np.nan) for name in Divergence.__dataclass_fields__}
    widths = positions.widths
    with np.errstate(divide="ignore", invalid="ignore"):
        for part in _slices(widths):
            for name, values in _bounds(positions, part, int(widths[part].max(initial=0))).items():
                results[name][part] = values
    return Divergence(**results)


def compare_choices(positions: Positions) -> dict[Side, Choice]:
    """Rank and weigh the tokens that both sides chose at every position."""
    width = int(positions.widths.max(initial=0))
    candidate, baseline = (_lists(positions, side, slice(None), width) for side in SIDES)
    with np.errstate(divide="ignore", invalid="ignore"):
        return {"candidate": _choice(candidate, baseline), "baseline": _choice(baseline, candidate)}


@dataclass(frozen=True, kw_only=True)
class _Lists:
    """The alternatives of one side, one row a place in the list and one column a position.

    Absent ones have minus infinity; they, and those that nobody can tell from another token, have the key `_NOTHING`.
    """

    side: Side
    keys: Integers
    logprobs: Numbers
    chosen_keys: Integers
    chosen_logprobs: Numbers

    @property
    def is_empty(self) -> Flags:
        """Positions without alternatives."""
        return np.asarray(np.isneginf(self.logprobs).all(axis=0))

    def logprob_of(self, keys: Integers) -> Numbers:
        """The log-probability of one token a position; -inf where it is not in the list."""
        found: Numbers = np.where(self.keys == keys, self.logprobs, -np.inf).max(axis=0, initial=-np.inf)
        return found

    def unlisted_bound(self) -> Numbers:
        """The most that the log-probability of a token outside the list can be.

        That of the last token in it; but some engines append the chosen token to their k likeliest ones, so that one
        does not count. And no token has more than what all listed ones leave over.
        """
        is_other = (self.keys != self.chosen_keys) & ~np.isneginf(self.logprobs)
        least = np.where(is_other, self.logprobs, np.inf).min(axis=0, initial=0.0)
        rest = 1 - np.exp(self.logprobs).sum(axis=0)
        bound: Numbers = np.minimum(least, np.log(np.maximum(rest, _LEAST_REST)))
        return bound


def _bounds(positions: Positions, part: slice, width: int) -> dict[str, Numbers]:
    candidate, baseline = (_lists(positions, side, part, width) for side in SIDES)
    is_known = ~baseline.is_empty & ~candidate.is_empty
    known_p, known_q = _with_chosen(baseline), _with_chosen(candidate)
    found = _match(known_p, known_q)
    covered_p, covered_q = (np.exp(side.logprobs).sum(axis=0) for side in (known_p, known_q))
    is_sound = is_known & found.is_one_to_one & (covered_p <= 1 + _EXCESS) & (covered_q <= 1 + _EXCESS)
    lower = _lower_bound(known_p, found, candidate.unlisted_bound())
    upper = np.maximum(_upper_bound(known_p, found, baseline.unlisted_bound()), lower)
    return {
        "kl_lower": np.where(is_sound, lower, np.nan),
        "kl_upper": np.where(is_sound, upper, np.nan),
        "has_same_top": np.where(is_known, _top_key(baseline) == _top_key(candidate), np.nan),
        "baseline_covered": np.where(is_sound, np.minimum(covered_p, 1.0), np.nan),
        "candidate_covered": np.where(is_sound, np.minimum(covered_q, 1.0), np.nan),
    }


def _lower_bound(baseline: _Lists, found: _Match, unlisted_bound: Numbers) -> Numbers:
    """The larger of both lower bounds; `unlisted_bound` is the most that an unlisted token has on the other side."""
    p = np.exp(baseline.logprobs)
    rest_p = 1 - _total(p, where=found.is_matched)
    rest_q = np.maximum(1 - found.shared_q, _LEAST_REST)
    merged = _cell(rest_p, rest_q)
    # What has no name may well be in the candidate's list under no name either: nothing caps it.
    is_capped = ~found.is_matched & (baseline.keys != _NOTHING["baseline"])
    capped_p = _total(p, where=is_capped)
    cap = np.minimum(unlisted_bound, np.log(rest_q))
    capped = _total(p * baseline.logprobs, where=is_capped) - capped_p * cap + _cell(rest_p - capped_p, rest_q)
    return np.maximum(_shared_cells(baseline, found) + np.maximum(merged, capped), 0.0)


def _upper_bound(baseline: _Lists, found: _Match, unlisted_bound: Numbers) -> Numbers:
    """Everything that the candidate does not name at the floor; `unlisted_bound` is of the baseline's own tokens."""
    p = np.exp(baseline.logprobs)
    is_alone = ~found.is_matched & ~np.isneginf(baseline.logprobs)
    alone = _total(p * (baseline.logprobs - FLOOR_LOGPROB), where=is_alone)
    unlisted_p = np.maximum(1 - p.sum(axis=0), 0.0)
    most = np.minimum(unlisted_bound, np.log(np.maximum(unlisted_p, math.exp(FLOOR_LOGPROB))))
    bound: Numbers = _shared_cells(baseline, found) + alone + unlisted_p * (most - FLOOR_LOGPROB)
    return bound


def _shared_cells(baseline: _Lists, found: _Match) -> Numbers:
    return _total(np.exp(baseline.logprobs) * (baseline.logprobs - found.logprobs), where=found.is_matched)


def _total(values: Numbers, *, where: Flags) -> Numbers:
    """The sum over each position's alternatives of those that are marked."""
    total: Numbers = np.where(where, values, 0.0).sum(axis=0)
    return total


def _cell(p: Numbers, q: Numbers) -> Numbers:
    """P ln(p / q), and 0 where p is 0 or less by rounding."""
    return np.where(p > 0, p * np.log(np.where(p > 0, p, 1.0) / q), 0.0)


@dataclass(frozen=True, kw_only=True)
class _Match:
    """For each of the baseline's alternatives the candidate's log-probability of the same token.

    `shared_q` is the candidate's probability of all tokens that both lists name; `is_one_to_one` says that no token
    was found twice.
    """

    is_matched: Flags
    logprobs: Numbers
    shared_q: Numbers
    is_one_to_one: Flags


def _match(baseline: _Lists, candidate: _Lists) -> _Match:
    is_matched = np.zeros(baseline.keys.shape, dtype=np.bool_)
    logprobs = np.zeros(baseline.keys.shape)
    is_taken = np.zeros(candidate.keys.shape, dtype=np.bool_)
    match_counts = np.zeros(baseline.keys.shape[1], dtype=np.int64)
    for place, keys in enumerate(baseline.keys):
        for other, other_keys in enumerate(candidate.keys):
            is_same = keys == other_keys
            is_matched[place] |= is_same
            is_taken[other] |= is_same
            match_counts += is_same
            np.copyto(logprobs[place], candidate.logprobs[other], where=is_same)
    is_one_to_one = (is_matched.sum(axis=0) == match_counts) & (is_taken.sum(axis=0) == match_counts)
    shared_q = np.where(is_taken, np.exp(candidate.logprobs), 0.0).sum(axis=0)
    return _Match(is_matched=is_matched, logprobs=logprobs, shared_q=shared_q, is_one_to_one=is_one_to_one)


def _choice(own: _Lists, other: _Lists) -> Choice:
    others = np.where(own.keys == own.chosen_keys, -np.inf, own.logprobs).max(axis=0, initial=-np.inf)
    runner_up_gaps = own.chosen_logprobs - others
    in_other = other.logprob_of(own.chosen_keys)
    ranks = 1 + (other.logprobs > in_other).sum(axis=0)
    in_own = own.logprob_of(other.chosen_keys)
    is_listed = ~np.isneginf(in_own)
    gaps = own.chosen_logprobs - np.where(is_listed, in_own, own.unlisted_bound())
    return Choice(
        runner_up_gaps=np.where(np.isfinite(runner_up_gaps), runner_up_gaps, np.nan),
        ranks=np.where(np.isneginf(in_other), 0, ranks),
        gaps=np.where(own.is_empty, np.nan, gaps),
        is_other_listed=is_listed,
    )


def _top_key(lists: _Lists) -> Integers:
    if not len(lists.keys):
        return lists.chosen_keys
    likeliest: Integers = np.take_along_axis(lists.keys, lists.logprobs.argmax(axis=0)[None], axis=0)[0]
    return likeliest


def _with_chosen(lists: _Lists) -> _Lists:
    """The lists and, where it is not in them, the chosen token, whose probability is known as well."""
    is_listed = (lists.keys == lists.chosen_keys).any(axis=0)
    is_named = lists.chosen_keys != _CHOSEN_NOTHING[lists.side]
    is_missing = ~is_listed & is_named & np.isfinite(lists.chosen_logprobs)
    if not is_missing.any():
        return lists
    return _Lists(
        side=lists.side,
        keys=np.vstack([lists.keys, np.where(is_missing, lists.chosen_keys, _NOTHING[lists.side])]),
        logprobs=np.vstack([lists.logprobs, np.where(is_missing, lists.chosen_logprobs, -np.inf)]),
        chosen_keys=lists.chosen_keys,
        chosen_logprobs=lists.chosen_logprobs,
    )


def _lists(positions: Positions, side: Side, part: slice, width: int) -> _Lists:
    tokens, places = positions.tokens, positions.places[side][part]
    starts = tokens.top_starts[places]
    counts = tokens.top_starts[places + 1] - starts
    keys = np.full((width, len(places)), _NOTHING[side], dtype=np.int64)
    logprobs = np.full((width, len(places)), -np.inf)
    for place in range(width):
        is_there = place < counts
        index = np.minimum(starts + place, len(positions.top_keys) - 1)
        np.copyto(logprobs[place], tokens.top_logprobs[index], where=is_there)
        np.copyto(keys[place], positions.top_keys[index], where=is_there)
    np.copyto(keys, _NOTHING[side], where=np.isneginf(logprobs) | (keys == NO_ID))
    chosen_keys = positions.keys[places]
    return _Lists(
        side=side,
        keys=keys,
        logprobs=logprobs,
        chosen_keys=np.where(chosen_keys == NO_ID, _CHOSEN_NOTHING[side], chosen_keys),
        chosen_logprobs=tokens.logprobs[places],
    )


def _slices(widths: Integers) -> list[slice]:
    """Stretches of positions whose alternatives fit into the cache."""
    size = max(_SLICE_CELLS // max(int(widths.max(initial=1)), 1), 1)
    return [slice(start, start + size) for start in range(0, len(widths), size)]
