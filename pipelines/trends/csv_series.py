"""One column of numbers of any CSV file, as a series for the detector.

What belongs here: finding the column and reading it, whatever the file looks like. Rows of the lake come from
`series.py`. Only the standard library is used, so that the command answers at once.
"""

from __future__ import annotations

import csv
import io
import math
from collections.abc import Iterator, Sequence
from pathlib import Path

from lake.errors import UserError

_SNIFFED_CHARACTERS = 65_536
_DELIMITERS = ",;\t|"
# csv refuses longer fields than this by default as well; a file of one huge line is no series.
_MISSING = math.nan
_COLUMN_NAMES = ("value", "y", "values")


def read_series(path: Path, *, column: str | None = None) -> list[float]:
    """The numbers of a column in the order of the rows; a cell that is no number is NaN, so that rows keep their index.

    `column` is a header's name or a number from 0; when it is None, the column called value or y, else the only column
    with numbers. Separators, a byte-order mark, comment lines (#) and whether there is a header are recognised. Raises
    `UserError` when the file cannot be read or the column cannot be told.
    """
    rows = _read_rows(path)
    if not rows:
        return []
    header = rows[0] if _is_header(rows) else None
    place = _find_column(path, rows if header is None else rows[1:], header, column)
    body = rows if header is None else rows[1:]
    return [_number(row[place]) if place < len(row) else _MISSING for row in body]


def _read_rows(path: Path) -> list[list[str]]:
    try:
        text = path.read_text(encoding="utf-8-sig", errors="replace")
    except OSError as error:
        raise UserError(f"{path} cannot be read: {error.strerror or error}") from error
    if "\0" in text[:_SNIFFED_CHARACTERS]:
        raise UserError(f"{path} is not a text file. Give a CSV file with a column of numbers.")
    lines = (line for line in io.StringIO(text) if not line.startswith("#"))
    try:
        rows = list(csv.reader(lines, delimiter=_delimiter(text)))
    except csv.Error as error:
        raise UserError(f"{path} is not a CSV file: {error}") from error
    # An empty row at the end is no observation; one in the middle of a one-column file is a missing one.
    while rows and not any(cell.strip() for cell in rows[-1]):
        rows.pop()
    return rows


def _delimiter(text: str) -> str:
    lines = [line for line in text[:_SNIFFED_CHARACTERS].splitlines() if line and not line.startswith("#")]
    head = lines[0] if lines else ""
    return max(_DELIMITERS, key=head.count) if any(mark in head for mark in _DELIMITERS) else ","


def _is_header(rows: Sequence[Sequence[str]]) -> bool:
    """A first row with a word in it that is no number and no blank, where a later row of that column has a number."""
    later = rows[1 : 1 + 50]
    return any(
        cell.strip() != ""
        and not _is_number_word(cell)
        and (not later or any(place < len(row) and not math.isnan(_number(row[place])) for row in later))
        for place, cell in enumerate(rows[0])
    )


def _find_column(path: Path, body: Sequence[Sequence[str]], header: Sequence[str] | None, column: str | None) -> int:
    names = [name.strip() for name in header or ()]
    if column is not None and column in names:
        return names.index(column)
    # Without a header there is nothing that a name could be looked up in, and with one column no doubt.
    width = max((len(row) for row in body), default=len(names))
    if column is not None and column.isdecimal() and int(column) < width:
        return int(column)
    if column is not None and (names or width > 1):
        raise UserError.unknown(f"column of {path}", column, names or [str(place) for place in range(width)])
    for name in _COLUMN_NAMES:
        if name in [each.lower() for each in names]:
            return [each.lower() for each in names].index(name)
    numeric = list(_numeric_columns(body, width))
    if len(numeric) <= 1:
        return numeric[0] if numeric else 0
    raise UserError(
        f"{path} has {len(numeric)} columns with numbers: {', '.join(names[p] if names else str(p) for p in numeric)}. "
        "Say which:  --value COLUMN"
    )


def _numeric_columns(body: Sequence[Sequence[str]], width: int) -> Iterator[int]:
    for place in range(width):
        if any(place < len(row) and not math.isnan(_number(row[place])) for row in body[:1000]):
            yield place


def _is_number_word(cell: str) -> bool:
    return not math.isnan(_number(cell)) or cell.strip().lower() in {"nan", "na", "n/a", "null", "none", "inf", "-inf"}


def _number(cell: str) -> float:
    try:
        number = float(cell)
    except ValueError:
        return _MISSING
    return number if math.isfinite(number) else _MISSING
