"""Scenarios: saved with their data, replayed to the byte, rerun on today's."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from lake.errors import BenchlakeError, UserError
from lake.identity import text_digest
from lake.store import Lake
from pipelines.experiments.scenarios import (
    SCENARIOS,
    SCHEMA_VERSION,
    delete_scenario,
    find_scenario,
    list_scenarios,
    parse_scenario,
    replay_scenario,
    rerun_scenario,
    save_scenario,
    scenario_of,
)
from pipelines.runs.remarks import Act
from tests.evidence.rows import DAY, START, output, output_rows, run, run_rows

FIXTURES = Path(__file__).parent / "scenario_schemas"
CONTENT = {
    "name": "last nights",
    "runs": {"filters": ["backend=a"], "newest": 2},
    "baseline": {"run_ids": ["base"]},
    "metrics": ["score"],
}


def act(day: int = 10) -> Act:
    return Act(author="ada", at=START + day * DAY, reason=None)


def night(lake: Lake, name: str, day: int, score: float) -> None:
    item = run(name, started_at=START + day * DAY)
    lake.upsert("silver.runs", run_rows(item))
    scores = [{"scorer": "s", "value": score}]
    lake.upsert("silver.outputs", output_rows([output(item, index, name, scores=scores) for index in range(6)]))


@pytest.fixture
def lake(tmp_path) -> Lake:
    lake = Lake.open(tmp_path)
    base = run("base", backend="b")
    lake.upsert("silver.runs", run_rows(base))
    lake.upsert("silver.outputs", output_rows([output(base, index, "b") for index in range(6)]))
    for day in range(3):
        night(lake, f"night-{day}", day, 0.5)
    return lake


def test_a_query_means_the_newest_runs_behind_the_baseline(lake) -> None:
    row = save_scenario(lake, parse_scenario(CONTENT, source="test"), act=act())
    assert row["run_ids"] == ["base", "night-2", "night-1"]
    assert scenario_of(row).name == "last nights"


def test_saving_the_same_again_is_no_new_version(lake) -> None:
    for _ in range(2):
        save_scenario(lake, parse_scenario(CONTENT, source="test"), act=act())
    save_scenario(lake, parse_scenario(CONTENT | {"metrics": ["latency*"]}, source="test"), act=act())
    assert lake.read(SCENARIOS)["version_index"].sort().to_list() == [1, 2]
    assert list_scenarios(lake)["version_index"].to_list() == [2]


def test_a_replay_gives_the_saved_bytes_whatever_came_since(lake) -> None:
    row = save_scenario(lake, parse_scenario(CONTENT, source="test"), act=act())
    night(lake, "night-2", 2, 0.9)
    night(lake, "night-3", 3, 0.5)
    lake.maintain("silver.outputs", retention_hours=0)
    found = replay_scenario(lake, find_scenario(lake, "last nights"))
    assert text_digest(found.as_json().decode()) == row["result_digest"]
    assert [item.run_id for item in found.runs] == ["base", "night-2", "night-1"]


def test_a_rerun_says_what_moved(lake) -> None:
    row = save_scenario(lake, parse_scenario(CONTENT, source="test"), act=act())
    assert rerun_scenario(lake, row, now=act().at).movements == ()
    night(lake, "night-2", 2, 0.75)
    night(lake, "night-3", 3, 0.5)
    moved = rerun_scenario(lake, row, now=act().at).movements
    assert [(item.kind, item.run_id, item.before, item.after) for item in moved if item.kind != "setting"] == [
        ("run_added", "night-3", None, (START + 3 * DAY).isoformat()),
        ("run_removed", "night-1", (START + DAY).isoformat(), None),
        ("metric", "night-2", "0.5", "0.75"),
    ]


def test_a_result_that_cannot_be_had_again_is_told(lake) -> None:
    row = save_scenario(lake, parse_scenario(CONTENT, source="test"), act=act())
    with pytest.raises(BenchlakeError, match="computes it otherwise"):
        replay_scenario(lake, row | {"result_digest": "0" * 64})


def test_a_deleted_scenario_lets_go_of_its_pins_and_can_come_back(lake) -> None:
    save_scenario(lake, parse_scenario(CONTENT, source="test"), act=act())
    assert lake.row_count("silver.pins") > 0
    delete_scenario(lake, "last nights", act=act())
    assert list_scenarios(lake).is_empty()
    assert lake.read("silver.pins").is_empty()
    save_scenario(lake, parse_scenario(CONTENT, source="test"), act=act())
    assert list_scenarios(lake)["version_index"].to_list() == [3]


@pytest.mark.parametrize("path", sorted(FIXTURES.glob("*.json")), ids=lambda path: path.stem)
def test_every_schema_version_loads_for_ever(path: Path) -> None:
    scenario = parse_scenario(json.loads(path.read_text("utf-8")), source=path.name)
    assert scenario.schema_version == SCHEMA_VERSION
    assert (scenario.name, scenario.runs.newest, scenario.display.axis) == ("nightlies of main", 5, "time")


def test_there_is_a_fixture_of_each_schema_version() -> None:
    assert {path.stem for path in FIXTURES.glob("*.json")} == {f"v{n}" for n in range(1, SCHEMA_VERSION + 1)}


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ([], "an object"),
        (CONTENT | {"schema_version": SCHEMA_VERSION + 1}, "upgrade"),
        (CONTENT | {"runs": {"newest": 21}}, r"runs\.newest"),
        (CONTENT | {"colour": "red"}, "colour"),
        ({"name": "x"}, "runs"),
    ],
)
def test_a_broken_scenario_is_told_with_its_field(content, message) -> None:
    with pytest.raises(UserError, match=message):
        parse_scenario(content, source="scenario.yaml")


@pytest.mark.parametrize("runs", [{}, {"filters": ["backend=nobody"]}])
def test_a_scenario_that_means_no_run_is_refused(lake, runs) -> None:
    with pytest.raises(UserError, match="run"):
        save_scenario(lake, parse_scenario({"name": "x", "runs": runs}, source="test"), act=act())
