"""A BERT sentence encoder as an ONNX graph: embeddings, attention layers, pooling, unit length.

From Devlin et al., BERT (2019), and Reimers and Gurevych, Sentence-BERT (2019). Covers what most sentence encoders
are, MiniLM, BGE, GTE and E5 among them; `unsupported` says what of a model it does not cover. The operators are ONNX
Runtime's fused ones. Segment ids are always zero for single texts, so their embedding is added to the positions'.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from resources.embedding_models.onnx_format import model_bytes, node

Weights = Mapping[str, NDArray[np.float32]]
Pooling = Literal["mean", "cls"]
INPUTS = ("input_ids", "attention_mask")
OUTPUT = "vector"
# What attention gives to padding: far below any score, and still finite when scores are added to it.
_MASKED = -10_000.0
_EPSILON = 1e-12


@dataclass(frozen=True, kw_only=True)
class BertShape:
    """The numbers of `config.json` that the graph depends on."""

    layers: int
    heads: int
    width: int
    epsilon: float


def unsupported(config: Mapping[str, Any]) -> str | None:
    """Why a model with this `config.json` cannot be written as this graph; None when it can."""
    if config.get("model_type") != "bert":
        return f"its architecture is {config.get('model_type')!r}, not 'bert'"
    if config.get("hidden_act", "gelu") != "gelu":
        return f"its activation is {config['hidden_act']!r}, not 'gelu'"
    if config.get("position_embedding_type", "absolute") != "absolute":
        return f"its positions are {config['position_embedding_type']!r}, not 'absolute'"
    return None


def bert_model(config: Mapping[str, Any], weights: Weights, *, pooling: Pooling) -> bytes:
    """The model as the bytes of an ONNX file.

    Takes input_ids and attention_mask, int64 (texts, tokens); gives vectors of unit length, float32 (texts, width).
    """
    shape = BertShape(
        layers=config["num_hidden_layers"],
        heads=config["num_attention_heads"],
        width=config["hidden_size"],
        epsilon=config.get("layer_norm_eps", _EPSILON),
    )
    named = {name.removeprefix("bert."): array.astype(np.float32, copy=False) for name, array in weights.items()}
    arrays = _arrays(named, shape)
    nodes = [*_embedding(shape), *(part for layer in range(shape.layers) for part in _layer(layer, shape))]
    nodes += _pooling(f"hidden{shape.layers}", pooling)
    tokens = ("int64", ("texts", "tokens"))
    return model_bytes(
        nodes=nodes,
        weights=arrays,
        inputs=dict.fromkeys(INPUTS, tokens),
        outputs={OUTPUT: ("float32", ("texts", shape.width))},
    )


def _arrays(named: Weights, shape: BertShape) -> dict[str, NDArray[np.float32] | NDArray[np.int64]]:
    arrays: dict[str, NDArray[np.float32] | NDArray[np.int64]] = {
        "words": named["embeddings.word_embeddings.weight"],
        "positions": named["embeddings.position_embeddings.weight"]
        + named["embeddings.token_type_embeddings.weight"][0],
        "embedding_scale": named["embeddings.LayerNorm.weight"],
        "embedding_shift": named["embeddings.LayerNorm.bias"],
        "tiny": np.array([_EPSILON], dtype=np.float32),
        "token_axis": np.array([1], dtype=np.int64),
        "width_axis": np.array([2], dtype=np.int64),
        "first": np.array([0], dtype=np.int64),
        "second": np.array([1], dtype=np.int64),
    }
    for layer in range(shape.layers):
        arrays |= _layer_arrays(named, layer)
    return arrays


def _layer_arrays(named: Weights, layer: int) -> dict[str, NDArray[np.float32]]:
    """Weights of a layer as the graph multiplies by them: transposed, and query, key and value side by side."""
    prefix = f"encoder.layer.{layer}"
    parts = [f"{prefix}.attention.self.{part}" for part in ("query", "key", "value")]
    linear = {
        "project": f"{prefix}.attention.output.dense",
        "expand": f"{prefix}.intermediate.dense",
        "contract": f"{prefix}.output.dense",
    }
    norms = {"attended": f"{prefix}.attention.output.LayerNorm", "hidden": f"{prefix}.output.LayerNorm"}
    return {
        f"attend{layer}": np.concatenate([named[f"{part}.weight"].T for part in parts], axis=1),
        f"attend_shift{layer}": np.concatenate([named[f"{part}.bias"] for part in parts]),
        **{f"{name}{layer}": named[f"{path}.weight"].T for name, path in linear.items()},
        **{f"{name}_shift{layer}": named[f"{path}.bias"] for name, path in linear.items()},
        **{f"{name}_scale{layer}": named[f"{path}.weight"] for name, path in norms.items()},
        **{f"{name}_norm_shift{layer}": named[f"{path}.bias"] for name, path in norms.items()},
    }


def _embedding(shape: BertShape) -> Iterator[bytes]:
    yield node("Shape", ["input_ids"], ["sizes"])
    yield node("Slice", ["sizes", "second", "width_axis", "first"], ["token_count"])
    yield node("Slice", ["positions", "first", "token_count", "first"], ["own_positions"])
    yield node("Gather", ["words", "input_ids"], ["word_vectors"], axis=0)
    yield node("Add", ["word_vectors", "own_positions"], ["placed"])
    yield node(
        "LayerNormalization",
        ["placed", "embedding_scale", "embedding_shift"],
        ["hidden0"],
        axis=-1,
        epsilon=shape.epsilon,
    )
    yield node("Cast", ["attention_mask"], ["mask"], to=6)


def _layer(layer: int, shape: BertShape) -> Iterator[bytes]:
    hidden = f"hidden{layer}"
    yield node(
        "Attention",
        [hidden, f"attend{layer}", f"attend_shift{layer}", "mask"],
        [f"context{layer}"],
        is_contributed=True,
        num_heads=shape.heads,
        mask_filter_value=_MASKED,
    )
    yield node("MatMul", [f"context{layer}", f"project{layer}"], [f"projected{layer}"])
    yield _added_norm(layer, [f"projected{layer}", hidden], "attended", "project", shape)
    yield node("MatMul", [f"attended{layer}", f"expand{layer}"], [f"expanded{layer}"])
    yield node("BiasGelu", [f"expanded{layer}", f"expand_shift{layer}"], [f"activated{layer}"], is_contributed=True)
    yield node("MatMul", [f"activated{layer}", f"contract{layer}"], [f"contracted{layer}"])
    yield _added_norm(layer, [f"contracted{layer}", f"attended{layer}"], "hidden", "contract", shape)


def _added_norm(layer: int, summands: list[str], norm: str, linear: str, shape: BertShape) -> bytes:
    """Sum, shift of the linear map before it, and layer normalisation, in one; the layer's result is the next input."""
    result = f"hidden{layer + 1}" if norm == "hidden" else f"{norm}{layer}"
    arrays = [f"{norm}_scale{layer}", f"{norm}_norm_shift{layer}", f"{linear}_shift{layer}"]
    return node("SkipLayerNormalization", [*summands, *arrays], [result], is_contributed=True, epsilon=shape.epsilon)


def _pooling(hidden: str, pooling: Pooling) -> Iterator[bytes]:
    if pooling == "mean":
        yield node("Cast", ["attention_mask"], ["weights"], to=1)
        yield node("Unsqueeze", ["weights", "width_axis"], ["token_weights"])
        yield node("Mul", [hidden, "token_weights"], ["weighted"])
        yield node("ReduceSum", ["weighted", "token_axis"], ["pooled"], keepdims=0)
    else:
        yield node("Slice", [hidden, "first", "second", "token_axis"], ["first_token"])
        yield node("Squeeze", ["first_token", "token_axis"], ["pooled"])
    # A mean and a sum have the same direction, and only that is kept.
    yield node("ReduceL2", ["pooled"], ["length"], axes=[1], keepdims=1)
    yield node("Max", ["length", "tiny"], ["positive_length"])
    yield node("Div", ["pooled", "positive_length"], [OUTPUT])
