"""The embedder of an installation: which model and which runtime `benchlake.toml` asks for.

The models and runtimes themselves are in `resources/embedding_models/`.
"""

from __future__ import annotations

import os
from pathlib import Path

from lake.errors import UserError
from pipelines.embeddings.embedder import Embedder
from resources.embedding_models.configuration import HASHING, EmbeddingsConfig
from resources.embedding_models.folders import encoder_shape, find_model

# A laptop's fan or a neighbour's work pays for more; by configuration, all the same.
_DEFAULT_THREADS = 4


def open_embedder(config: EmbeddingsConfig, *, folder: Path, models: Path) -> Embedder:
    """The configured embedder; the model itself is loaded when it is first asked.

    `folder` is where relative model folders start, `models` where conversions are kept. Raises `UserError` when the
    model cannot be found, or cannot be run as asked.
    """
    if config.model == HASHING:
        from resources.embedding_models.hashing import HashingEmbedder

        return HashingEmbedder()
    found = find_model(config.model, revision=config.revision, folder=folder)
    threads = config.threads or min(_usable_cores(), _DEFAULT_THREADS)
    if config.runtime != "torch":
        shape = encoder_shape(found.path)
        if not isinstance(shape, str):
            from resources.embedding_models.onnx_runtime import OnnxEmbedder

            return OnnxEmbedder(found, shape, models=models, threads=threads)
        if config.runtime == "onnx":
            raise UserError(f"{config.model} cannot be run by onnx: {shape}. Set embeddings.runtime to torch or auto.")
    from resources.embedding_models.torch_runtime import TorchEmbedder

    return TorchEmbedder(found, threads=threads)


def _usable_cores() -> int:
    # A container may use fewer than the machine has.
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
