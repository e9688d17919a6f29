"""Commands of trends."""

from __future__ import annotations

import typer


def register(app: typer.Typer) -> None:
    """Add the commands of trends to the command line."""
