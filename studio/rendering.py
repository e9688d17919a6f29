"""Rows on a terminal or in a pipe: tables, JSON, CSV.

Everything that comes out of a lake may have been written by a model, so control characters are shown, not obeyed, and
markup is text. How a value becomes JSON or CSV is `pipelines.plain_texts`, which files share.
"""

from __future__ import annotations

import datetime as dt
import re
import sys
from typing import TYPE_CHECKING, Literal

from pipelines.plain_texts import as_csv, as_json, printable, shown_number

if TYPE_CHECKING:
    import polars as pl

__all__ = ["VERDICT_STYLES", "Format", "as_csv", "as_json", "emit", "print_table", "printable"]

Format = Literal["table", "json", "csv"]

CELL_CHARACTERS = 60
TABLE_ROWS = 100
# Up to here folding cells keeps a table readable on a narrow terminal.
MAX_FOLDED_COLUMNS = 7
# What commands take for a whole id, as a rule.
_ID_CHARACTERS = 8
_UUID = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}")


def emit(rows: pl.DataFrame, form: Format, *, none: str = "", is_exact: bool = False) -> None:
    """Write rows to standard output in the form that was asked for; for people, `none` where there are no rows.

    `none` is a line that says what to do next; a table of headers alone would leave its reader where he stood.
    `is_exact` is `print_table`'s.
    """
    if none and form == "table" and rows.is_empty():
        sys.stdout.write(f"{none}\n")
    elif form == "json":
        sys.stdout.write(as_json(rows) + "\n")
    elif form == "csv":
        sys.stdout.write(as_csv(rows))
    else:
        print_table(rows, is_exact=is_exact)


def print_table(
    rows: pl.DataFrame, *, title: str = "", verdict_column: str = "verdict", is_exact: bool = False
) -> None:
    """Rows for people: a table where it fits the terminal, else a field a line; long cells cut, verdicts coloured.

    Instants are to the minute, in UTC, and UUIDs, where they would not fit, the beginnings that commands take, unless
    `is_exact`.
    """
    from rich.box import SIMPLE_HEAD
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    console = Console()
    cells = [[_cell(value, is_exact=is_exact) for value in row] for row in rows.head(TABLE_ROWS).iter_rows()]
    is_narrow = _width(rows.columns, cells) <= console.width
    if not is_narrow and not is_exact:
        cells = [[_short_id(cell) for cell in row] for row in cells]
    names = rows.columns if is_narrow else [_folded(name, cells, place) for place, name in enumerate(rows.columns)]
    fits = is_narrow or _width(names, cells, gap=2) <= console.width or rows.width <= MAX_FOLDED_COLUMNS
    table = Table(
        title=title or None,
        title_justify="left",
        title_style="bold",
        box=SIMPLE_HEAD,
        pad_edge=False,
        collapse_padding=not is_narrow,
        show_header=fits,
    )
    if fits:
        for header, (name, dtype) in zip(names, rows.schema.items(), strict=True):
            table.add_column(
                header,
                justify="right" if dtype.is_numeric() else "left",
                overflow="fold",
                no_wrap=name == verdict_column,
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


def _width(names: list[str], cells: list[list[str]], *, gap: int = 3) -> int:
    """Characters that a table needs to show every cell on one line, with the space between columns and at the edges."""
    columns = list(zip(names, *cells, strict=True))
    return sum(gap + max(len(line) for cell in column for line in (cell.splitlines() or [""])) for column in columns)


VERDICT_STYLES = {"pass": "green", "fail": "bold red", "inconclusive": "yellow", "incomparable": "magenta"}


def _folded(name: str, cells: list[list[str]], place: int) -> str:
    """A column's name in lines that are cut behind underscores alone, no wider than its cells where that can be."""
    width = max((len(line) for row in cells for line in row[place].splitlines()), default=0)
    lines = [""]
    for part in re.findall(r"[^_]*_|[^_]+", name):
        if lines[-1] and len(lines[-1]) + len(part) > width:
            lines.append(part)
        else:
            lines[-1] += part
    return "\n".join(lines)


def _short_id(cell: str) -> str:
    return cell[:_ID_CHARACTERS] if _UUID.fullmatch(cell) else cell


def _cell(value: object, *, is_exact: bool) -> str:
    if value is None:
        return ""
    if not is_exact and isinstance(value, dt.datetime):
        return f"{value:%Y-%m-%d %H:%M}"
    if not is_exact and isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, float):
        return f"{value:.15g}" if is_exact else shown_number(value)
    lines = str(value).split("\n")
    text = "\n".join(map(printable, lines))
    return text if len(text) <= CELL_CHARACTERS else text[: CELL_CHARACTERS - 1] + "…"
