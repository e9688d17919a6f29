"""What a text says apart from how it is set: the tokens that two renderings of one answer share, and its facts.

What belongs here: the pure reading of one text, for `change_kinds.py`, which compares two of them. Nothing here knows
of runs, scores or references. The rules err towards telling texts apart: what is not plainly a matter of setting
(case, white space, number format, typographic signs) stays in the tokens. docs/diffs.md has the rules in words.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

# Words that can come or go without a fact changing. Prepositions, tenses, modal verbs and quantifiers are not here.
LIGHT_WORDS = frozenset(
    "a an the that which also just really very quite simply basically indeed certainly please okay ok so then".split()  # noqa: SIM905  # a word a line is no list to read
)
# Words whose coming or going turns a statement round, and numbers written out.
FACT_WORDS = frozenset(
    "yes no not never none nothing nobody nor neither without true false correct incorrect right wrong valid invalid "  # noqa: SIM905
    "possible impossible can could must may should will would all any some every each only both either more less most "
    "least fewer before after above below over under up down in out on off left increase increases increased decrease "
    "decreases decreased high higher low lower always rarely often positive negative plus minus zero one two three "
    "four five six seven eight nine ten eleven twelve hundred thousand million billion half third quarter double "
    "twice first second last north south east west".split()
)
# Another format of a number adds or takes away zeros alone.
_TELLING_CHARACTERS = "etaoinshr123456789"
# Also the sign that `_BULLET` makes of every list item.
LIGHT_MARKS = ".,;:!'\"\u2026\u2014\u2022"

# Signs that typesetting exchanges. A long dash is no hyphen: it may part two clauses.
_TYPOGRAPHY = str.maketrans(
    {
        **dict.fromkeys("\u2018\u2019\u201a\u2032", "'"),
        **dict.fromkeys("\u201c\u201d\u201e\u2033", '"'),
        **dict.fromkeys("\u2010\u2011\u2012\u2013\u2212", "-"),
        "\u2026": "...",
    }
)
# Commas only as thousands separators, and nothing that goes on with more digits: versions, addresses, dates.
_NUMBER = (
    r"(?<![\w.,])(?:[0-9]{1,3}(?:,[0-9]{3})+|[0-9]+)(?:\.[0-9]+)?(?!\w|[.,][0-9])"
    r"|(?<![\w.,])\.[0-9]+(?!\w|[.,][0-9])"
)
_TOKENS = re.compile(rf"{_NUMBER}|\w+|[^\w\s]")
_MAY_BE_SET_OTHERWISE = re.compile(r"[.,][0-9]")
# A fraction of three zeros is a thousand in half of the world.
_WHOLE = re.compile(r"\.(?:0{1,2}|0{4,})\Z")
_BOLD = re.compile(r"(?<![\w*])\*\*(?=\S)([^*\n]+)(?<=\S)\*\*(?![\w*])")
_BULLET = re.compile(r"^[ \t]*[*+\u2022-][ \t]+(?=[^\W\d_])", re.MULTILINE)
_FINAL_STOP = re.compile(r"(?<![.\s])\.\s*\Z")
_CODE_SPAN = re.compile(r"(```.*?(?:```|\Z)|`[^`\n]*`)", re.DOTALL)
_CODE_LINE = re.compile(
    r"[;{}][ \t]*$"
    r"|^[ \t]*(?:async|case|class|def|elif|else|except|finally|for|if|match|try|while|with)\b[^\n]*:[ \t]*$",
    re.MULTILINE,
)
_CONTRACTIONS = tuple(
    (re.compile(short, re.IGNORECASE), full)
    for short, full in (
        (r"\bcan(?:'t|not)\b", "can not"),
        (r"\bwon't\b", "will not"),
        (r"n't\b", " not"),
        (r"'re\b", " are"),
        (r"'ll\b", " will"),
        (r"'ve\b", " have"),
        (r"\bi'm\b", "i am"),
        (r"\b(it|that|what|there|here|he|she|who|where)'s\b", r"\1 is"),
        (r"\blet's\b", "let us"),
    )
)
# What a reader may pass over: light marks with no digit behind them, and hyphens inside a word.
_PASSED_OVER = re.compile(rf"[{re.escape(LIGHT_MARKS)}](?![0-9])|(?<=[^\W\d_])-(?=[^\W\d_])")


@dataclass(frozen=True, kw_only=True)
class Facts:
    """What can be told mechanically of a text.

    `essence` is every token but light words and light marks, in order. `stated` are the numbers, number words,
    symbols, single letters, code, names (words with a capital) and words such as yes, not or more, in order.
    """

    essence: tuple[str, ...]
    stated: tuple[str, ...]


def canonical_tokens(text: str) -> tuple[str, ...]:
    """The tokens of a text in lower case with numbers in one format; white space and typography make no difference.

    Code (between backquotes, or the whole text if a line of it looks like a program) keeps case and indentation.
    """
    return tuple(_canonical(text))


def prose_tokens(text: str) -> tuple[str, ...]:
    """The same for a text in which code is read like any other."""
    return tuple(_prose(_FINAL_STOP.sub("", text)))


def facts_of(text: str) -> Facts:
    """The facts of a text; English words alone are known, so in other languages every word counts."""
    weighed = list(_weighed(text))
    return Facts(
        essence=tuple(token for token, _ in weighed), stated=tuple(token for token, is_fact in weighed if is_fact)
    )


def characters_agree(left: str, right: str) -> bool:
    """False only when two texts cannot have the same canonical tokens; cheap, and True for few that do not."""
    left, right = _composed(left).lower(), _composed(right).lower()
    # Without a generator around it: most pairs part at the first character.
    for character in _TELLING_CHARACTERS:  # noqa: SIM110
        if left.count(character) != right.count(character):
            return False
    return True


def _canonical(text: str) -> Iterator[str]:
    for part, is_code in _parts(_FINAL_STOP.sub("", text)):
        if is_code:
            yield _as_code(part)
        else:
            yield from _prose(part)


def _prose(text: str) -> list[str]:
    plain = _unmarked(_plain(text)).lower()
    tokens: list[str] = _TOKENS.findall(plain)
    return list(map(_as_number, tokens)) if _MAY_BE_SET_OTHERWISE.search(plain) else tokens


def _weighed(text: str) -> Iterator[tuple[str, bool]]:
    """Tokens that count, each with whether it states a fact."""
    for part, is_code in _parts(text):
        if is_code:
            yield _as_code(part), True
            continue
        plain = _unmarked(_plain(part))
        for pattern, full in _CONTRACTIONS:
            plain = pattern.sub(full, plain)
        tokens = _TOKENS.findall(_PASSED_OVER.sub(" ", plain))
        for place, token in enumerate(tokens):
            lowered = _as_number(token.lower())
            if _is_light(tokens, place, lowered):
                continue
            is_plain_word = token.isalpha() and token == lowered and len(token) > 1
            yield lowered, not is_plain_word or lowered in FACT_WORDS


def _is_light(tokens: list[str], place: int, lowered: str) -> bool:
    """Whether the token may come and go; an `a` may be the letter of a choice unless a word follows it."""
    if lowered not in LIGHT_WORDS:
        return False
    if lowered != "a":
        return True
    following = tokens[place + 1 : place + 2]
    return tokens[place] == "a" and bool(following) and following[0][0].isalpha()


def _parts(text: str) -> Iterable[tuple[str, bool]]:
    """Stretches of prose and code, in order."""
    if _CODE_LINE.search(text) and "```" not in text:
        return [(text, True)]
    if "`" not in text:
        return [(text, False)]
    return [(part, place % 2 == 1) for place, part in enumerate(_CODE_SPAN.split(text)) if part]


def _as_code(text: str) -> str:
    """Code as one token that no prose token equals; what white space ends its lines makes no difference."""
    return "\x00" + "\n".join(line.rstrip() for line in text.strip("\r\n").splitlines())


def _plain(text: str) -> str:
    """Composed letters and typewriter signs."""
    return text if text.isascii() else _composed(text).translate(_TYPOGRAPHY)


def _composed(text: str) -> str:
    return text if text.isascii() else unicodedata.normalize("NFC", text)


def _unmarked(text: str) -> str:
    """Without bold marks, and with one sign for list items."""
    if "**" in text:
        text = _BOLD.sub(r"\1", text)
    return _BULLET.sub("\u2022 ", text)


def _as_number(token: str) -> str:
    """A number without thousands separators, without a fraction of zeros; any other token as it is."""
    if len(token) == 1 or not _MAY_BE_SET_OTHERWISE.search(token):
        return token
    number = _WHOLE.sub("", token.replace(",", ""))
    return f"0{number}" if number.startswith(".") else number
