"""Steps of the night: every scenario on today's data, every promise asked again, and the examples that are shipped."""

from __future__ import annotations

import datetime as dt
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

import polars as pl

from lake.errors import BenchlakeError, UserError
from lake.identity import derived_id, json_digest
from lake.store import Lake
from lake.tables import contract_of
from pipelines.experiments.decisions import DECISIONS, DecisionEntry, record_decision
from pipelines.experiments.run_diff_texts import headline
from pipelines.experiments.scenarios import (
    SCENARIOS,
    ExperimentScenario,
    choose_runs,
    list_scenarios,
    rerun_scenario,
    save_scenario,
    scenario_id_of,
    scenario_of,
)
from pipelines.runs.remarks import Act

SCENARIO_RESULTS = "gold.scenario_results"
MAX_MOVEMENTS = 1_000


@dataclass(frozen=True, kw_only=True)
class ScenarioRunResult:
    """How many scenarios there are, how many were computed because something had changed, and what went wrong."""

    scenario_count: int
    computed_count: int
    messages: tuple[str, ...]


def run_scenarios(lake: Lake, *, now: dt.datetime) -> ScenarioRunResult:
    """Compute every scenario whose runs, or what is known of them, changed since it was computed last.

    A scenario that cannot be computed does not keep the others from it; what was wrong is told.
    """
    scenarios = list_scenarios(lake).to_dicts()
    standing = set(lake.read(SCENARIO_RESULTS, columns=["scenario_id", "input_digest"]).iter_rows())
    rows, messages = [], []
    for row in scenarios:
        try:
            digest = _input_digest(lake, row, now=now)
            if (row["scenario_id"], digest) not in standing:
                rows.append(_result(lake, row, digest, now=now))
        except BenchlakeError as error:
            messages.append(f"Scenario {row['name']}: {error}")
    if rows:
        lake.upsert(SCENARIO_RESULTS, pl.DataFrame(rows, schema=contract_of(SCENARIO_RESULTS).dtypes))
    return ScenarioRunResult(scenario_count=len(scenarios), computed_count=len(rows), messages=tuple(messages))


def newest_results(lake: Lake) -> pl.DataFrame:
    """The newest result of every scenario that is not put away, by name."""
    names = list_scenarios(lake).select("scenario_id")
    results = lake.read(SCENARIO_RESULTS).join(names, on="scenario_id", how="semi")
    return results.sort("computed_at").group_by("scenario_id").last().sort("name").select(results.columns)


def ensure_scenario(lake: Lake, scenario: ExperimentScenario, *, act: Act) -> bool:
    """Save a scenario once: not when one of its name was ever saved, nor while the lake has none of its runs."""
    known = lake.read(SCENARIOS, columns=["scenario_id"], where={"scenario_id": scenario_id_of(scenario.name)})
    if not known.is_empty():
        return False
    try:
        save_scenario(lake, scenario, act=act)
    except UserError:
        return False
    return True


def ensure_decision(lake: Lake, entry: DecisionEntry, *, act: Act) -> bool:
    """Record a decision once, whatever became of it since; it has the same id in every lake."""
    decision_id = derived_id("decision", "shipped", entry.title)
    if not lake.read(DECISIONS, columns=["decision_id"], where={"decision_id": decision_id}).is_empty():
        return False
    record_decision(lake, entry, act=act, decision_id=decision_id)
    return True


def _input_digest(lake: Lake, row: Mapping[str, Any], *, now: dt.datetime) -> str:
    run_ids = choose_runs(lake, scenario_of(row), now=now)
    contents = lake.read("silver.runs", columns=["run_id", "content_digest", "tags"], where={"run_id": run_ids})
    # Verdicts come later than runs and move without them.
    verdicts = lake.read(
        "gold.gate_results",
        columns=["candidate_run_id", "gate", "verdict", "policy_digest"],
        where={"candidate_run_id": run_ids},
    )
    return json_digest(
        [row["version_index"], row["content_digest"], run_ids, contents.sort("run_id").rows(), sorted(verdicts.rows())]
    )


def _result(lake: Lake, row: Mapping[str, Any], digest: str, *, now: dt.datetime) -> dict[str, Any]:
    found = rerun_scenario(lake, row, now=now)
    return {
        "scenario_id": row["scenario_id"],
        "input_digest": digest,
        "version_index": row["version_index"],
        "name": row["name"],
        "run_ids": [run.run_id for run in found.today.runs],
        "headline": headline(found.today),
        "movement_count": len(found.movements),
        "movements": [asdict(movement) for movement in found.movements[:MAX_MOVEMENTS]],
        "result": found.today.as_json().decode(),
        "computed_at": now,
    }
