"""Take secrets out of records before anything is stored.

What belongs here: recognising credentials in JSON text, as bytes, so that the raw record and every column made from
it are clean by one act. Reading files is `sources.py`, parsing is `records.py`.

What counts as a secret: credentials in a URL, the value of a member or query parameter whose name says it is one,
authorization headers, and keys by the fixed prefixes that their issuers document. Redaction is deliberately eager:
an eval log with one word too few is a smaller harm than a key in a lake that many people read.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import pyarrow as pa
import pyarrow.compute as pc

if TYPE_CHECKING:
    from collections.abc import Sequence

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

# Every text that a rule can match has one of these in it. Arrow's RE2 looks for all of them in one pass over many
# lines, much faster than the rules themselves.
_SUSPECT = (
    r"authorization|api[-_]?key|[-_]token|token=|secret|passw|passphrase|private[-_]key|cookie|credential|access[-_]key"
    r"|key=|signature=|sig=|bearer|basic |sk-|pk-|rk-|hf_|gh[pousr]_|github_pat_|akia|aiza|xox[abprs]"
    r'|:\\?/\\?/[^/\\\s"@?#]+@'
)


def redact(raw: bytes) -> bytes:
    """`raw` JSON text with every recognised secret replaced by `[redacted]`; still JSON if it was."""
    for pattern, replacement in _SUBSTITUTIONS:
        raw = pattern.sub(replacement, raw)
    return raw


def redact_lines(lines: Sequence[bytes | None]) -> list[bytes | None]:
    """`redact` for many lines at once, so that clean lines (nearly all) cost next to nothing."""
    clean = list(lines)
    suspects = pc.match_substring_regex(pa.array(clean, pa.binary()), pattern=_SUSPECT, ignore_case=True)
    for index in pc.indices_nonzero(suspects).to_pylist():
        line = clean[index]
        clean[index] = None if line is None else redact(line)
    return clean


def redact_text(text: str) -> str:
    """`redact` for text that is not JSON, such as a message or a URI."""
    return redact(text.encode("utf-8", "replace")).decode("utf-8", "replace")
