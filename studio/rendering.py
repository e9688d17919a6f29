"""Rows on a terminal or in a pipe: tables, JSON, CSV.

Everything that comes out of a lake may have been written by a model, so control characters are shown, not obeyed,
markup is text, and a CSV cell cannot become a formula.
"""

from __future__ import annotations

import re
import sys
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    import polars as pl

Format = Literal["table", "json", "csv"]

# C0 and C1 controls, and the Unicode characters that reorder or hide text; tab and newline are shown as escapes too.
_UNPRINTABLE = re.compile("[\x00-\x1f\x7f-\x9f\u200b-\u200f\u2028-\u202e\u2060-\u2069\ufeff]")
# In a CSV, tabs and line ends are data; terminal escapes and characters that turn the text round are not.
_CONTROL = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\u200b-\u200f\u2028-\u202e\u2060-\u2069\ufeff]")
_NUMBER = r"^[-+]?(\d+\.?\d*|\.\d+)([eE][-+]?\d+)?$"
_FORMULA = ("=", "+", "-", "@", "\t", "\r")
CELL_CHARACTERS = 60
TABLE_ROWS = 100
# Up to here folding cells keeps a table readable on a narrow terminal.
MAX_FOLDED_COLUMNS = 7


def printable(text: str) -> str:
    """`text` with every control and bidirectional character written as an escape."""
    return _UNPRINTABLE.sub(_as_escape, text)


def emit(rows: pl.DataFrame, form: Format) -> None:
    """Write rows to standard output in the form that was asked for."""
    if form == "json":
        sys.stdout.write(as_json(rows) + "\n")
    elif form == "csv":
        sys.stdout.write(as_csv(rows))
    else:
        print_table(rows)


def as_json(rows: pl.DataFrame) -> str:
    """A JSON array of row objects; dates and instants are ISO 8601 text, bytes are base64."""
    return _json_text(rows.to_dicts()) or "[]"


def _json_text(value: object) -> str | None:
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


def as_csv(rows: pl.DataFrame) -> str:
    """CSV in which no text cell starts like a formula; nested values are JSON text."""
    import polars as pl

    safe = []
    for name, dtype in rows.schema.items():
        if dtype.is_nested() or dtype == pl.Binary:
            safe.append(pl.Series(name, [_json_text(value) for value in rows[name].to_list()], dtype=pl.String))
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
    return guarded.write_csv()


def print_table(rows: pl.DataFrame, *, title: str = "", verdict_column: str = "verdict") -> None:
    """Rows for people: a table where it fits the terminal, else a field a line; long cells cut, verdicts coloured."""
    from rich.box import SIMPLE_HEAD
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    console = Console()
    cells = [[_cell(value) for value in row] for row in rows.head(TABLE_ROWS).iter_rows()]
    fits = _width(rows.columns, cells) <= console.width or rows.width <= MAX_FOLDED_COLUMNS
    table = Table(
        title=title or None,
        title_justify="left",
        title_style="bold",
        box=SIMPLE_HEAD,
        pad_edge=False,
        show_header=fits,
    )
    if fits:
        for name, dtype in rows.schema.items():
            table.add_column(
                name, justify="right" if dtype.is_numeric() else "left", overflow="fold", no_wrap=name == verdict_column
            )
    else:
        table.add_column(style="bold", no_wrap=True)
        table.add_column(overflow="fold")
    for row in cells:
        texts = [
            Text(cell, style=VERDICT_STYLES.get(cell, "") if name == verdict_column else "")
            for name, cell in zip(rows.columns, row, strict=True)
        ]
        if fits:
            table.add_row(*texts)
        else:
            for name, text in zip(rows.columns, texts, strict=True):
                table.add_row(name, text)
            table.add_section()
    console.print(table)
    if rows.height > TABLE_ROWS:
        console.print(f"{rows.height - TABLE_ROWS} more rows; use --format json or a LIMIT of your own.")


def _width(names: list[str], cells: list[list[str]]) -> int:
    """Characters that a table needs to show every cell on one line, with the space between columns."""
    columns = zip(names, *cells, strict=True)
    return sum(3 + max(len(line) for cell in column for line in (cell.splitlines() or [""])) for column in columns)


VERDICT_STYLES = {"pass": "green", "fail": "bold red", "inconclusive": "yellow", "incomparable": "magenta"}


def _cell(value: object) -> str:
    if value is None:
        return ""
    lines = (f"{value:.4g}" if isinstance(value, float) else str(value)).split("\n")
    text = "\n".join(map(printable, lines))
    return text if len(text) <= CELL_CHARACTERS else text[: CELL_CHARACTERS - 1] + "…"
