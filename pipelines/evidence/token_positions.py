"""Every aligned position of many pairs in numbers, and rows of `gold.token_positions`.

What belongs here: log-probabilities and distributions side by side, position by position, up to and including the one
at which a pair parts. What a pair's numbers mean is `token_divergence.py`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import polars as pl

from lake.tables import contract_of
from pipelines.evidence.token_alignment import Alignment
from pipelines.evidence.token_arrays import (
    SIDES,
    Flags,
    Integers,
    Numbers,
    Side,
    TokenArrays,
    offsets_of,
    ragged_indices,
)
from pipelines.evidence.token_distributions import Divergence, Positions, compare_distributions

POSITIONS = "gold.token_positions"
# The last so many compared positions of a pair are kept: what leads up to a difference is worth more than how an
# answer of many thousand tokens began.
KEPT_POSITIONS = 512


@dataclass(frozen=True, kw_only=True)
class TokenKeys:
    """Numbers that are equal for equal tokens, for tokens and for alternatives."""

    tokens: Integers
    alternatives: Integers

    @classmethod
    def of(cls, tokens: TokenArrays, *, by_ids: bool) -> TokenKeys:
        """By id within one tokenizer, else by text."""
        if by_ids:
            return cls(tokens=tokens.ids, alternatives=tokens.top_ids)
        return cls(tokens=tokens.text_keys, alternatives=tokens.top_text_keys)


@dataclass(frozen=True, kw_only=True)
class ComparedPositions:
    """Numbers of every aligned position, flat like the alignment they belong to; NaN is unknown.

    `logprobs` are sums over the tokens of a position. `differences` are absolute ones, at shared positions alone.
    `distributions` is NaN where positions are not one token against one.
    """

    logprobs: Mapping[Side, Numbers]
    differences: Numbers
    distributions: Divergence


def compare_positions(
    tokens: TokenArrays, keys: TokenKeys, alignment: Alignment, *, has_same_mode: Flags
) -> ComparedPositions:
    """Compare every aligned position of the pairs; log-probabilities of two modes are kept, but not compared."""
    logprobs = {side: _sums(tokens.logprobs, alignment.tokens[side], alignment.token_counts[side]) for side in SIDES}
    may_compare = has_same_mode[alignment.pairs]
    differences = np.abs(logprobs["candidate"] - logprobs["baseline"])
    is_single = np.logical_and.reduce([alignment.token_counts[side] == 1 for side in SIDES])
    follows_same_text = alignment.is_shared | alignment.is_comparable[alignment.pairs]
    places = np.flatnonzero(is_single & follows_same_text & may_compare)
    positions = Positions(
        tokens=tokens,
        keys=keys.tokens,
        top_keys=keys.alternatives,
        places={side: alignment.tokens[side][places] for side in SIDES},
    )
    return ComparedPositions(
        logprobs=logprobs,
        differences=np.where(alignment.is_shared & may_compare, differences, np.nan),
        distributions=_spread(compare_distributions(positions), places, count=len(differences)),
    )


def pair_counts(alignment: Alignment, values: Numbers) -> Integers:
    """How many of each pair's values are known."""
    return np.bincount(alignment.pairs[np.isfinite(values)], minlength=alignment.pair_count)


def pair_totals(alignment: Alignment, values: Numbers | Integers, *, where: Flags) -> Numbers:
    """The sum of each pair's marked values."""
    weights = values[where].astype(np.float64)
    return np.bincount(alignment.pairs[where], weights=weights, minlength=alignment.pair_count).astype(np.float64)


def pair_means(alignment: Alignment, values: Numbers) -> Numbers:
    """The mean of each pair's known values; NaN where there is none."""
    counts = pair_counts(alignment, values)
    totals = pair_totals(alignment, values, where=np.isfinite(values))
    return np.where(counts > 0, totals / np.maximum(counts, 1), np.nan)


def pair_maxima(alignment: Alignment, values: Numbers) -> Numbers:
    """The largest of each pair's known values; NaN where there is none."""
    maxima = np.full(alignment.pair_count, np.nan)
    is_there = alignment.counts > 0
    if is_there.any():
        maxima[is_there] = np.fmax.reduceat(values, alignment.starts[:-1][is_there])
    return maxima


def position_rows(
    pairs: pl.DataFrame, tokens: TokenArrays, alignment: Alignment, compared: ComparedPositions
) -> pl.DataFrame:
    """Rows of `gold.token_positions`: the last `KEPT_POSITIONS` of each pair of which any number is known.

    `pairs` has comparison_id, sample_id, repeat_index, run_date, candidate_row and baseline_row, a row per pair of the
    alignment.
    """
    is_known = np.isfinite(compared.distributions.kl_lower) | np.isfinite(compared.differences)
    has_numbers = np.bincount(alignment.pairs[is_known], minlength=pairs.height) > 0
    kept = np.where(has_numbers, np.minimum(alignment.counts, KEPT_POSITIONS), 0)
    places = ragged_indices(alignment.starts[1:] - kept, kept)
    columns = {name: getattr(compared.distributions, name)[places] for name in ("kl_lower", "kl_upper", "has_same_top")}
    for side in SIDES:
        firsts = tokens.starts[pairs[f"{side}_row"].to_numpy()][alignment.pairs]
        columns[f"{side}_token_indexes"] = (alignment.tokens[side] - firsts)[places]
        columns[f"{side}_logprobs"] = compared.logprobs[side][places]
    flat = pl.DataFrame(columns).with_columns(pl.col(pl.Float64).fill_nan(None))
    contract = contract_of(POSITIONS)
    lists = {name: _nested(flat[name], contract.dtypes[name], kept) for name in flat.columns}
    keys = pairs.select("comparison_id", "sample_id", "repeat_index", "run_date")
    rows = keys.with_columns(first_position_index=pl.Series(alignment.counts - kept), **lists)
    return rows.filter(pl.Series(has_numbers)).select(list(contract.dtypes))


def _nested(values: pl.Series, dtype: pl.DataType, counts: Integers) -> pl.Series:
    """Flat values as one list a pair."""
    import pyarrow as pa

    assert isinstance(dtype, pl.List)
    inner = values.cast(dtype.inner).to_arrow()
    return pl.Series(pa.LargeListArray.from_arrays(pa.array(offsets_of(counts)), inner), dtype=dtype)


def _sums(values: Numbers, firsts: Integers, counts: Integers) -> Numbers:
    """The sum over each position's tokens; NaN where one is unknown."""
    if not len(firsts) or counts.max() == 1:
        return values[firsts]
    sums: Numbers = np.add.reduceat(values[ragged_indices(firsts, counts)], offsets_of(counts)[:-1])
    return sums


def _spread(found: Divergence, places: Integers, *, count: int) -> Divergence:
    """Results for some positions as results for all, NaN elsewhere."""
    if len(places) == count:
        return found
    spread = {}
    for name in Divergence.__dataclass_fields__:
        spread[name] = np.full(count, np.nan)
        spread[name][places] = getattr(found, name)
    return Divergence(**spread)
