"""What makes vectors of texts, as the rest of the house sees it.

No model is loaded here: `resources/embedders.py` has the embedders.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

Vectors = NDArray[np.float32]


class Embedder(Protocol):
    """An embedding model that is ready to answer.

    `model_name` is what it is called wherever it runs, `revision` what exactly it is: two embedders of one name and
    revision give the same vectors, up to rounding.
    """

    @property
    def model_name(self) -> str:
        """Name of the model, for instance all-MiniLM-L6-v2."""

    @property
    def revision(self) -> str:
        """Digest of the model's files, or commit on its hub."""

    @property
    def dimension(self) -> int:
        """Length of the vectors."""

    def encode(self, texts: Sequence[str]) -> Vectors:
        """Vectors of length 1, one row a text, in the order of the texts: float32, (len(texts), dimension)."""


@dataclass(frozen=True, kw_only=True)
class ModelIdentity:
    """Which vectors may stand beside one another: those of one model, revision and dimension."""

    model_name: str
    revision: str
    dimension: int


def identity_of(embedder: Embedder) -> ModelIdentity:
    """The identity of the vectors that `embedder` makes."""
    return ModelIdentity(model_name=embedder.model_name, revision=embedder.revision, dimension=embedder.dimension)
