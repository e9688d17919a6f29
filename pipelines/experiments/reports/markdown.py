"""A report as Markdown, for a pull request or a wiki; pictures are data URIs unless they are left out."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from pipelines.drawing import as_data_uri
from pipelines.evidence.render import escape_markdown
from pipelines.experiments.reports.blocks import Block, Code, Link, Paragraph, Picture, Report, SideBySide, Span, Table
from pipelines.plain_texts import printable

# Beside punctuation a mark needs it to be one; too thin to be taken for a space.
_HAIR = "\u200a"
_MARKS = {"removed": "~~", "added": "**", "moved": "_", "token": "**"}


def as_markdown(report: Report, *, has_pictures: bool = True) -> str:
    """The whole document; `has_pictures` False where size counts, as in a comment on a pull request."""
    parts = [f"# {escape_markdown(report.title)}", f"**{escape_markdown(report.summary)}**"]
    for section in report.sections:
        parts.append(f'<a id="{section.anchor}"></a>\n\n## {escape_markdown(section.title)}')
        parts.extend(part for block in section.blocks for part in _parts(block, has_pictures=has_pictures))
    rows = tuple((name, value) for name, value in report.provenance)
    parts += ["## Where this comes from", _table(Table(columns=("what", "value"), rows=rows, numeric=(False, False)))]
    if report.commands:
        parts += ["To see it again:", _fenced("\n".join(report.commands))]
    return "\n\n".join(parts) + "\n"


def _parts(block: Block, *, has_pictures: bool) -> Iterator[str]:
    if isinstance(block, Paragraph):
        yield escape_markdown(block.text)
    elif isinstance(block, Code):
        yield _fenced(block.text)
    elif isinstance(block, Link):
        yield f"[{escape_markdown(block.text)}](<{_address(block.address)}>)"
    elif isinstance(block, Picture):
        if has_pictures:
            yield f"![{escape_markdown(block.alt)}]({as_data_uri(block.svg)})"
    elif isinstance(block, Table):
        yield _table(block)
    else:
        yield _sides(block)


def _table(table: Table) -> str:
    head = f"| {' | '.join(map(escape_markdown, table.columns))} |"
    rule = f"|{''.join('---:|' if numeric else '---|' for numeric in table.numeric)}"
    return "\n".join([head, rule, *(f"| {' | '.join(map(escape_markdown, row))} |" for row in table.rows)])


def _sides(pair: SideBySide) -> str:
    heads, cells = (f"| {' | '.join(texts)} |" for texts in (map(escape_markdown, pair.heads), map(_spans, pair.sides)))
    return f"{escape_markdown(pair.title)}\n\n{heads}\n|---|---|\n{cells}"


def _spans(spans: Sequence[Span]) -> str:
    return "".join(map(_span, spans)) or "(no output)"


def _span(span: Span) -> str:
    text = escape_markdown(span.text)
    mark = _MARKS.get(span.kind, "")
    return f"{_HAIR}{mark}{text}{mark}{_HAIR}" if mark and text.strip() else text


def _fenced(text: str) -> str:
    shown = "\n".join(map(printable, text.split("\n")))
    fence = "```"
    while fence in shown:
        fence += "`"
    return f"{fence}\n{shown}\n{fence}"


def _address(text: str) -> str:
    return text.translate({ord(sign): f"%{ord(sign):02X}" for sign in "<>\\ \n\r"})
