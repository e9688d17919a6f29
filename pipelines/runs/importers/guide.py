"""What a format's page in the docs says: the words live beside the importer, so that they change with it.

`studio/documentation.py` makes docs/formats.md and docs/formats/<kind>.md from these.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class FieldSource:
    """Where a column comes from; `column` is `layer.table.column`, or `layer.table` for whole rows."""

    source: str
    column: str
    note: str = ""


@dataclass(frozen=True, kw_only=True)
class FormatGuide:
    """A format for people: what is read, how it is made and imported, and what may surprise.

    `title` is the tool's own name, `reads` one line for the overview, `versions` what it was tried with,
    `recognised_by` the content that gives it away, `how_to` Markdown with the commands that make such files and import
    them, `fields` the mapping, `surprises` a sentence each. `reference` is Markdown that the format makes from its own
    declaration, for a format whose writers need more than the mapping.
    """

    title: str
    reads: str
    versions: str
    recognised_by: str
    how_to: str
    fields: tuple[FieldSource, ...]
    surprises: tuple[str, ...] = ()
    reference: str = ""
