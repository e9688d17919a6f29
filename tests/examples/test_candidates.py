"""Examples that come from elsewhere: from suites, and from runs by way of the curation queue."""

from __future__ import annotations

import datetime as dt

import polars as pl
import pytest

from lake.errors import UserError
from pipelines.databits.curation import ITEMS, decide_item
from pipelines.databits.lineage_steps import update_lineage
from pipelines.databits.suite_units import update_suite_units
from pipelines.examples.drafts import ExampleDraft
from pipelines.examples.extraction import extract_examples, find_candidates
from pipelines.examples.following import follow_feed
from pipelines.examples.store import ExampleChanges, ExampleStore
from pipelines.examples.suite_examples import suite_example_id, update_suite_examples
from pipelines.runs.suite_registry import save_suite
from pipelines.runs.suites import WrittenSuite, parse_suite
from tests.evidence.rows import output, output_rows, run, run_rows
from tests.examples.rows import AUTHOR, NOW

SUITE = """\
name: support
version: "1"
scorers: [contains]
samples:
  - {id: refund, prompt: "How do I get a refund?", reference: form, tags: [money]}
  - {id: hours, prompt: "When are you open?", reference: "nine to five"}
"""


def save(lake, text: str = SUITE) -> None:
    save_suite(lake, WrittenSuite(parse_suite(text, source="test"), text), now=NOW, author=AUTHOR)
    update_suite_units(lake, now=NOW, licenses={"support": "MIT"})


def test_references_of_a_saved_suite_are_examples_with_their_lineage(lake) -> None:
    save(lake)
    assert update_suite_examples(lake, now=NOW).created_count == 2
    follow_feed(lake)
    versions = lake.versions(lake.tables())
    again = update_suite_examples(lake, now=NOW)
    follow_feed(lake)
    assert (again.created_count, again.revised_count) == (0, 0)
    assert lake.versions(lake.tables()) == versions
    row = ExampleStore(lake).get(suite_example_id("support", "refund"))
    assert (row["inputs"], row["expected_output"]) == ('{"prompt":"How do I get a refund?"}', "form")
    assert (row["function_name"], row["tags"], row["source"]) == ("support", ["money"], "suite:support/refund")
    update_lineage(lake)
    own = lake.read("gold.databit_licenses", where={"databit_id": row["databit_id"]})
    assert own["effective_license"].to_list() == ["MIT"]
    ancestors = lake.read("gold.lineage_closure", where={"descendant_id": row["databit_id"]})
    assert sorted(ancestors["depth"]) == [1, 2]


def test_a_changed_reference_is_a_new_version_of_its_example(lake) -> None:
    save(lake)
    update_suite_examples(lake, now=NOW)
    save(lake, SUITE.replace('version: "1"', 'version: "2"').replace("reference: form", "reference: the form"))
    assert update_suite_examples(lake, now=NOW).revised_count == 1
    row = ExampleStore(lake).get(suite_example_id("support", "refund"))
    assert (row["expected_output"], row["content_version"]) == ("the form", 2)


def test_what_somebody_edited_stays_when_the_night_comes_again(lake) -> None:
    save(lake)
    update_suite_examples(lake, now=NOW)
    store, example_id = ExampleStore(lake), suite_example_id("support", "refund")
    store.update(example_id, ExampleChanges(expected_output="a form"), now=NOW, author="bob")
    update_suite_examples(lake, now=NOW + dt.timedelta(days=1))
    assert store.get(example_id)["expected_output"] == "a form"


def answered(lake) -> str:
    """A run with a right output, a wrong one with a reference, one without, and one that failed; gives its id."""
    asked = run("run-1", backend="llama.cpp")
    lake.upsert("silver.runs", run_rows(asked))
    answers = [
        ("right", "2+2?", "4", "4", [1.0, 1.0]),
        ("wrong", "3+3?", "5", "6", [0.0, 0.5]),
        ("half", "4+4?", "8!", "8", [1.0, 0.0]),
        ("unknown", "5+5?", "7", None, [0.0, 0.0]),
        ("failed", "6+6?", None, "12", []),
    ]
    rows = [
        output(asked, 0, text, sample_id=name, prompt=prompt, reference=reference, scores=scored(values))
        for name, prompt, text, reference, values in answers
    ]
    lake.upsert("silver.outputs", output_rows(rows))
    return "run-1"


def scored(values: list[float]) -> list[dict[str, object]]:
    """Scores of as many scorers."""
    return [{"scorer": f"scorer {place}", "value": value} for place, value in enumerate(values)]


def test_right_and_corrected_outputs_are_candidates_and_become_examples_when_accepted(lake) -> None:
    run_id = answered(lake)
    result = extract_examples(lake, run_id, now=NOW)
    assert (result.output_count, result.best_count, result.corrected_count, result.enqueued_count) == (5, 1, 1, 2)
    assert extract_examples(lake, run_id, now=NOW).enqueued_count == 0
    assert lake.row_count("silver.examples") == 0
    items = lake.read(ITEMS).sort("priority", descending=True)
    assert items["subject_id"].to_list() == ["run-1/right/0", "run-1/wrong/0"]
    decide_item(lake, items["item_id"][1], "accept", reviewer="bob", now=NOW)
    assert follow_feed(lake) == 1
    row = ExampleStore(lake).list().rows.row(0, named=True)
    assert (row["inputs"], row["expected_output"], row["created_by"]) == ('{"prompt":"3+3?"}', "6", "bob")


def test_candidates_by_kind_and_none_for_what_an_example_asks_already(lake) -> None:
    run_id = answered(lake)
    known = ExampleDraft(inputs={"prompt": "2+2?"}, expected_output="four")
    ExampleStore(lake).create(known, now=NOW, author=AUTHOR)
    best = extract_examples(lake, run_id, kind="best", now=NOW)
    assert (best.known_count, best.enqueued_count) == (1, 0)
    assert extract_examples(lake, run_id, kind="corrected", license="MIT", now=NOW).enqueued_count == 1
    assert lake.read(ITEMS)["license"].to_list() == ["MIT"]
    with pytest.raises(UserError, match="no run"):
        extract_examples(lake, "nobody", now=NOW)


def test_of_one_prompt_the_best_and_shortest_output_is_the_candidate(lake) -> None:
    answered(lake)
    row = lake.read("silver.outputs").filter(pl.col("sample_id") == "right")
    longer = row.with_columns(output=pl.lit("4, of course"), repeat_index=pl.lit(1, pl.Int32))
    empty = row.with_columns(output=pl.lit(" "), repeat_index=pl.lit(2, pl.Int32))
    assert find_candidates(pl.concat([empty, longer, row]))["expected_output"].to_list() == ["4"]
