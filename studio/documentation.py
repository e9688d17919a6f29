"""Docs that are made from the code, so that they cannot drift: tables, formats, metrics, schemas, commands.

`python -m studio.documentation` writes them; with `--check` it fails when what stands differs.
"""

from __future__ import annotations

import sys
from pathlib import Path

from lake.contracts import TableContract
from lake.tables import CONTRACTS
from pipelines.runs.importers import IMPORTERS
from resources.demo_files import SHIPPED, demo_sources
from studio.format_pages import demo_page, format_index, format_page, metric_page
from studio.schema_command import schema_files

DOCS = Path(__file__).parent.parent / "docs"
# Folders that hold nothing but generated pages.
_GENERATED = ("tables", "formats", "schemas")
_NOTE = "<!-- Generated from the code by `make docs`; edit the code instead. -->\n\n"


def pages() -> dict[Path, str]:
    """Every generated page with its text."""
    made = {DOCS / "tables" / f"{address}.md": table_page(contract) for address, contract in CONTRACTS.items()}
    made[DOCS / "tables" / "README.md"] = table_index()
    guides = {kind: importer.guide for kind, importer in IMPORTERS.items()}
    made[DOCS / "formats.md"] = _NOTE + format_index(guides)
    made |= {DOCS / "formats" / f"{kind}.md": _NOTE + format_page(kind, guide) for kind, guide in guides.items()}
    made[DOCS / "metrics.md"] = _NOTE + metric_page()
    made[SHIPPED / "README.md"] = _NOTE + demo_page(demo_sources())
    made |= {DOCS / "schemas" / name: text for name, text in schema_files().items()}
    made[DOCS / "cli.md"] = command_reference()
    return made


def table_page(contract: TableContract) -> str:
    """What a table promises, column by column."""
    lines = [
        f"{_NOTE}# {contract.address}\n",
        f"{contract.grain}\n",
        f"- Key: {', '.join(f'`{name}`' for name in contract.key)}",
        f"- Partitioned by: {', '.join(f'`{name}`' for name in contract.partition_by) or 'nothing'}",
        f"- Sorted by: {', '.join(f'`{name}`' for name in contract.sort_by) or 'nothing'}",
        "- Change data feed: on\n",
        "| column | type | unit | null | description |",
        "|---|---|---|---|---|",
    ]
    lines.extend(
        f"| `{info.name}` | `{_escaped(info.dtype)}` | {info.unit} | {'yes' if info.is_nullable else 'no'} "
        f"| {_escaped(info.description)} |"
        for info in contract.columns
    )
    return "\n".join(lines) + "\n"


def table_index() -> str:
    """All tables with their grain."""
    lines = [
        f"{_NOTE}# Tables\n",
        "Bronze as received, silver conformed and keyed, gold derived evidence.\n",
        "Each is an open Delta table at `<lake>/<layer>/<table>`.\n",
        "| table | one row is |",
        "|---|---|",
    ]
    lines.extend(f"| [{address}]({address}.md) | {contract.grain} |" for address, contract in CONTRACTS.items())
    return "\n".join(lines) + "\n"


def _escaped(text: str) -> str:
    return text.replace("|", "\\|")


def command_reference() -> str:
    """The help text of every command, as the command line prints it."""
    import typer
    from typer.testing import CliRunner

    from studio.cli import app

    runner = CliRunner(env={"COLUMNS": "100", "TERM": "dumb", "NO_COLOR": "1"})
    parts = [f"{_NOTE}# Command reference\n"]
    for words in command_words(typer.main.get_command(app)):
        text = runner.invoke(app, [*words, "--help"], prog_name="benchlake", terminal_width=100).stdout
        stripped = "\n".join(line.rstrip() for line in text.splitlines()).strip()
        parts.append(f"## benchlake {' '.join(words)}\n".replace(" \n", "\n") + f"\n```\n{stripped}\n```\n")
    return "\n".join(parts)


def command_words(command: object, *before: str) -> list[list[str]]:
    """The words that lead to a command and to each below it: `[]`, `["suite"]`, `["suite", "diff"]`."""
    found = [list(before)]
    for name, below in sorted(getattr(command, "commands", {}).items()):
        found += command_words(below, *before, name)
    return found


def main(words: list[str]) -> int:
    """Write the pages, or compare them; the number of pages that differ is told on standard error."""
    stale = {path: text for path, text in pages().items() if not path.exists() or path.read_text("utf-8") != text}
    known = set(pages())
    orphans = [path for folder in _GENERATED for path in (DOCS / folder).glob("*") if path not in known]
    if "--check" in words:
        for path in [*stale, *orphans]:
            sys.stderr.write(f"{path.relative_to(DOCS.parent)} does not match the code; run `make docs`.\n")
        return 1 if stale or orphans else 0
    for path, text in stale.items():
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
    for path in orphans:
        path.unlink()
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
