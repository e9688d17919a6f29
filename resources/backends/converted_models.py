"""Weights of a GGUF file as safetensors, converted once and kept."""

from __future__ import annotations

import io
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stderr
from pathlib import Path
from typing import TYPE_CHECKING

import filelock

if TYPE_CHECKING:
    from resources.backends.gguf_models import GgufModel

# Raise it when what is written below changes, so that older conversions are not used.
_FORMAT = 1


def convert_model(model: GgufModel, models: Path) -> Path:
    """Folder below `models` with `model` as 32-bit safetensors and its tokenizer; converts it if it is not there.

    The folder gets its name when it is complete: a kill leaves a hidden folder, which the next conversion removes.
    Other processes wait for the one that converts.
    """
    folder = models / f"{model.name}-{model.digest[:12]}-f32-v{_FORMAT}"
    if folder.is_dir():
        return folder
    models.mkdir(parents=True, exist_ok=True)
    with filelock.FileLock(models / f".{folder.name}.lock"):
        if not folder.is_dir():
            unfinished = models / f".{folder.name}.unfinished"
            shutil.rmtree(unfinished, ignore_errors=True)
            _convert(model.path, unfinished)
            unfinished.rename(folder)
    return folder


def _convert(gguf: Path, folder: Path) -> None:
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer, GgufConfig

    with quiet_loading():
        tokenizer = AutoTokenizer.from_pretrained(gguf.parent, gguf_file=gguf.name, local_files_only=True)
        model = AutoModelForCausalLM.from_pretrained(
            gguf.parent,
            gguf_file=gguf.name,
            local_files_only=True,
            dtype=torch.float32,
            # Without it Transformers keeps the blocks packed, and such a model cannot be saved.
            quantization_config=GgufConfig(dequantize=True),
        )
        model.save_pretrained(folder)
        tokenizer.save_pretrained(folder)


@contextmanager
def quiet_loading() -> Iterator[None]:
    """Keep the bars that Transformers draws while it loads, by several means, out of the terminal."""
    with redirect_stderr(io.StringIO()):
        yield
