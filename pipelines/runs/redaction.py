"""Take secrets out of records before anything is stored.

What belongs here: recognising credentials in JSON text, as bytes, so that the raw record and every column made from
it are clean by one act. Reading files is `sources.py`, parsing is `records.py`.

What counts as a secret: credentials in a URL, the value of a member or query parameter whose name says it is one,
authorization headers, and keys by the fixed prefixes that their issuers document. Redaction is deliberately eager:
an eval log with one word too few is a smaller harm than a key in a lake that many people read.
"""

from __future__ import annotations

import re
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
    (re.compile(rb'("(?:' + _NAMES + rb')"\s*:\s*)\[[^\[\]{}]*\]', re.IGNORECASE), rb'\1["%s"]'),
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

# Every text that a rule can match holds one of these in lower case; looking for them is a hundred times cheaper.
_MARKERS = (
    b"authorization", b"api_key", b"api-key", b"apikey", b"_token", b"-token", b"token=", b"secret", b"passw",
    b"passphrase", b"private_key", b"private-key", b"cookie", b"credential", b"access_key", b"access-key", b"key=",
    b"signature=", b"sig=", b"bearer", b"basic ", b"sk-", b"pk-", b"rk-", b"hf_", b"ghp_", b"gho_", b"ghu_", b"ghs_",
    b"ghr_", b"github_pat_", b"akia", b"aiza", b"xoxa", b"xoxb", b"xoxp", b"xoxr", b"xoxs",
)  # fmt: skip


def redact(raw: bytes) -> bytes:
    """`raw` JSON text with every recognised secret replaced by `[redacted]`; still JSON if it was."""
    markers = _present(raw.lower())
    return _substitute(raw) if markers else raw


def redact_lines(lines: Sequence[bytes | None]) -> list[bytes | None]:
    """`redact` for many lines at once, so that clean lines (nearly all) cost one search for the whole block."""
    markers = _present(b"\n".join(line for line in lines if line is not None).lower())
    if not markers:
        return list(lines)
    return [line if line is None or not _holds(line, markers) else _substitute(line) for line in lines]


def redact_text(text: str) -> str:
    """`redact` for text that is not JSON, such as a message or a URI."""
    return redact(text.encode("utf-8", "replace")).decode("utf-8", "replace")


def _present(lowered: bytes) -> tuple[bytes, ...]:
    found = tuple(marker for marker in _MARKERS if marker in lowered)
    # Credentials in a URL: both signs are common alone, so they count together only.
    return (*found, b"@") if b"@" in lowered and b":/" in lowered.replace(b"\\/", b"/") else found


def _holds(line: bytes, markers: tuple[bytes, ...]) -> bool:
    lowered = line.lower()
    return any(marker in lowered for marker in markers)


def _substitute(raw: bytes) -> bytes:
    for pattern, replacement in _SUBSTITUTIONS:
        raw = pattern.sub(replacement, raw)
    return raw
