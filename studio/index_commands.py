"""Commands of embeddings and the vector index."""

from __future__ import annotations

import typer


def register(app: typer.Typer) -> None:
    """Add the commands of embeddings and the vector index to the command line."""
