"""Contingencies, flips and telling pairs on a real lake in a temporary folder."""

import polars as pl
import pytest

from lake.errors import UserError
from lake.store import Lake
from pipelines.evidence import slices
from pipelines.evidence.run_diffs import against_reference, diff_runs
from pipelines.evidence.steps import compare_runs, count_contingencies, diff_outputs, stale_run_dates
from pipelines.evidence.telling import count_kinds, list_flips, most_different_pairs
from tests.evidence.rows import FINGERPRINT, START, output, output_rows, policy, run, run_rows

TONIGHT = START.date()
RIGHT, WRONG = ([{"scorer": "exact_match", "value": value}] for value in (1.0, 0.0))
# Sample by sample: the baseline's text and scores, the candidate's, and the kind that the rules must find.
PAIRS = {
    "fact-0": ("the answer", RIGHT, "the answer", RIGHT, "identical"),
    "fact-1": ("the answer", RIGHT, "The answer.", RIGHT, "formatting"),
    "fact-2": ("the answer is here", RIGHT, "the answer is really here", RIGHT, "wording"),
    "fact-3": ("the answer", RIGHT, "something else", WRONG, "content"),
    "math-4": ("12", WRONG, "13", RIGHT, "content"),
    "math-5": ("12 or 13", WRONG, "14 or 13", WRONG, "content"),
    "math-6": ("12", WRONG, None, [], "error"),
    "math-7": ("12", WRONG, " ", WRONG, "empty"),
}


@pytest.fixture
def lake(tmp_path) -> Lake:
    lake = Lake.open(tmp_path / "lake")
    baseline, candidate = run("b1", "b"), run("a1")
    lake.upsert("silver.runs", run_rows(baseline, candidate))
    rows = [
        output(
            one, 0, text, sample_id=sample, prompt_digest=sample, scores=scores, tags=["all"], reference="the answer"
        )
        for sample, (left, left_scores, right, right_scores, _) in PAIRS.items()
        for one, text, scores in ((baseline, left, left_scores), (candidate, right, right_scores))
    ]
    lake.upsert("silver.outputs", output_rows(rows))
    return lake


def work_off(lake: Lake, **options) -> list:
    return [step(lake, policy(), [TONIGHT], **options) for step in (diff_outputs, count_contingencies, compare_runs)]


def runs(lake: Lake) -> dict[str, dict]:
    candidate, baseline = lake.read("silver.runs").sort("run_id").to_dicts()
    return {"candidate": candidate, "baseline": baseline}


def test_kinds_and_contingencies_are_rows(lake):
    _, counted, _ = work_off(lake)
    diffs = lake.read("gold.output_diffs")
    assert dict(diffs.select("sample_id", "change_kind").iter_rows()) == {name: pair[4] for name, pair in PAIRS.items()}
    (comparison,) = lake.read("gold.run_comparisons").to_dicts()
    assert comparison["changed_count"] == 7
    kinds = ("identical", "formatting", "wording", "content", "empty", "error")
    assert [comparison[f"{kind}_count"] for kind in kinds] == [1, 1, 1, 3, 1, 1]
    rows = lake.read("gold.contingencies")
    assert counted.rows_written == rows.height == 4  # the suite, the tag, and the groups fact and math
    cells = ["both_right_count", "candidate_only_count", "baseline_only_count", "both_wrong_count", "unscored_count"]
    by_slice = {row["slice_value"]: [row[cell] for cell in cells] for row in rows.to_dicts()}
    assert by_slice == {
        "capitals": [3, 1, 1, 2, 1], "all": [3, 1, 1, 2, 1], "fact": [3, 0, 1, 0, 0], "math": [0, 1, 0, 2, 1],
    }  # fmt: skip
    assert lake.row_count("bronze.rejects") == 0


def test_a_second_time_counts_nothing_and_mode_all_finds_the_same(lake):
    work_off(lake)
    before, version = lake.read("gold.contingencies"), lake.version("gold.contingencies")
    assert [result.computed_count for result in work_off(lake)] == [0, 0, 0]
    assert [result.computed_count for result in work_off(lake, mode="all")] == [1, 1, 1]
    assert lake.read("gold.contingencies").equals(before)
    assert lake.version("gold.contingencies") == version  # equal rows are not written again


def test_counts_that_lost_their_comparison_are_found_and_removed(lake):
    count_contingencies(lake, policy(), [TONIGHT])
    # Killed here; then the baseline turns out to have failed, and the comparison is planned no more.
    lake.upsert("silver.runs", run_rows(run("b1", "b", status="error", content_digest="failed")))
    assert stale_run_dates(lake, policy()) == [TONIGHT]
    assert work_off(lake)[1].removed_count == 1
    assert lake.read("gold.contingencies").is_empty()


def test_a_run_of_very_many_samples_is_diffed_in_parts(lake, tmp_path, monkeypatch):
    work_off(lake)
    whole, commits = lake.read("gold.output_diffs"), lake.version("gold.output_diffs")
    monkeypatch.setattr(slices, "CHUNK_PAIRS", 3)
    other = Lake.open(tmp_path / "other")
    for table in ("silver.runs", "silver.outputs"):
        other.upsert(table, lake.read(table))
    result = diff_outputs(other, policy(), [TONIGHT])
    assert (result.rows_read, result.rows_written) == (16, 8)
    assert other.version("gold.output_diffs") == commits + 2  # three parts of three, three and two samples
    assert other.read("gold.output_diffs").sort("sample_id").equals(whole.sort("sample_id"))
    # What stood for samples that are there no longer goes, wherever in the order they were.
    other.remove("silver.outputs", lake.read("silver.outputs").filter(pl.col("sample_id") == "fact-0"))
    diff_outputs(other, policy(), [TONIGHT], mode="all")
    assert other.read("gold.output_diffs")["sample_id"].sort().to_list() == sorted(PAIRS)[1:]


def test_the_pairs_that_tell_most_come_first(lake):
    work_off(lake)
    pairs = most_different_pairs(lake, [TONIGHT])
    assert pairs["change_kind"].to_list() == ["content"] * 3 + ["empty", "wording", "formatting"]
    assert pairs["similarity_ratio"].to_list()[:3] == sorted(pairs["similarity_ratio"].to_list()[:3])
    kinds = {"content": 3, "empty": 1, "error": 1, "wording": 1, "formatting": 1, "identical": 1}
    found = count_kinds(lake, [TONIGHT])
    assert found == kinds
    assert list(found) == list(kinds)


def test_flips_are_listed_with_both_outputs_the_lost_ones_first(lake):
    work_off(lake)
    flips = list_flips(lake, [TONIGHT])
    assert flips.select("sample_id", "flip", "change_kind", "baseline_output", "candidate_output").rows() == [
        ("fact-3", "lost", "content", "the answer", "something else"),
        ("math-4", "gained", "content", "12", "13"),
    ]
    assert list_flips(lake, []).is_empty()


def test_two_runs_beside_each_other_without_a_policy(lake):
    work_off(lake)
    found = diff_runs(lake, **runs(lake))
    assert found.reasons == ()
    assert found.pairs["sample_id"].to_list()[:3] == ["fact-3", "math-4", "math-5"]  # lost, gained, then the rest
    assert found.pairs["change_kind"].to_list() == ["content"] * 3 + [
        "empty",
        "error",
        "wording",
        "formatting",
        "identical",
    ]
    assert found.kinds == count_kinds(lake, [TONIGHT])
    lost = {"scorer": "exact_match", "flip": "lost", "candidate_score": 0.0, "baseline_score": 1.0}
    assert found.pairs["flips"].to_list()[0] == [lost]
    assert found.contingencies.filter(slice_kind="suite")["both_right_count"].to_list() == [3]
    assert lake.row_count("bronze.rejects") == 0


def test_one_sample_alone_and_one_that_is_not_there(lake):
    assert diff_runs(lake, **runs(lake), sample_id="math-6").pairs["sample_id"].to_list() == ["math-6"]
    with pytest.raises(UserError, match="math-6"):
        diff_runs(lake, **runs(lake), sample_id="math-66")


def test_runs_that_did_another_task_have_reasons_and_no_pairs(lake):
    sides = runs(lake)
    other = sides["candidate"] | {"fingerprint": FINGERPRINT | {"suite_digest": "edited"}}
    found = diff_runs(lake, candidate=other, baseline=sides["baseline"])
    assert len(found.reasons) == 1
    assert found.pairs.is_empty()
    assert found.contingencies.is_empty()


def test_each_side_against_the_reference(lake):
    rows = against_reference(diff_runs(lake, **runs(lake)).pairs).filter(sample_id="fact-3")
    assert rows.select(
        "change_kind", "baseline_head", "baseline_output", "candidate_head", "candidate_output"
    ).rows() == [
        ("baseline equal", "reference", "the answer", "baseline: b", "the answer"),
        ("candidate absent", "reference", "the answer", "candidate: a", "something else"),
    ]
