"""Failures that wait for a re-run: which runs are re-runs, the rule, and the whole way through a lake."""

from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lake.store import Lake
from pipelines.evidence.gates import Judgement
from pipelines.evidence.policy import Gate
from pipelines.evidence.reruns import confirm_failures
from pipelines.evidence.staleness import stale_run_dates
from pipelines.evidence.steps import judge_what_is_new
from pipelines.evidence.unchanged_code import MAX_RERUNS, CodeHistory, code_of
from tests.evidence.rows import (
    DAY,
    FINGERPRINT,
    START,
    code_version,
    committed,
    output,
    output_rows,
    policy,
    run,
    run_rows,
)

CONFIRM = """
version: 1
comparisons:
  - {name: across, candidate: {backend: a}, baseline: {backend: b}}
gates:
  - {name: parity, family: score_parity, margin: 0.1, minimum_n: 5, confirm_on_rerun: true}
  - {name: latency, family: latency_regression, margin: 1.5, minimum_n: 5}
"""


# Which runs are re-runs


def test_a_rerun_is_a_later_successful_run_of_the_same_commit_and_settings():
    first = committed("first")
    others = [
        committed("earlier", -1),
        committed("rerun", 1),
        committed("other commit", 1, commit="c2"),
        committed("other machine", 1, fingerprint=FINGERPRINT | {"hardware": "four cores"}),
        committed("other engine", 1, engine_version="2"),
        committed("other backend", 1, backend="b"),
        committed("broken", 1, status="error"),
        committed("changed tree", 1) | {"code_version": code_version(is_dirty=True)},
        committed("copy", 1, content_digest=first["content_digest"]),
    ]
    history = CodeHistory([first, *others])
    assert [row["run_id"] for row in history.reruns_of(first)] == ["rerun"]
    assert history.support_of("first", "rerun").rerun_ids == ()
    # The last one before is looked at too, unless it is the yardstick itself.
    assert history.support_of("first", "rerun").earlier_id == "earlier"
    assert history.support_of("first", "earlier").earlier_id is None


def test_a_run_without_a_commit_repeats_nothing():
    unknown = [committed("first", commit=None), committed("second", 1, commit=None)]
    assert code_of(unknown[0]) is None
    assert CodeHistory(unknown).reruns_of(unknown[0]) == []


@given(st.permutations(range(6)))
@settings(deadline=None, max_examples=10)
def test_the_first_reruns_count_in_whatever_order_they_arrived(order):
    runs = [committed(f"r{day}", day) for day in order]
    history = CodeHistory(runs)
    by_id = {row["run_id"]: row for row in runs}
    found = [row["run_id"] for row in history.reruns_of(by_id["r0"])]
    assert found == [f"r{day}" for day in range(1, 1 + MAX_RERUNS)]
    # Whoever may look at a run finds out when it changes.
    for row in runs:
        for rerun in history.reruns_of(row):
            assert row["run_id"] in {other["run_id"] for other in history.repeated_by(rerun)}


# The rule

GATE = Gate.model_validate({"name": "g", "family": "score_parity", "margin": 0.1, "confirm_on_rerun": True})
FAILED = Judgement(verdict="fail", reasons=("It is worse.",), effect=-0.5)


@pytest.mark.parametrize(
    ("reruns", "verdict", "used"),
    [
        ([], "inconclusive", 0),
        (["fail"], "fail", 1),
        (["pass"], "pass", 1),
        (["pass", "fail"], "pass", 1),
        (["inconclusive"], "inconclusive", 1),
        (["inconclusive", "fail"], "fail", 2),
        (["incomparable", "pass", "fail"], "pass", 2),
    ],
)
def test_the_first_rerun_that_decides_counts(reruns, verdict, used):
    ids = [f"rerun-{place}" for place in range(len(reruns))]
    by_id = {
        run_id: [Judgement(verdict=word, reasons=(f"{run_id} says {word}.",))]
        for run_id, word in zip(ids, reruns, strict=True)
    }
    (found,) = confirm_failures([GATE], [FAILED], rerun_ids=ids, judge_run=by_id.__getitem__)
    assert (found.verdict, found.rerun_ids) == (verdict, tuple(ids[:used]))
    assert found.effect == FAILED.effect
    assert found.reasons[0] == "It is worse."
    told = {"fail": "Confirmed", "pass": "Not confirmed", "inconclusive": "It awaits a re-run"}[verdict]
    assert found.reasons[-1].startswith(told)
    assert ("rerun-" in " ".join(found.reasons)) == bool(used)


@pytest.mark.parametrize(
    ("before", "after", "verdict", "used"),
    [
        ("fail", "pass", "fail", ("before",)),
        ("pass", "fail", "fail", ("before", "after")),
        ("pass", None, "inconclusive", ("before",)),
        ("inconclusive", "pass", "pass", ("before", "after")),
    ],
)
def test_an_earlier_failure_confirms_and_an_earlier_pass_decides_nothing(before, after, verdict, used):
    words = {"before": before, "after": after}
    (found,) = confirm_failures(
        [GATE],
        [FAILED],
        rerun_ids=["after"] if after else [],
        earlier_id="before",
        judge_run=lambda run_id: [Judgement(verdict=words[run_id], reasons=("So it is.",))],
    )
    assert (found.verdict, found.rerun_ids) == (verdict, used)


@pytest.mark.parametrize("verdict", ["pass", "inconclusive", "incomparable"])
def test_what_does_not_fail_needs_no_rerun(verdict):
    def never(run_id):
        raise AssertionError(f"nobody asked for {run_id}")

    first = Judgement(verdict=verdict, reasons=("So it is.",))
    assert confirm_failures([GATE], [first], rerun_ids=["x"], judge_run=never) == [replace(first, rerun_ids=())]
    plain = GATE.model_copy(update={"confirm_on_rerun": False})
    assert confirm_failures([plain], [FAILED], rerun_ids=["x"], judge_run=never) == [FAILED]


def test_a_failure_that_nothing_can_confirm_says_why():
    (found,) = confirm_failures(
        [GATE], [FAILED], rerun_ids=[], judge_run=lambda _: [], why_none="The run names no commit."
    )
    assert found.verdict == "inconclusive"
    assert found.reasons[-1].endswith("The run names no commit.")


# Through a lake


@pytest.fixture
def lake(tmp_path) -> Lake:
    return Lake.open(tmp_path / "lake")


def land(lake: Lake, row: dict, *, score: float = 1.0) -> None:
    lake.upsert("silver.runs", run_rows(row))
    scores = [{"scorer": "exact_match", "value": score}]
    lake.upsert(
        "silver.outputs", output_rows([output(row, index, f"answer {index}", scores=scores) for index in range(50)])
    )


def parity_of(lake: Lake, run_id: str) -> dict:
    (row,) = lake.read("gold.gate_results").filter(candidate_run_id=run_id, gate="parity").to_dicts()
    return row


def everything(lake: Lake) -> list[dict]:
    rows = lake.read("gold.gate_results").drop("input_versions").sort("run_date", "comparison_id", "gate")
    return rows.to_dicts()


@pytest.mark.parametrize(("second_score", "verdict"), [(0.0, "fail"), (1.0, "pass")])
def test_a_failure_waits_for_a_rerun_of_a_later_date(lake, second_score, verdict):
    rules = policy(CONFIRM)
    land(lake, run("base", "b"))
    land(lake, committed("first", hours=1), score=0.0)
    judge_what_is_new(lake, rules)
    waiting = parity_of(lake, "first")
    assert (waiting["verdict"], waiting["rerun_ids"]) == ("inconclusive", [])
    assert "awaits a re-run" in waiting["reasons"][-1]
    assert waiting["effect"] == -1
    assert "first" not in lake.read("gold.promoted_runs")["run_id"].to_list()

    land(lake, committed("second", days=2), score=second_score)
    # The re-run wakes its own date and the one that waits for it.
    assert stale_run_dates(lake, rules) == [START.date(), (START + 2 * DAY).date()]
    judge_what_is_new(lake, rules)
    decided = parity_of(lake, "first")
    assert (decided["verdict"], decided["rerun_ids"]) == (verdict, ["second"])
    assert ("first" in lake.read("gold.promoted_runs")["run_id"].to_list()) == (verdict == "pass")

    versions = lake.versions(["gold.gate_results", "gold.promoted_runs"])
    assert judge_what_is_new(lake, rules) == []
    assert lake.versions(["gold.gate_results", "gold.promoted_runs"]) == versions


def test_a_backfill_in_any_order_gives_the_same_verdicts(tmp_path):
    rules = policy(CONFIRM)
    rows = [
        (run("base", "b"), 1.0),
        (committed("first", hours=1), 0.0),
        (committed("second", days=1), 0.0),
        (committed("third", days=3), 1.0),
    ]
    told = []
    for name, order in (("forth", rows), ("back", rows[::-1])):
        lake = Lake.open(tmp_path / name)
        for row, score in order:
            land(lake, row, score=score)
            judge_what_is_new(lake, rules)
        told.append(everything(lake))
    assert told[0] == told[1]
    assert {row["candidate_run_id"]: row["verdict"] for row in told[0] if row["gate"] == "parity"} == {
        # The third passes, but the second came first.
        "first": "fail",
        # The third, its first re-run, passes, but the first had failed before.
        "second": "fail",
        "third": "pass",
    }


def test_a_removed_rerun_leaves_the_failure_waiting_again(lake):
    rules = policy(CONFIRM)
    land(lake, run("base", "b"))
    land(lake, committed("first", hours=1), score=0.0)
    second = committed("second", days=1)
    land(lake, second, score=0.0)
    judge_what_is_new(lake, rules)
    assert parity_of(lake, "first")["verdict"] == "fail"
    lake.upsert("silver.runs", run_rows(second | {"code_version": code_version("c2")}))
    judge_what_is_new(lake, rules)
    assert parity_of(lake, "first")["verdict"] == "inconclusive"
