"""Embeddings by sentence-transformers: whatever it can load, at the price of loading torch."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np

from pipelines.embeddings.embedder import Vectors
from resources.embedding_models.folders import ModelFolder

if TYPE_CHECKING:
    from sentence_transformers import SentenceTransformer

# It sorts by length itself; more texts a batch are mostly padding.
_BATCH_TEXTS = 16


class TorchEmbedder:
    """Any sentence-transformers model on the processor, loaded when it is first asked."""

    def __init__(self, folder: ModelFolder, *, threads: int) -> None:
        self.model_name = folder.name
        self.revision = folder.revision
        self._folder, self._threads = folder, threads

    @property
    def dimension(self) -> int:
        """Length of the vectors; loads the model."""
        return int(self._model.get_sentence_embedding_dimension() or 0)

    def encode(self, texts: Sequence[str]) -> Vectors:
        """Vectors of length 1, one row a text."""
        if not texts:
            return np.empty((0, self.dimension), dtype=np.float32)
        found = self._model.encode(
            list(texts), batch_size=_BATCH_TEXTS, normalize_embeddings=True, show_progress_bar=False
        )
        return np.asarray(found, dtype=np.float32)

    @cached_property
    def _model(self) -> SentenceTransformer:
        import torch
        from sentence_transformers import SentenceTransformer

        torch.set_num_threads(self._threads)
        return SentenceTransformer(str(self._folder.path), device="cpu", local_files_only=True)
