"""Passages of a text that look like personal data or credentials, and the text with them masked. Pure.

Flags for a person to look at, by patterns with a check where the number has one (Luhn for cards, mod 97 for IBANs):
no names and no addresses, which patterns cannot tell from other words. Credentials are what `pipelines.runs.redaction`
takes out of records.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Callable, Sequence
from typing import Literal, NamedTuple

from pipelines.runs.redaction import MASK, are_suspect, redact_text

Kind = Literal["email", "phone", "ip_address", "iban", "payment_card", "us_social_security_number", "credential"]
_CARD_DIGITS = range(13, 20)
_PHONE_DIGITS = range(8, 16)


class Passage(NamedTuple):
    """Where a kind of personal data stands in a text."""

    kind: Kind
    start: int
    end: int


def _is_card(text: str) -> bool:
    digits = [int(sign) for sign in text if sign.isdigit()]
    if len(digits) not in _CARD_DIGITS or len(set(digits)) == 1:
        return False
    doubled = [digit if place % 2 == 0 else sum(divmod(digit * 2, 10)) for place, digit in enumerate(reversed(digits))]
    return sum(doubled) % 10 == 0


def _is_iban(text: str) -> bool:
    plain = re.sub(r"\s", "", text).upper()
    turned = plain[4:] + plain[:4]
    return int("".join(str(int(sign, 36)) for sign in turned)) % 97 == 1


def _is_address(text: str) -> bool:
    try:
        return ipaddress.ip_address(text).is_global
    except ValueError:
        return False


def _is_phone(text: str) -> bool:
    return sum(map(str.isdigit, text)) in _PHONE_DIGITS


def _always(_: str) -> bool:
    return True


_DIGIT = re.compile(r"\d")
_US_NUMBER = re.compile(r"(?<![\d-])(?!000|666|9)\d{3}-(?!00)\d{2}-(?!0000)\d{4}(?![\d-])")
# With a country code or an area code in brackets: bare digits are too often something else.
_PHONE = re.compile(r"(?<![\w.+-])(?:\+\d{1,3}[ .-]?|\(\d{2,5}\) ?)(?:\(?\d{1,5}\)?[ .-]?){1,5}\d{2,}(?![\w-])")
# In the order of trust: where two overlap, the first stands.
_PATTERNS: tuple[tuple[Kind, re.Pattern[str], Callable[[str], bool]], ...] = (
    ("email", re.compile(r"(?<![\w.+-])[\w.+-]{1,64}@(?:[A-Za-z0-9-]{1,63}\.)+[A-Za-z]{2,24}\b"), _always),
    ("iban", re.compile(r"\b[A-Z]{2}\d{2}(?: ?[A-Z0-9]{4}){2,7}(?: ?[A-Z0-9]{1,4})?\b"), _is_iban),
    ("payment_card", re.compile(r"(?<![\d.-])\d(?:[ -]?\d){12,18}(?![\d.-])"), _is_card),
    ("us_social_security_number", _US_NUMBER, _always),
    ("ip_address", re.compile(r"(?<![\d.])(?:\d{1,3}\.){3}\d{1,3}(?![\d.])"), _is_address),
    ("phone", _PHONE, _is_phone),
)  # fmt: skip


def find_personal_data(text: str) -> list[Passage]:
    """Passages in their order, without overlaps. A credential is counted once and has no place of its own."""
    return find_in_all([text])[0]


def find_in_all(texts: Sequence[str]) -> list[list[Passage]]:
    """`find_personal_data` of many texts; those that can have no credential are told in one look."""
    suspects = are_suspect([text.encode("utf-8", "replace") for text in texts])
    return [
        sorted([*_passages(text), *_credentials(text, is_suspect=suspect)], key=lambda passage: passage.start)
        for text, suspect in zip(texts, suspects, strict=True)
    ]


def _passages(text: str) -> list[Passage]:
    found: list[Passage] = []
    has_digit = _DIGIT.search(text) is not None
    for kind, pattern, is_real in _PATTERNS:
        # Nearly all texts are done with this look; the patterns go back and forth in long words.
        if not ("@" in text if kind == "email" else has_digit):
            continue
        for match in pattern.finditer(text):
            overlaps = any(match.start() < other.end and other.start < match.end() for other in found)
            if not overlaps and is_real(match[0]):
                found.append(Passage(kind, match.start(), match.end()))
    return found


def _credentials(text: str, *, is_suspect: bool) -> list[Passage]:
    if not is_suspect:
        return []
    count = redact_text(text).count(MASK.decode()) - text.count(MASK.decode())
    return [Passage("credential", 0, 0)] * max(count, 0)


def mask_personal_data(text: str) -> str:
    """The text with each passage replaced by its kind in brackets, and credentials as the importers redact them."""
    masked, end = [], 0
    for passage in find_personal_data(text):
        if passage.end:
            masked += [text[end : passage.start], f"[{passage.kind}]"]
            end = passage.end
    return redact_text("".join([*masked, text[end:]]))
