"""Commands of reports and links."""

from __future__ import annotations

import typer


def register(app: typer.Typer) -> None:
    """Add the commands of reports and links to the command line."""
