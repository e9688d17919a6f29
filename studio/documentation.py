"""Docs that are made from the code, so that they cannot drift: table pages, and the command reference.

`python -m studio.documentation` writes them; with `--check` it fails when what stands differs.
"""

from __future__ import annotations

import sys
from pathlib import Path

from lake.contracts import TableContract
from lake.tables import CONTRACTS

DOCS = Path(__file__).parent.parent / "docs"
_NOTE = "<!-- Generated from the code by `make docs`; edit the code instead. -->\n\n"


def pages() -> dict[Path, str]:
    """Every generated page with its text."""
    made = {DOCS / "tables" / f"{address}.md": table_page(contract) for address, contract in CONTRACTS.items()}
    made[DOCS / "tables" / "README.md"] = table_index()
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
    names = sorted(typer.main.get_command(app).commands)  # type: ignore[attr-defined]  # a group, as it has commands
    parts = [f"{_NOTE}# Command reference\n"]
    for words in ([], *([name] for name in names)):
        text = runner.invoke(app, [*words, "--help"], prog_name="benchlake", terminal_width=100).stdout
        stripped = "\n".join(line.rstrip() for line in text.splitlines()).strip()
        parts.append(f"## benchlake {' '.join(words)}\n".replace(" \n", "\n") + f"\n```\n{stripped}\n```\n")
    return "\n".join(parts)


def main(words: list[str]) -> int:
    """Write the pages, or compare them; the number of pages that differ is told on standard error."""
    stale = {path: text for path, text in pages().items() if not path.exists() or path.read_text("utf-8") != text}
    known = set(pages())
    orphans = [path for path in (DOCS / "tables").glob("*.md") if path not in known]
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
