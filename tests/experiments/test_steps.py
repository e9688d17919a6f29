"""What the night does with scenarios and decisions."""

from __future__ import annotations

import pytest

from assets.experiments import kpi_check
from lake.store import Lake
from pipelines.experiments.decision_checks import check_decisions, newest_checks
from pipelines.experiments.decisions import DECISIONS, Kpi, parse_entry, record_decision, revise_decision
from pipelines.experiments.scenarios import delete_scenario, parse_scenario, save_scenario
from pipelines.experiments.steps import (
    SCENARIO_RESULTS,
    ensure_decision,
    ensure_scenario,
    newest_results,
    run_scenarios,
)
from pipelines.runs.remarks import Act
from resources.shipped_experiments import shipped_decision, shipped_scenario
from tests.evidence.rows import DAY, START, output, output_rows, run, run_rows

ACT = Act(author="ada", at=START)
CONTENT = {"name": "all", "runs": {"filters": ["suite=capitals"], "newest": 3}}


@pytest.fixture
def lake(tmp_path) -> Lake:
    lake = Lake.open(tmp_path)
    land(lake, "one", "x")
    land(lake, "two", "y")
    return lake


def land(lake: Lake, name: str, text: str, **changes) -> None:
    item = run(name, content_digest=f"{name} {text}", **changes)
    lake.upsert("silver.runs", run_rows(item))
    lake.upsert("silver.outputs", output_rows([output(item, index, text) for index in range(3)]))


def test_only_scenarios_whose_runs_changed_are_computed_again(lake) -> None:
    save_scenario(lake, parse_scenario(CONTENT, source="test"), act=ACT)
    assert run_scenarios(lake, now=START).computed_count == 1
    assert run_scenarios(lake, now=START + DAY).computed_count == 0
    land(lake, "three", "x", started_at=START + DAY)
    assert run_scenarios(lake, now=START + DAY).computed_count == 1
    (result,) = newest_results(lake).to_dicts()
    assert {item["kind"] for item in result["movements"]} == {"run_added"}
    assert result["run_ids"][0] == "three"
    assert lake.row_count(SCENARIO_RESULTS) == 2


def test_one_broken_scenario_does_not_stop_the_others(lake) -> None:
    save_scenario(lake, parse_scenario(CONTENT, source="test"), act=ACT)
    save_scenario(lake, parse_scenario(CONTENT | {"name": "gone"}, source="test"), act=ACT)
    row = lake.read("silver.scenarios", where={"name": "gone"})
    lake.upsert("silver.scenarios", row.with_columns(result_digest=row["content_digest"]))
    result = run_scenarios(lake, now=START)
    assert result.computed_count == 1
    assert "gone" in result.messages[0]


def test_a_scenario_put_away_has_no_results_to_show(lake) -> None:
    save_scenario(lake, parse_scenario(CONTENT, source="test"), act=ACT)
    run_scenarios(lake, now=START)
    delete_scenario(lake, "all", act=ACT)
    assert newest_results(lake).is_empty()


def test_the_shipped_ones_come_once_and_only_when_there_is_something_to_show(lake) -> None:
    assert not ensure_scenario(lake, shipped_scenario(), act=ACT)
    for backend in ("llama.cpp", "transformers"):
        land(lake, f"night {backend}", "x", suite="starter", backend=backend, tags=["nightly"])
    assert ensure_scenario(lake, shipped_scenario(), act=ACT)
    delete_scenario(lake, shipped_scenario().name, act=ACT)
    assert not ensure_scenario(lake, shipped_scenario(), act=ACT)
    assert ensure_decision(lake, shipped_decision(), act=ACT)
    assert not ensure_decision(lake, shipped_decision(), act=ACT)


def test_the_shipped_promise_is_kept_broken_and_inconclusive(lake) -> None:
    ensure_decision(lake, shipped_decision(), act=ACT)
    check_decisions(lake, now=START)
    assert newest_checks(lake)["verdict"].to_list() == ["inconclusive"]
    land(lake, "night", "x", suite="starter", backend="llama.cpp", tags=["nightly"])
    check_decisions(lake, now=START + DAY)
    assert newest_checks(lake)["verdict"].to_list() == ["pass"]
    failed = run("night", suite="starter", tags=["nightly"])
    lake.upsert("silver.outputs", output_rows([output(failed, 0, None)]))
    check_decisions(lake, now=START + 2 * DAY)
    assert newest_checks(lake)["verdict"].to_list() == ["fail"]


def test_the_check_of_the_night_names_the_decision_whose_promise_is_broken(lake) -> None:
    entry = {
        "title": "Two runs are enough", "problem": "", "decision": "", "status": "accepted",
        "kpi": {"name": "runs", "query": "select count(*) from silver.runs", "comparison": "<", "threshold": 2},
    }  # fmt: skip
    row = record_decision(lake, parse_entry(entry, source="test"), act=ACT)
    check_decisions(lake, now=START)
    found = kpi_check(newest_checks(lake))
    assert (found.passed, found.severity.value) == (False, "ERROR")
    assert "Two runs are enough" in found.description
    kept = Kpi(name="runs", query="select count(*) from silver.runs", comparison="<=", threshold=2)
    revise_decision(lake, row["decision_id"], {"kpi": kept}, act=Act(author="bob", at=START + DAY))
    check_decisions(lake, now=START + DAY)
    assert kpi_check(newest_checks(lake)).passed
    assert lake.row_count(DECISIONS) == 2
