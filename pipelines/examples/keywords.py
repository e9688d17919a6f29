"""Find examples by their words: BM25 over inputs and expected output.

The bulk is an index of the library bm25s as of one version of the table. What changed since is kept beside it, in a
head that is scored by the same formula with the same document frequencies, until it is worth building again. Files
and following the table are `keyword_sync.py`.
"""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import polars as pl

from pipelines.databits.units import parse_content, readable_text
from pipelines.embeddings.texts import text_of_json

if TYPE_CHECKING:
    from bm25s import BM25

_WORD = re.compile(r"\w+")
# Parameters of BM25 as bm25s (and Lucene) has them.
K1, B = 1.5, 0.75


def words_of(text: str) -> list[str]:
    """The words of a text as they are compared: runs of letters and digits, in lower case.

    None is left out as a stop word: rare words outweigh them anyway, and `not` is one.
    """
    return _WORD.findall(text.lower())


def document_of(inputs: str, expected_output: str) -> str:
    """The text by whose words an example is found, from its columns."""
    output = readable_text(expected_output) if _is_object(expected_output) else expected_output
    return f"{text_of_json(inputs)}\n{output}"


def _is_object(text: str) -> bool:
    if not text.startswith("{"):
        return False
    try:
        return isinstance(parse_content(text), dict)
    except ValueError:
        return False


@dataclass(frozen=True)
class KeywordBase:
    """An index of the words of many documents: their ids in its order, how many, how long on average."""

    ids: pl.Series
    bm25: BM25 | None
    mean_length: float

    @property
    def count(self) -> int:
        """Documents in it."""
        return self.ids.len()

    def scores(self, words: list[str]) -> np.ndarray[Any, Any]:
        """The BM25 score of every document for a query."""
        if self.bm25 is None:
            return np.zeros(self.count, dtype=np.float32)
        scores: np.ndarray[Any, Any] = self.bm25.get_scores(words)
        return scores

    def inverse_frequency(self, word: str) -> float:
        """How much a word counts: ln(1 + (N - n + 0.5) / (n + 0.5)), n of N documents having it."""
        count = 0
        if self.bm25 is not None and (place := self.bm25.vocab_dict.get(word)) is not None:
            bounds = self.bm25.scores["indptr"]
            count = int(bounds[place + 1] - bounds[place])
        return math.log(1 + (self.count - count + 0.5) / (count + 0.5))


def build_base(documents: Mapping[str, str]) -> KeywordBase:
    """Index documents by id."""
    import bm25s

    tokens = [words_of(text) for text in documents.values()]
    ids = pl.Series("example_id", list(documents), dtype=pl.String)
    # bm25s cannot index nothing.
    if not any(tokens):
        return KeywordBase(ids, None, 0.0)
    bm25 = bm25s.BM25(k1=K1, b=B, method="lucene")
    bm25.index(tokens, show_progress=False)
    return KeywordBase(ids, bm25, sum(map(len, tokens)) / len(tokens))


@dataclass(frozen=True)
class KeywordIndex:
    """A base and what changed since; immutable, so that threads may share it.

    `head` has the words of new and changed documents, `gone` the ids whose document in the base no longer stands.
    """

    version: int
    base: KeywordBase
    head: Mapping[str, Counter[str]]
    gone: frozenset[str]

    def __len__(self) -> int:
        return self.base.count - len(self.gone) + len(self.head)

    def changed(self, documents: Mapping[str, str], removed: Iterable[str], *, version: int) -> KeywordIndex:
        """The index with these documents new or replaced and those ids removed."""
        touched = {*documents, *removed}
        head = {name: words for name, words in self.head.items() if name not in touched}
        head |= {name: Counter(words_of(text)) for name, text in documents.items()}
        in_base: list[str] = self.base.ids.filter(self.base.ids.is_in(list(touched))).to_list() if touched else []
        return KeywordIndex(version, self.base, head, self.gone | frozenset(in_base))

    def search(self, text: str, count: int, *, allowed: pl.Series | None = None) -> list[tuple[str, float]]:
        """Up to `count` documents that have any word of `text`, with their scores, best first, among `allowed` ids."""
        words = list(dict.fromkeys(words_of(text)))
        if not words:
            return []
        scores = self.base.scores(words)
        is_wanted = scores > 0
        if self.gone:
            is_wanted &= ~self.base.ids.is_in(list(self.gone)).to_numpy()
        if allowed is not None:
            is_wanted &= self.base.ids.is_in(allowed.implode()).to_numpy()
        places = np.flatnonzero(is_wanted)
        if len(places) > count:
            places = places[np.argpartition(-scores[places], count - 1)[:count]]
        found = [(self.base.ids[int(place)], float(scores[place])) for place in places]
        found += self._search_head(words, allowed)
        return sorted(found, key=lambda pair: (-pair[1], pair[0]))[:count]

    def _search_head(self, words: list[str], allowed: pl.Series | None) -> list[tuple[str, float]]:
        wanted = set(allowed.to_list()) if allowed is not None and self.head else None
        weights = {word: self.base.inverse_frequency(word) for word in words} if self.head else {}
        found = []
        for name, counts in self.head.items():
            if wanted is None or name in wanted:
                score = sum(weight * self._saturated(counts, word) for word, weight in weights.items())
                if score > 0:
                    found.append((name, score))
        return found

    def _saturated(self, counts: Counter[str], word: str) -> float:
        count = counts[word]
        length = counts.total() / self.base.mean_length if self.base.mean_length else 1.0
        return count / (count + K1 * (1 - B + B * length))
