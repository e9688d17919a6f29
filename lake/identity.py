"""Names that do not change: digests of content and ids derived from it.

Every id in the lake is either given by the source or derived here from what the thing is, so that importing or
computing it again gives the same id.
"""

from __future__ import annotations

import hashlib
import uuid
from pathlib import Path
from typing import BinaryIO

import orjson

# The root of every derived id. Changing it would rename every row in every lake.
NAMESPACE = uuid.UUID("5f0e9f52-7f0a-5f5c-9a3e-6c1d0c3b8a11")

_READ_BYTES = 1 << 20


def derived_id(kind: str, *parts: object) -> str:
    """UUIDv5 of a kind of thing and what identifies it; parts are joined by a separator no part may contain."""
    return str(uuid.uuid5(NAMESPACE, "\x1f".join([kind, *(str(part) for part in parts)])))


def text_digest(text: str) -> str:
    """SHA-256 of the UTF-8 bytes, in hex. Lone surrogates are kept apart rather than refused."""
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()


def json_digest(value: object) -> str:
    """SHA-256 of the canonical JSON form (sorted keys, no white space)."""
    return hashlib.sha256(orjson.dumps(value, option=orjson.OPT_SORT_KEYS | orjson.OPT_NON_STR_KEYS)).hexdigest()


def file_digest(source: Path | BinaryIO) -> str:
    """SHA-256 of a file's bytes, read in pieces."""
    if isinstance(source, Path):
        with source.open("rb") as stream:
            return file_digest(stream)
    digest = hashlib.sha256()
    while piece := source.read(_READ_BYTES):
        digest.update(piece)
    return digest.hexdigest()
