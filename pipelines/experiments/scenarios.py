"""Scenarios: a comparison with a name, saved with the table versions it was computed from.

What belongs here: the typed scenario in its versioned schema, and the steps that save, replay and rerun it. What a
comparison holds is `run_diff.py`, what moved between two of them `movements.py`.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable, Mapping
from dataclasses import asdict
from typing import Any, Literal

import orjson
import polars as pl
from pydantic import ConfigDict, Field, TypeAdapter, ValidationError
from pydantic.dataclasses import dataclass

from lake.errors import BenchlakeError, ConflictError, UserError
from lake.identity import derived_id, text_digest
from lake.store import Lake
from lake.tables import contract_of
from pipelines.experiments.movements import Movement, find_movements
from pipelines.experiments.reading import COMPARED_TABLES, Versions, read_run_rows
from pipelines.experiments.run_diff import MAX_RUNS, RunDiff, diff_runs
from pipelines.runs.remarks import Act, find_run
from pipelines.runs.run_query import filter_runs, parse_query

SCENARIOS = "silver.scenarios"
SCHEMA_VERSION = 1
_STRICT = ConfigDict(extra="forbid", str_strip_whitespace=True)


@dataclass(frozen=True, kw_only=True, config=_STRICT)
class RunChoice:
    """Runs by id, or the newest `newest` that filters mean (`suite=starter branch=main tag=night-*`)."""

    run_ids: tuple[str, ...] = ()
    filters: tuple[str, ...] = ()
    newest: int = Field(default=5, ge=1, le=MAX_RUNS)


@dataclass(frozen=True, kw_only=True, config=_STRICT)
class Display:
    """How it is shown: what curves run over, and whether settings that agree are left out."""

    axis: Literal["step", "time", "tokens"] = "step"
    only_differences: bool = True


@dataclass(frozen=True, kw_only=True, config=_STRICT)
class ExperimentScenario:
    """What to compare and how; `metrics` are globs, `slices` tags of samples to look at apart."""

    name: str = Field(min_length=1, max_length=100)
    runs: RunChoice
    baseline: RunChoice | None = None
    description: str | None = None
    metrics: tuple[str, ...] = ()
    slices: tuple[str, ...] = ()
    display: Display = Display()
    schema_version: int = SCHEMA_VERSION


SCENARIO = TypeAdapter(ExperimentScenario)
# How content of an older schema becomes content of the next one; index 0 leads from version 1 to 2. Never shortened.
_MIGRATIONS: tuple[Callable[[dict[str, Any]], dict[str, Any]], ...] = ()


@dataclass(frozen=True, kw_only=True)
class Rerun:
    """A scenario on today's data, and what moved since it was saved."""

    saved: RunDiff
    today: RunDiff
    movements: tuple[Movement, ...]


def parse_scenario(content: object, *, source: str) -> ExperimentScenario:
    """A scenario from parsed YAML or JSON of any schema version up to ours; raises `UserError` that names the field."""
    if not isinstance(content, dict):
        raise UserError(f"{source}: a scenario is an object with name and runs. See:  benchlake scenarios template")
    version = content.get("schema_version", SCHEMA_VERSION)
    if not isinstance(version, int) or not 1 <= version <= SCHEMA_VERSION:
        raise UserError(
            f"{source}: schema_version {version!r} is not known here (1 to {SCHEMA_VERSION}). "
            "A newer Benchlake wrote it: upgrade to read it."
        )
    for migrate in _MIGRATIONS[version - 1 :]:
        content = migrate(content)
    try:
        return SCENARIO.validate_python({**content, "schema_version": SCHEMA_VERSION})
    except ValidationError as error:
        first = error.errors()[0]
        place = ".".join(map(str, first["loc"])) or "the scenario"
        raise UserError(f"{source}: {place}: {first['msg']}. See:  benchlake scenarios template") from None


def save_scenario(lake: Lake, scenario: ExperimentScenario, *, act: Act) -> dict[str, Any]:
    """Compute the scenario, pin what it was computed from, and write it as the next version; gives its row.

    Nothing is written when the newest version says the same and gives the same. Raises `ConflictError` when somebody
    else saved it at this moment.
    """
    content = _content(scenario)
    scenario_id = scenario_id_of(scenario.name)
    standing = lake.read(SCENARIOS, where={"scenario_id": scenario_id}).sort("version_index")
    versions = lake.versions(COMPARED_TABLES)
    run_ids = choose_runs(lake, scenario, now=act.at)
    result = text_digest(_compute(lake, scenario, run_ids, versions).as_json().decode())
    if not standing.is_empty():
        last = standing.row(-1, named=True)
        if (last["content"], last["result_digest"], last["is_deleted"]) == (content, result, False):
            return last
    version = standing.height + 1
    row = {
        "scenario_id": scenario_id,
        "version_index": version,
        "name": scenario.name,
        "description": scenario.description,
        "schema_version": scenario.schema_version,
        "content": content,
        "content_digest": text_digest(content),
        "run_ids": run_ids,
        "pinned_versions": [{"table": table, "version": number} for table, number in versions.items()],
        "result_digest": result,
        "created_at": act.at,
        "created_by": act.author,
        "change_note": act.reason,
        "is_deleted": False,
    }
    existing = {table: number for table, number in versions.items() if number >= 0}
    lake.pin(f"scenario:{scenario_id}:{version}", existing, reason=f"Scenario {scenario.name}", now=act.at)
    rows = pl.DataFrame([row], schema=contract_of(SCENARIOS).dtypes)
    if not lake.compare_and_upsert(SCENARIOS, rows, expected=lambda found: found.is_empty()):
        raise ConflictError(f"Scenario {scenario.name} was saved by somebody else just now. Try again.")
    return row


def scenario_id_of(name: str) -> str:
    """The id of the scenario with this name."""
    return derived_id("scenario", name)


def find_scenario(lake: Lake, name: str, *, version: int | None = None) -> dict[str, Any]:
    """The row of a scenario by name or beginning of its id, newest version unless one is asked for."""
    rows = lake.read(SCENARIOS).filter((pl.col("name") == name) | pl.col("scenario_id").str.starts_with(name))
    if rows["scenario_id"].n_unique() > 1:
        rows = rows.filter(pl.col("name") == name)
    if rows.is_empty():
        raise UserError(f"No scenario is called {name!r}. See them all:  benchlake scenarios list")
    if version is not None:
        rows = rows.filter(pl.col("version_index") == version)
        if rows.is_empty():
            raise UserError(f"Scenario {name} has no version {version}.")
    return rows.sort("version_index").row(-1, named=True)


def list_scenarios(lake: Lake) -> pl.DataFrame:
    """The newest version of every scenario that is not put away, by name."""
    rows = lake.read(SCENARIOS).sort("version_index").group_by("scenario_id").last()
    return rows.filter(~pl.col("is_deleted")).sort("name").select(contract_of(SCENARIOS).dtypes.keys())


def delete_scenario(lake: Lake, name: str, *, act: Act) -> dict[str, Any]:
    """Put a scenario away as its next version and let go of its pins; saving it again brings it back."""
    row = find_scenario(lake, name)
    if row["is_deleted"]:
        return row
    row = row | {
        "version_index": row["version_index"] + 1,
        "is_deleted": True,
        "created_at": act.at,
        "created_by": act.author,
        "change_note": act.reason,
    }
    lake.upsert(SCENARIOS, pl.DataFrame([row], schema=contract_of(SCENARIOS).dtypes))
    for version in range(1, row["version_index"]):
        lake.unpin(f"scenario:{row['scenario_id']}:{version}")
    return row


def scenario_of(row: Mapping[str, Any]) -> ExperimentScenario:
    """The scenario in a row of silver.scenarios."""
    return parse_scenario(orjson.loads(row["content"]), source=f"Scenario {row['name']}")


def replay_scenario(lake: Lake, row: Mapping[str, Any]) -> RunDiff:
    """The comparison as it was when the scenario was saved, from the pinned versions.

    Raises `BenchlakeError` when it does not give the bytes that were saved: then a newer Benchlake computes something
    otherwise, or a pinned version was taken away.
    """
    pinned = {item["table"]: item["version"] for item in row["pinned_versions"]}
    found = _compute(lake, scenario_of(row), row["run_ids"], pinned)
    if text_digest(found.as_json().decode()) != row["result_digest"]:
        raise BenchlakeError(
            f"Scenario {row['name']} version {row['version_index']} does not give what was saved on "
            f"{row['created_at']:%Y-%m-%d}: this Benchlake computes it otherwise. Save it again:  "
            f"benchlake scenarios rerun '{row['name']}' --save"
        )
    return found


def rerun_scenario(lake: Lake, row: Mapping[str, Any], *, now: dt.datetime) -> Rerun:
    """The scenario on the runs and data of today beside what was saved."""
    scenario = scenario_of(row)
    saved = replay_scenario(lake, row)
    today = _compute(lake, scenario, choose_runs(lake, scenario, now=now), lake.versions(COMPARED_TABLES))
    return Rerun(saved=saved, today=today, movements=tuple(find_movements(saved, today)))


def choose_runs(lake: Lake, scenario: ExperimentScenario, *, now: dt.datetime) -> list[str]:
    """The runs that a scenario means now, baseline first; `UserError` when it means none."""
    baseline = _chosen(lake, scenario.baseline, now=now)[:1] if scenario.baseline else []
    others = [run_id for run_id in _chosen(lake, scenario.runs, now=now) if run_id not in baseline]
    return [*baseline, *others][:MAX_RUNS]


def _chosen(lake: Lake, choice: RunChoice, *, now: dt.datetime) -> list[str]:
    named = [str(find_run(lake, word)["run_id"]) for word in choice.run_ids]
    if not choice.filters:
        if not named:
            raise UserError("A scenario needs run_ids or filters. See:  benchlake scenarios template")
        return named
    runs = filter_runs(lake.read("silver.runs"), parse_query(choice.filters, now=now))
    newest = runs.sort("started_at", "run_id", descending=True)["run_id"].head(choice.newest).to_list()
    if not named and not newest:
        raise UserError(f"No run is meant by {' '.join(choice.filters)}. See them all:  benchlake runs")
    return list(dict.fromkeys([*named, *newest]))


def _compute(lake: Lake, scenario: ExperimentScenario, run_ids: list[str], versions: Versions) -> RunDiff:
    rows = read_run_rows(lake, run_ids, at=versions)
    return diff_runs(rows, metrics=scenario.metrics, slices=scenario.slices, axis=scenario.display.axis)


def _content(scenario: ExperimentScenario) -> str:
    return orjson.dumps(asdict(scenario), option=orjson.OPT_SORT_KEYS).decode()
