"""Commands of the decision ledger."""

from __future__ import annotations

import typer


def register(app: typer.Typer) -> None:
    """Add the commands of the decision ledger to the command line."""
