"""A BERT sentence encoder by its formulas, one text at a time, no padding: the slow truth for the ONNX graph."""

import math

import numpy as np

WIDTH, HEADS, INNER, WORDS, PLACES = 8, 2, 16, 20, 12
CONFIG = {
    "model_type": "bert",
    "hidden_size": WIDTH,
    "num_attention_heads": HEADS,
    "num_hidden_layers": 2,
    "intermediate_size": INNER,
    "hidden_act": "gelu",
    "layer_norm_eps": 1e-5,
    "max_position_embeddings": PLACES,
}


def random_weights(seed: int) -> dict[str, np.ndarray]:
    """Weights of the tiny model, by the names that BERT gives them."""
    rng = np.random.default_rng(seed)
    shapes = {
        "embeddings.word_embeddings.weight": (WORDS, WIDTH),
        "embeddings.position_embeddings.weight": (PLACES, WIDTH),
        "embeddings.token_type_embeddings.weight": (2, WIDTH),
    }
    for layer in range(CONFIG["num_hidden_layers"]):
        prefix = f"encoder.layer.{layer}"
        for name in ("attention.self.query", "attention.self.key", "attention.self.value", "attention.output.dense"):
            shapes |= {f"{prefix}.{name}.weight": (WIDTH, WIDTH), f"{prefix}.{name}.bias": (WIDTH,)}
        shapes |= {f"{prefix}.intermediate.dense.weight": (INNER, WIDTH), f"{prefix}.intermediate.dense.bias": (INNER,)}
        shapes |= {f"{prefix}.output.dense.weight": (WIDTH, INNER), f"{prefix}.output.dense.bias": (WIDTH,)}
        for name in ("attention.output", "output"):
            shapes |= {f"{prefix}.{name}.LayerNorm.{part}": (WIDTH,) for part in ("weight", "bias")}
    shapes |= {f"embeddings.LayerNorm.{part}": (WIDTH,) for part in ("weight", "bias")}
    return {name: rng.standard_normal(shape).astype(np.float32) for name, shape in shapes.items()}


def encode(weights: dict[str, np.ndarray], tokens: list[int], *, pooling: str) -> np.ndarray:
    """The unit vector of one text."""
    positions = weights["embeddings.position_embeddings.weight"][: len(tokens)]
    segment = weights["embeddings.token_type_embeddings.weight"][0]
    hidden = weights["embeddings.word_embeddings.weight"][tokens] + positions + segment
    hidden = norm(hidden, weights, "embeddings.LayerNorm")
    for layer in range(CONFIG["num_hidden_layers"]):
        hidden = encode_layer(hidden, weights, f"encoder.layer.{layer}")
    pooled = hidden.mean(axis=0) if pooling == "mean" else hidden[0]
    return pooled / np.linalg.norm(pooled)


def encode_layer(hidden: np.ndarray, weights: dict[str, np.ndarray], prefix: str) -> np.ndarray:
    query, key, value = (
        linear(hidden, weights, f"{prefix}.attention.self.{part}") for part in ("query", "key", "value")
    )
    heads = []
    for head in np.split(np.arange(WIDTH), HEADS):
        scores = query[:, head] @ key[:, head].T / math.sqrt(WIDTH / HEADS)
        shares = np.exp(scores - scores.max(axis=1, keepdims=True))
        heads.append(shares / shares.sum(axis=1, keepdims=True) @ value[:, head])
    attended = linear(np.concatenate(heads, axis=1), weights, f"{prefix}.attention.output.dense")
    attended = norm(attended + hidden, weights, f"{prefix}.attention.output.LayerNorm")
    inner = linear(attended, weights, f"{prefix}.intermediate.dense")
    inner = inner * 0.5 * (1 + np.vectorize(math.erf)(inner / math.sqrt(2)))
    return norm(linear(inner, weights, f"{prefix}.output.dense") + attended, weights, f"{prefix}.output.LayerNorm")


def linear(values: np.ndarray, weights: dict[str, np.ndarray], name: str) -> np.ndarray:
    return values @ weights[f"{name}.weight"].T + weights[f"{name}.bias"]


def norm(values: np.ndarray, weights: dict[str, np.ndarray], name: str) -> np.ndarray:
    centred = values - values.mean(axis=1, keepdims=True)
    scaled = centred / np.sqrt((centred**2).mean(axis=1, keepdims=True) + CONFIG["layer_norm_eps"])
    return scaled * weights[f"{name}.weight"] + weights[f"{name}.bias"]
