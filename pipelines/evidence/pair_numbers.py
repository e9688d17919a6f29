"""A pair of token sequences in numbers: its shared prefix, and the two tokens at which it parts.

Pure, many pairs at once. Here positions become columns of `gold.token_divergences`; what they mean together is the rule
in `token_divergence.py`.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

from pipelines.evidence.token_alignment import Alignment
from pipelines.evidence.token_arrays import SIDES, Flags, Integers, Numbers, Side, TokenArrays, offsets_of
from pipelines.evidence.token_distributions import Choice, Positions, compare_choices
from pipelines.evidence.token_positions import (
    ComparedPositions,
    TokenKeys,
    pair_counts,
    pair_maxima,
    pair_means,
    pair_totals,
)

# Where there is no token.
_NONE = -1


@dataclass(frozen=True, kw_only=True)
class PrefixNumbers:
    """What is known of each pair up to where it parts. NaN is unknown.

    Differences are of the log-probabilities of the very same text at `difference_counts` shared positions; the numbers
    about distributions are over `distribution_counts` positions and include the one at which the pair parts, where
    both sides still saw the same text.
    """

    shared_bytes: Integers
    shared_tokens: Mapping[Side, Numbers]
    difference_counts: Integers
    mean_difference: Numbers
    max_difference: Numbers
    distribution_counts: Integers
    same_top_ratio: Numbers
    mean_kl_lower: Numbers
    mean_kl_upper: Numbers
    max_kl_lower: Numbers
    top_k_counts: Numbers
    covered_ratios: Mapping[Side, Numbers]
    perplexities: Mapping[Side, Numbers]
    bits_per_byte: Mapping[Side, Numbers]

    def columns(self) -> dict[str, pl.Series]:
        """Columns of `gold.token_divergences`."""
        columns: dict[str, NDArray[Any]] = {
            "shared_byte_count": self.shared_bytes,
            "compared_position_count": self.difference_counts,
            "mean_abs_logprob_difference": self.mean_difference,
            "max_abs_logprob_difference": self.max_difference,
            "distribution_count": self.distribution_counts,
            "same_top_ratio": self.same_top_ratio,
            "mean_kl_lower": self.mean_kl_lower,
            "mean_kl_upper": self.mean_kl_upper,
            "max_kl_lower": self.max_kl_lower,
            "top_k_count": self.top_k_counts,
        }
        for side in SIDES:
            columns[f"{side}_shared_token_count"] = self.shared_tokens[side]
            columns[f"{side}_covered_ratio"] = self.covered_ratios[side]
            columns[f"{side}_perplexity"] = self.perplexities[side]
            columns[f"{side}_bits_per_byte"] = self.bits_per_byte[side]
        return {name: _nullable(values) for name, values in columns.items()}


@dataclass(frozen=True, kw_only=True)
class ChosenTokens:
    """The tokens at which pairs part, by side; `places` index the tokens, -1 where there is none.

    `shift` is the log-odds shift, NaN unless each token is in the other's list; `shift_lower` is what it is at least.
    """

    places: Mapping[Side, Integers]
    runner_up_gaps: Mapping[Side, Numbers]
    ranks: Mapping[Side, Numbers]
    shift: Numbers
    shift_lower: Numbers

    def is_drawn(self, *, rounding: float) -> Flags:
        """Pairs of which a side did not choose its likeliest token."""
        is_drawn: Flags = np.logical_or.reduce([self.runner_up_gaps[side] < -rounding for side in SIDES])
        return is_drawn

    def columns(self, tokens: TokenArrays, *, where: Flags) -> dict[str, pl.Series]:
        """Columns of `gold.token_divergences`; null where no difference was seen."""
        columns = {"log_odds_shift": self.shift, "log_odds_shift_lower": self.shift_lower}
        texts = {}
        for side in SIDES:
            places = np.where(where, self.places[side], _NONE)
            found = pl.Series(np.where(places == _NONE, np.nan, places)).fill_nan(None).cast(pl.UInt32)
            texts[f"{side}_token"] = tokens.texts.gather(found)
            logprobs = np.append(tokens.logprobs, np.nan)
            columns[f"{side}_logprob"] = logprobs[places]
            columns[f"{side}_token_rank"] = np.where(self.ranks[side] > 0, self.ranks[side], np.nan)
            columns[f"{side}_runner_up_gap"] = self.runner_up_gaps[side]
        return texts | {name: _nullable(np.where(where, values, np.nan)) for name, values in columns.items()}


def prefix_numbers(tokens: TokenArrays, aligned: Alignment, compared: ComparedPositions) -> PrefixNumbers:
    """Sum up the compared positions of every pair."""
    found = compared.distributions
    # Perplexities of both sides are about the same text, so a position counts for both or for neither.
    is_told = aligned.is_shared & np.logical_and.reduce([np.isfinite(compared.logprobs[side]) for side in SIDES])
    told_tokens = {side: pair_totals(aligned, aligned.token_counts[side], where=is_told) for side in SIDES}
    told_nats = {side: -pair_totals(aligned, compared.logprobs[side], where=is_told) for side in SIDES}
    told_bytes = pair_totals(aligned, _position_bytes(tokens, aligned), where=is_told)
    # A perplexity is per token, so it means the same on both sides only if they have the same tokens.
    is_even = told_tokens["candidate"] == told_tokens["baseline"]
    return PrefixNumbers(
        shared_bytes=aligned.shared_bytes,
        shared_tokens={
            side: pair_totals(aligned, aligned.token_counts[side], where=aligned.is_shared) for side in SIDES
        },
        difference_counts=pair_counts(aligned, compared.differences),
        mean_difference=pair_means(aligned, compared.differences),
        max_difference=pair_maxima(aligned, compared.differences),
        distribution_counts=pair_counts(aligned, found.kl_lower),
        same_top_ratio=pair_means(aligned, found.has_same_top),
        mean_kl_lower=pair_means(aligned, found.kl_lower),
        mean_kl_upper=pair_means(aligned, found.kl_upper),
        max_kl_lower=pair_maxima(aligned, found.kl_lower),
        top_k_counts=-pair_maxima(aligned, np.where(np.isfinite(found.kl_lower), -_listed(tokens, aligned), np.nan)),
        covered_ratios={
            "candidate": pair_means(aligned, found.candidate_covered),
            "baseline": pair_means(aligned, found.baseline_covered),
        },
        perplexities={
            side: np.where(is_even, _exp(_ratio(told_nats[side], told_tokens[side])), np.nan) for side in SIDES
        },
        bits_per_byte={side: _ratio(told_nats[side] / math.log(2), told_bytes) for side in SIDES},
    )


def chosen_tokens(
    tokens: TokenArrays,
    keys: TokenKeys,
    aligned: Alignment,
    rows: Mapping[Side, Integers],
    *,
    has_same_mode: Flags,
) -> ChosenTokens:
    """Look at the tokens at which every pair parts; `rows` are the pairs' rows of `tokens` by side."""
    places = {side: _places(tokens, aligned, rows[side], side) for side in SIDES}
    compared = np.flatnonzero(aligned.is_comparable)
    choices = compare_choices(
        Positions(
            tokens=tokens,
            keys=keys.tokens,
            top_keys=keys.alternatives,
            places={side: places[side][compared] for side in SIDES},
        )
    )
    shift, shift_lower = _shifts(choices)
    is_meant = has_same_mode[compared]

    def spread(values: NDArray[Any]) -> Numbers:
        result = np.full(aligned.pair_count, np.nan)
        result[compared] = values
        return result

    return ChosenTokens(
        places=places,
        runner_up_gaps={side: spread(choices[side].runner_up_gaps) for side in SIDES},
        ranks={side: spread(choices[side].ranks) for side in SIDES},
        shift=spread(np.where(is_meant, shift, np.nan)),
        shift_lower=spread(np.where(is_meant, shift_lower, np.nan)),
    )


def _shifts(choices: Mapping[Side, Choice]) -> tuple[Numbers, Numbers]:
    """The log-odds shift, NaN where a list does not name the other's token, and what it is at least."""
    lower = choices["candidate"].gaps + choices["baseline"].gaps
    is_exact = choices["candidate"].is_other_listed & choices["baseline"].is_other_listed
    return np.where(is_exact, lower, np.nan), lower


def _places(tokens: TokenArrays, aligned: Alignment, rows: Integers, side: Side) -> Integers:
    """The token with which a side parts from the other, or goes on where the other has run out; -1 where neither."""
    other: Side = "baseline" if side == "candidate" else "candidate"
    shared = pair_totals(aligned, aligned.token_counts[side], where=aligned.is_shared).astype(np.int64)
    places = np.where(aligned.has_run_out[other], tokens.starts[rows] + shared, _NONE)
    places[aligned.is_parted] = aligned.tokens[side][aligned.starts[1:][aligned.is_parted] - 1]
    return places


def _position_bytes(tokens: TokenArrays, aligned: Alignment) -> Integers:
    byte_offsets = offsets_of(tokens.byte_counts)
    firsts = aligned.tokens["baseline"]
    counts: Integers = byte_offsets[firsts + aligned.token_counts["baseline"]] - byte_offsets[firsts]
    return counts


def _listed(tokens: TokenArrays, aligned: Alignment) -> Integers:
    """Alternatives that both sides list at each position, at least."""
    counts = np.diff(tokens.top_starts)
    return np.minimum(counts[aligned.tokens["candidate"]], counts[aligned.tokens["baseline"]])


def _ratio(total: Numbers, count: Numbers) -> Numbers:
    return np.where(count > 0, total / np.maximum(count, 1), np.nan)


def _exp(values: Numbers) -> Numbers:
    """exp, unknown where it is more than a number can hold: some engines write -9999 for what cannot be."""
    with np.errstate(over="ignore"):
        result: Numbers = np.exp(values)
    return np.where(np.isinf(result), np.nan, result)


def _nullable(values: NDArray[Any]) -> pl.Series:
    return pl.Series(values, nan_to_null=True)
