"""Examples come, change and go; every state of them is a version of their data unit."""

from __future__ import annotations

import polars as pl
import pytest

from lake.errors import UserError
from lake.tables import contract_of
from pipelines.databits.reading import read_versions
from pipelines.databits.revising import Changes, Hand, VersionConflictError, revise_databit
from pipelines.databits.units import DATABITS
from pipelines.examples import catalogue
from pipelines.examples import store as store_module
from pipelines.examples.catalogue import ExampleFilter
from pipelines.examples.digests import input_digest
from pipelines.examples.drafts import ExampleDraft
from pipelines.examples.following import EXAMPLES, follow_feed, follow_units
from pipelines.examples.store import ExampleChanges, ExampleStore
from tests.examples.rows import AUTHOR, NOW, draft


@pytest.fixture
def store(lake) -> ExampleStore:
    return ExampleStore(lake)


def create(store: ExampleStore, question: str, answer="yes", **labels):
    return store.create(draft(question, answer, **labels), now=NOW, author=AUTHOR)


def test_an_example_is_a_row_and_a_data_unit(store, lake) -> None:
    row = create(store, "Is it?", function_name="qa", domain="logic", tags=["b", "a"], license="MIT", source="me")
    assert row == store.get(row["example_id"][:8])
    assert (row["inputs"], row["expected_output"], row["tags"]) == ('{"question":"Is it?"}', "yes", ["a", "b"])
    assert row["input_digest"] == input_digest({"question": "Is it?"})
    unit = read_versions(lake, [row["databit_id"]]).row(0, named=True)
    assert unit["content"] == '{"expected_output":"yes","inputs":{"question":"Is it?"}}'
    assert (unit["version"], unit["attribution"]["license"]) == (1, "MIT")


def test_the_same_content_is_the_same_example(store) -> None:
    create(store, "Is it?")
    with pytest.raises(UserError, match="stands already"):
        create(store, "Is it?")
    assert create(store, "Is it?", function_name="other")["example_id"] != create(store, "Is it?", "no")["example_id"]


def test_an_edit_is_a_version_and_what_is_not_named_stays(store, lake) -> None:
    row = create(store, "Is it?", function_name="qa", tags=["a"], license="MIT")
    edited = store.update(row["example_id"], ExampleChanges(domain="logic", function_name=""), now=NOW, author="bob")
    assert (edited["domain"], edited["function_name"], edited["tags"], edited["license"]) == (
        "logic",
        None,
        ["a"],
        "MIT",
    )
    assert (edited["databit_version"], edited["content_version"]) == (2, 1)
    assert (edited["created_by"], edited["updated_by"]) == (AUTHOR, "bob")
    again = store.update(row["example_id"], ExampleChanges(expected_output={"answer": "no"}), now=NOW, author="bob")
    assert (again["expected_output"], again["databit_version"], again["content_version"]) == ('{"answer":"no"}', 3, 3)
    assert store.history(row["example_id"])["version"].to_list() == [1, 2, 3]
    with pytest.raises(UserError, match="nothing would change"):
        store.update(row["example_id"], ExampleChanges(domain="logic"), now=NOW, author="bob")
    with pytest.raises(VersionConflictError):
        store.update(row["example_id"], ExampleChanges(domain="x"), now=NOW, author="bob", expected_version=2)


def test_a_deleted_example_is_found_no_more_and_can_be_taken_back(store) -> None:
    row = create(store, "Is it?")
    deleted = store.delete(row["example_id"], now=NOW, author=AUTHOR, reason="wrong")
    assert deleted["is_deleted"]
    assert store.list().rows.is_empty()
    assert store.list(ExampleFilter(has_deleted=True)).rows.height == 1
    with pytest.raises(UserError, match="deleted"):
        store.update(row["example_id"], ExampleChanges(domain="x"), now=NOW, author=AUTHOR)
    assert not create(store, "Is it?")["is_deleted"]
    assert store.history(row["example_id"])["change_note"].to_list() == [None, "wrong", None]


@pytest.mark.parametrize(
    ("bad", "message"),
    [
        (ExampleDraft(inputs={}, expected_output="x"), "needs inputs"),
        (ExampleDraft(inputs={"q": "  "}, expected_output="x"), "must not be empty"),
        (ExampleDraft(inputs={"q": "a"}, expected_output=""), "needs an expected output"),
        (ExampleDraft(inputs={"q": "a"}, expected_output="x", tags=[" "]), "must be texts"),
        (ExampleDraft(inputs={"q": float("nan")}, expected_output="x"), "JSON"),
        (ExampleDraft(inputs={"q": "a"}, expected_output="x", license="no such"), "SPDX"),
    ],
)
def test_a_malformed_draft_is_refused_and_nothing_is_written(store, lake, bad, message) -> None:
    with pytest.raises(UserError, match=message):
        store.create(bad, now=NOW, author=AUTHOR)
    assert (lake.row_count(EXAMPLES), lake.row_count(DATABITS)) == (0, 0)


def test_pages_follow_one_another_without_gap_or_overlap(store) -> None:
    ids = sorted(
        create(store, f"Is it {number}?", tags=["odd"] if number % 2 else [])["example_id"] for number in range(9)
    )
    seen, after = [], None
    for _ in range(3):
        page = store.list(after=after, limit=4)
        seen += page.rows["example_id"].to_list()
        after = page.next_after
    assert (seen, after, page.total_count) == (ids, None, 9)
    odd = store.list(ExampleFilter(tags=("odd",)), limit=3)
    assert (odd.rows.height, odd.total_count, odd.next_after) == (3, 4, odd.rows["example_id"][-1])
    with pytest.raises(UserError, match="1 to 500"):
        store.list(limit=0)


def test_filters(store) -> None:
    create(store, "a", function_name="f", domain="d", tags=["x", "y"], source="s", license="MIT")
    create(store, "b", function_name="g", tags=["x"])

    def count(**labels) -> int:
        return store.list(ExampleFilter(**labels)).total_count

    assert (count(function_name="f"), count(domain="d"), count(source="s"), count(license="MIT")) == (1, 1, 1, 1)
    assert (count(tags=("x",)), count(tags=("x", "y")), count(domain="z"), count(min_effectiveness=0.0)) == (2, 1, 0, 0)


def test_a_beginning_that_is_too_short_or_means_nothing_is_refused(store) -> None:
    create(store, "a")
    with pytest.raises(UserError, match="at least 4"):
        store.get("a")
    with pytest.raises(UserError, match="begins with"):
        store.get("zzzz")


def test_a_creation_that_was_cut_off_is_completed_by_the_next(store, lake, monkeypatch) -> None:
    def die(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(store_module, "new_row", die)
        with pytest.raises(KeyboardInterrupt):
            create(store, "Is it?")
    assert (lake.row_count(DATABITS), lake.row_count(EXAMPLES)) == (1, 0)
    assert create(store, "Is it?")["databit_version"] == 1
    assert (lake.row_count(DATABITS), lake.row_count(EXAMPLES)) == (1, 1)


def test_an_edit_of_the_data_unit_reaches_the_example(store, lake) -> None:
    row = create(store, "Is it?")
    content = {"inputs": {"question": "Is it not?"}, "expected_output": "no"}
    hand = Hand(author="bob", at=NOW)
    revise_databit(lake, row["databit_id"], Changes(content=content), expected_version=1, hand=hand)
    assert (follow_feed(lake), follow_feed(lake)) == (1, 0)
    shown = store.get(row["example_id"])
    assert (shown["expected_output"], shown["databit_version"], shown["updated_by"]) == ("no", 2, "bob")
    assert follow_units(lake, [row["databit_id"]]) == 0
    assert follow_feed(lake, mode="all") == 0


def test_following_a_unit_keeps_the_estimate_until_the_content_changes(store, lake) -> None:
    row = create(store, "Is it?")
    measured = {
        **row,
        "usage_count": 30,
        "effectiveness_score": 0.1,
        "effectiveness_low": 0.0,
        "effectiveness_high": 0.2,
    }
    lake.upsert(EXAMPLES, pl.DataFrame([measured], schema=contract_of(EXAMPLES).dtypes))
    labelled = store.update(row["example_id"], ExampleChanges(domain="logic"), now=NOW, author=AUTHOR)
    assert (labelled["usage_count"], labelled["effectiveness_score"]) == (30, 0.1)
    edited = store.update(row["example_id"], ExampleChanges(expected_output="no"), now=NOW, author=AUTHOR)
    assert (edited["usage_count"], edited["effectiveness_score"]) == (0, None)


def test_examples_in_any_order_of_fields_have_one_digest() -> None:
    assert input_digest({"a": 1, "b": [2, "ü"]}) == input_digest({"b": [2, "ü"], "a": 1})
    assert input_digest({"a": 1}) != input_digest({"a": "1"})


@pytest.mark.parametrize(("few", "pieces"), [(100, 1), (100, 64), (0, 64)])
def test_a_kept_store_sees_what_others_do_as_a_new_one_does(store, lake, monkeypatch, few, pieces) -> None:
    monkeypatch.setattr(catalogue, "_FEW", few)
    monkeypatch.setattr(catalogue, "_MOST_PIECES", pieces)
    row = create(store, "first")
    assert store.catalogue().rows.height == 1
    other = ExampleStore(lake)
    for number in range(3):
        create(other, f"later {number}", tags=["new"])
    other.update(row["example_id"], ExampleChanges(domain="changed"), now=NOW, author="bob")
    other.delete(other.list(ExampleFilter(tags=("new",))).rows["example_id"][0], now=NOW, author="bob")
    assert store.catalogue().rows.equals(ExampleStore(lake).catalogue().rows)
    for number in range(25):
        create(other, f"many {number}")
    assert store.catalogue().rows.equals(ExampleStore(lake).catalogue().rows)
