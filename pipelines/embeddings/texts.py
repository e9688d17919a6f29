"""What a text is called, and which text stands for a JSON value.

Pure. Which tables have texts is `sources.py`.
"""

from __future__ import annotations

import orjson
import polars as pl

# Sixty bits stay positive in 64 and can be read off the digest; among a million texts the odds that any two share
# them are 4 in 10 million.
_ID_HEX_DIGITS = 15


def vector_id(digest: str) -> int:
    """The number by which an index knows the text of a SHA-256 digest."""
    return int(digest[:_ID_HEX_DIGITS], 16)


def vector_ids(digest: pl.Expr) -> pl.Expr:
    """`vector_id` of a column of digests."""
    return digest.str.head(_ID_HEX_DIGITS).str.to_integer(base=16, dtype=pl.Int64)


def text_of_json(content: str) -> str:
    """The text that stands for a JSON value when it is searched by meaning.

    A JSON string is itself. Of an object with one field it is that field's value, of one with several a line
    `name: value` each. Anything else, and what is no JSON at all, stays as it is written.
    """
    try:
        value = orjson.loads(content)
    except orjson.JSONDecodeError:
        return content
    if isinstance(value, str):
        return value
    if not isinstance(value, dict) or not value:
        return content
    texts = {name: field if isinstance(field, str) else _json_of(field) for name, field in value.items()}
    if len(texts) == 1:
        return next(iter(texts.values()))
    return "\n".join(f"{name}: {text}" for name, text in texts.items())


def _json_of(value: object) -> str:
    return orjson.dumps(value, option=orjson.OPT_SORT_KEYS).decode()
