"""The code location as Dagster sees it: assets with contracts, checks, jobs; and one whole night, end to end."""

import datetime as dt
import json

import dagster as dg
import polars as pl
import pytest

from assets.definitions import build_defs
from assets.embeddings import VECTOR_SEARCH
from assets.partitions import RANGE_END_TAG, RANGE_START_TAG, range_tags, ranges
from assets.runs import SUITE_RUNS
from assets.sensors import landing_sensor, run_feed_sensor
from lake.tables import CONTRACTS
from resources.config import Config, LakeConfig
from resources.installation import Installation
from resources.state import State
from tests.kill_nightly import prepare
from tests.openai_server import openai_server

# What assets make that is no table.
FILES = {SUITE_RUNS, VECTOR_SEARCH}
TODAY = dt.datetime.now(dt.UTC).date()


@pytest.fixture(scope="module")
def project(tmp_path_factory):
    """A project whose night asks a loopback server as two backends that answer alike for half of the prompts."""
    folder = tmp_path_factory.mktemp("project")
    with openai_server() as base_url:
        prepare(folder, base_url)
        yield folder


@pytest.fixture
def installation(project, tmp_path) -> Installation:
    return Installation(folder=project, state=State(home=tmp_path / "state", lake_uri=str(tmp_path / "lake")))


@pytest.fixture
def instance():
    with dg.DagsterInstance.ephemeral() as ephemeral:
        yield ephemeral


@pytest.fixture
def night(project, installation, instance):
    """Run a job for one date, or a range of dates, with this test's installation."""

    def run(job: str, *dates: dt.date, tags: dict[str, str] | None = None) -> dg.ExecuteInProcessResult:
        partition = {"partition_key": dates[0].isoformat()} if len(dates) == 1 else {}
        span = range_tags(dates[0], dates[-1]) if len(dates) > 1 else {}
        return (
            build_defs(folder=project)
            .resolve_job_def(job)
            .execute_in_process(
                instance=instance,
                raise_on_error=False,
                resources={"installation": installation},
                tags={**span, **(tags or {})},
                **partition,
            )
        )

    return run


def land_run(installation: Installation, *, day: dt.date, backend: str, outputs: list[str], latency_ms: float) -> None:
    """A finished run of suite `landed`, one output a sample, scored 1 when it says yes."""
    run_id = f"{backend}-{day}"
    started = dt.datetime.combine(day, dt.time(3), dt.UTC)
    fingerprint = {
        "suite_digest": "s",
        "prompt_digest": "p",
        "chat_template_digest": "c",
        "tokenizer": "t",
        "sampling_digest": "g",
        "logprobs_mode": "raw",
        "concurrency": 1,
        "hardware": "h",
    }
    lines = [
        {
            "type": "run",
            "schema_version": 1,
            "run_id": run_id,
            "suite": "landed",
            "backend": backend,
            "model": "m",
            "started_at": started.isoformat(),
            "fingerprint": fingerprint,
        },
        *(
            {
                "type": "output",
                "sample_id": f"s{index}",
                "output": output,
                "status": "ok",
                "latency_ms": latency_ms + index / 10,
                "scores": {"exact_match": float(output == "yes")},
            }
            for index, output in enumerate(outputs)
        ),
        {"type": "end", "status": "success", "ended_at": started.isoformat()},
    ]
    (installation.landing / f"{run_id}.jsonl").write_text("\n".join(map(json.dumps, lines)))


def test_every_asset_is_a_contract_or_files(project) -> None:
    specs = {spec.key: spec for spec in build_defs(folder=project).resolve_all_asset_specs()}
    tables = {key: spec for key, spec in specs.items() if key not in FILES}
    for key, spec in tables.items():
        contract = CONTRACTS[".".join(key.path)]
        assert spec.description == contract.grain
        assert spec.owners
        assert spec.group_name
        columns = spec.metadata["dagster/column_schema"].columns
        assert [column.name for column in columns] == list(contract.dtypes)
        assert all(column.description for column in columns)
    assert all(specs[key].description.startswith("One ") for key in FILES)


def test_every_table_has_a_contract_check_and_every_gate_a_check(project, installation) -> None:
    defs = build_defs(folder=project)
    keys = {(key.asset_key.to_user_string(), key.name) for key in defs.resolve_asset_graph().asset_check_keys}
    tables = {spec.key.to_user_string() for spec in defs.resolve_all_asset_specs() if spec.key not in FILES}
    assert {(table, "contract") for table in tables} <= keys
    gates = {name for table, name in keys if table == "gold/gate_results" and name != "contract"}
    assert gates == {gate.name for gate in installation.policy.gates}


def test_a_night_leaves_rows_and_checks_and_a_second_one_asks_nothing_again(night, installation, instance) -> None:
    first = night("nightly", TODAY)
    lake = installation.lake
    assert {event.step_key for event in first.all_events if event.is_step_failure} <= {"judged_gates"}
    asked = lake.read("silver.runs").filter(pl.col("tags").list.contains("nightly"))
    assert asked.height == 2
    assert lake.read("silver.outputs", where={"run_id": asked["run_id"].to_list()}).height == 24
    assert lake.row_count("gold.output_diffs") == 12
    assert lake.row_count("gold.contingencies") > 0
    assert 0 < lake.read("gold.run_comparisons")["changed_count"][0] < 12
    assert set(lake.read("gold.gate_results")["gate"]) == {gate.name for gate in installation.policy.gates}
    checks = {
        evaluation.check_name: evaluation
        for evaluation in first.get_asset_check_evaluations()
        if evaluation.asset_key == dg.AssetKey(["gold", "gate_results"])
    }
    for verdict in lake.read("gold.gate_results").iter_rows(named=True):
        assert checks[verdict["gate"]].passed == (verdict["verdict"] == "pass")
    assert checks["contract"].passed

    versions = lake.versions(lake.tables())
    again = night("nightly", TODAY)
    reused = again.asset_materializations_for_node("landing__suite_runs")[0].metadata["what ran"].value
    assert "| 12 | 12 |" in reused  # all 12 samples of a backend reused
    assert lake.versions(lake.tables()) == versions  # not one commit


def test_a_blocking_failure_keeps_its_evidence_and_the_good_run_of_the_day_is_promoted(night, installation) -> None:
    day = TODAY - dt.timedelta(days=3)
    land_run(installation, day=day - dt.timedelta(days=1), backend="good", outputs=["yes"] * 40, latency_ms=100)
    land_run(installation, day=day - dt.timedelta(days=1), backend="bad", outputs=["yes"] * 40, latency_ms=100)
    land_run(installation, day=day, backend="good", outputs=["yes"] * 40, latency_ms=100)
    land_run(installation, day=day, backend="bad", outputs=["no"] * 40, latency_ms=100)
    assert night("import_landing").success
    result = night("update_evidence", day)
    assert not result.success  # the blocking check fails the step, which is what people see
    verdicts = installation.lake.read("gold.gate_results", where={"run_date": day})
    fails = verdicts.filter(verdicts["verdict"] == "fail")
    assert set(fails["candidate_run_id"]) == {f"bad-{day}"}
    assert installation.lake.read("gold.promoted_runs")["run_id"].to_list() == [f"good-{day}"]
    # A later run of the same date, started by hand, cannot slip past the verdict either.
    night("update_evidence", day, tags={"benchlake/recompute": "all"})
    assert installation.lake.read("gold.promoted_runs")["run_id"].to_list() == [f"good-{day}"]


def test_a_backfill_of_a_range_is_one_run_and_fills_every_date(night, installation) -> None:
    days = [TODAY - dt.timedelta(days=back) for back in (4, 3, 2)]
    for day in days:
        land_run(installation, day=day, backend="llama.cpp", outputs=["yes", "no"] * 15, latency_ms=100)
        land_run(installation, day=day, backend="transformers", outputs=["yes"] * 30, latency_ms=100)
    assert night("import_landing").success
    night("update_evidence", *days)
    compared = installation.lake.read("gold.run_comparisons", columns=["run_date"])["run_date"]
    assert set(compared) == set(days)


def test_the_landing_sensor_asks_once_for_what_landed(installation, instance) -> None:
    def tick(cursor: str | None):
        context = dg.build_sensor_context(instance=instance, cursor=cursor, resources={"installation": installation})
        return landing_sensor(context), context.cursor

    assert isinstance(tick(None)[0], dg.SkipReason)
    land_run(installation, day=TODAY, backend="a", outputs=["yes"], latency_ms=1)
    request, cursor = tick(None)
    assert isinstance(request, dg.RunRequest)
    assert isinstance(tick(cursor)[0], dg.SkipReason)
    land_run(installation, day=TODAY, backend="b", outputs=["yes"], latency_ms=1)
    assert isinstance(tick(cursor)[0], dg.RunRequest)


def test_the_feed_sensor_asks_for_the_affected_dates_only(night, installation, instance) -> None:
    def asked_dates() -> list[dt.date]:
        tick = run_feed_sensor(dg.build_sensor_context(instance=instance, resources={"installation": installation}))
        requests = [request.tags for request in getattr(tick, "run_requests", [])]
        assert all(tags[RANGE_START_TAG] == tags[RANGE_END_TAG] for tags in requests)
        return [dt.date.fromisoformat(tags[RANGE_START_TAG]) for tags in requests]

    early, late = TODAY - dt.timedelta(days=9), TODAY - dt.timedelta(days=5)
    for day in (early, late):
        land_run(installation, day=day, backend="llama.cpp", outputs=["yes"] * 30, latency_ms=100)
        land_run(installation, day=day, backend="transformers", outputs=["yes"] * 30, latency_ms=100)
    night("import_landing")
    assert asked_dates() == [early, late]
    for day in (early, late):
        night("update_evidence", day)
    assert asked_dates() == []
    # A run that lands late touches its own date, and the later one for which it is the previous night now.
    between = early + dt.timedelta(days=1)
    land_run(installation, day=between, backend="transformers", outputs=["yes"] * 30, latency_ms=100)
    night("import_landing")
    assert asked_dates() == [between, late]


def test_dates_are_asked_for_in_ranges() -> None:
    day = dt.date(2026, 11, 1)
    days = [day + dt.timedelta(days=number) for number in range(40)]
    assert ranges([]) == []
    assert ranges([days[0], days[1], days[2], days[5]]) == [(days[0], days[2]), (days[5], days[5])]
    assert ranges(days[::3]) == [(days[0], days[39])]  # 14 single days are one run over all


def test_a_night_on_object_storage_leaves_the_same_rows(project, tmp_path, instance, object_store) -> None:
    lake = object_store.lake("night")
    config = Config.load(project).model_copy(update={"lake": LakeConfig(storage_options=lake.storage_options)})
    installation = Installation(folder=project, state=State(home=tmp_path / "state", lake_uri=lake.uri), config=config)
    build_defs(folder=project).resolve_job_def("nightly").execute_in_process(
        instance=instance,
        raise_on_error=False,
        resources={"installation": installation},
        partition_key=TODAY.isoformat(),
    )
    assert installation.lake.uri.startswith("s3://")
    assert [
        installation.lake.row_count(table)
        for table in ("silver.runs", "silver.outputs", "gold.output_diffs", "gold.gate_results")
    ] == [2, 24, 12, len(installation.policy.gates)]
