"""Examples valued by their vectors: who is valued, by which utility, and that nothing is done twice."""

import numpy as np
import pytest

from pipelines.attribution.knn_shapley import GRADED_UTILITY, UTILITY, knn_shapley_graded
from pipelines.attribution.neighbour_steps import NeighbourPlan, attribute_neighbours, read_vectors
from pipelines.attribution.run_items import held_ids
from pipelines.examples.drafts import ExampleDraft
from pipelines.optimization.steps import read_run
from tests.attribution.learnt import NOW, LetterEmbedder, learn, stock
from tests.attribution.test_neighbours import auroc
from tests.optimization.fakes import items


def classed_drafts(wrong=()):
    """Sixty messages with one of two queues as output, by their first city; those in `wrong` with the other."""
    for place, item in enumerate(items(60)):
        is_north = item.outputs["order"][0] in "OBL"
        queue = ("north", "south")[(not is_north) ^ (place in wrong)]
        text = f"{'aa' if is_north else 'zz'} {item.inputs['message']}"
        yield ExampleDraft(inputs={"message": text}, expected_output=queue, function_name="orders")


def value(lake, method="knn_shapley", *, embedder=None, **plan):
    return attribute_neighbours(
        lake, "latest", method, NeighbourPlan(**plan), embedder=embedder or LetterEmbedder(), now=NOW
    )


def test_free_text_is_valued_by_the_similarity_of_outputs_and_influence_says_why_it_is_left_out(lake) -> None:
    learn(stock(lake))
    result = value(lake)
    rows = lake.read("gold.attributions")
    assert (set(rows["utility"]), set(rows["method"]), result.is_new) == ({GRADED_UTILITY}, {"knn_shapley"}, True)
    left = value(lake, "influence_proxy")
    assert (left.is_new, left.note) == (False, "Left out: its outputs are no classes: they hardly recur.")


def test_units_are_what_could_have_been_shown_and_queries_what_was_held_out(lake) -> None:
    learn(stock(lake))
    value(lake)
    rows = lake.read("gold.attributions")
    held = held_ids(lake, read_run(lake, "latest"))
    everyone = set(lake.read("silver.examples")["example_id"])
    assert set(rows["unit_id"]) == everyone - held
    # Twelve test and six validation items.
    assert (len(held), set(rows["sample_count"])) == (18, {12})


def test_recurring_outputs_are_labels_and_wrong_ones_among_them_are_harmful(lake) -> None:
    wrong = {3, 14, 25, 36, 47}
    stock(lake, list(classed_drafts(wrong)))
    learn(lake)
    value(lake)
    value(lake, "influence_proxy")
    bad = {draft.inputs["message"] for place, draft in enumerate(classed_drafts()) if place in wrong}
    texts = lake.read("silver.examples").select("example_id", "inputs")
    bad_ids = {example_id for example_id, inputs in texts.iter_rows() if any(text in inputs for text in bad)}
    for method, utility in (("knn_shapley", UTILITY), ("influence_proxy", None)):
        rows = lake.read("gold.attributions", where={"method": method})
        assert utility is None or set(rows["utility"]) == {utility}
        is_bad = np.array([unit in bad_ids for unit in rows["unit_id"]])
        assert is_bad.any()
        assert auroc(rows["value"].to_numpy(), is_bad) >= 0.9


def test_nothing_is_computed_again_for_the_same_examples(lake) -> None:
    learn(stock(lake))
    embedder = LetterEmbedder()
    value(lake, embedder=embedder)
    asked, version = embedder.encoded, lake.version("gold.attributions")
    again = value(lake, embedder=embedder)
    assert (again.is_new, embedder.encoded, lake.version("gold.attributions")) == (False, asked, version)
    assert sum(again.counts.values()) == 42
    other = value(lake, embedder=embedder, k=3)
    assert (other.is_new, lake.row_count("gold.attributions")) == (True, 84)


def test_vectors_of_the_lake_are_used_and_missing_ones_are_made(lake) -> None:
    from pipelines.embeddings.text_steps import collect_texts, embed_texts

    stock(lake)
    collect_texts(lake)
    embedder = LetterEmbedder()
    embed_texts(lake, embedder)
    before = embedder.encoded
    found = read_vectors(lake, ["1 lamps from Oslo to Bern", "a new one", "1 lamps from Oslo to Bern"], embedder)
    assert embedder.encoded - before == 1
    assert found == pytest.approx(LetterEmbedder().encode(["1 lamps from Oslo to Bern", "a new one"])[[0, 1, 0]])


def test_the_graded_form_is_the_enumeration_of_its_utility() -> None:
    from pipelines.attribution.games import Game
    from pipelines.attribution.values import shapley_exact

    rng = np.random.default_rng(9)
    units, queries = (rng.normal(size=(n, 4)).astype(np.float32) for n in (7, 2))
    outputs, asked = (rng.normal(size=(n, 3)).astype(np.float32) for n in (7, 2))
    grades = asked @ outputs.T
    grades = grades - grades.mean(axis=1, keepdims=True)

    def utility(coalition):
        members = np.array(sorted(coalition), dtype=int)
        nearest = [members[np.argsort(-(units[members] @ query), kind="stable")][:3] for query in queries]
        return np.array([grades[place, near].sum() / 3 for place, near in enumerate(nearest)])

    found = knn_shapley_graded(units, outputs, queries, asked, k=3).values
    assert found == pytest.approx([unit.value for unit in shapley_exact(Game(unit_count=7, utility=utility))], abs=1e-6)
