"""Commands of exports."""

from __future__ import annotations

import typer


def register(app: typer.Typer) -> None:
    """Add the commands of exports to the command line."""
