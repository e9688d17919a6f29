"""Where two token sequences part, and whether numeric noise explains it: rows of `gold.token_divergences`.

Pure, for a whole batch of pairs at once. What belongs here: the rule, and which pairs it is applied to. Laying tokens
side by side is `token_alignment.py`, what short lists of likely tokens say is `token_distributions.py`, a pair's
numbers are `pair_numbers.py`, reading and writing is `divergence_steps.py`.

**Nothing behind the first difference is compared**: there the two sides continue different texts. At the difference
itself both still saw the same text, so the two distributions from which A (baseline) and B (candidate) were chosen can
be compared. How far they are apart is the *log-odds shift*

    ln(P(A) / P(B)) on the baseline's side  -  ln(P(A) / P(B)) on the candidate's side

in nats: what the change did to the odds between the two tokens. Under greedy decoding it is the sum of both sides'
gaps, neither below 0. Rounding and the order of sums move it by some tenths; another quantisation moves it by whole
nats (docs/token-divergence.md has the measurement behind `NEAR_TIE_NATS`).

**The rule**, the first that holds:

1. `identical`: the tokens are the same to the end.
2. `incomparable`: they part, but the log-probabilities of the two runs do not mean the same.
3. `distribution_shift`: over at least `PREFIX_POSITIONS` positions before they part, the log-probabilities of the very
   same tokens differ by more than `PREFIX_SHIFT_NATS` in the mean; or the log-odds shift is more than `NEAR_TIE_NATS`,
   also where a token is missing from the other's list and only a lower bound of the shift is known.
4. `near_tie_flip`: the log-odds shift is at most `NEAR_TIE_NATS`, and both sides chose their likeliest token.
5. `inconclusive`: anything else, with the `reason`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
import polars as pl

from lake.tables import contract_of
from pipelines.evidence.pair_numbers import ChosenTokens, PrefixNumbers, chosen_tokens, prefix_numbers
from pipelines.evidence.token_alignment import Alignment, align_by_bytes, align_by_ids
from pipelines.evidence.token_arrays import (
    SIDES,
    Flags,
    Integers,
    Numbers,
    TokenArrays,
    flatten_tokens,
    likeliest_alternatives,
)
from pipelines.evidence.token_distributions import MAX_ALTERNATIVES
from pipelines.evidence.token_positions import POSITIONS, TokenKeys, compare_positions, position_rows

DIVERGENCES = "gold.token_divergences"

# Part of every comparison's input digest: raise it when the same tokens would give other rows.
DIVERGENCE_VERSION = 1

# A shift of the odds by a factor of 1.65.
NEAR_TIE_NATS = 0.5
# Harmless settings that we measured move them by 0.03 in the mean; a mean over fewer positions says little.
PREFIX_SHIFT_NATS = 0.25
PREFIX_POSITIONS = 8
# A token that is further behind the likeliest was not chosen for being it; less is rounding.
DRAWN_NATS = 1e-3
# Words of engines and harnesses for an output that was cut off at its length limit.
CUT_REASONS = ("length", "max_tokens", "model_length")
# Statuses of an output that was broken off.
BROKEN_OFF = ("error", "timeout", "cancelled")

_KEY = ["comparison_id", "sample_id", "repeat_index"]
_IDENTITY = [*_KEY, "run_date", "candidate_run_id", "baseline_run_id"]


@dataclass(frozen=True, kw_only=True)
class Measurement:
    """Rows of `gold.token_divergences` and of `gold.token_positions`."""

    divergences: pl.DataFrame
    positions: pl.DataFrame


def measure_pairs(pairs: pl.DataFrame, tokens: pl.DataFrame) -> Measurement:
    """Measure every pair of which at least one side has tokens; the rows are sorted by key.

    `pairs` has comparison_id, run_date, sample_id, repeat_index and, prefixed by `candidate_` and `baseline_`, run_id,
    status, finish_reason, tokenizer and logprobs_mode. `tokens` has rows of `silver.output_tokens`. Of two tokenizers
    an unknown one keeps ids from being compared. An unknown logprobs mode is taken for the other side's, because the
    comparison as a whole carries a warning then.
    """
    arrays = likeliest_alternatives(flatten_tokens(tokens), limit=MAX_ALTERNATIVES)
    found = _with_rows(pairs, tokens)
    has_both = found["candidate_row"].is_not_null() & found["baseline_row"].is_not_null()
    paired = found.filter(has_both)
    by_ids = (paired["candidate_tokenizer"] == paired["baseline_tokenizer"]).fill_null(value=False).to_numpy()
    by_bytes = np.ones(paired.height, dtype=np.bool_)
    for side in SIDES:
        rows = paired[f"{side}_row"].to_numpy()
        by_ids = by_ids & arrays.has_ids[rows]
        by_bytes &= arrays.has_contents[rows]
    parts = [
        _measure(paired.filter(by_ids), arrays, alignment="token_ids"),
        _measure(paired.filter(by_bytes & ~by_ids), arrays, alignment="token_bytes"),
    ]
    divergences = [
        *(part.divergences for part in parts),
        _unmeasured(paired.filter(~by_bytes & ~by_ids), kind="incomparable", reason="bytes_unknown"),
        _unmeasured(found.filter(~has_both), kind="inconclusive", reason="no_tokens"),
    ]
    return Measurement(
        divergences=pl.concat(divergences).sort(_KEY),
        positions=pl.concat([part.positions for part in parts]).sort(_KEY),
    )


@dataclass(frozen=True, kw_only=True)
class Parting:
    """What the rule decides on, one entry a pair; NaN is unknown.

    `has_run_out`: one side has no more tokens where the other goes on. `is_end_next`: what the other goes on with is an
    end mark and nothing else. `is_cut`: the shorter side was cut off; `is_end_recorded`: somebody recorded why it
    ended. `is_comparable`: the two tokens follow the same bytes. `is_drawn`: a side did not choose its likeliest.
    """

    is_parted: Flags
    has_run_out: Flags
    is_end_next: Flags
    is_cut: Flags
    is_end_recorded: Flags
    has_same_mode: Flags
    is_comparable: Flags
    has_alternatives: Flags
    is_drawn: Flags
    shift: Numbers
    shift_lower: Numbers
    prefix_difference: Numbers
    prefix_count: Integers

    @property
    def is_whole(self) -> Flags:
        """The tokens are the same to the end; many servers leave the end mark out of those that they report."""
        return ~self.is_parted & (~self.has_run_out | (self.is_end_next & ~self.is_cut))

    @property
    def is_cut_short(self) -> Flags:
        """One side ends where the other goes on, but was cut off or may have been: no difference was seen."""
        return self.has_run_out & ~self.is_whole & (self.is_cut | ~self.is_end_recorded)


def classify(parting: Parting) -> tuple[pl.Series, pl.Series]:
    """The kind of divergence of each pair and, where it is open, the reason: the rule of this module."""
    has_shifted = (parting.prefix_count >= PREFIX_POSITIONS) & (parting.prefix_difference > PREFIX_SHIFT_NATS)
    is_exact = np.isfinite(parting.shift)
    rule: list[tuple[Flags, str, str | None]] = [
        (parting.is_whole, "identical", None),
        (parting.is_cut_short, "inconclusive", "cut_short"),
        (~parting.has_same_mode, "incomparable", "logprobs_modes"),
        (has_shifted, "distribution_shift", None),
        (parting.has_run_out, "inconclusive", "unlisted_end"),
        (~parting.is_comparable, "inconclusive", "tokens_apart"),
        (~parting.has_alternatives, "inconclusive", "no_logprobs"),
        (is_exact & (np.abs(parting.shift) > NEAR_TIE_NATS), "distribution_shift", None),
        (~is_exact & (parting.shift_lower > NEAR_TIE_NATS), "distribution_shift", None),
        (parting.is_drawn, "inconclusive", "sampled"),
        (is_exact, "near_tie_flip", None),
        (np.ones_like(parting.is_parted), "inconclusive", "short_top_k"),
    ]
    which = np.argmax([holds for holds, _, _ in rule], axis=0)
    kinds = pl.Series([kind for _, kind, _ in rule], dtype=pl.String)
    reasons = pl.Series([reason for _, _, reason in rule], dtype=pl.String)
    return kinds.gather(which), reasons.gather(which)


def _with_rows(pairs: pl.DataFrame, tokens: pl.DataFrame) -> pl.DataFrame:
    """The pairs of which a side has tokens, with the row of `tokens` of each side, or null."""
    numbered = tokens.select("run_id", "sample_id", "repeat_index").with_row_index("row")
    for side in SIDES:
        own = numbered.rename({"run_id": f"{side}_run_id", "row": f"{side}_row"})
        pairs = pairs.join(own, on=[f"{side}_run_id", "sample_id", "repeat_index"], how="left", maintain_order="left")
    return pairs.filter(pl.col("candidate_row").is_not_null() | pl.col("baseline_row").is_not_null())


def _measure(
    pairs: pl.DataFrame, tokens: TokenArrays, *, alignment: Literal["token_ids", "token_bytes"]
) -> Measurement:
    if pairs.is_empty():
        # Bytes and texts are made ready for all tokens of a batch, which would be for nothing.
        return Measurement(divergences=contract_of(DIVERGENCES).empty(), positions=contract_of(POSITIONS).empty())
    align = align_by_ids if alignment == "token_ids" else align_by_bytes
    rows = {side: pairs[f"{side}_row"].to_numpy().astype(np.int64) for side in SIDES}
    aligned = align(tokens, rows)
    keys = TokenKeys.of(tokens, by_ids=alignment == "token_ids")
    modes = pairs.select(pl.col("candidate_logprobs_mode") == pl.col("baseline_logprobs_mode")).to_series()
    has_same_mode = modes.fill_null(value=True).to_numpy()
    compared = compare_positions(tokens, keys, aligned, has_same_mode=has_same_mode)
    prefix = prefix_numbers(tokens, aligned, compared)
    chosen = chosen_tokens(tokens, keys, aligned, rows, has_same_mode=has_same_mode)
    parting = _parting(pairs, aligned, prefix, chosen, has_same_mode=has_same_mode)
    kinds, reasons = classify(parting)
    is_apart = ~parting.is_whole & ~parting.is_cut_short
    divergences = pairs.select(_IDENTITY).with_columns(
        divergence_kind=kinds,
        reason=reasons,
        alignment=pl.lit(alignment),
        first_divergence_index=pl.Series(np.where(is_apart, aligned.shared_counts, np.nan)).fill_nan(None),
        **prefix.columns(),
        **chosen.columns(tokens, where=is_apart),
    )
    return Measurement(divergences=_conformed(divergences), positions=position_rows(pairs, tokens, aligned, compared))


def _parting(
    pairs: pl.DataFrame, aligned: Alignment, prefix: PrefixNumbers, chosen: ChosenTokens, *, has_same_mode: Flags
) -> Parting:
    is_cut, is_end_recorded = {}, {}
    for side in SIDES:
        status, reason = pl.col(f"{side}_status"), pl.col(f"{side}_finish_reason")
        is_broken_off = status.is_in(BROKEN_OFF).fill_null(value=False)
        is_cut[side] = pairs.select(is_broken_off | reason.is_in(CUT_REASONS).fill_null(value=False)).to_series()
        is_end_recorded[side] = pairs.select(is_broken_off | reason.is_not_null()).to_series()
    is_shorter = aligned.has_run_out
    return Parting(
        is_parted=aligned.is_parted,
        has_run_out=is_shorter["candidate"] | is_shorter["baseline"],
        is_end_next=aligned.is_end_next,
        is_cut=np.where(is_shorter["baseline"], is_cut["baseline"], is_cut["candidate"]),
        is_end_recorded=np.where(is_shorter["baseline"], is_end_recorded["baseline"], is_end_recorded["candidate"]),
        has_same_mode=has_same_mode,
        is_comparable=aligned.is_comparable,
        has_alternatives=np.isfinite(chosen.shift_lower),
        is_drawn=chosen.is_drawn(rounding=DRAWN_NATS),
        shift=chosen.shift,
        shift_lower=chosen.shift_lower,
        prefix_difference=prefix.mean_difference,
        prefix_count=prefix.difference_counts,
    )


def _unmeasured(pairs: pl.DataFrame, *, kind: str, reason: str) -> pl.DataFrame:
    return _conformed(pairs.select(_IDENTITY).with_columns(divergence_kind=pl.lit(kind), reason=pl.lit(reason)))


def _conformed(rows: pl.DataFrame) -> pl.DataFrame:
    """The rows with every column of the table; those they lack are null."""
    return rows.select(
        (pl.col(name) if name in rows.columns else pl.lit(None)).cast(dtype).alias(name)
        for name, dtype in contract_of(DIVERGENCES).dtypes.items()
    )
