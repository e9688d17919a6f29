"""Search by words: the formula, a head that scores like the bulk, and files that may be thrown away."""

from __future__ import annotations

import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipelines.examples.keyword_sync import sync_keywords
from pipelines.examples.keywords import KeywordIndex, build_base, document_of, words_of
from pipelines.examples.store import ExampleChanges, ExampleStore
from tests.examples.rows import AUTHOR, NOW, draft
from tests.oracles.bm25 import bm25_scores

TEXTS = st.dictionaries(
    st.sampled_from("abcdef"), st.lists(st.sampled_from(["red", "blue", "green"]), min_size=1, max_size=6), min_size=1
)


def index(documents: dict[str, str]) -> KeywordIndex:
    return KeywordIndex(0, build_base(documents), {}, frozenset())


@given(TEXTS)
@settings(max_examples=40, deadline=None)
def test_scores_are_those_of_the_formula(texts: dict[str, list[str]]) -> None:
    found = index({name: " ".join(words) for name, words in texts.items()}).search("red green", 10)
    truth = {name: score for name, score in bm25_scores(["red", "green"], texts).items() if score > 0}
    assert dict(found) == pytest.approx(truth, rel=1e-5)
    assert [score for _, score in found] == sorted((score for _, score in found), reverse=True)


def test_a_new_document_scores_as_it_would_in_the_bulk() -> None:
    texts = {str(number): f"red {'blue ' * number}" for number in range(40)}
    whole = dict(index(texts).search("red blue", 50))
    without = {name: text for name, text in texts.items() if name != "7"}
    headed = dict(index(without).changed({"7": texts["7"]}, [], version=1).search("red blue", 50))
    # Document frequencies and the mean length are the bulk's, so one document of forty makes a few percent.
    assert headed["7"] == pytest.approx(whole["7"], rel=0.05)
    assert set(headed) == set(whole)


def test_changed_and_removed_documents_are_found_by_their_new_words_alone() -> None:
    changed = index({"a": "red", "b": "red", "c": "blue"}).changed({"a": "green"}, ["b"], version=1)
    assert (changed.search("red", 5), [name for name, _ in changed.search("green", 5)]) == ([], ["a"])
    assert len(changed) == 2
    again = changed.changed({"b": "red"}, ["a"], version=2)
    assert ([name for name, _ in again.search("red", 5)], again.search("green", 5)) == (["b"], [])


def test_no_words_find_nothing() -> None:
    assert index({"a": "..."}).search("red", 5) == []
    assert index({}).search("red", 5) == []
    assert index({"a": "red"}).search("?!", 5) == []


def test_words_and_documents() -> None:
    assert words_of("Größe: 3.5, NOT 4") == ["größe", "3", "5", "not", "4"]
    assert document_of('{"question":"Who?"}', '{"name":"Ada"}') == "Who?\nAda"
    assert document_of('{"question":"Who?"}', "{not json") == "Who?\n{not json"


def test_the_index_follows_the_table_and_outlives_its_process(lake, tmp_path) -> None:
    store, folder = ExampleStore(lake), tmp_path / "keywords"
    first = store.create(draft("red apples"), now=NOW, author=AUTHOR)
    store.create(draft("blue plums"), now=NOW, author=AUTHOR)
    assert len(sync_keywords(lake, folder)) == 2
    store.update(first["example_id"], ExampleChanges(inputs={"question": "green pears"}), now=NOW, author=AUTHOR)
    loaded = sync_keywords(lake, folder)
    assert (loaded.base.count, len(loaded.head)) == (2, 1)
    assert [name for name, _ in loaded.search("pears", 5)] == [first["example_id"]]
    assert loaded.search("apples", 5) == []
    store.delete(first["example_id"], now=NOW, author=AUTHOR)
    assert sync_keywords(lake, folder, known=loaded).search("pears", 5) == []


def test_an_edit_of_labels_alone_costs_nothing(lake, tmp_path) -> None:
    store, folder = ExampleStore(lake), tmp_path / "keywords"
    row = store.create(draft("red apples"), now=NOW, author=AUTHOR)
    sync_keywords(lake, folder)
    store.update(row["example_id"], ExampleChanges(domain="fruit"), now=NOW, author=AUTHOR)
    assert sync_keywords(lake, folder).head == {}


def damage_manifest(folder) -> None:
    (folder / "manifest.json").write_text("{")


def damage_words(folder) -> None:
    next(folder.glob("v*/indices*")).write_bytes(b"nonsense")


def remove_everything(folder) -> None:
    for path in sorted(folder.rglob("*"), reverse=True):
        path.rmdir() if path.is_dir() else path.unlink()


def point_elsewhere(folder) -> None:
    manifest = json.loads((folder / "manifest.json").read_text())
    (folder / "manifest.json").write_text(json.dumps(manifest | {"table_id": "another lake's"}))


@pytest.mark.parametrize("harm", [damage_manifest, damage_words, remove_everything, point_elsewhere])
def test_a_damaged_file_is_built_again(lake, tmp_path, harm) -> None:
    folder = tmp_path / "keywords"
    ExampleStore(lake).create(draft("red apples"), now=NOW, author=AUTHOR)
    before = sync_keywords(lake, folder).search("apples", 5)
    harm(folder)
    assert sync_keywords(lake, folder).search("apples", 5) == before
