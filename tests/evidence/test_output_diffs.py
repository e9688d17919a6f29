import polars as pl
import pytest

from lake.identity import text_digest
from pipelines.evidence import output_diffs
from pipelines.evidence.diff import diff_words
from pipelines.evidence.output_diffs import diff_pairs


def pairs(*texts: tuple[str | None, str | None]) -> pl.DataFrame:
    digests = [[None if text is None else text_digest(text) for text in pair] for pair in texts]
    return pl.DataFrame(
        {
            "sample_id": [f"s{place}" for place in range(len(texts))],
            "baseline_output": [baseline for baseline, _ in texts],
            "candidate_output": [candidate for _, candidate in texts],
            "baseline_output_digest": [baseline for baseline, _ in digests],
            "candidate_output_digest": [candidate for _, candidate in digests],
        },
        schema_overrides=dict.fromkeys(
            ("sample_id", "baseline_output", "candidate_output", "baseline_output_digest", "candidate_output_digest"),
            pl.String,
        ),
    )


def test_each_kind_of_change():
    found = diff_pairs(pairs(("a b", "a b"), ("a b", "a c"), ("a b", " \n"), (None, "a"), (None, None), ("", "")))
    assert found["change_kind"].to_list() == ["identical", "content", "empty", "error", "error", "identical"]
    assert found["similarity_ratio"].to_list() == [1.0, pytest.approx(2 * 2 / 6), 0.0, None, None, 1.0]
    assert found["first_difference_char"].to_list() == [None, 2, 0, None, None, None]
    assert found["inserted_word_count"].to_list() == [0, 1, 1, None, None, 0]
    assert found["deleted_word_count"].to_list() == [0, 1, 3, None, None, 0]
    assert found["opcodes"].to_list() == [None, [1, 2, 3, 2, 3], [1, 0, 3, 0, 1], None, None, None]


def test_only_json_pairs_have_json_changes():
    found = diff_pairs(
        pairs(('{"a": 1, "b": [1]}', '{"b": [1, 2]}'), ('{"a": 1}', '{"a": 1.0}'), ("{}", "{}"), ("a", "b"))
    )
    changes = [{"path": "/a", "change": "removed"}, {"path": "/b/1", "change": "added"}]
    assert found["json_changes"].to_list() == [changes, [], None, None]


def test_moved_words_are_counted():
    first, second = "First we boil the water in a pot.", "Then we add the salt and pasta."
    found = diff_pairs(pairs((f"{first} {second}", f"{second} {first}"), ("a", "b"), ("a", "a"), (None, "a")))
    # Either sentence may be the one that moved: 8 words, 7 spaces and a stop, or 7, 6 and one.
    assert found["moved_word_count"].to_list()[0] in (16, 14)
    assert found["moved_word_count"].to_list()[1:] == [0, 0, None]


def test_both_sides_against_the_reference():
    rows = pairs(("It is Lyon", "It is Paris"), ("a", "a"), ("Lyon", "Rome"), ("Oslo", None)).with_columns(
        reference=pl.Series(["Paris", "a", None, "Oslo"])
    )
    found = diff_pairs(rows)
    assert found["candidate_reference_relation"].to_list() == ["contained", None, None, None]
    assert found["baseline_reference_relation"].to_list() == ["absent", None, None, None]
    # "Paris" is one word of the five of "It is Paris": 2 x 1 / (1 + 5)
    assert found["candidate_reference_similarity_ratio"][0] == pytest.approx(2 / 6)
    assert found["baseline_reference_similarity_ratio"][0] == 0.0
    assert found["nearer_to_reference"].to_list() == ["candidate", None, None, None]
    assert "reference" not in found.columns


def test_equal_digests_spare_the_texts():
    # The texts differ, so only the digests can have said that they are equal.
    rows = pairs(("a", "b")).with_columns(pl.lit("same").alias("baseline_output_digest"))
    rows = rows.with_columns(pl.lit("same").alias("candidate_output_digest"))
    assert diff_pairs(rows)["change_kind"].to_list() == ["identical"]


def test_texts_stand_in_for_digests_that_nobody_made():
    rows = pairs(("a", "a"), ("a", "b")).with_columns(pl.lit(None, dtype=pl.String).alias("candidate_output_digest"))
    assert diff_pairs(rows)["change_kind"].to_list() == ["identical", "content"]


def test_batches_are_put_together_in_order(monkeypatch):
    monkeypatch.setattr(output_diffs, "BATCH_PAIRS", 2)
    texts = [(f"word {number}", f"word {number * number}") for number in range(7)]
    found = diff_pairs(pairs(*texts))
    expected = [list(diff_words(*text).opcodes) or None for text in texts]
    assert found["opcodes"].to_list() == expected
    assert found["sample_id"].to_list() == [f"s{place}" for place in range(7)]


def test_no_pairs_give_no_rows_of_the_same_columns():
    none, some = diff_pairs(pairs()), diff_pairs(pairs(("a", "b")))
    assert none.schema == some.schema
    assert none.is_empty()
