"""Embeddings by ONNX Runtime and the fast tokenizer: the same vectors as sentence-transformers, without torch.

Short texts beside long ones would be padded to their length, so texts are sorted by their tokens and run in batches
of about 512 padded tokens, which fit the processor's cache. Batches run side by side, each on one thread: that beats
one batch on several (tests/benchmarks/bench_embeddings.py).
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

import filelock
import numpy as np
from numpy.typing import NDArray

from pipelines.embeddings.embedder import Vectors
from resources.embedding_models.bert_graph import INPUTS, bert_model
from resources.embedding_models.folders import TOKENIZER, WEIGHTS, EncoderShape, ModelFolder

if TYPE_CHECKING:
    from onnxruntime import InferenceSession
    from tokenizers import Tokenizer

BATCH_TOKENS = 512
# Texts that are tokenised at a time: sorted among so many, hardly a token is padding.
_CHUNK_TEXTS = 8_192
# Raise it when the graph changes, so that older conversions are not used.
_FORMAT = 1


class OnnxEmbedder:
    """A BERT sentence encoder, converted once into `models` and kept open. Safe to share by threads."""

    def __init__(self, folder: ModelFolder, shape: EncoderShape, *, models: Path, threads: int) -> None:
        self.model_name = folder.name
        self.revision = folder.revision
        self.dimension: int = shape.config["hidden_size"]
        self._folder, self._shape, self._models, self._threads = folder, shape, models, threads

    def encode(self, texts: Sequence[str]) -> Vectors:
        """Vectors of length 1, one row a text; what is beyond the model's limit of tokens is not read."""
        vectors = np.empty((len(texts), self.dimension), dtype=np.float32)
        for start in range(0, len(texts), _CHUNK_TEXTS):
            chunk = list(texts[start : start + _CHUNK_TEXTS])
            self._encode_chunk(chunk, vectors[start : start + len(chunk)])
        return vectors

    def _encode_chunk(self, texts: list[str], vectors: Vectors) -> None:
        tokens = [encoding.ids for encoding in self._tokenizer.encode_batch_fast(texts)]
        batches = list(batches_of(tokens))

        def run(batch: list[int]) -> None:
            vectors[batch] = self._run([tokens[place] for place in batch])

        if len(batches) == 1 or self._threads == 1:
            for batch in batches:
                run(batch)
            return
        with ThreadPoolExecutor(self._threads) as pool:
            # Taken in full, so that an error is raised here.
            list(pool.map(run, batches))

    def _run(self, tokens: list[list[int]]) -> Vectors:
        shape = (len(tokens), max(map(len, tokens)))
        ids: NDArray[np.int64] = np.zeros(shape, dtype=np.int64)
        mask: NDArray[np.int64] = np.zeros(shape, dtype=np.int64)
        for row, own in enumerate(tokens):
            ids[row, : len(own)] = own
            mask[row, : len(own)] = 1
        (found,) = self._session.run(None, dict(zip(INPUTS, (ids, mask), strict=True)))
        vectors: Vectors = found
        return vectors

    @cached_property
    def _tokenizer(self) -> Tokenizer:
        from tokenizers import Tokenizer

        tokenizer = Tokenizer.from_file(os.fspath(self._folder.path / TOKENIZER))
        tokenizer.enable_truncation(self._shape.max_tokens)
        tokenizer.no_padding()
        return tokenizer

    @cached_property
    def _session(self) -> InferenceSession:
        import onnxruntime

        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = 1
        options.inter_op_num_threads = 1
        path = convert_model(self._folder, self._shape, models=self._models)
        return onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])


def batches_of(tokens: Sequence[Sequence[int]]) -> Iterator[list[int]]:
    """Places of texts in batches of at most `BATCH_TOKENS` padded tokens, or of one text; the longest come first."""
    batch: list[int] = []
    longest = 0
    for place in sorted(range(len(tokens)), key=lambda place: -len(tokens[place])):
        if batch and (len(batch) + 1) * longest > BATCH_TOKENS:
            yield batch
            batch = []
        if not batch:
            longest = len(tokens[place])
        batch.append(place)
    if batch:
        yield batch


def convert_model(folder: ModelFolder, shape: EncoderShape, *, models: Path) -> Path:
    """The model as an ONNX file below `models`, written if it is not there; other processes wait meanwhile."""
    path = models / f"{folder.name.replace('/', '--')}-{folder.revision[:12]}-v{_FORMAT}.onnx"
    if path.is_file():
        return path
    models.mkdir(parents=True, exist_ok=True)
    with filelock.FileLock(models / f".{path.name}.lock"):
        if not path.is_file():
            from safetensors.numpy import load_file

            unfinished = models / f".{path.name}.unfinished"
            weights = load_file(folder.path / WEIGHTS)
            unfinished.write_bytes(bert_model(shape.config, weights, pooling=shape.pooling))
            unfinished.replace(path)
    return path
