"""The steps on a real lake in a temporary folder."""

import datetime as dt

import pytest

from lake.store import Lake
from lake.tables import contract_of
from pipelines.evidence import slices, steps
from pipelines.evidence.diff import apply_opcodes
from pipelines.evidence.render import side_by_side
from pipelines.evidence.steps import (
    compare_runs,
    count_contingencies,
    diff_outputs,
    judge_gates,
    most_different_pairs,
    night_summary,
    promote_runs,
    stale_run_dates,
)
from tests.evidence.rows import DAY, FINGERPRINT, POLICY, START, output, output_rows, policy, run, run_rows

STEPS = (diff_outputs, count_contingencies, compare_runs, judge_gates, promote_runs)
GOLD = (
    "gold.output_diffs", "gold.contingencies", "gold.run_comparisons", "gold.gate_results", "gold.promoted_runs",
)  # fmt: skip
TONIGHT = START.date()
SAMPLES = 50


@pytest.fixture
def lake(tmp_path) -> Lake:
    return Lake.open(tmp_path / "lake")


def land(lake: Lake, *runs: dict, text: str = "the answer", samples: int = SAMPLES, **changes) -> None:
    """Runs with `samples` outputs each; every output is `text` and the number of its sample."""
    lake.upsert("silver.runs", run_rows(*runs))
    outputs = [output(row, index, f"{text} {index}", **changes) for row in runs for index in range(samples)]
    lake.upsert("silver.outputs", output_rows(outputs))


def work_off(lake: Lake, *dates: dt.date, rules: str = POLICY, **options) -> list[steps.EvidenceResult]:
    wanted = list(dates or (TONIGHT,))
    return [step(lake, policy(rules), wanted, **(options if step is not promote_runs else {})) for step in STEPS]


def versions(lake: Lake) -> dict[str, int]:
    return lake.versions(GOLD)


def comparison(lake: Lake, pairing: str = "across") -> dict:
    (row,) = lake.read("gold.run_comparisons").filter(pairing=pairing).to_dicts()
    return row


def verdicts(lake: Lake) -> dict[tuple[str, str], str]:
    named = lake.read("gold.gate_results").join(
        lake.read("gold.run_comparisons", columns=["comparison_id", "pairing"]), on="comparison_id"
    )
    return {(pairing, gate): verdict for pairing, gate, verdict in named.select("pairing", "gate", "verdict").rows()}


def test_a_night_from_outputs_to_promotion(lake):
    a, b = run("a1"), run("b1", "b")
    land(lake, a)
    land(lake, b)
    # Of 50 answers one is longer, one is missing, one is blank.
    changed = [
        output(a, 0, "the answer 0 and more"),
        output(a, 1, None, scores=[]),
        output(a, 2, " "),
    ]
    lake.upsert("silver.outputs", output_rows(changed))
    diffed, _, compared, judged, promoted = work_off(lake)

    diffs = lake.read("gold.output_diffs").sort("sample_id")
    assert diffs["change_kind"].to_list() == ["content", "error", "empty", *["identical"] * 47]
    first = diffs.to_dicts()[0]
    assert apply_opcodes(first["opcodes"], "the answer 0", "the answer 0 and more") == "the answer 0 and more"
    # kept: 5 of 5 and 9 words
    assert first["similarity_ratio"] == pytest.approx(2 * 5 / 14)

    row = comparison(lake)
    assert (row["candidate_run_id"], row["baseline_run_id"], row["suite"]) == ("a1", "b1", "capitals")
    assert (row["comparability"], row["reasons"]) == ("comparable", [])
    assert (row["paired_sample_count"], row["identical_count"], row["changed_count"]) == (50, 47, 3)
    # the missing one has no similarity; " " keeps none of 5 words but the space: 2 x 1 / 6
    assert row["mean_similarity_ratio"] == pytest.approx((47 + 10 / 14 + 2 / 6) / 49)
    assert {entry["table"] for entry in row["input_versions"]} == {"silver.runs", "silver.outputs", "gold.output_diffs"}

    assert verdicts(lake) == {
        ("across", "parity"): "pass",
        ("across", "latency"): "pass",
        ("across", "failures"): "pass",
    }
    assert lake.read("gold.promoted_runs")["run_id"].to_list() == ["a1"]
    assert lake.row_count("bronze.rejects") == 0
    assert (diffed.rows_written, compared.rows_written, judged.rows_written, promoted.rows_written) == (50, 1, 3, 1)
    assert (diffed.computed_count, diffed.skipped_count, diffed.rows_read) == (1, 0, 100)


def test_a_second_time_writes_nothing(lake):
    land(lake, run("a1"), run("b1", "b"))
    work_off(lake)
    before = versions(lake)
    results = work_off(lake)
    assert versions(lake) == before
    assert [(result.computed_count, result.skipped_count) for result in results[:4]] == [(0, 1)] * 4
    assert sum(result.rows_written for result in results) == 0


def test_mode_all_computes_again_and_finds_the_same(lake):
    land(lake, run("a1"), run("b1", "b"))
    work_off(lake)
    before = {table: lake.read(table) for table in GOLD}
    results = work_off(lake, mode="all")
    assert [result.computed_count for result in results[:4]] == [1, 1, 1, 1]
    for table, rows in before.items():
        without = [name for name in rows.columns if name != "input_versions"]
        assert lake.read(table).select(without).equals(rows.select(without)), table


def test_a_failed_gate_keeps_a_run_out_and_takes_it_out_again(lake):
    land(lake, run("a1"), run("b1", "b"))
    work_off(lake)
    assert lake.read("gold.promoted_runs")["run_id"].to_list() == ["a1"]
    # The same run is imported again with every answer wrong.
    land(lake, run("a1", content_digest="corrected"), scores=[{"scorer": "exact_match", "value": 0.0}])
    assert stale_run_dates(lake, policy()) == [TONIGHT]
    work_off(lake)
    assert verdicts(lake)["across", "parity"] == "fail"
    assert lake.read("gold.promoted_runs").is_empty()


def test_the_good_runs_of_a_day_go_on_without_the_bad_one(lake):
    rules = POLICY.replace("candidate: {backend: a}", "candidate: {backend: [a, c]}")
    land(lake, run("a1"), run("b1", "b"))
    land(lake, run("c1", "c"), scores=[{"scorer": "exact_match", "value": 0.0}])
    work_off(lake, rules=rules)
    assert lake.read("gold.promoted_runs")["run_id"].to_list() == ["a1"]


def test_the_next_night_is_compared_with_the_last_without_touching_it(lake):
    land(lake, run("a1"), run("b1", "b"))
    work_off(lake)
    old = lake.read("gold.output_diffs", where={"run_date": TONIGHT})
    tomorrow = START + DAY
    land(lake, run("a2", started_at=tomorrow), run("b2", "b", started_at=tomorrow), text="the other answer")
    assert stale_run_dates(lake, policy()) == [tomorrow.date()]
    work_off(lake, tomorrow.date())
    pairs = lake.read("gold.run_comparisons", where={"run_date": tomorrow.date()})
    named = sorted(pairs.select("pairing", "candidate_run_id", "baseline_run_id").rows())
    assert named == [("across", "a2", "b2"), ("previous", "a2", "a1"), ("previous", "b2", "b1")]
    assert pairs.filter(pairing="previous")["changed_count"].to_list() == [SAMPLES, SAMPLES]
    assert lake.read("gold.output_diffs", where={"run_date": TONIGHT}).equals(old)
    assert stale_run_dates(lake, policy()) == []


def test_a_late_run_that_becomes_a_baseline_wakes_the_later_date(lake):
    first, third = START, START + 2 * DAY
    land(lake, run("a1", started_at=first), run("a3", started_at=third))
    work_off(lake, first.date(), third.date())
    assert comparison(lake, "previous")["baseline_run_id"] == "a1"
    land(lake, run("a2", started_at=START + DAY))
    dates = stale_run_dates(lake, policy())
    assert dates == [(START + DAY).date(), third.date()]
    results = work_off(lake, *dates)
    assert results[0].removed_count == 1
    pairs = lake.read("gold.run_comparisons").select("candidate_run_id", "baseline_run_id")
    assert sorted(pairs.rows()) == [("a2", "a1"), ("a3", "a2")]
    for table in GOLD[:4]:
        ids = set(lake.read(table)["comparison_id"])
        assert ids == set(lake.read("gold.run_comparisons")["comparison_id"]), table
    assert stale_run_dates(lake, policy()) == []


def test_a_rule_that_leaves_the_policy_takes_its_results_along(lake):
    land(lake, run("a1"), run("b1", "b"))
    work_off(lake)
    without = POLICY.replace("  - {name: across, candidate: {backend: a}, baseline: {backend: b}}\n", "")
    assert stale_run_dates(lake, policy(without)) == [TONIGHT]
    results = work_off(lake, rules=without)
    assert [result.removed_count for result in results] == [1, 1, 1, 1, 1]
    assert all(lake.read(table).is_empty() for table in GOLD)


def test_another_margin_judges_again_but_compares_nothing_again(lake):
    land(lake, run("a1"), run("b1", "b"))
    work_off(lake)
    before = versions(lake)
    wider = POLICY.replace("margin: 0.1,", "margin: 0.3,")
    assert stale_run_dates(lake, policy(wider)) == [TONIGHT]
    work_off(lake, rules=wider)
    after = versions(lake)
    assert after["gold.output_diffs"] == before["gold.output_diffs"]
    assert after["gold.run_comparisons"] == before["gold.run_comparisons"]
    assert lake.read("gold.gate_results")["policy_digest"].unique().to_list() == [policy(wider).digest]
    assert lake.read("gold.promoted_runs")["policy_digest"].to_list() == [policy(wider).digest]
    assert stale_run_dates(lake, policy(wider)) == []


def test_another_task_gets_reasons_instead_of_numbers(lake):
    land(lake, run("a1", fingerprint=FINGERPRINT | {"suite_digest": "edited"}), run("b1", "b"))
    work_off(lake)
    row = comparison(lake)
    assert row["comparability"] == "incomparable"
    assert row["changed_count"] is None
    assert row["mean_similarity_ratio"] is None
    assert lake.read("gold.output_diffs").is_empty()
    gates = lake.read("gold.gate_results")
    assert set(gates["verdict"]) == {"incomparable"}
    assert gates["effect"].null_count() == gates.height == 3
    assert all(reasons == row["reasons"] for reasons in gates["reasons"].to_list())
    assert lake.read("gold.promoted_runs").is_empty()
    assert stale_run_dates(lake, policy()) == []


def test_another_machine_spoils_latency_alone(lake):
    land(lake, run("a1", fingerprint=FINGERPRINT | {"hardware": "a big one"}), run("b1", "b"))
    work_off(lake)
    assert comparison(lake)["comparability"] == "warn"
    assert verdicts(lake) == {
        ("across", "parity"): "pass",
        ("across", "latency"): "incomparable",
        ("across", "failures"): "pass",
    }


def test_a_run_without_outputs_is_incomparable(lake):
    land(lake, run("b1", "b"))
    lake.upsert("silver.runs", run_rows(run("a1")))
    work_off(lake)
    assert comparison(lake)["comparability"] == "incomparable"
    assert comparison(lake)["candidate_sample_count"] == 0


def test_an_empty_lake_and_a_date_without_runs_are_no_error(lake):
    assert stale_run_dates(lake, policy()) == []
    assert [result.rows_written for result in work_off(lake)] == [0, 0, 0, 0, 0]
    land(lake, run("a1"))
    assert [result.computed_count for result in work_off(lake, TONIGHT - DAY)] == [0, 0, 0, 0, 0]
    assert most_different_pairs(lake, [TONIGHT]).is_empty()


@pytest.mark.parametrize("done", [1, 2, 3, 4])
def test_a_night_that_was_killed_between_steps_is_found_and_finished(lake, done):
    land(lake, run("a1"), run("b1", "b"))
    for step in STEPS[:done]:
        step(lake, policy(), [TONIGHT])
    assert stale_run_dates(lake, policy()) == [TONIGHT]
    work_off(lake)
    assert verdicts(lake)["across", "parity"] == "pass"
    assert lake.read("gold.promoted_runs").height == 1
    assert stale_run_dates(lake, policy()) == []


def test_diffs_that_lost_their_comparison_are_found_and_removed(lake):
    land(lake, run("a1"), run("b1", "b"))
    diff_outputs(lake, policy(), [TONIGHT])
    # Killed here; then the baseline turns out to have failed, and the comparison is planned no more.
    lake.upsert("silver.runs", run_rows(run("b1", "b", status="error", content_digest="failed")))
    assert stale_run_dates(lake, policy()) == [TONIGHT]
    assert work_off(lake)[0].removed_count == 1
    assert lake.read("gold.output_diffs").is_empty()
    assert stale_run_dates(lake, policy()) == []


def test_chunks_change_nothing(lake, tmp_path, monkeypatch):
    nights = [START + day * DAY for day in range(4)]
    dates = [night.date() for night in nights]
    other = Lake.open(tmp_path / "other")
    for each in (lake, other):
        for day, night in enumerate(nights):
            land(each, run(f"a{day}", started_at=night), run(f"b{day}", "b", started_at=night), samples=3 + day)
    work_off(lake, *dates)
    monkeypatch.setattr(slices, "CHUNK_COMPARISONS", 2)
    work_off(other, *dates)
    assert other.version("gold.output_diffs") > lake.version("gold.output_diffs")
    for table in GOLD:
        key = contract_of(table).key
        left, right = (each.read(table).drop("input_versions", strict=False).sort(key) for each in (lake, other))
        assert left.equals(right), table


def test_an_old_policys_cursor_does_not_keep_versions_for_ever(lake):
    land(lake, run("a1"), run("b1", "b"))
    for rules in (POLICY, POLICY.replace("margin: 0.1,", "margin: 0.3,")):
        work_off(lake, rules=rules)
    consumers = lake.read("silver.cursors")["consumer"].to_list()
    assert [consumer.split(":")[2] for consumer in consumers] == [policy(rules).digest]


def test_the_most_different_pairs_come_first_with_both_texts(lake):
    a, b = run("a1"), run("b1", "b")
    land(lake, a, b, samples=20)
    changed = [output(a, index, f"the answer {index}" + " really" * index) for index in range(5, 17)]
    lake.upsert("silver.outputs", output_rows([*changed, output(a, 0, None, scores=[])]))
    work_off(lake)
    pairs = most_different_pairs(lake, [TONIGHT])
    assert pairs["sample_id"].to_list() == [f"s{index:03}" for index in range(16, 6, -1)]
    assert pairs["similarity_ratio"].is_sorted()
    first = pairs.to_dicts()[0]
    assert (first["candidate_backend"], first["baseline_backend"], first["suite"]) == ("a", "b", "capitals")
    assert first["baseline_output"] == "the answer 16"
    assert first["candidate_output"].endswith("really")
    assert side_by_side(pairs).count("| baseline\\: b | candidate\\: a |") == 10


def test_the_summary_of_a_night(lake):
    land(lake, run("a1"), run("b1", "b"))
    lake.upsert("silver.outputs", output_rows([output(run("a1"), 0, "something else")]))
    work_off(lake)
    summary = night_summary(lake, [TONIGHT], policy())
    assert (summary.run_count, summary.sample_count) == (2, 2 * SAMPLES)
    assert (summary.pair_count, summary.differing_count) == (SAMPLES, 1)
    assert summary.gates["gate"].to_list() == ["failures", "latency", "parity"]
