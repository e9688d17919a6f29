"""Commands of templates and prompt optimisation."""

from __future__ import annotations

import typer


def register(app: typer.Typer) -> None:
    """Add the commands of templates and prompt optimisation to the command line."""
