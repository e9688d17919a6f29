"""Rows as the Dagster UI shows them."""

import polars as pl

from assets.presentation import CONTINGENCY_ROWS, contingency_table, pairs_by_kind
from lake.tables import contract_of


def contingencies(*slices: tuple[str, str], **changes) -> pl.DataFrame:
    row = {
        "comparison_id": "c",
        "scorer": "exact_match",
        "run_date": None,
        "candidate_run_id": "candidate-run",
        "baseline_run_id": "baseline-run",
        "right_score": 1.0,
        "pair_count": 10,
        "both_right_count": 4,
        "candidate_only_count": 3,
        "baseline_only_count": 2,
        "both_wrong_count": 1,
        "unscored_count": 0,
        "input_digest": "d",
    } | changes
    rows = [row | {"slice_kind": kind, "slice_value": value} for kind, value in slices]
    return pl.DataFrame(rows, schema=contract_of("gold.contingencies").dtypes)


def test_the_suite_comes_before_its_groups_and_tags() -> None:
    table = contingency_table(contingencies(("tag", "a|b"), ("prompt_group", "fact"), ("suite", "starter")))
    assert table.splitlines()[2:] == [
        "| `candidat` | `baseline` | exact\\_match | suite starter | 4 | 3 | 2 | 1 | 10 |",
        "| `candidat` | `baseline` | exact\\_match | prompt group fact | 4 | 3 | 2 | 1 | 10 |",
        "| `candidat` | `baseline` | exact\\_match | tag a\\|b | 4 | 3 | 2 | 1 | 10 |",
    ]


def test_a_long_table_says_where_the_rest_is_and_an_empty_one_says_why() -> None:
    many = contingencies(*(("tag", f"t{number:03}") for number in range(CONTINGENCY_ROWS + 5)))
    assert contingency_table(many).splitlines()[-1] == "5 more slices are in the table gold.contingencies."
    assert contingency_table(contingencies()).startswith("No scorer")


def test_kinds_are_counted_above_the_pairs() -> None:
    row = {
        "sample_id": "s", "suite": "starter", "repeat_index": 0, "change_kind": "wording", "similarity_ratio": 0.9,
        "candidate_backend": "a", "baseline_backend": "b", "candidate_output": "so it is", "baseline_output": "it is",
    }  # fmt: skip
    shown = pairs_by_kind({"content": 2, "wording": 1}, pl.DataFrame([row]))
    assert shown.startswith("2 content, 1 wording (docs/diffs.md")
    assert "**s** in starter: wording, similarity 0.90" in shown
    assert pairs_by_kind({}, pl.DataFrame([row]).clear()).startswith("No outputs could be compared")
