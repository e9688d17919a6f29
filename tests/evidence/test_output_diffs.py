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
    assert found["change_kind"].to_list() == ["identical", "changed", "empty", "error", "error", "identical"]
    assert found["similarity_ratio"].to_list() == [1.0, pytest.approx(2 * 2 / 6), 0.0, None, None, 1.0]
    assert found["first_difference_char"].to_list() == [None, 2, 0, None, None, None]
    assert found["inserted_word_count"].to_list() == [0, 1, 1, None, None, 0]
    assert found["deleted_word_count"].to_list() == [0, 1, 3, None, None, 0]
    assert found["opcodes"].to_list() == [None, [1, 2, 3, 2, 3], [1, 0, 3, 0, 1], None, None, None]


def test_equal_digests_spare_the_texts():
    # The texts differ, so only the digests can have said that they are equal.
    rows = pairs(("a", "b")).with_columns(pl.lit("same").alias("baseline_output_digest"))
    rows = rows.with_columns(pl.lit("same").alias("candidate_output_digest"))
    assert diff_pairs(rows)["change_kind"].to_list() == ["identical"]


def test_texts_stand_in_for_digests_that_nobody_made():
    rows = pairs(("a", "a"), ("a", "b")).with_columns(pl.lit(None, dtype=pl.String).alias("candidate_output_digest"))
    assert diff_pairs(rows)["change_kind"].to_list() == ["identical", "changed"]


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
