"""Search by meaning, by words and by both, among what a filter admits."""

from __future__ import annotations

import pytest

from lake.errors import UserError
from pipelines.embeddings.service import EmbeddingService
from pipelines.embeddings.texts import text_of_json
from pipelines.examples.catalogue import ExampleFilter
from pipelines.examples.checks import count_unindexed, find_duplicates
from pipelines.examples.search import ExampleSearch
from pipelines.examples.store import ExampleStore
from tests.examples.rows import AUTHOR, NOW, WordEmbedder, draft

QUESTIONS = {
    "what is the capital of france": ("Paris", "geo"),
    "what is the capital of italy": ("Rome", "geo"),
    "who painted the ceiling of the chapel": ("Michelangelo", "art"),
    "name a planet with rings": ("Saturn", "science"),
}


@pytest.fixture
def service(lake, tmp_path) -> EmbeddingService:
    return EmbeddingService(lake, open_embedder=lambda _: WordEmbedder(), indexes=tmp_path / "indexes")


@pytest.fixture
def search(lake, service, tmp_path) -> ExampleSearch:
    """Four examples, all embedded."""
    store = ExampleStore(lake)
    for question, (answer, tag) in QUESTIONS.items():
        store.create(draft(question, answer, tags=[tag]), now=NOW, author=AUTHOR)
    service.update()
    return ExampleSearch(
        store, embedder=service.embedder, vector_index=service.index, keyword_folder=tmp_path / "keywords"
    )


def answers(found) -> list[str]:
    return found.rows["expected_output"].to_list()


def test_by_meaning_by_words_and_by_both(search) -> None:
    by_meaning = search.search("capital of france", mode="embedding")
    assert answers(by_meaning)[:2] == ["Paris", "Rome"]
    assert by_meaning.rows["keyword_score"].null_count() == by_meaning.rows.height
    by_words = search.search("rings", mode="keywords")
    assert answers(by_words) == ["Saturn"]
    assert by_words.rows["similarity"].to_list() == [None]
    both = search.search("capital of france")
    assert answers(both)[0] == "Paris"
    assert both.rows["rank"].to_list() == [1, 2, 3, 4]
    assert both.rows["score"].is_sorted(descending=True)
    # The expected output is searched by words, not by meaning.
    assert answers(search.search("Michelangelo", mode="keywords")) == ["Michelangelo"]


def test_a_vector_finds_its_text(search, service) -> None:
    vector = service.compute_embedding("who painted the ceiling of the chapel")
    found = search.search_by_embedding(vector, count=1)
    assert (answers(found), found.rows["similarity"][0]) == (["Michelangelo"], pytest.approx(1.0, abs=1e-5))


@pytest.mark.parametrize("mode", ["hybrid", "embedding", "keywords"])
def test_a_filter_holds_in_every_mode(search, mode) -> None:
    found = search.search("the capital of france", mode=mode, wanted=ExampleFilter(tags=("art",)))
    assert answers(found) == ["Michelangelo"]
    assert search.search("the capital", mode=mode, wanted=ExampleFilter(domain="none")).rows.is_empty()


def test_a_deleted_example_is_found_in_no_mode(search) -> None:
    gone = search.search("planet with rings", mode="keywords").rows["example_id"][0]
    search.store.delete(gone, now=NOW, author=AUTHOR)
    for mode in ("hybrid", "embedding", "keywords"):
        assert "Saturn" not in answers(search.search("planet with rings", mode=mode))


def test_a_new_example_is_found_by_words_before_it_is_embedded(search, service) -> None:
    search.store.create(draft("which moon is made of cheese", "none"), now=NOW, author=AUTHOR)
    assert answers(search.search("cheese", mode="keywords")) == ["none"]
    lag = count_unindexed(search.store, service.index(), search.keywords())
    assert (lag.vector_count, lag.keyword_count) == (1, 0)
    service.update()
    assert count_unindexed(search.store, service.index(), search.keywords()).vector_count == 0
    assert answers(search.search("cheese moon", mode="embedding", count=1)) == ["none"]


def test_diversity_brings_what_is_different_forward(search) -> None:
    assert answers(search.search("capital of france", mode="embedding", count=2)) == ["Paris", "Rome"]
    picked = answers(search.search("capital of france", mode="embedding", count=2, diversity=0.7))
    assert picked[0] == "Paris"
    assert picked[1] != "Rome"


def test_vectors_come_back_in_the_order_asked_and_unknown_ones_are_zero(search, service) -> None:
    rows = search.store.catalogue().rows.reverse()
    vectors = service.index().vectors_of([*rows["vector_id"], 5])
    texts = [text_of_json(inputs) for inputs in search.store.read(rows["example_id"].to_list())["inputs"]]
    assert vectors[:-1] == pytest.approx(service.compute_embeddings(texts), abs=1e-5)
    assert not vectors[-1].any()


def test_near_duplicates_are_equal_inputs_or_nearly_equal_ones_embedded_or_not(search) -> None:
    def near(question: str, **labels) -> list[tuple[str, float]]:
        rows = search.near_duplicates(draft(question, "another", **labels), min_similarity=0.9)
        return [(output, round(value, 2)) for output, value in rows.select("expected_output", "similarity").iter_rows()]

    assert near("what is the capital of france") == [("Paris", 1.0)]
    assert [name for name, _ in near("what is the old capital of france")] == ["Paris"]
    assert near("how tall is a tree") == []
    search.store.create(draft("how tall is a big old tree", "tall"), now=NOW, author=AUTHOR)
    assert [name for name, _ in near("how tall is a big tree")] == ["tall"]


def test_equal_inputs_for_one_function_are_duplicates(search) -> None:
    assert find_duplicates(search.store.catalogue()).is_empty()
    search.store.create(draft("name a planet with rings", "Uranus"), now=NOW, author=AUTHOR)
    search.store.create(draft("name a planet with rings", "Neptune", function_name="qa"), now=NOW, author=AUTHOR)
    assert find_duplicates(search.store.catalogue()).height == 1


@pytest.mark.parametrize(
    ("asked", "message"),
    [
        ({"text": " "}, "Say what to search for"),
        ({"text": "a", "count": 0}, "At least one"),
        ({"text": "a", "diversity": 1.5}, "from 0"),
    ],
)
def test_what_cannot_be_searched_is_said(search, asked, message) -> None:
    with pytest.raises(UserError, match=message):
        search.search(**asked)


def test_without_a_model_words_are_left(lake) -> None:
    store = ExampleStore(lake)
    store.create(draft("red apples"), now=NOW, author=AUTHOR)
    search = ExampleSearch(store)
    assert search.search("apples", mode="keywords").rows.height == 1
    with pytest.raises(UserError, match="--mode keywords"):
        search.search("apples")
    assert search.near_duplicates(draft("red apples", "no")).height == 1
