"""Values and rows as text that harms nobody: JSON, CSV, and text with its control characters shown.

Everything that comes out of a lake may have been written by a model, so control characters are shown, not obeyed, and
a CSV cell cannot become a formula. What does not belong here: Markdown and HTML, which `pipelines.evidence.render` and
the reports escape.
"""

from __future__ import annotations

import math
import re
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import polars as pl

# C0 and C1 controls, and the Unicode characters that reorder or hide text; tab and newline are shown as escapes too.
_UNPRINTABLE = re.compile("[\x00-\x1f\x7f-\x9f\u200b-\u200f\u2028-\u202e\u2060-\u2069\ufeff]")
# In a CSV, tabs and line ends are data; terminal escapes and characters that turn the text round are not.
_CONTROL = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\u200b-\u200f\u2028-\u202e\u2060-\u2069\ufeff]")
_NUMBER = r"^[-+]?(\d+\.?\d*|\.\d+)([eE][-+]?\d+)?$"
# Numbers from here on have their thousands parted; from there on they have an exponent.
_GROUPED, _HUGE = 10_000, 1e15
_FORMULA = ("=", "+", "-", "@", "\t", "\r")


def printable(text: str) -> str:
    """`text` with every control and bidirectional character written as an escape."""
    return _UNPRINTABLE.sub(_as_escape, text)


def shown_number(value: float | None, *, is_signed: bool = False) -> str:
    """Four significant digits as people write them: 0.1234, 12.34, 87,040, 559,800,000; a dash for None.

    An exponent stands only where zeros would have to be counted: from a quadrillion on, and below a ten-thousandth.
    """
    if value is None:
        return "-"
    sign = "+" if is_signed else ""
    if not _GROUPED <= abs(value) < _HUGE:
        return f"{value:{sign}.4g}"
    return f"{round(value, 3 - math.floor(math.log10(abs(value)))):{sign},.0f}"


def as_json(rows: pl.DataFrame) -> str:
    """A JSON array of row objects; dates and instants are ISO 8601 text, bytes are base64."""
    return json_text(rows.to_dicts()) or "[]"


def json_text(value: object) -> str | None:
    """A value as compact JSON text, None for None; what JSON has no form for is base64 (bytes) or its text."""
    import orjson

    if value is None:
        return None
    return orjson.dumps(value, default=_plain, option=orjson.OPT_NON_STR_KEYS).decode()


def _plain(value: object) -> str:
    import base64

    return base64.b64encode(value).decode() if isinstance(value, bytes) else str(value)


def _visible_controls(text: str) -> str:
    return _CONTROL.sub(_as_escape, text)


def _as_escape(found: re.Match[str]) -> str:
    return found[0].encode("unicode_escape").decode()


def as_csv(rows: pl.DataFrame, *, include_header: bool = True) -> str:
    """CSV with a header in which no text cell starts like a formula; nested values are JSON text."""
    import polars as pl

    safe = []
    for name, dtype in rows.schema.items():
        if dtype.is_nested() or dtype == pl.Binary:
            safe.append(pl.Series(name, [json_text(value) for value in rows[name].to_list()], dtype=pl.String))
        else:
            safe.append(rows[name])
    frame = pl.DataFrame(safe)
    texts = [name for name, dtype in frame.schema.items() if dtype == pl.String]
    shown = frame.with_columns(
        pl.col(name).map_elements(_visible_controls, return_dtype=pl.String)
        for name in texts
        if frame[name].str.contains(_CONTROL.pattern).any()
    )
    guarded = shown.with_columns(
        pl.when(
            pl.any_horizontal(pl.col(name).str.starts_with(sign) for sign in _FORMULA)
            & ~pl.col(name).str.contains(_NUMBER)
        )
        .then("'" + pl.col(name))
        .otherwise(pl.col(name))
        .alias(name)
        for name in texts
    )
    return guarded.write_csv(include_header=include_header)
