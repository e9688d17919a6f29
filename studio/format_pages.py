"""The docs pages of the formats that can be imported and of the metrics that they are normalised to.

The words of a format are in its guide (`pipelines/runs/importers/guides/`); here they become Markdown. Which pages
there are is `documentation.py`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from pipelines.runs.importers.guide import FormatGuide
from pipelines.runs.metric_names import METRIC_NAMES
from resources.demo_files import DemoSource

_INDEX_INTRODUCTION = """\
# Files that can be imported

`benchlake import PATH…`, or drop them into the landing folder (`.benchlake/landing`). The format is recognised by
content, not by name; `--format` names it for a file that is not. A record that cannot be read is a row of
`bronze.rejects` with file, line and reason; everything beside it lands. Every record is also kept as received in
`bronze.raw_records`, with secrets in URLs and headers replaced, so unknown keys are not lost. Importing the same file
again changes nothing.

| format | `--format` | what is read |
|---|---|---|
"""
_INDEX_END = """
No harness? [Five lines of Python](formats/benchlake.md) log a run. `benchlake demo` puts a small file of each format
into the landing folder. Numbers are normalised to [one name, unit and direction](metrics.md).

## Trust

Imported files are untrusted. Paths that leave the given folder through links are refused; archives are read member by
member with caps on size and ratio; databases are opened read-only; a line over the cap is a reject, not a crash;
nothing is unpickled or evaluated.
"""
_METRICS_INTRODUCTION = """\
# Metrics

What several sources report under names and units of their own stands in
[silver.run_metrics](tables/silver.run_metrics.md) under one name, in one unit and with one direction. `variant` tells
values of one metric apart: a statistic (mean, p99), a scorer, an operator. A metric that is not listed keeps its
source's name.

| metric | unit | better | meaning |
|---|---|---|---|
"""
_DEMO_INTRODUCTION = """\
# Sample files

`benchlake demo` copies these folders into the landing folder. They are our own content under this repository's
licence: five questions to SmolLM2-135M-Instruct on llama.cpp's server, a line fitted by gradient descent, a sort that
was timed. Written by the tools themselves where no hand is named; after that, names of machines and absolute paths
were replaced, and the trace was packed.

| folder | shows | written by |
|---|---|---|
"""
_BETTER = {True: "higher", False: "lower", None: ""}


def format_index(guides: Mapping[str, FormatGuide]) -> str:
    """Every format with what is read of it, and what protects the reader's machine."""
    rows = (
        f"| [{guide.title}](formats/{kind}.md) | `{kind}` | {_cell(guide.reads)} |\n" for kind, guide in guides.items()
    )
    return _INDEX_INTRODUCTION + "".join(rows) + _INDEX_END


def format_page(kind: str, guide: FormatGuide) -> str:
    """What is read of one format, how such files are made, and what becomes of their fields."""
    lines = [
        f"# {guide.title}\n",
        f"{guide.reads.rstrip('.')}.\n",
        f"- Tried with: {guide.versions}",
        f"- Recognised by: {guide.recognised_by}",
        f"- Name: `--format {kind}`, and `source_kind` in `silver.runs`\n",
        "## Make such files and import them\n",
        f"{guide.how_to.strip()}\n",
        "## What becomes of them\n",
        "| in the file | in the lake | |",
        "|---|---|---|",
        *(f"| {_cell(field.source)} | {_column_link(field.column)} | {_cell(field.note)} |" for field in guide.fields),
        "\nEvery other key stays in `bronze.raw_records`.",
    ]
    if guide.surprises:
        lines += ["\n## What may surprise\n", *(f"- {surprise}" for surprise in guide.surprises)]
    if guide.reference:
        lines += ["\n## Every line and field\n", guide.reference.strip()]
    return "\n".join(lines) + "\n"


def metric_page() -> str:
    """The metrics that all sources are normalised to."""
    rows = (
        f"| `{metric.name}` | {metric.unit} | {_BETTER[metric.is_higher_better]} | {_cell(metric.description)} |\n"
        for metric in METRIC_NAMES.values()
    )
    return _METRICS_INTRODUCTION + "".join(rows)


def demo_page(sources: Sequence[DemoSource]) -> str:
    """What stands in the folder of sample files, and which tool wrote it."""
    rows = (
        f"| `{source.folder}/` | {_cell(source.shows)} | "
        f"{'by hand, in the form of ' if source.is_hand_written else ''}{_cell(source.made_with)} |\n"
        for source in sources
    )
    return _DEMO_INTRODUCTION + "".join(rows)


def _column_link(column: str) -> str:
    layer, table, *_ = column.split(".")
    return f"[`{column}`](../tables/{layer}.{table}.md)"


def _cell(text: str) -> str:
    return text.replace("|", "\\|")
