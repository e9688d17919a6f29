"""What a report is made of, whatever it is written as.

Blocks hold plain text, never markup: what a model wrote stays text in each form, because each form escapes everything.
A section that is marked `is_expert` is left out of the summary view.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Literal, TypeAlias

import polars as pl

from pipelines.plain_texts import shown_number

SpanKind = Literal["kept", "removed", "added", "moved", "token"]
View = Literal["summary", "expert"]
# Characters of one side that a report shows; the command under it shows all.
SIDE_CHARACTERS = 2_000


@dataclass(frozen=True, kw_only=True)
class Paragraph:
    """A few sentences."""

    text: str


@dataclass(frozen=True, kw_only=True)
class Table:
    """Cells as text; the column named `tone_column` holds verdicts, which are coloured."""

    columns: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    numeric: tuple[bool, ...]
    tone_column: str | None = None


@dataclass(frozen=True, kw_only=True)
class Picture:
    """An SVG of our own charts; `alt` says what it shows."""

    svg: str
    alt: str


@dataclass(frozen=True, kw_only=True)
class Span:
    """A stretch of an output: kept on both sides, removed, added, moved, or the token at which the sides part."""

    text: str
    kind: SpanKind


@dataclass(frozen=True, kw_only=True)
class SideBySide:
    """Two outputs beside each other: baseline, then candidate."""

    title: str
    heads: tuple[str, str]
    sides: tuple[tuple[Span, ...], tuple[Span, ...]]


@dataclass(frozen=True, kw_only=True)
class Code:
    """A command or a query, to be copied."""

    text: str


@dataclass(frozen=True, kw_only=True)
class Link:
    """Where to look further; `address` is a URL of ours or a path."""

    text: str
    address: str


Block: TypeAlias = Paragraph | Table | Picture | SideBySide | Code | Link


@dataclass(frozen=True, kw_only=True)
class Section:
    """A part with a heading; `anchor` is its place in links and stays the same from report to report."""

    title: str
    anchor: str
    blocks: tuple[Block, ...]
    is_expert: bool = False


@dataclass(frozen=True, kw_only=True)
class Report:
    """A document: the sentence that matters first, then parts, then where everything came from."""

    title: str
    summary: str
    sections: tuple[Section, ...]
    provenance: tuple[tuple[str, str], ...]
    commands: tuple[str, ...] = ()

    def in_view(self, view: View) -> Report:
        """The same without what only experts ask for."""
        if view == "expert":
            return self
        return replace(self, sections=tuple(section for section in self.sections if not section.is_expert))


def table_of(frame: pl.DataFrame, *, tone_column: str | None = None) -> Table:
    """A frame as a table; numbers get four significant digits, lists are joined."""
    return Table(
        columns=tuple(frame.columns),
        rows=tuple(tuple(map(cell_text, row)) for row in frame.iter_rows()),
        numeric=tuple(dtype.is_numeric() for dtype in frame.dtypes),
        tone_column=tone_column,
    )


def cell_text(value: object) -> str:
    """A value as a reader expects it in a table."""
    if value is None:
        return ""
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, float):
        return shown_number(value)
    if isinstance(value, Mapping):
        return ", ".join(f"{name}: {cell_text(item)}" for name, item in value.items())
    if isinstance(value, Sequence) and not isinstance(value, str | bytes):
        return "; ".join(map(cell_text, value))
    return str(value)


def shortened(spans: Sequence[Span]) -> tuple[Span, ...]:
    """Spans up to `SIDE_CHARACTERS` characters, with a sign where there is more."""
    return tuple(_up_to(spans, SIDE_CHARACTERS))


def _up_to(spans: Sequence[Span], limit: int) -> Iterator[Span]:
    left = limit
    for span in spans:
        if len(span.text) > left:
            yield replace(span, text=span.text[:left] + " …")
            return
        left -= len(span.text)
        yield span
