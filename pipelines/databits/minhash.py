"""Near-duplicates of texts: MinHash signatures, their bands, and the true similarity of what the bands bring together.

Pure. A text is the set of its 5-character shingles. 128 hash functions keep their smallest value over the set
(Broder 1997), 16 bands of 8 of them bring together texts of a Jaccard similarity of about 0.7 or more, and the true
similarity decides. Written with numpy over code points: about half the time of hashing shingle by shingle,
as datasketch does (tests/benchmarks/bench_databits.py).
"""

from __future__ import annotations

import re
import unicodedata

import numpy as np
from numpy.typing import NDArray

from lake.identity import json_digest

SHINGLE_CHARACTERS = 5
PERMUTATION_COUNT = 128
BAND_COUNT = 16
NEAR_FROM = 0.7
# Shorter texts share most shingles by chance; they are compared whole.
MIN_CHARACTERS = 24
# Shingles that are looked at: the beginning of a very long text stands for it.
MAX_CHARACTERS = 20_000
SEED = 20_261_121

METHOD_DIGEST = json_digest(
    ["minhash", 1, SHINGLE_CHARACTERS, PERMUTATION_COUNT, BAND_COUNT, NEAR_FROM, MIN_CHARACTERS, MAX_CHARACTERS, SEED]
)
_SPACE = re.compile(r"\s+")
# An odd multiplier makes x * a + b a permutation of 32-bit numbers.
_GENERATOR = np.random.default_rng(SEED)
_FACTORS = _GENERATOR.integers(0, 2**31, PERMUTATION_COUNT, dtype=np.uint32) * np.uint32(2) + np.uint32(1)
_OFFSETS = _GENERATOR.integers(0, 2**32, PERMUTATION_COUNT, dtype=np.uint32)
_POWERS = np.cumprod(np.full(SHINGLE_CHARACTERS, 0x9E3779B97F4A7C15, dtype=np.uint64))
_BAND_POWERS = np.cumprod(np.full(PERMUTATION_COUNT // BAND_COUNT, 0xBF58476D1CE4E5B9, dtype=np.uint64))
_HALF = np.uint64(32)


def normalised(text: str) -> str:
    """The text as duplicates are looked for: NFKC, case folded, white space as single spaces."""
    return _SPACE.sub(" ", unicodedata.normalize("NFKC", text).casefold()).strip()


def shingles(normal: str) -> NDArray[np.uint64]:
    """Hashes of the distinct shingles of a normalised text, sorted; none of a text under `MIN_CHARACTERS`."""
    if len(normal) < MIN_CHARACTERS:
        return np.empty(0, dtype=np.uint64)
    codes = np.frombuffer(normal[:MAX_CHARACTERS].encode("utf-32-le", "surrogatepass"), dtype=np.uint32)
    windows = np.lib.stride_tricks.sliding_window_view(codes, SHINGLE_CHARACTERS).astype(np.uint64)
    return np.unique(_mixed((windows * _POWERS).sum(axis=1, dtype=np.uint64)))


def _mixed(values: NDArray[np.uint64]) -> NDArray[np.uint64]:
    """Numbers that differ in any bit come out far apart (the finisher of splitmix64)."""
    values = (values ^ (values >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    values = (values ^ (values >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return values ^ (values >> np.uint64(31))


def signature(hashes: NDArray[np.uint64]) -> NDArray[np.uint32]:
    """The MinHash signature of a set of shingles: the smallest value of each of `PERMUTATION_COUNT` functions."""
    halves = (hashes >> _HALF).astype(np.uint32)
    # One function at a time over numbers that stay in the processor's cache.
    permuted = _FACTORS[:, None] * halves
    permuted += _OFFSETS[:, None]
    smallest: NDArray[np.uint32] = permuted.min(axis=1)
    return smallest


def bands(text: str) -> list[int]:
    """What a text is found by among others like it: a signed 64-bit number a band; none for a very short text."""
    hashes = shingles(normalised(text))
    if not hashes.size:
        return []
    rows = signature(hashes).astype(np.uint64).reshape(BAND_COUNT, -1)
    # The place is part of the number, so that bands of different places never meet.
    places = np.arange(1, BAND_COUNT + 1, dtype=np.uint64) << np.uint64(56)
    numbers = _mixed((rows * _BAND_POWERS).sum(axis=1, dtype=np.uint64) ^ places)
    return [int(number) for number in numbers.astype(np.int64)]


def jaccard_similarity(first: str, second: str) -> float:
    """Shingles that both texts have, as a share of those that either has; 1 for texts that normalise alike."""
    left, right = normalised(first), normalised(second)
    if left == right:
        return 1.0
    ours, theirs = shingles(left), shingles(right)
    if not ours.size or not theirs.size:
        return 0.0
    shared = np.intersect1d(ours, theirs, assume_unique=True).size
    return float(shared / (ours.size + theirs.size - shared))
