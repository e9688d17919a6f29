"""Rows of a CSV file, one by one, with those that are none put aside by their line.

What belongs here: lines, quotes and widths. What a row means is `metrics_csv.py`.

The csv module alone reads on after a stray quote until the file ends, and takes every row up to there with it. So
lines are joined only as far as that makes a row of the right width.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

from pipelines.runs.importers.metrics_csv_shape import TableShape, parse_line
from pipelines.runs.records import JsonObject, as_object, canonical_json, parse_json
from pipelines.runs.redaction import redact, redact_lines
from pipelines.runs.sources import Limits, SourceError, read_lines, read_pieces

if TYPE_CHECKING:
    from collections.abc import Iterator

    from pipelines.runs.importers.frames import BatchBuilder

# A quoted cell may hold line breaks; one that needs more is a quote that was never closed.
_JOINED_LINES = 50


class TableRow(NamedTuple):
    """A row by its columns' names, without secrets; `raw` is the same as JSON."""

    line_index: int
    raw: bytes
    cells: dict[str, str]


class _Line(NamedTuple):
    line_index: int
    text: str
    is_last: bool


class _Cells(NamedTuple):
    """A row before its secrets are taken out."""

    line_index: int
    cells: list[str]


def read_rows(builder: BatchBuilder, shape: TableShape, *, limits: Limits) -> Iterator[TableRow]:
    """Rows after the header; lines that are none become the builder's rejects, and so does a file that breaks off."""
    cutter = _RowCutter(shape=shape, builder=builder)
    try:
        for block in read_lines(read_pieces(builder.file, limits=limits), line_bytes=limits.line_bytes):
            found: list[_Cells] = []
            last = len(block.lines) - 1
            for offset, line in enumerate(block.lines):
                index = block.first_index + offset
                if index > shape.header_index:
                    found += cutter.take(index, line, is_last=block.is_cut and offset == last)
            yield from _redacted(found, shape)
        yield from _redacted(cutter.end(), shape)
    except SourceError as error:
        yield from _redacted(cutter.end(), shape)
        builder.reject(error.rule, str(error))


def _redacted(rows: list[_Cells], shape: TableShape) -> Iterator[TableRow]:
    """As objects, so that a column whose name tells of a secret is recognised."""
    named = [dict(zip(shape.header, row.cells, strict=True)) for row in rows]
    raws = [canonical_json(cells).encode("utf-8", "replace") for cells in named]
    for row, cells, raw, clean in zip(rows, named, raws, redact_lines(raws), strict=True):
        assert clean is not None
        yield TableRow(row.line_index, clean, cells if clean == raw else _texts(clean))


def _texts(clean: bytes) -> dict[str, str]:
    value: JsonObject = as_object(parse_json(clean)[0])
    return {name: cell if isinstance(cell, str) else canonical_json(cell) for name, cell in value.items()}


@dataclass(kw_only=True)
class _RowCutter:
    """Joins lines to rows; `pending` are those since a quote was opened."""

    shape: TableShape
    builder: BatchBuilder

    def __post_init__(self) -> None:
        self._pending: deque[_Line] = deque()
        probe = canonical_json(dict.fromkeys(self.shape.header, "x" * 20)).encode("utf-8", "replace")
        self._has_secrets = redact(probe) != probe

    def take(self, index: int, raw: bytes | None, *, is_last: bool) -> list[_Cells]:
        """Rows that are whole with this line."""
        if raw is None:
            rows = self.end()
            self.builder.reject("line_bytes", f"Line {index + 1} is too long and was left out.", record_index=index)
            return rows
        try:
            text = raw.decode("utf-8").removesuffix("\r")
        except UnicodeDecodeError:
            rows = self.end()
            message = f"Line {index + 1} is not UTF-8. Write the file as UTF-8."
            self.builder.reject("encoding", message, record_index=index)
            return rows
        if not self._pending and '"' not in text:
            return self._single(_Line(index, text, is_last))
        self._pending.append(_Line(index, text, is_last))
        return self._settle(is_end=False)

    def end(self) -> list[_Cells]:
        """Rows among the lines that still wait for a quote."""
        return self._settle(is_end=True)

    def _settle(self, *, is_end: bool) -> list[_Cells]:
        """Take rows off the waiting lines; a line that begins none is refused alone."""
        rows: list[_Cells] = []
        while self._pending:
            count = self._joined_count()
            if count is None and not is_end and len(self._pending) < _JOINED_LINES:
                break
            text = "\n".join(self._pending[place].text for place in range(count or 1))
            cells = parse_line(text, self.shape.delimiter)
            if count is None or cells is None or len(cells) != len(self.shape.header):
                rows += self._single(self._pending.popleft())
                continue
            taken = [self._pending.popleft() for _ in range(count)]
            rows += self._single(_Line(taken[0].line_index, text, taken[-1].is_last))
        return rows

    def _joined_count(self) -> int | None:
        """How many of the waiting lines it takes until every quote is closed."""
        quotes = 0
        for place, line in enumerate(self._pending):
            quotes += line.text.count('"')
            if quotes % 2 == 0:
                return place + 1
        return None

    def _single(self, line: _Line) -> list[_Cells]:
        """The row of a line that stands for itself."""
        if not line.text.strip():
            return []
        cells = parse_line(line.text, self.shape.delimiter)
        if cells is not None and len(cells) == len(self.shape.header) and not _is_open(line.text):
            return [_Cells(line.line_index, cells)]
        self._refuse(line, cells)
        return []

    def _refuse(self, line: _Line, cells: list[str] | None) -> None:
        # Cells that belong to no column cannot be told to be secret by their names.
        raw = None if self._has_secrets else redact(line.text.encode("utf-8", "replace"))
        count, width = len(cells or ()), len(self.shape.header)
        if line.is_last and count <= width:
            rule, reason = "truncated", "the last, ends in the middle: the file was cut or is still being written"
        elif cells is None or _is_open(line.text):
            rule, reason = "quotes", "has a quote that is never closed"
        else:
            rule, reason = "width", f"has {count} cells where the header has {width}"
        self.builder.reject(rule, f"Line {line.line_index + 1} {reason}.", record_index=line.line_index, raw=raw)


def _is_open(text: str) -> bool:
    return text.count('"') % 2 == 1
