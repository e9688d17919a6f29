"""Whether a unit gives away what a prompt suite asks: training on it would make the suite's scores worthless. Pure.

A unit leaks a prompt as far as the prompt's runs of words stand in it, if the reference stands in it too. Runs of
words rather than single ones, since any text on a subject shares its words.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterable, Sequence
from typing import NamedTuple

from lake.identity import json_digest
from pipelines.databits.scorers import Finding, Scorer, each

RUN_WORDS = 5
_WORD = re.compile(r"\w+")


class Question(NamedTuple):
    """A prompt of a suite, with what is right."""

    sample: str
    prompt: str
    reference: str


def leakage_scorer(questions: Sequence[Question]) -> Scorer:
    """A scorer against these questions; its digest is theirs, so that a changed suite is looked for anew."""
    index = _index(questions)

    def score(text: str) -> Finding:
        return _strongest_leak(_words(text), index)

    return Scorer(
        name="leakage_ratio",
        unit="ratio",
        description="Share of a suite's prompt that stands in it, with the reference; which, in detail.",
        score_all=each(score),
        options={"run_words": RUN_WORDS, "questions": json_digest(sorted(map(list, questions)))},
    )


class _Index(NamedTuple):
    by_run: dict[tuple[str, ...], list[int]]
    run_counts: list[int]
    questions: Sequence[Question]
    references: list[tuple[str, ...]]
    lengths: set[int]


def _index(questions: Sequence[Question]) -> _Index:
    by_run: defaultdict[tuple[str, ...], list[int]] = defaultdict(list)
    counts, lengths = [], set()
    for place, question in enumerate(questions):
        runs = set(_runs(_words(question.prompt), RUN_WORDS))
        counts.append(len(runs))
        lengths |= {len(run) for run in runs}
        for run in runs:
            by_run[run].append(place)
    return _Index(
        dict(by_run), counts, questions, [tuple(_words(question.reference)) for question in questions], lengths
    )


def _strongest_leak(words: list[str], index: _Index) -> Finding:
    hits: defaultdict[int, int] = defaultdict(int)
    for length in index.lengths:
        for run in set(_runs(words, length, exact=True)):
            for place in index.by_run.get(run, ()):
                hits[place] += 1
    spaced = f" {' '.join(words)} "
    leaks = [
        (hits[place] / index.run_counts[place], index.questions[place].sample)
        for place in sorted(hits)
        if f" {' '.join(index.references[place])} " in spaced
    ]
    strongest = max(leaks, key=lambda leak: leak[0], default=(0.0, None))
    return Finding(*strongest)


def _words(text: str) -> list[str]:
    return [word.casefold() for word in _WORD.findall(text)]


def _runs(words: Sequence[str], length: int, *, exact: bool = False) -> Iterable[tuple[str, ...]]:
    """Runs of `length` words; of a shorter text the whole, unless `exact`."""
    if len(words) < length:
        return [] if exact or not words else [tuple(words)]
    return (tuple(words[start : start + length]) for start in range(len(words) - length + 1))
