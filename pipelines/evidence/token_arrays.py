"""Rows of `silver.output_tokens` as flat arrays: all tokens of all rows end to end, and where each row begins.

What belongs here: leaving the nested columns once, without an object a token. What two rows have in common is
`token_alignment.py`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any, Literal

import numpy as np
import polars as pl
import pyarrow as pa
from numpy.typing import NDArray

TOKEN_COLUMNS = ("tokens", "token_ids", "token_bytes", "logprobs", "top_k")

# Where a tokenizer's id is not known; no tokenizer counts down to it.
NO_ID = int(np.iinfo(np.int64).min)
# What a token's text shows for bytes that are part of a character: many tokens share it.
_REPLACEMENT = "\ufffd"

Side = Literal["candidate", "baseline"]
SIDES: tuple[Side, ...] = ("candidate", "baseline")

Integers = NDArray[np.int64]
Numbers = NDArray[np.float64]
Flags = NDArray[np.bool_]


@dataclass(frozen=True, kw_only=True)
class TokenArrays:
    """Flat arrays of rows; row `r` owns the tokens from `starts[r]` to `starts[r + 1]`.

    `ids` is NO_ID and `logprobs` NaN where unknown. The alternatives of token `t` lie from `top_starts[t]` to
    `top_starts[t + 1]`, with NO_ID and minus infinity where unknown. `texts`, `contents` (the bytes a token adds, or
    null) and `top_texts` stay columns, since they are looked at only where ids cannot be compared.
    """

    starts: Integers
    ids: Integers
    logprobs: Numbers
    texts: pl.Series
    contents: pl.Series
    top_starts: Integers
    top_ids: Integers
    top_logprobs: Numbers
    top_texts: pl.Series

    @property
    def row_count(self) -> int:
        """Rows held."""
        return len(self.starts) - 1

    @cached_property
    def lengths(self) -> Integers:
        """Tokens a row has."""
        return np.diff(self.starts)

    @cached_property
    def byte_counts(self) -> Integers:
        """Bytes that each token adds to its output; its text stands in where they are unknown."""
        sizes = self.contents.bin.size()
        if sizes.null_count():
            sizes = sizes.zip_with(sizes.is_not_null(), self.texts.str.len_bytes())
        return sizes.cast(pl.Int64).to_numpy()

    @cached_property
    def has_ids(self) -> Flags:
        """Whether every token and alternative of a row has an id."""
        has_ids = np.full(self.row_count, fill_value=True)
        # Most often none is missing, and counting over every alternative takes a while.
        if self.ids.min(initial=0) == NO_ID:
            has_ids &= self._lacking(self.ids == NO_ID) == 0
        if self.top_ids.min(initial=0) == NO_ID:
            has_ids &= self._top_lacking(self.top_ids == NO_ID) == 0
        return has_ids

    @cached_property
    def has_contents(self) -> Flags:
        """Whether the bytes of every token of a row are known, or follow from its text."""
        if not self.contents.null_count():
            return np.full(self.row_count, fill_value=True)
        is_unclear = self.contents.is_null() & self.texts.str.contains(_REPLACEMENT, literal=True)
        has_contents: Flags = self._lacking(is_unclear.to_numpy()) == 0
        return has_contents

    @cached_property
    def text_keys(self) -> Integers:
        """One number a token, equal for equal texts (a 64-bit hash)."""
        return _hashes(self.texts)

    @cached_property
    def top_text_keys(self) -> Integers:
        """One number an alternative, equal for equal texts; NO_ID where a text stands for parts of characters."""
        keys = _hashes(self.top_texts)
        keys[self.top_texts.str.contains(_REPLACEMENT, literal=True).to_numpy()] = NO_ID
        return keys

    def content_bytes(self) -> NDArray[np.uint8]:
        """The bytes of all tokens end to end, `byte_counts` apart."""
        contents = self.contents.zip_with(self.contents.is_not_null(), self.texts.cast(pl.Binary))
        packed: Any = contents.to_arrow(compat_level=pl.CompatLevel.oldest()).cast(pa.large_binary())
        offsets = np.frombuffer(packed.buffers()[1], dtype=np.int64)[packed.offset : packed.offset + len(packed) + 1]
        data = packed.buffers()[2]
        return np.frombuffer(data, dtype=np.uint8)[offsets[0] : offsets[-1]] if data else np.zeros(0, dtype=np.uint8)

    def _lacking(self, is_lacking: Flags) -> Integers:
        """How many tokens of each row are marked."""
        return np.diff(offsets_of(is_lacking)[self.starts])

    def _top_lacking(self, is_lacking: Flags) -> Integers:
        """How many alternatives of each row are marked."""
        return np.diff(offsets_of(is_lacking)[self.top_starts[self.starts]])


def flatten_tokens(rows: pl.DataFrame) -> TokenArrays:
    """The arrays of rows that have `TOKEN_COLUMNS`, lists all of one length within a row."""
    tokens, token_ids, token_bytes, logprobs, top_k = (_pieces(rows[name]) for name in TOKEN_COLUMNS)
    top_lists = [piece.flatten() for piece in top_k]
    # A list that is null has no alternatives, and neither has an empty one.
    alternatives = [piece.flatten() for piece in top_lists]
    return TokenArrays(
        starts=_starts(tokens),
        ids=_numbers([piece.flatten() for piece in token_ids], NO_ID, np.int64),
        logprobs=_numbers([piece.flatten() for piece in logprobs], np.nan, np.float64),
        texts=_column([piece.flatten() for piece in tokens], pl.String()),
        contents=_column([piece.flatten() for piece in token_bytes], pl.Binary()),
        top_starts=_starts(top_lists),
        top_ids=_numbers([piece.field("token_id") for piece in alternatives], NO_ID, np.int64),
        top_logprobs=_numbers([piece.field("logprob") for piece in alternatives], -np.inf, np.float64),
        top_texts=_column([piece.field("token") for piece in alternatives], pl.String()),
    )


def likeliest_alternatives(tokens: TokenArrays, *, limit: int) -> TokenArrays:
    """The same tokens with at most `limit` alternatives each, the likeliest."""
    counts = np.diff(tokens.top_starts)
    if counts.max(initial=0) <= limit:
        return tokens
    order = np.lexsort((-tokens.top_logprobs, np.repeat(np.arange(len(counts)), counts)))
    kept_counts = np.minimum(counts, limit)
    kept = order[ragged_indices(tokens.top_starts[:-1], kept_counts)]
    return replace(
        tokens,
        top_starts=offsets_of(kept_counts),
        top_ids=tokens.top_ids[kept],
        top_logprobs=tokens.top_logprobs[kept],
        top_texts=tokens.top_texts.gather(kept),
    )


def ragged_indices(starts: Integers, counts: Integers) -> Integers:
    """Indices of several stretches end to end: `counts[i]` from `starts[i]` on."""
    ends = np.cumsum(counts)
    total = int(ends[-1]) if len(ends) else 0
    indices: Integers = np.arange(total) + np.repeat(starts - (ends - counts), counts)
    return indices


def offsets_of(counts: NDArray[Any]) -> Integers:
    """Where stretches of these lengths begin when they lie end to end, and where the last one ends."""
    offsets = np.zeros(len(counts) + 1, dtype=np.int64)
    np.cumsum(counts, out=offsets[1:])
    return offsets


def _pieces(column: pl.Series) -> list[Any]:
    """The column as it lies in memory: joining its pieces would copy every alternative's text."""
    return [piece.to_arrow(compat_level=pl.CompatLevel.newest()) for piece in column.get_chunks()]


def _starts(pieces: Sequence[Any]) -> Integers:
    lengths = [piece.value_lengths().fill_null(0).to_numpy(zero_copy_only=False) for piece in pieces]
    return offsets_of(np.concatenate(lengths) if lengths else np.zeros(0, dtype=np.int64))


def _numbers(pieces: Sequence[Any], missing: float, dtype: Any) -> Any:  # noqa: ANN401 - a type of numpy
    parts = [piece.fill_null(missing) if piece.null_count else piece for piece in pieces]
    return np.concatenate([np.zeros(0, dtype=dtype), *(part.to_numpy(zero_copy_only=False) for part in parts)])


def _column(pieces: Sequence[Any], dtype: pl.DataType) -> pl.Series:
    column = pl.Series(dtype=dtype)
    for piece in pieces:
        column.append(pl.Series(piece, dtype=dtype))
    return column


def _hashes(texts: pl.Series) -> Integers:
    return texts.hash().to_numpy().view(np.int64).copy()
