"""Near demos are found in the index of the store, and by themselves where it does not have them yet."""

import numpy as np

from lake.identity import text_digest
from pipelines.embeddings.embedder import ModelIdentity
from pipelines.embeddings.index import VectorIndex
from pipelines.embeddings.index_sync import new_segment
from pipelines.embeddings.texts import vector_id
from pipelines.optimization.neighbours import IndexNearest, input_text

WORDS = ("red", "green", "blue", "rose", "grey")
POOL = [{"message": word, "order": word.upper()} for word in WORDS]


class Encoder:
    """A text's vector is which of r, g, b it begins with, and a little of its length."""

    def __init__(self) -> None:
        self.encoded: list[str] = []

    def __call__(self, texts):
        self.encoded += texts
        rows = np.array([[*(text[0] == letter for letter in "rgb"), len(text) / 100] for text in texts], np.float32)
        return rows / np.linalg.norm(rows, axis=1, keepdims=True)


def index_of(words) -> VectorIndex:
    encode = Encoder()
    ids = np.array([vector_id(text_digest(word)) for word in words])
    order = np.argsort(ids)
    vectors = encode([words[place] for place in order])
    segment = new_segment(ids[order], vectors, kind="flat")
    return VectorIndex(model=ModelIdentity(model_name="m", revision="1", dimension=4), version=1, segments=[segment])


def test_the_nearest_stands_last_with_and_without_an_index() -> None:
    for index in (None, index_of(WORDS), index_of(WORDS[:2])):
        nearest = IndexNearest(Encoder(), index)
        shown = [WORDS[place] for place in nearest({"message": "green"}, POOL, 2)]
        assert shown == ["grey", "green"]
        assert nearest({"message": "green"}, [], 2) == []


def test_what_the_index_has_is_not_embedded_again() -> None:
    encode = Encoder()
    IndexNearest(encode, index_of(WORDS[:4]))({"message": "gold"}, POOL, 2)
    assert encode.encoded == ["gold", "grey"]
    assert input_text({"message": "gold"}) == "gold"
