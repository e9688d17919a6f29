"""Two token sequences side by side: which positions are the same, and where they part.

Pure and for many pairs at once. Under one tokenizer token stands against token, by id. Otherwise both outputs are laid
on the same bytes, and a position is the shortest stretch that ends with a token on both sides: it may be two tokens
here and three there. Nothing behind the first difference is aligned.

An end mark adds no bytes, but it is a decision like any other, so behind the last byte it counts as one. A token
without bytes anywhere else belongs to the position it follows.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pipelines.evidence.token_arrays import SIDES, Flags, Integers, Side, TokenArrays, offsets_of, ragged_indices

# What stands for an end mark among the bytes of an output.
_END = 256


@dataclass(frozen=True, kw_only=True)
class Alignment:
    """The aligned positions of pairs, flat; pair `i` owns those from `starts[i]` to `starts[i + 1]`.

    On either side a position is `token_counts` tokens from `tokens` on (indices into the token arrays). Where
    `is_parted`, the last position of the pair is the one at which the two differ, one token a side; `is_comparable`
    says that both tokens follow the same bytes. Where a side `has_run_out`, it has no more tokens while the other goes
    on, with nothing but an end mark if `is_end_next`. `shared_bytes` counts the bytes of the positions that are the
    same.
    """

    starts: Integers
    tokens: Mapping[Side, Integers]
    token_counts: Mapping[Side, Integers]
    is_parted: Flags
    is_comparable: Flags
    has_run_out: Mapping[Side, Flags]
    is_end_next: Flags
    shared_bytes: Integers

    @property
    def pair_count(self) -> int:
        """Pairs that are aligned."""
        return len(self.starts) - 1

    @property
    def counts(self) -> Integers:
        """Positions of each pair, with the one at which it parts."""
        return np.diff(self.starts)

    @property
    def shared_counts(self) -> Integers:
        """Positions of each pair that are the same on both sides."""
        return self.counts - self.is_parted

    @cached_property
    def pairs(self) -> Integers:
        """For each position, the pair that owns it."""
        return np.repeat(np.arange(self.pair_count), self.counts)

    @cached_property
    def is_shared(self) -> Flags:
        """For each position, whether it is the same on both sides."""
        is_shared = np.ones(len(self.pairs), dtype=np.bool_)
        is_shared[self.starts[1:][self.is_parted] - 1] = False
        return is_shared


def align_by_ids(tokens: TokenArrays, rows: Mapping[Side, Integers]) -> Alignment:
    """Align pairs of rows token by token; all their ids must be known and of one tokenizer."""
    starts = {side: tokens.starts[rows[side]] for side in SIDES}
    lengths = {side: tokens.lengths[rows[side]] for side in SIDES}
    common = np.minimum(lengths["candidate"], lengths["baseline"])
    ids = {side: tokens.ids[ragged_indices(starts[side], common)] for side in SIDES}
    shared = _first_true(ids["candidate"] != ids["baseline"], common)
    is_parted = shared < common
    counts = shared + is_parted
    has_run_out = _run_out(lengths, is_parted)
    byte_offsets = offsets_of(tokens.byte_counts)
    # The longer side's bytes behind what is shared: an end mark has none.
    left = {side: byte_offsets[starts[side] + lengths[side]] - byte_offsets[starts[side] + shared] for side in SIDES}
    ones = np.ones(int(counts.sum()), dtype=np.int64)
    return Alignment(
        starts=offsets_of(counts),
        tokens={side: ragged_indices(starts[side], counts) for side in SIDES},
        token_counts=dict.fromkeys(SIDES, ones),
        is_parted=is_parted,
        is_comparable=is_parted,
        has_run_out=has_run_out,
        is_end_next=_any_side(has_run_out) & (_of_longer(left, has_run_out) == 0),
        shared_bytes=byte_offsets[starts["baseline"] + shared] - byte_offsets[starts["baseline"]],
    )


def align_by_bytes(tokens: TokenArrays, rows: Mapping[Side, Integers]) -> Alignment:
    """Align pairs of rows by the bytes that their tokens add to the outputs; `has_contents` must hold for all."""
    text = _Text.of(tokens)
    outputs = {side: _Outputs.of(text, rows[side]) for side in SIDES}
    lengths = {side: outputs[side].lengths for side in SIDES}
    common = np.minimum(lengths["candidate"], lengths["baseline"])
    symbols = {side: text.symbols[ragged_indices(outputs[side].starts, common)] for side in SIDES}
    shared = _first_true(symbols["candidate"] != symbols["baseline"], common)
    is_parted = shared < common
    ends, position_counts = _common_ends(outputs, shared)
    positions = {side: _own_positions(outputs[side], ends[side], position_counts) for side in SIDES}
    parted = {side: _token_after(text, positions[side].next_tokens[is_parted]) for side in SIDES}
    # Both tokens begin where the last position ends; they can be compared if both hold the byte that differs.
    reach = [text.offsets[parted[side] + 1] - outputs[side].starts[is_parted] for side in SIDES]
    is_comparable = is_parted.copy()
    is_comparable[is_parted] = shared[is_parted] < np.minimum(*reach)
    counts = position_counts + is_parted
    has_run_out = _run_out(lengths, is_parted)
    left = {side: lengths[side] - shared for side in SIDES}
    follows = {side: text.symbols[outputs[side].starts + shared] == _END for side in SIDES}
    return Alignment(
        starts=offsets_of(counts),
        tokens={side: _with_last(positions[side].tokens, parted[side], counts, is_parted) for side in SIDES},
        token_counts={side: _with_last(positions[side].counts, np.int64(1), counts, is_parted) for side in SIDES},
        is_parted=is_parted,
        is_comparable=is_comparable,
        has_run_out=has_run_out,
        is_end_next=_any_side(has_run_out) & (_of_longer(left, has_run_out) == 1) & _of_longer(follows, has_run_out),
        shared_bytes=_shared_bytes(outputs["baseline"], positions["baseline"]),
    )


@dataclass(frozen=True, kw_only=True)
class _Text:
    """Outputs as symbols: their bytes, and `_END` for an end mark. Token `t` begins at `offsets[t]`.

    One more symbol stands behind the last one, so that where an output ends there is always something to look at.
    """

    tokens: TokenArrays
    symbols: NDArray[np.uint16]
    offsets: Integers

    @classmethod
    def of(cls, tokens: TokenArrays) -> _Text:
        widths = tokens.byte_counts.copy()
        with_bytes = np.flatnonzero(widths)
        ends = tokens.starts[1:]
        before = np.searchsorted(with_bytes, ends) - 1
        last = np.where(before >= 0, with_bytes[before], -1) if len(with_bytes) else np.full(len(ends), -1)
        first_silent = np.maximum(last + 1, tokens.starts[:-1])
        marks = first_silent[first_silent < ends]
        widths[marks] = 1
        offsets = offsets_of(widths)
        symbols = np.full(int(offsets[-1]) + 1, _END, dtype=np.uint16)
        is_byte = np.ones(len(symbols), dtype=np.bool_)
        is_byte[offsets[marks]] = False
        is_byte[-1] = False
        symbols[is_byte] = tokens.content_bytes()
        return cls(tokens=tokens, symbols=symbols, offsets=offsets)


@dataclass(frozen=True, kw_only=True)
class _Outputs:
    """One side of pairs: where the symbols of an output begin and stop, its first token and the one behind its last."""

    text: _Text
    starts: Integers
    stops: Integers
    first_tokens: Integers
    stop_tokens: Integers

    @classmethod
    def of(cls, text: _Text, rows: Integers) -> _Outputs:
        first, stop = text.tokens.starts[rows], text.tokens.starts[rows + 1]
        return cls(
            text=text, starts=text.offsets[first], stops=text.offsets[stop], first_tokens=first, stop_tokens=stop
        )

    @property
    def lengths(self) -> Integers:
        """Symbols of each output."""
        return self.stops - self.starts


@dataclass(frozen=True, kw_only=True)
class _OwnPositions:
    """The common positions on one side, flat, and for each pair the token that follows them."""

    tokens: Integers
    counts: Integers
    next_tokens: Integers


def _common_ends(outputs: Mapping[Side, _Outputs], shared: Integers) -> tuple[dict[Side, Integers], Integers]:
    """Tokens with which positions end on either side, and how many positions each pair has."""
    keys, tokens = {}, {}
    for side in SIDES:
        keys[side], tokens[side] = _end_keys(outputs[side], shared)
    _, *places = np.intersect1d(keys["candidate"], keys["baseline"], assume_unique=True, return_indices=True)
    ends = {side: tokens[side][found] for side, found in zip(SIDES, places, strict=True)}
    pairs = keys["candidate"][places[0]] // _stride(shared)
    return ends, np.bincount(pairs, minlength=len(shared))


def _end_keys(outputs: _Outputs, shared: Integers) -> tuple[Integers, Integers]:
    """Ascending keys of (pair, place where a token ends) within what is shared, and the last token that ends there."""
    counts = outputs.stop_tokens - outputs.first_tokens
    tokens = ragged_indices(outputs.first_tokens, counts)
    pairs = np.repeat(np.arange(len(shared)), counts)
    ends = outputs.text.offsets[tokens + 1] - outputs.starts[pairs]
    is_kept = (ends > 0) & (ends <= shared[pairs])
    keys, tokens = pairs[is_kept] * _stride(shared) + ends[is_kept], tokens[is_kept]
    is_last = np.ones(len(keys), dtype=np.bool_)
    is_last[:-1] = keys[1:] != keys[:-1]
    return keys[is_last], tokens[is_last]


def _stride(shared: Integers) -> int:
    return int(shared.max(initial=0)) + 1


def _own_positions(outputs: _Outputs, ends: Integers, counts: Integers) -> _OwnPositions:
    """Positions from the tokens that end them: each begins behind the one before it."""
    offsets = offsets_of(counts)
    has_positions = counts > 0
    firsts = np.empty(len(ends), dtype=np.int64)
    firsts[1:] = ends[:-1] + 1
    firsts[offsets[:-1][has_positions]] = outputs.first_tokens[has_positions]
    next_tokens = outputs.first_tokens.copy()
    next_tokens[has_positions] = ends[offsets[1:][has_positions] - 1] + 1
    return _OwnPositions(tokens=firsts, counts=ends + 1 - firsts, next_tokens=next_tokens)


def _token_after(text: _Text, next_tokens: Integers) -> Integers:
    """The first token from each of `next_tokens` on that adds anything; there is one wherever two outputs part."""
    with_width = np.flatnonzero(np.diff(text.offsets))
    return with_width[np.searchsorted(with_width, next_tokens)]


def _with_last(values: Integers, last: Integers | np.int64, counts: Integers, has_last: Flags) -> Integers:
    """Flat values of pairs with one more at the end of those that have a last one."""
    result = np.empty(int(counts.sum()), dtype=np.int64)
    is_last = np.zeros(len(result), dtype=np.bool_)
    is_last[np.cumsum(counts)[has_last] - 1] = True
    result[~is_last] = values
    result[is_last] = last
    return result


def _shared_bytes(outputs: _Outputs, positions: _OwnPositions) -> Integers:
    byte_offsets = offsets_of(outputs.text.tokens.byte_counts)
    return byte_offsets[positions.next_tokens] - byte_offsets[outputs.first_tokens]


def _run_out(lengths: Mapping[Side, Integers], is_parted: Flags) -> dict[Side, Flags]:
    return {
        "candidate": ~is_parted & (lengths["candidate"] < lengths["baseline"]),
        "baseline": ~is_parted & (lengths["baseline"] < lengths["candidate"]),
    }


def _any_side(flags: Mapping[Side, Flags]) -> Flags:
    return flags["candidate"] | flags["baseline"]


def _of_longer(values: Mapping[Side, NDArray[Any]], has_run_out: Mapping[Side, Flags]) -> NDArray[Any]:
    """The value of the side that goes on where the other has run out."""
    return np.where(has_run_out["baseline"], values["candidate"], values["baseline"])


def _first_true(flags: Flags, counts: Integers) -> Integers:
    """For each stretch, the index of its first True; its length where there is none."""
    offsets = offsets_of(counts)
    places = np.flatnonzero(flags)
    if not len(places):
        return counts.copy()
    found = places[np.minimum(np.searchsorted(places, offsets[:-1]), len(places) - 1)]
    is_within = (found >= offsets[:-1]) & (found < offsets[1:])
    return np.where(is_within, found - offsets[:-1], counts)
