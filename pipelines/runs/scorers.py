"""Scorers: pure functions from an output and its reference to a number between 0 and 1, higher is better.

Outputs are whatever a model wrote, so every scorer is bounded in time on hostile text. Which scorers a sample gets
is said in the suite file (`suites.py`). Metrics over a run are computed from the rows, not here.
"""

from __future__ import annotations

import math
import re
import string
import unicodedata
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import orjson
import regex
from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator

from lake.errors import BenchlakeError, UserError

# A search that has not ended by then has met a catastrophic pattern; ordinary ones take microseconds.
REGEX_SECONDS = 1.0
# Longer outputs are cut before a pattern is searched: a model that repeats itself for a megabyte is no match anyway.
REGEX_CHARS = 100_000

# A sign counts only where it cannot be a minus or a hyphen; commas only as thousands separators.
_NUMBER = re.compile(
    r"(?<![\w.])[-+]?(?:[0-9]{1,3}(?:,[0-9]{3})+(?![0-9])|[0-9]+)(?:\.[0-9]+)?(?:[eE][-+]?[0-9]{1,3})?|"
    r"(?<![\w.])[-+]?\.[0-9]+"
)
_CODE_FENCE = re.compile(r"\A```[a-zA-Z]*\n(.*?)\n?```\Z", re.DOTALL)
_ARTICLES = frozenset({"a", "an", "the"})
_DROP_PUNCTUATION = str.maketrans("", "", string.punctuation)


class ScorerError(BenchlakeError):
    """A score could not be computed for this output; it is then absent, not 0."""


class ScorerOptions(BaseModel):
    """Options of a scorer, as they stand in a suite file."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class TextOptions(ScorerOptions):
    """How two texts are made comparable."""

    ignore_case: bool = Field(default=False, description="Compare without regard to case.")
    ignore_space: bool = Field(default=True, description="Strip, and take any run of white space as one space.")
    ignore_punctuation: bool = Field(default=False, description="Leave ASCII punctuation out.")
    alternatives: tuple[str, ...] = Field(default=(), description="Further references, each as good as the first.")


class RegexOptions(ScorerOptions):
    """Pattern to search."""

    pattern: str | None = Field(default=None, description="Pattern; without it the reference is the pattern.")
    full_match: bool = Field(default=False, description="The whole stripped output must match.")
    ignore_case: bool = Field(default=False, description="Match without regard to case.")

    @field_validator("pattern")
    @classmethod
    def _compiles(cls, pattern: str | None) -> str | None:
        if pattern is not None:
            check_pattern(pattern)
        return pattern


class NumericOptions(ScorerOptions):
    """How near the number must be."""

    tolerance: float = Field(default=1e-9, ge=0, description="Accepted absolute difference.")
    relative_tolerance: float = Field(default=0.0, ge=0, description="Accepted difference as a part of the reference.")


class JsonOptions(ScorerOptions):
    """What the JSON must be."""

    required_keys: tuple[str, ...] = Field(default=(), description="Keys that the object must have.")
    allow_code_fence: bool = Field(default=False, description="Accept one Markdown code fence around the JSON.")


class NoOptions(ScorerOptions):
    """The scorer takes no options."""


@dataclass(frozen=True, kw_only=True)
class Scorer:
    """A scorer by name; `needs_reference` scorers are refused on samples that have none."""

    name: str
    description: str
    options: type[ScorerOptions]
    needs_reference: bool
    function: Callable[[str, str | None, Any], float]


def comparable_text(text: str, options: TextOptions) -> str:
    """`text` in Unicode NFC with what `options` ignores taken out."""
    text = unicodedata.normalize("NFC", text)
    if options.ignore_case:
        text = text.casefold()
    if options.ignore_punctuation:
        text = text.translate(_DROP_PUNCTUATION)
    return " ".join(text.split()) if options.ignore_space else text


def exact_match(output: str, reference: str | None, options: TextOptions) -> float:
    """1 if the output is the reference, or one of the alternatives."""
    given = comparable_text(output, options)
    return float(any(given == comparable_text(wanted, options) for wanted in _references(reference, options)))


def contains(output: str, reference: str | None, options: TextOptions) -> float:
    """1 if the reference, or one of the alternatives, stands in the output as whole words."""
    given = comparable_text(output, options)
    return float(any(_stands_in(comparable_text(wanted, options), given) for wanted in _references(reference, options)))


def regex_match(output: str, reference: str | None, options: RegexOptions) -> float:
    """1 if the pattern is found in the first `REGEX_CHARS` characters; raises `ScorerError` if that takes too long."""
    pattern = options.pattern if options.pattern is not None else reference or ""
    compiled = regex.compile(pattern, flags=regex.IGNORECASE if options.ignore_case else 0)
    search = compiled.fullmatch if options.full_match else compiled.search
    try:
        return float(search(output.strip()[:REGEX_CHARS], timeout=REGEX_SECONDS) is not None)
    except TimeoutError:
        raise ScorerError(
            f"The pattern {pattern!r} took more than {REGEX_SECONDS:g} s on an output of {len(output)} characters. "
            f"Nested repetitions such as (a+)+ do that; write the pattern without them."
        ) from None


def numeric(output: str, reference: str | None, options: NumericOptions) -> float:
    """1 if the last number in the output is the reference within the tolerance; 0 if there is no number."""
    found, wanted = last_number(output), last_number(reference or "")
    if found is None or wanted is None:
        return 0.0
    return float(abs(found - wanted) <= max(options.tolerance, options.relative_tolerance * abs(wanted)))


def token_f1(output: str, reference: str | None, _options: NoOptions) -> float:
    """Harmonic mean of precision and recall over words, order apart.

    Words are normalised as in the SQuAD 1.1 evaluation script (Rajpurkar et al. 2016): lower case, no ASCII
    punctuation, no articles. Two empty texts are equal.
    """
    given, wanted = _squad_words(output), _squad_words(reference or "")
    if not given or not wanted:
        return float(given == wanted)
    shared = (Counter(given) & Counter(wanted)).total()
    return 2 * shared / (len(given) + len(wanted))


def json_validity(output: str, _reference: str | None, options: JsonOptions) -> float:
    """1 if the whole output is one JSON value (RFC 8259: no NaN, no comments) with the required keys."""
    text = output.strip()
    if options.allow_code_fence and (fenced := _CODE_FENCE.match(text)):
        text = fenced[1]
    try:
        value = orjson.loads(text.encode("utf-8", "replace"))
    except orjson.JSONDecodeError:
        return 0.0
    if not options.required_keys:
        return 1.0
    return float(isinstance(value, dict) and all(key in value for key in options.required_keys))


def last_number(text: str) -> float | None:
    """The last finite decimal number in `text`, or None; `1,234.5` is one number, `1, 2` are two."""
    last = None
    for match in _NUMBER.finditer(text):
        last = match[0]
    number = float(last.replace(",", "")) if last is not None else None
    return number if number is not None and math.isfinite(number) else None


def check_pattern(pattern: str) -> None:
    """Raise `ValueError` with the place of the mistake if `pattern` is not a regular expression."""
    try:
        regex.compile(pattern)
    except regex.error as error:
        raise ValueError(f"is not a regular expression: {error}") from None


SCORERS: Mapping[str, Scorer] = {
    scorer.name: scorer
    for scorer in (
        Scorer(
            name="exact_match",
            description="The output is the reference.",
            options=TextOptions,
            needs_reference=True,
            function=exact_match,
        ),
        Scorer(
            name="contains",
            description="The reference stands in the output as whole words.",
            options=TextOptions,
            needs_reference=True,
            function=contains,
        ),
        Scorer(
            name="regex",
            description="A regular expression is found in the output.",
            options=RegexOptions,
            needs_reference=False,
            function=regex_match,
        ),
        Scorer(
            name="numeric",
            description="The last number in the output is the reference.",
            options=NumericOptions,
            needs_reference=True,
            function=numeric,
        ),
        Scorer(
            name="token_f1",
            description="Overlap of words with the reference.",
            options=NoOptions,
            needs_reference=True,
            function=token_f1,
        ),
        Scorer(
            name="json_validity",
            description="The output is valid JSON.",
            options=JsonOptions,
            needs_reference=False,
            function=json_validity,
        ),
    )
}


def find_scorer(name: str) -> Scorer:
    """The scorer of that name; raises `UserError` with the nearest names if there is none."""
    try:
        return SCORERS[name]
    except KeyError:
        raise UserError.unknown("scorer", name, SCORERS) from None


def read_options(name: str, options: Mapping[str, object]) -> ScorerOptions:
    """Options of scorer `name`, checked; raises `UserError` that names the option."""
    scorer = find_scorer(name)
    try:
        return scorer.options.model_validate(options)
    except ValidationError as error:
        problem = error.errors()[0]
        option = ".".join(str(part) for part in problem["loc"])
        if problem["type"] == "extra_forbidden":
            raise UserError.unknown(f"option of scorer {name}", option, scorer.options.model_fields) from None
        raise UserError(f"Option {option!r} of scorer {name}: {problem['msg']} (got {problem['input']!r}).") from None


def score(name: str, output: str, reference: str | None, options: Mapping[str, object] | None = None) -> float:
    """Score `output` against `reference`, 0 to 1; raises `UserError` for an unknown name or option."""
    return find_scorer(name).function(output, reference, read_options(name, options or {}))


def _references(reference: str | None, options: TextOptions) -> tuple[str, ...]:
    return (*((reference,) if reference is not None else ()), *options.alternatives)


def _stands_in(wanted: str, given: str) -> bool:
    # By hand and not by a pattern: the reference is plain text of any length and script.
    start = given.find(wanted) if wanted else -1
    while start >= 0:
        end = start + len(wanted)
        before, after = given[start - 1 : start], given[end : end + 1]
        if not (_joins(before, wanted[0]) or _joins(wanted[-1], after)):
            return True
        start = given.find(wanted, start + 1)
    return False


def _joins(left: str, right: str) -> bool:
    return left.isalnum() and right.isalnum()


def _squad_words(text: str) -> list[str]:
    words = text.casefold().translate(_DROP_PUNCTUATION).split()
    return [word for word in words if word not in _ARTICLES]
