"""Right and wrong of both sides of a pair: counted, sliced, and listed where they differ."""

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipelines.evidence.contingencies import count_right, flips_of, judge_right, prompt_group
from pipelines.evidence.correctness import has_full_marks, is_scored_alike
from tests.evidence.rows import FINGERPRINT, output, output_rows, run

CELLS = ["both_right_count", "candidate_only_count", "baseline_only_count", "both_wrong_count"]


def scores(**values: float) -> list[dict]:
    return [{"scorer": scorer, "value": value} for scorer, value in values.items()]


def count(candidate: dict[str, list[dict] | None], baseline: dict[str, list[dict] | None], **changes) -> pl.DataFrame:
    """The rows for two runs with these scores by sample id, and `tags`; other changes are of the candidate run."""
    tags = changes.pop("tags", {})
    runs = {"a1": run("a1", **changes), "b1": run("b1", "b")}
    rows = [
        output(
            runs[run_id],
            0,
            "text",
            sample_id=sample,
            prompt_digest=sample,
            scores=given or [],
            tags=tags.get(sample, []),
        )
        for run_id, side in (("a1", candidate), ("b1", baseline))
        for sample, given in side.items()
    ]
    plan = pl.DataFrame(
        {
            "comparison_id": ["c"],
            "suite": ["capitals"],
            "run_date": [runs["a1"]["run_date"]],
            "candidate_run_id": ["a1"],
            "baseline_run_id": ["b1"],
            "input_digest": ["d"],
        }
    )
    return count_right(plan, runs, output_rows(rows))


def cells(rows: pl.DataFrame, scorer: str = "s", kind: str = "suite", value: str = "capitals") -> list[int]:
    (row,) = rows.filter(scorer=scorer, slice_kind=kind, slice_value=value).to_dicts()
    assert row["pair_count"] == sum(row[cell] for cell in CELLS)
    return [row[cell] for cell in CELLS]


def test_the_four_cells_by_hand():
    right, wrong = scores(s=1.0), scores(s=0.0)
    candidate = {"a": right, "b": right, "c": right, "d": wrong, "e": wrong, "f": wrong, "g": right}
    baseline = {"a": right, "b": right, "c": wrong, "d": right, "e": wrong, "f": wrong, "h": right}
    # a and b both, c gained, d lost, e and f neither; g and h are no pairs
    assert cells(count(candidate, baseline)) == [2, 1, 1, 2]


def test_a_missing_score_is_no_wrong_answer():
    rows = count({"a": scores(s=1.0), "b": None, "c": None}, {"a": scores(s=1.0), "b": scores(s=1.0), "c": None})
    assert cells(rows) == [1, 0, 0, 0]
    assert rows["unscored_count"].to_list() == [1]


def test_slices_are_suite_tags_and_prompt_groups_of_two_pairs_at_least():
    right, wrong = scores(s=1.0), scores(s=0.0)
    samples = {"fact-1": right, "fact-2": wrong, "math-1": right, "x": right}
    tags = {"fact-1": ["easy", "old"], "math-1": ["easy"]}
    rows = count(samples, dict.fromkeys(samples, right), tags=tags)
    assert rows.select("slice_kind", "slice_value").rows() == [
        ("prompt_group", "fact"), ("suite", "capitals"), ("tag", "easy"),
    ]  # fmt: skip
    assert cells(rows, kind="prompt_group", value="fact") == [1, 0, 1, 0]
    assert cells(rows, kind="tag", value="easy") == [2, 0, 0, 0]


def test_what_right_means_depends_on_the_scorer():
    samples = {"a": scores(s=1.0, token_f1=0.5, judge=4.0), "b": scores(s=0.0, token_f1=0.4, judge=5.0)}
    rows = count(samples, samples)
    assert dict(rows.select("scorer", "right_score").iter_rows()) == {"s": 1.0, "token_f1": 0.5}
    assert cells(rows, scorer="token_f1") == cells(rows) == [1, 0, 0, 1]
    # One value in between, on either side, and nobody knows where right begins.
    assert count({"a": scores(s=1.0)}, {"a": scores(s=0.7)}).is_empty()


def test_runs_of_another_task_and_other_prompts_are_not_counted():
    samples = {"a": scores(s=1.0)}
    assert count(samples, samples, fingerprint=FINGERPRINT | {"suite_digest": "other"}).is_empty()
    assert count(samples, {}).is_empty()


@given(st.lists(st.tuples(*[st.sampled_from([None, 0.0, 1.0])] * 2), min_size=1, max_size=12))
@settings(deadline=None, max_examples=60)
def test_exchanging_the_sides_exchanges_the_two_cells_in_the_middle(pairs):
    sides = [
        {f"s{place}": None if pair[side] is None else scores(s=pair[side]) for place, pair in enumerate(pairs)}
        for side in (0, 1)
    ]
    there, back = count(*sides), count(*reversed(sides))
    assert there["both_right_count"].to_list() == back["both_right_count"].to_list()
    assert there["candidate_only_count"].to_list() == back["baseline_only_count"].to_list()
    assert there["both_wrong_count"].to_list() == back["both_wrong_count"].to_list()
    # The plain loop.
    known = [pair for pair in pairs if None not in pair]
    if known:
        wanted = [known.count(cell) for cell in ((1.0, 1.0), (1.0, 0.0), (0.0, 1.0), (0.0, 0.0))]
        assert cells(there) == wanted
    else:
        assert there["pair_count"].sum() == 0


def test_flips_say_who_gained_and_who_lost():
    pairs = pl.DataFrame(
        {
            "comparison_id": ["c"] * 3,
            "sample_id": ["a", "b", "c"],
            "repeat_index": [0, 0, 0],
            "candidate_scores": [scores(s=1.0), scores(s=0.0), scores(s=1.0)],
            "baseline_scores": [scores(s=0.0), scores(s=1.0), scores(s=1.0)],
        }
    )
    flips = flips_of(judge_right(pairs)).sort("sample_id")
    assert flips.select("sample_id", "flip", "candidate_score", "baseline_score").rows() == [
        ("a", "gained", 1.0, 0.0), ("b", "lost", 0.0, 1.0),
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("sample_id", "group"),
    [("fact-france", "fact"), ("fact-new-york", "fact"), ("algebra/linear/17", "algebra/linear"), ("q.1", "q"),
     ("17", None), ("-1", None), ("/1", None), ("a_b", "a"), ("mmlu:law:3", "mmlu")],
)  # fmt: skip
def test_the_group_that_a_sample_id_names(sample_id, group):
    assert pl.DataFrame({"id": [sample_id]}).select(prompt_group(pl.col("id"))).item() == group


def test_scores_alike_are_those_of_the_same_scorer():
    assert is_scored_alike(scores(s=1.0), scores(s=1.0 + 1e-12))
    assert not is_scored_alike(scores(s=1.0), scores(s=0.9))
    assert is_scored_alike(scores(s=1.0), scores(t=0.0))
    assert is_scored_alike(None, scores(s=0.0))
    assert is_scored_alike(scores(s=float("nan")), scores(s=0.0))


def test_full_marks_are_those_of_every_scorer_that_both_have():
    assert has_full_marks(scores(s=1.0, t=0.0), scores(s=1.0))
    assert not has_full_marks(scores(s=1.0, t=0.5), scores(s=1.0, t=0.5))
    assert not has_full_marks(scores(s=1.0), scores(t=1.0))
    assert not has_full_marks([], None)
