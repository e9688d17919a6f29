"""What can be said of a unit's text by itself: one small pure function a scorer.

What belongs here: the scorers and their registry. Personal data is `personal_data.py`, what leaked from suites
`leakage.py`, duplicates, which are about two units, `minhash.py`; running scorers over the lake is `quality_steps.py`.

A scorer's digest covers its name, revision and options: who changes what a scorer says raises its revision, and every
unit is scored anew by it, and by it alone. Toxicity has no scorer: no model for it ships in a package.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache, cached_property, lru_cache
from typing import TYPE_CHECKING, NamedTuple

from lake.identity import json_digest
from pipelines.databits.personal_data import find_in_all

if TYPE_CHECKING:
    from py3langid.langid import LanguageIdentifier

# Below these a number would say more about chance than about the text.
MIN_LANGUAGE_LETTERS = 20
MIN_REPETITION_WORDS = 12
MIN_READABILITY_WORDS = 10
REPETITION_WORDS = 3
# Language is told from the beginning: more text makes it surer, not different.
LANGUAGE_CHARACTERS = 1_000

_WORD = re.compile(r"\w+")
_SENTENCE_END = re.compile(r"[.!?]+(?:\s|$)")
_VOWELS = re.compile(r"[aeiouy]+")
_ASCII_WORD = re.compile(r"[a-z]+(?:'[a-z]+)?", re.IGNORECASE)


class Finding(NamedTuple):
    """What a scorer found: a number (None where it does not apply) and what it stands on."""

    value: float | None
    detail: str | None = None


@dataclass(frozen=True, kw_only=True)
class Scorer:
    """A function from the readable texts of units to a finding each, with what decides its result."""

    name: str
    description: str
    unit: str
    score_all: Callable[[Sequence[str]], list[Finding]]
    revision: int = 1
    options: Mapping[str, object] = field(default_factory=dict)

    @cached_property
    def digest(self) -> str:
        """SHA-256 of name, revision and options."""
        return json_digest({"name": self.name, "revision": self.revision, "options": dict(self.options)})


def each(score: Callable[[str], Finding]) -> Callable[[Sequence[str]], list[Finding]]:
    """A scorer of one text as a scorer of many."""
    return lambda texts: list(map(score, texts))


def count_characters(text: str) -> Finding:
    """Characters of the text."""
    return Finding(float(len(text)))


def count_words(text: str) -> Finding:
    """Runs of letters and digits."""
    return Finding(float(len(_WORD.findall(text))))


def tell_language(text: str) -> Finding:
    """The likeliest language as ISO 639-1 code, with its probability."""
    if sum(map(str.isalpha, text[:LANGUAGE_CHARACTERS])) < MIN_LANGUAGE_LETTERS:
        return Finding(None)
    return _classified(text[:LANGUAGE_CHARACTERS])


# Two scorers ask about the same text one after the other.
@lru_cache(maxsize=1)
def _classified(text: str) -> Finding:
    language, probability = _identifier().classify(text)
    return Finding(float(probability), language)


@cache
def _identifier() -> LanguageIdentifier:
    from py3langid.langid import MODEL_FILE, LanguageIdentifier

    return LanguageIdentifier.from_model_file(MODEL_FILE, norm_probs=True)


def measure_repetition(text: str) -> Finding:
    """Share of three-word runs that were there before; the commonest repeated one is the detail."""
    words = [word.casefold() for word in _WORD.findall(text)]
    if len(words) < MIN_REPETITION_WORDS:
        return Finding(None)
    runs = Counter(zip(*(words[start:] for start in range(REPETITION_WORDS)), strict=False))
    total = sum(runs.values())
    commonest, count = runs.most_common(1)[0]
    return Finding(1.0 - len(runs) / total, " ".join(commonest) if count > 1 else None)


def measure_symbols(text: str) -> Finding:
    """Share of characters that are neither letters, digits nor white space."""
    if not text:
        return Finding(None)
    return Finding(sum(not (sign.isalnum() or sign.isspace()) for sign in text) / len(text))


def measure_reading_ease(text: str) -> Finding:
    """Flesch's reading ease (1948): 206.835 - 1.015 words a sentence - 84.6 syllables a word; English alone.

    Around 100 is easy, below 30 hard. Syllables are counted as groups of vowels without a silent e.
    """
    words = _ASCII_WORD.findall(text)
    letters = sum(map(str.isalpha, text))
    if len(words) < MIN_READABILITY_WORDS or sum(map(len, words)) < 0.9 * letters:
        return Finding(None)
    if tell_language(text).detail != "en":
        return Finding(None)
    sentences = max(len(_SENTENCE_END.findall(text)), 1)
    syllables = sum(_syllables(word.lower()) for word in words)
    return Finding(206.835 - 1.015 * len(words) / sentences - 84.6 * syllables / len(words))


def _syllables(word: str) -> int:
    groups = len(_VOWELS.findall(word))
    is_silent = word.endswith("e") and not word.endswith(("le", "ee")) and groups > 1
    return max(groups - is_silent, 1)


def count_personal_data(texts: Sequence[str]) -> list[Finding]:
    """How many passages of each text look like personal data or secrets; their kinds are the detail."""
    findings = []
    for passages in find_in_all(texts):
        kinds = sorted({passage.kind for passage in passages})
        findings.append(Finding(float(len(passages)), ", ".join(kinds) or None))
    return findings


SCORERS: tuple[Scorer, ...] = (
    Scorer(name="character_count", unit="characters", description="Length.", score_all=each(count_characters)),
    Scorer(name="word_count", unit="words", description="Length in words.", score_all=each(count_words)),
    Scorer(
        name="language", unit="probability", description="How surely it is in the language named in detail.",
        score_all=each(tell_language), options={"letters": MIN_LANGUAGE_LETTERS, "characters": LANGUAGE_CHARACTERS},
    ),
    Scorer(
        name="repetition_ratio", unit="ratio", description="Share of three-word runs that repeat an earlier one.",
        score_all=each(measure_repetition), options={"words": REPETITION_WORDS, "least": MIN_REPETITION_WORDS},
    ),
    Scorer(
        name="symbol_ratio", unit="ratio", description="Share of signs in the text.", score_all=each(measure_symbols),
    ),
    Scorer(
        name="reading_ease", unit="Flesch points", description="How easily English text is read; 100 easy, 30 hard.",
        score_all=each(measure_reading_ease), options={"least": MIN_READABILITY_WORDS},
    ),
    Scorer(
        name="personal_data_count", unit="passages",
        description="Passages that look like personal data or secrets; kinds in detail.", score_all=count_personal_data,
    ),
)  # fmt: skip
