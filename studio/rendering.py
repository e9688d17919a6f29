"""Rows on a terminal or in a pipe: tables, JSON, CSV.

Everything that comes out of a lake may have been written by a model, so control characters are shown, not obeyed, and
markup is text. How a value becomes JSON or CSV is `pipelines.plain_texts`, which files share.
"""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Literal

from pipelines.plain_texts import as_csv, as_json, printable

if TYPE_CHECKING:
    import polars as pl

__all__ = ["VERDICT_STYLES", "Format", "as_csv", "as_json", "emit", "print_table", "printable"]

Format = Literal["table", "json", "csv"]

CELL_CHARACTERS = 60
TABLE_ROWS = 100
# Up to here folding cells keeps a table readable on a narrow terminal.
MAX_FOLDED_COLUMNS = 7


def emit(rows: pl.DataFrame, form: Format, *, none: str = "") -> None:
    """Write rows to standard output in the form that was asked for; for people, `none` where there are no rows.

    `none` is a line that says what to do next; a table of headers alone would leave its reader where he stood.
    """
    if none and form == "table" and rows.is_empty():
        sys.stdout.write(f"{none}\n")
    elif form == "json":
        sys.stdout.write(as_json(rows) + "\n")
    elif form == "csv":
        sys.stdout.write(as_csv(rows))
    else:
        print_table(rows)


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
