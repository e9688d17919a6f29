"""The example store of an installation with what it needs from outside: embedding model, vector index, cached files."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pipelines.examples.search import ExampleSearch
from pipelines.examples.store import ExampleStore

if TYPE_CHECKING:
    from resources.installation import Installation


def open_example_search(installation: Installation) -> ExampleSearch:
    """Search over the installation's examples; model and index are loaded when a search first needs them."""
    service = installation.embeddings
    return ExampleSearch(
        ExampleStore(installation.lake),
        embedder=service.embedder,
        vector_index=service.index,
        keyword_folder=installation.state.indexes / "example_keywords",
    )
