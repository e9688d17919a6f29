"""Commands of the example store."""

from __future__ import annotations

import typer


def register(app: typer.Typer) -> None:
    """Add the commands of the example store to the command line."""
