"""Take secrets out of records before anything is stored.

What belongs here: recognising credentials in JSON text, as bytes, so that the raw record and every column made from
it are clean by one act. Reading files is `sources.py`, parsing is `records.py`.

What counts as a secret: credentials in a URL, the value of a member or query parameter whose name says it is one,
authorization headers, and keys by the fixed prefixes that their issuers document. Redaction is deliberately eager:
an eval log with one word too few is a smaller harm than a key in a lake that many people read.
"""

from __future__ import annotations

import re
import struct
from typing import TYPE_CHECKING

import polars as pl
import pyarrow as pa
import pyarrow.compute as pc

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

MASK = b"[redacted]"

_NAMES = (
    rb"(?:proxy[-_]?)?authorization|[\w-]*api[-_]?key|[\w-]*(?:access|auth|refresh|session|api|hf|bearer)[-_]token"
    rb"|[\w-]*secret(?:[-_][\w-]*)?|[\w-]*passw(?:or)?d|passphrase|[\w-]*private[-_]key|(?:set[-_]?)?cookie"
    rb"|credentials?|aws[-_]access[-_]key[-_]id"
)
_STRING = rb'"(?:[^"\\]|\\.)*+"'
_ESCAPED_STRING = rb'\\"(?:(?!\\")(?:[^"\\]|\\.))*+\\"'

_RULES: tuple[tuple[re.Pattern[bytes], bytes], ...] = (
    # "api_key": "...", and a number in its place.
    (re.compile(rb'("(?:' + _NAMES + rb')"\s*:\s*)(?:' + _STRING + rb"|-?\d[\d.eE+-]*)", re.IGNORECASE), rb'\1"%s"'),
    # The same inside JSON that is itself a string.
    (re.compile(rb'(\\"(?:' + _NAMES + rb')\\"\s*:\s*)' + _ESCAPED_STRING, re.IGNORECASE), rb'\1\\"%s\\"'),
    # "api_key": ["...", ...]
    (
        re.compile(rb'("(?:' + _NAMES + rb')"\s*:\s*)\[(?:[^\[\]{}"]|' + _STRING + rb")*+\]", re.IGNORECASE),
        rb'\1["%s"]',
    ),
    # Headers as pairs: ["Authorization", "..."], {"name": "Authorization", "value": "..."}
    (
        re.compile(
            rb'("(?:(?:proxy-)?authorization|x-api-key|api-key|(?:set-)?cookie)"\s*,\s*(?:"value"\s*:\s*)?)' + _STRING,
            re.IGNORECASE,
        ),
        rb'\1"%s"',
    ),
    # scheme://user:password@host, also with escaped slashes.
    (re.compile(rb'(:\\?/\\?/)[^/\\\s"@?#]+@'), rb"\1%s@"),
    # ?key=... in URLs and api_key=... in comma-separated arguments.
    (
        re.compile(
            rb"\b((?:[\w-]*api[-_]?key|key|[\w-]*token|[\w-]*signature|sig|[\w-]*secret|[\w-]*passw(?:or)?d)=)"
            rb"""[^&,;\s"'\\<>]{4,}""",
            re.IGNORECASE,
        ),
        rb"\1%s",
    ),
    (re.compile(rb"\b((?:bearer|basic)\s+)[A-Za-z0-9._~+/=-]{12,}", re.IGNORECASE), rb"\1%s"),
    (
        re.compile(
            rb"\b(?:sk|pk|rk)-[A-Za-z0-9_-]{20,}|\bhf_[A-Za-z0-9]{20,}|\bgh[pousr]_[A-Za-z0-9]{20,}"
            rb"|\bgithub_pat_[A-Za-z0-9_]{20,}|\bAKIA[0-9A-Z]{16}\b|\bAIza[0-9A-Za-z_-]{35}|\bxox[abprs]-[A-Za-z0-9-]{10,}"
        ),
        b"%s",
    ),
)
_SUBSTITUTIONS = tuple((pattern, replacement.replace(b"%s", MASK)) for pattern, replacement in _RULES)

# Every text that a rule can match has one of these in it, and each names the rules that it is about. Arrow's RE2 looks
# for all of them in one pass over many lines, a hundred times as fast as the rules themselves. So they must be rare in
# clean records, which say input_tokens in each and talk of secrets in many.
_STEMS = (
    r"authorization|api[-_]?key|(?:access|auth|refresh|session|api|hf|bearer)[-_]token|secret(?:[-_][\w-]*)?"
    r"|passw(?:or)?d|passphrase|private[-_]key|cookie|credentials?|access[-_]key[-_]id"
)
_SIGNS: tuple[tuple[str, tuple[int, ...]], ...] = (
    (rf'(?:{_STEMS})\\?"[\s\x0b]*[:,]', (0, 1, 2, 3)),
    (r':\\?/\\?/[^/\\\s"@?#]+@', (4,)),
    (r"(?:key|token|signature|sig|secret|passw(?:or)?d)=", (5,)),
    (r"(?:bearer|basic)[\s\x0b]+[\w.~+/=-]{12}", (6,)),
    # Fewer signs than the rule asks for: counting to forty makes the expression slow to prepare.
    (
        r"\b(?:[spr]k-[\w-]{6}|hf_[a-z0-9]{6}|gh[pousr]_[a-z0-9]{6}|github_pat_|akia[0-9a-z]{6}|aiza[\w-]{6}|xox[abprs]-)",
        (7,),
    ),
)
_SUSPECT = "|".join(sign for sign, _ in _SIGNS)


def redact(raw: bytes) -> bytes:
    """`raw` JSON text with every recognised secret replaced by `[redacted]`; still JSON if it was."""
    return _substitute(raw, range(len(_SUBSTITUTIONS)))


def _substitute(raw: bytes, rules: Iterable[int]) -> bytes:
    for rule in rules:
        pattern, replacement = _SUBSTITUTIONS[rule]
        raw = pattern.sub(replacement, raw)
    return raw


def are_suspect(texts: Sequence[bytes]) -> list[bool]:
    """Of each text whether `redact` could change anything in it; no means no. Other threads go on meanwhile."""
    if not texts:
        return []
    found = pc.match_substring_regex(
        pa.chunked_array([_array_of(text) for text in texts]), pattern=_SUSPECT, ignore_case=True
    )
    return list(found.to_pylist())


def is_suspect(raw: bytes) -> bool:
    """`are_suspect` of one text."""
    return are_suspect([raw])[0]


def _array_of(text: bytes) -> pa.Array:
    """The text as an array of one, without a copy."""
    ends = pa.py_buffer(struct.pack("<2q", 0, len(text)))
    return pa.Array.from_buffers(pa.large_binary(), 1, [None, ends, pa.py_buffer(text)])


def redact_lines(lines: Sequence[bytes | None]) -> list[bytes | None]:
    """`redact` for many lines at once, so that clean lines (nearly all) cost next to nothing."""
    clean = list(lines)
    # What is in one line is in all of them together, and of most blocks that one look is enough.
    if is_suspect(b"\n".join([line for line in clean if line is not None])):
        redact_suspects(clean)
    return clean


def redact_suspects(lines: list[bytes | None]) -> None:
    """Redact in place the lines that need it, each by the rules that it gives a sign for."""
    suspects = _matches(lines, _SUSPECT)
    rules_of: dict[int, list[int]] = {index: [] for index in suspects}
    for sign, rules in _SIGNS if suspects else ():
        for place in _matches([lines[index] for index in suspects], sign):
            rules_of[suspects[place]].extend(rules)
    for index, found in rules_of.items():
        line = lines[index]
        lines[index] = None if line is None else _substitute(line, found)


def _matches(lines: Sequence[bytes | None], pattern: str) -> list[int]:
    given = pl.Series(lines, dtype=pl.Binary).to_arrow()
    found = pc.match_substring_regex(given, pattern=pattern, ignore_case=True)
    return list(pc.indices_nonzero(found).to_pylist())


def redact_text(text: str) -> str:
    """`redact` for text that is not JSON, such as a message or a URI."""
    return redact(text.encode("utf-8", "replace")).decode("utf-8", "replace")
