"""Files become examples and examples become files; what is no example is a reject, and twice is once."""

from __future__ import annotations

import json

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lake.errors import UserError
from pipelines.databits.units import DatabitKey
from pipelines.examples.importing import ImportResult, ensure_examples, export_rows, import_examples
from pipelines.examples.licensing import read_licenses, refuse_unlicensed
from pipelines.examples.records import FieldMapping, draft_of_record
from pipelines.examples.store import ExampleChanges, ExampleStore
from tests.examples.rows import AUTHOR, NOW, draft

LINES = """\
{"question": "red?", "answer": "yes", "tags": "colour, easy"}
not json
{"inputs": {"text": "long", "style": "short"}, "expected_output": {"title": "L"}, "license": "MIT"}

{"question": "no answer"}
[1, 2]
{"question": "red?", "answer": "yes", "tags": ["colour", "easy"]}
{"question": "bad licence", "answer": "x", "license": "no such licence"}
"""


@pytest.fixture
def bring(lake):
    def run(*paths, **mapping) -> ImportResult:
        return import_examples(lake, paths, mapping=FieldMapping(**mapping), now=NOW, author=AUTHOR)

    return run


def test_good_records_land_and_bad_ones_are_rejects_with_their_place(lake, bring, tmp_path) -> None:
    path = tmp_path / "mixed.jsonl"
    path.write_text(LINES)
    result = bring(path, labels={"function_name": "qa"}, tags=["imported"])
    assert result == ImportResult(file_count=1, record_count=7, created_count=2, unchanged_count=1, rejected_count=4)
    rows = ExampleStore(lake).list().rows.sort("inputs")
    assert rows["inputs"].to_list() == ['{"question":"red?"}', '{"style":"short","text":"long"}']
    assert rows["expected_output"].to_list() == ["yes", '{"title":"L"}']
    assert rows["tags"].to_list() == [["colour", "easy", "imported"], ["imported"]]
    assert (set(rows["function_name"]), rows["license"].to_list()) == ({"qa"}, [None, "MIT"])
    rejects = lake.read("bronze.rejects").sort("record_index")
    assert rejects["record_index"].to_list() == [1, 3, 4, 6]
    assert rejects["source_uri"].to_list() == [str(path)] * 4
    for message, words in zip(
        rejects["message"], ["not valid JSON", "--output", "must be an object", "SPDX"], strict=True
    ):
        assert words in message


def test_the_same_file_again_changes_nothing_and_edits_stay(lake, bring, tmp_path) -> None:
    path = tmp_path / "a.csv"
    path.write_text("question,answer\nred?,yes\nblue?,no\n")
    assert bring(path).created_count == 2
    store = ExampleStore(lake)
    red, blue = (
        store.list().rows.filter(pl.col("inputs").str.contains(word))["example_id"][0] for word in ("red", "blue")
    )
    store.update(red, ExampleChanges(expected_output="certainly"), now=NOW, author="bob")
    store.delete(blue, now=NOW, author="bob")
    version = lake.version("silver.examples")
    again = bring(path)
    assert (again.created_count, again.revised_count, again.deleted_count) == (0, 0, 1)
    assert lake.version("silver.examples") == version
    assert store.get(red)["expected_output"] == "certainly"


@pytest.mark.parametrize("ending", ["jsonl", "csv", "parquet"])
def test_what_is_exported_can_be_imported_to_the_same_examples(lake, bring, tmp_path, ending) -> None:
    drafts = [
        draft("red, or not?\nsay", 'a "yes", 100%', tags=["b", "a"], license="MIT", domain="d"),
        draft("object", {"z": [1, None], "a": "ü"}),
        draft("number as text", "12"),
    ]
    ensure_examples(lake, drafts, now=NOW, author=AUTHOR)
    path, version = tmp_path / f"out.{ending}", lake.version("silver.databits")
    export_rows(ExampleStore(lake).all(), path)
    assert bring(path).unchanged_count == 3
    assert lake.version("silver.databits") == version
    with pytest.raises(UserError, match="not overwritten"):
        export_rows(ExampleStore(lake).all(), path)


def test_files_that_cannot_be_read_are_refused_before_anything_is_written(lake, bring, tmp_path) -> None:
    good = tmp_path / "good.jsonl"
    good.write_text('{"question": "red?", "answer": "yes"}')
    (tmp_path / "odd.docx").write_text("x")
    for other, message in (("absent.jsonl", "no file"), ("odd.docx", "kind")):
        with pytest.raises(UserError, match=message):
            bring(good, tmp_path / other)
    assert lake.row_count("silver.examples") == 0
    (tmp_path / "broken.parquet").write_bytes(b"PAR1")
    with pytest.raises(UserError, match="cannot be read as parquet"):
        bring(tmp_path / "broken.parquet")


def test_fields_are_found_by_name_or_named() -> None:
    def made(record: object, **mapping):
        found = draft_of_record(record, FieldMapping(**mapping), source="here")
        return dict(found.inputs), found.expected_output

    assert made({"instruction": "sum", "input": "1 2", "output": "3"}) == ({"instruction": "sum", "input": "1 2"}, "3")
    assert made({"prompt": "a", "completion": "b"}) == ({"prompt": "a"}, "b")
    assert made({"x": 1, "y": 2, "z": "c", "w": "d"}, inputs=["x", "y"], expected_output=["z", "w"]) == (
        {"x": 1, "y": 2}, {"z": "c", "w": "d"},
    )  # fmt: skip
    for record, mapping, message in (
        ({"a": 1}, {}, "--input"),
        ({"a": 1}, {"inputs": ["b"]}, "no field 'b'"),
        ({"a": 1, "b": None}, {"inputs": ["a"], "expected_output": ["b"]}, "no value in 'b'"),
        ({"prompt": "a", "answer": "b", "tags": 7}, {}, "Tags"),
    ):
        with pytest.raises(UserError, match=message):
            made(record, **mapping)


@given(
    st.recursive(
        st.none() | st.booleans() | st.integers() | st.text(),
        lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
        max_leaves=6,
    )
)
@settings(max_examples=80, deadline=None)
def test_any_record_is_a_draft_or_a_refusal_in_words(record: object) -> None:
    for shape in (record, {"question": record, "answer": record}, {"inputs": record, "expected_output": "x"}):
        try:
            made = draft_of_record(shape, FieldMapping(), source="here")
        except UserError:
            continue
        assert made.inputs
        assert json.dumps(made.expected_output) not in ('""', "null")


def test_examples_with_licences_in_conflict_are_not_exported_without_a_reason(lake) -> None:
    ensure_examples(
        lake,
        [draft("a", example_id="a", license="GPL-2.0-only"), draft("b", example_id="b", license="Apache-2.0")],
        now=NOW,
        author=AUTHOR,
    )
    rows = ExampleStore(lake).all()
    parents = [DatabitKey(row["databit_id"], 1) for row in rows.iter_rows(named=True)]
    ensure_examples(lake, [draft("both", derived_from=parents)], now=NOW, author=AUTHOR)
    judged = read_licenses(lake, ExampleStore(lake).all())
    assert sorted(judged["status"]) == ["clear", "clear", "incompatible"]
    with pytest.raises(UserError, match="override-licenses"):
        refuse_unlicensed(judged, override=None)
    refuse_unlicensed(judged, override="a lawyer looked at it")
    refuse_unlicensed(judged.filter(pl.col("status") == "clear"), override=None)
    with pytest.raises(UserError, match="needs a reason"):
        refuse_unlicensed(judged, override=" ")
