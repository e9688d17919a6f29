"""Teacher-forced mode on a real lake: what is scored, what a kill leaves, what evidence and gates make of it."""

import math

import polars as pl
import pytest

from lake.errors import UserError
from lake.store import Lake
from pipelines.evidence import scoring_steps
from pipelines.evidence.ad_hoc import compare_two
from pipelines.evidence.forced_divergence import band_of, band_words, clustered_mean
from pipelines.evidence.pair_token_texts import parted_rows, token_sentences
from pipelines.evidence.scoring_steps import ScoringResult, same_backend, score_run
from pipelines.evidence.steps import judge_what_is_new, stale_run_dates
from pipelines.runs.backends import BackendIdentity
from pipelines.runs.remarks import find_run
from tests.evidence.rows import DAY, FINGERPRINT, START, output, output_rows, policy, run, run_rows
from tests.evidence.scoring import EVEN, ListedBackend
from tests.evidence.tokens import token_rows

TONIGHT = START.date()
SAMPLES = 25
POLICY = """
version: 1
comparisons: [{name: across, candidate: {backend: a}, baseline: {backend: b}}]
gates:
  - {name: forced, family: token_divergence, margin: 0.02}
  - {name: parity, family: score_parity, margin: 0.5}
"""
# KL(EVEN || NEAR) = 0.4 ln(0.4 / 0.41) + 0.1 ln(0.1 / 0.09) = -0.009877 + 0.010536
NEAR, NEAR_KL = (0.41, 0.3, 0.2, 0.09), 0.000659
# KL(EVEN || FAR) = 0.4 ln 4 + 0.3 ln 1 + 0.2 ln 1 + 0.1 ln(1 / 4) = 0.3 ln 4
FAR, FAR_KL = (0.1, 0.3, 0.2, 0.4), 0.3 * math.log(4)


@pytest.fixture
def lake(tmp_path) -> Lake:
    lake = Lake.open(tmp_path / "lake")
    land(lake, run("a1"), run("b1", "b"))
    return lake


def land(lake: Lake, *runs: dict, listed: int = 2) -> None:
    """Runs whose outputs are tokens 0, 1, 2 with the `listed` likeliest of EVEN recorded."""
    known = {**FINGERPRINT, "tokenizer": "t", "logprobs_mode": "raw"}
    lake.upsert("silver.runs", run_rows(*({**row, "fingerprint": known, "parameters": None} for row in runs)))
    top_k = [{"token_id": index, "token": str(index), "logprob": math.log(EVEN[index])} for index in range(listed)]
    outputs, tokens = [], []
    for row in runs:
        for index in range(SAMPLES):
            ids = [0, 1, 2][: 1 + index % 3]
            outputs.append(output(row, index, "x", prompt=f"prompt {index}", output_token_count=len(ids)))
            tokens.append(
                {
                    "run_id": row["run_id"],
                    "sample_id": f"s{index:03}",
                    "repeat_index": 0,
                    "run_date": row["run_date"],
                    "tokens": list(map(str, ids)),
                    "token_ids": ids,
                    "token_bytes": [str(token_id).encode() for token_id in ids],
                    "logprobs": [math.log(EVEN[token_id]) for token_id in ids],
                    "top_k": [top_k for _ in ids],
                }
            )
    lake.upsert("silver.outputs", output_rows(outputs))
    lake.upsert("silver.output_tokens", token_rows(*tokens))


def score(lake: Lake, backend: ListedBackend, run_id: str = "b1", **changes) -> ScoringResult:
    given = {"reference": ListedBackend("b"), "top_k": None, "clock": lambda: START, **changes}
    return score_run(lake, find_run(lake, run_id), backend, **given)


def verdict(lake: Lake) -> str:
    return lake.read("gold.gate_results", where={"gate": "forced"})["verdict"].item()


def test_a_scoring_is_rows_and_exact_where_both_list_the_vocabulary(lake) -> None:
    result = score(lake, ListedBackend("a", probabilities=FAR))
    # ids of 1, 2 and 3 tokens in turn: 8 x (1 + 2 + 3) + 1
    assert (result.scored_count, result.position_count, result.failed_count, result.is_exact) == (25, 49, 0, True)
    row = lake.read("silver.scored_tokens", where={"sample_id": "s002"}).row(0, named=True)
    assert row["token_ids"] == [0, 1, 2]
    assert row["kl_lower"] == row["kl_upper"] == pytest.approx([FAR_KL] * 3)
    assert row["reference_logprobs"] == pytest.approx([math.log(p) for p in EVEN[:3]])
    assert row["logprobs"] == pytest.approx([math.log(p) for p in FAR[:3]])
    assert row["has_same_top"] == [False] * 3
    assert lake.row_count("bronze.rejects") == 0


def test_what_is_scored_is_not_scored_again(lake, monkeypatch) -> None:
    monkeypatch.setattr(scoring_steps, "BATCH_OUTPUTS", 10)
    killed = ListedBackend("a")
    ask, count = killed.score_tokens, iter(range(100))

    def until_killed(*words, **options):
        if next(count) == 13:
            raise KeyboardInterrupt
        return ask(*words, **options)

    killed.score_tokens = until_killed
    with pytest.raises(KeyboardInterrupt):
        score(lake, killed)
    assert lake.row_count("silver.scored_tokens") == 10
    assert lake.row_count("silver.token_scorings") == 0
    backend = ListedBackend("a")
    result = score(lake, backend)
    assert (result.reused_count, result.scored_count, len(backend.asked)) == (10, 25, 15)
    versions = lake.versions(["silver.scored_tokens", "silver.token_scorings"])
    again = ListedBackend("a")
    assert score(lake, again).reused_count == 25
    assert again.asked == []
    assert lake.versions(versions) == versions


def test_outputs_that_cannot_be_scored_say_why_and_are_tried_again(lake) -> None:
    result = score(lake, ListedBackend("a", fails_at="prompt 7"))
    assert (result.scored_count, result.failed_count, result.first_error) == (24, 1, "prompt 7 is too hard.")
    row = lake.read("silver.scored_tokens", where={"sample_id": "s007"}).row(0, named=True)
    assert (row["error_message"], row["token_ids"]) == ("prompt 7 is too hard.", [])
    mended = ListedBackend("a")
    assert score(lake, mended).failed_count == 0
    assert mended.asked == ["prompt 7"]


def test_a_limit_takes_the_same_samples_every_time(lake) -> None:
    first, second = ListedBackend("a"), ListedBackend("a")
    assert score(lake, first, sample_limit=5).scored_count == 5
    assert score(lake, second, sample_limit=8).scored_count == 8
    assert len(second.asked) == 3


def test_what_the_run_recorded_is_a_reference_between_bounds(lake) -> None:
    result = score(lake, ListedBackend("a", probabilities=FAR), reference=None)
    assert not result.is_exact
    assert result.reference == "what the run recorded"
    row = lake.read("silver.scored_tokens", where={"sample_id": "s000"}).row(0, named=True)
    assert row["kl_lower"][0] <= FAR_KL <= row["kl_upper"][0]
    assert row["top_k_counts"] == [2]


def test_what_means_something_else_is_refused(lake) -> None:
    with pytest.raises(UserError, match="tokenizer differ"):
        score(lake, ListedBackend("a", tokenizer="another"))
    lake.remove("silver.output_tokens", lake.read("silver.output_tokens", where={"run_id": "a1"}))
    with pytest.raises(UserError, match="no tokens to score"):
        score(lake, ListedBackend("b"), "a1")


def test_evidence_follows_a_scoring_that_comes_later(lake) -> None:
    rules = policy(POLICY)
    assert judge_what_is_new(lake, rules) == [TONIGHT]
    assert (verdict(lake), stale_run_dates(lake, rules)) == ("inconclusive", [])
    score(lake, ListedBackend("a", probabilities=FAR))
    assert stale_run_dates(lake, rules) == [TONIGHT]
    judge_what_is_new(lake, rules)
    assert verdict(lake) == "fail"
    band = lake.read("gold.divergence_bands").row(0, named=True)
    assert (band["band"], band["band_basis"], band["sample_count"], band["position_count"]) == (
        "broken",
        "exact",
        25,
        49,
    )
    assert band["mean_kl_lower"] == pytest.approx(FAR_KL)
    assert band["same_top_ratio"] == 0
    assert lake.row_count("gold.forced_divergences") == 25
    assert stale_run_dates(lake, rules) == []
    cursors = lake.read("silver.cursors")
    assert set(cursors["table"]) == {"silver.runs", "silver.token_scorings"}


def test_a_near_backend_passes_and_a_second_look_writes_nothing(lake) -> None:
    rules = policy(POLICY)
    score(lake, ListedBackend("a", probabilities=NEAR))
    judge_what_is_new(lake, rules)
    assert verdict(lake) == "pass"
    assert lake.read("gold.divergence_bands")["mean_kl_lower"].item() == pytest.approx(NEAR_KL, abs=1e-6)
    assert lake.read("gold.divergence_bands")["band"].item() == "same"
    tables = ["gold.divergence_bands", "gold.forced_divergences", "gold.gate_results"]
    versions = lake.versions(tables)
    assert judge_what_is_new(lake, rules) == []
    assert lake.versions(tables) == versions


def test_a_scoring_by_another_backend_tells_nothing_of_the_comparison(lake) -> None:
    score(lake, ListedBackend("c", probabilities=FAR))
    judge_what_is_new(lake, policy(POLICY))
    assert lake.row_count("gold.divergence_bands") == 0
    assert verdict(lake) == "inconclusive"


def test_the_exact_scoring_counts_before_one_of_lists(lake) -> None:
    score(lake, ListedBackend("a", probabilities=FAR), reference=None)
    score(lake, ListedBackend("a", probabilities=FAR))
    judge_what_is_new(lake, policy(POLICY))
    assert lake.read("gold.divergence_bands")["is_exact"].to_list() == [True]


def test_rows_go_with_a_comparison_that_is_planned_no_more(lake) -> None:
    score(lake, ListedBackend("a", probabilities=FAR))
    judge_what_is_new(lake, policy(POLICY))
    judge_what_is_new(lake, policy(POLICY.replace("{backend: b}", "{backend: elsewhere}")))
    assert lake.row_count("gold.divergence_bands") == lake.row_count("gold.forced_divergences") == 0


def test_two_named_runs_are_told_of_without_a_row(lake) -> None:
    sides = {"candidate": find_run(lake, "a1"), "baseline": find_run(lake, "b1")}
    before = compare_two(lake, policy(POLICY), **sides)
    assert "unknown" in " ".join(token_sentences(before.tokens))
    score(lake, ListedBackend("a", probabilities=FAR))
    found = compare_two(lake, policy(POLICY), **sides)
    assert "broken: mean KL 0.42 nats" in " ".join(token_sentences(found.tokens))
    assert dict(found.verdicts.select("gate", "verdict").iter_rows())["forced"] == "fail"
    assert parted_rows(found.tokens, limit=5).is_empty()
    assert lake.row_count("gold.divergence_bands") == 0


def test_a_run_of_the_next_day_is_told_of_by_its_own_scoring(lake) -> None:
    rules = policy(POLICY)
    score(lake, ListedBackend("a", probabilities=FAR))
    judge_what_is_new(lake, rules)
    land(lake, run("a2", started_at=START + DAY), run("b2", "b", started_at=START + DAY))
    judge_what_is_new(lake, rules)
    assert lake.read("gold.divergence_bands")["candidate_run_id"].to_list() == ["a1"]
    score(lake, ListedBackend("a", probabilities=NEAR), "b2")
    assert judge_what_is_new(lake, rules) == [TONIGHT + DAY]
    bands = dict(lake.read("gold.divergence_bands").select("candidate_run_id", "band").iter_rows())
    assert bands == {"a1": "broken", "a2": "same"}


def test_a_backend_is_the_same_by_engine_version_model_and_weights() -> None:
    row = {"engine": "e", "engine_version": "1", "model": "m", "parameters": '{"model_digest":"d"}'}
    same = BackendIdentity(name="n", engine="e", engine_version="1", model="m", model_digest="d")
    assert same_backend(row, same)
    assert same_backend({**row, "parameters": None}, same)
    assert not same_backend({**row, "parameters": '{"model_digest":"other"}'}, same)
    assert not same_backend({**row, "engine_version": "2"}, same)


def test_a_mean_over_clusters_has_the_error_of_the_ratio_estimator() -> None:
    values, clusters = pl.Series([1.0, 3.0, 5.0]), pl.Series(["x", "x", "y"])
    mean, error = clustered_mean(values.to_numpy(), clusters)
    # mean 3; residuals of sums: 4 - 2 x 3 = -2 and 5 - 3 = 2; sqrt((4 + 4) x 2 / 1) / 3
    assert (mean, error) == (3.0, pytest.approx(4 / 3))
    assert clustered_mean(values.to_numpy(), pl.Series(["x"] * 3))[1] is None


def test_bands_have_limits_and_words() -> None:
    assert [band_of(value) for value in (0.001, 0.0011, 0.01, 0.1, 0.11)] == [
        "same", "close", "close", "degraded", "broken",
    ]  # fmt: skip
    assert band_words({"band": None, "best_band": "close", "worst_band": "degraded"}) == "close to degraded"
    assert band_words({"band": None, "best_band": "close", "worst_band": "broken"}) == "close or worse"
