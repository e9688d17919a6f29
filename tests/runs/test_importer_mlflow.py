from __future__ import annotations

import datetime as dt
import json
import os
import shutil
from pathlib import Path
from typing import Any

import polars as pl
import pytest
import yaml

from lake.store import Lake
from pipelines.runs.steps import import_paths
from tests.runs.formats import Tables, everything, raw_text, read, read_bytes, rules, shared
from tests.runs.mlflow_stores import (
    database,
    run_database,
    run_record,
    run_rows,
    span,
    write_experiment,
    write_parts,
    write_run,
)

NOW = dt.datetime(2026, 3, 5, 12, tzinfo=dt.UTC)
FIRST, SECOND = "a" * 32, "b" * 32


@pytest.fixture
def lake(tmp_path: Path) -> Lake:
    return Lake.open(tmp_path / "lake")


def values(tables: Tables, *columns: str) -> list[tuple[Any, ...]]:
    """Metrics of a run but for its runtime."""
    rows = tables["silver.run_metrics"].filter(pl.col("metric") != "runtime_ms")
    return rows.select(columns or ("metric", "variant", "step", "repeat_index", "value")).rows()


def only_run(tables: Tables) -> dict[str, Any]:
    (run,) = tables["silver.runs"].to_dicts()
    return run


def test_runs_with_the_same_parameters_are_all_imported_whole(lake: Lake, tmp_path: Path) -> None:
    parts = {"params/lr": "0.1", "params/beta": "0.1", "metrics/loss": "1772359200000 0.1 0\n"}
    for run_id in (FIRST, SECOND):
        write_run(tmp_path / "store", parts, run_id=run_id)
    result = import_paths(lake, [tmp_path / "store"], now=NOW)
    # Each run: meta.yaml, two parameters, a metric and the experiment's meta.yaml.
    assert (result.runs, result.files, result.rejects) == (2, 10, 0)
    assert lake.read("silver.run_params").sort("run_id", "parameter").select("run_id", "parameter").rows() == [
        (FIRST, "beta"),
        (FIRST, "lr"),
        (SECOND, "beta"),
        (SECOND, "lr"),
    ]
    assert lake.read("bronze.raw_records").group_by("run_id").len()["len"].to_list() == [5, 5]
    again = import_paths(lake, [tmp_path / "store"], now=NOW)
    assert (again.runs, again.files, again.rejects) == (0, 0, 0)


def test_a_run_in_progress_grows(lake: Lake, tmp_path: Path) -> None:
    run = write_run(tmp_path, {"metrics/loss": "1772359200000 0.9 0\n"}, status=1, end_time=None)
    import_paths(lake, [tmp_path / "mlruns"], now=NOW)
    assert lake.read("silver.runs")["status"].to_list() == ["started"]
    write_run(tmp_path, {"metrics/loss": "1772359200000 0.9 0\n1772359201000 0.8 1\n"})
    assert import_paths(lake, [tmp_path / "mlruns"], now=NOW).runs == 1
    assert lake.read("silver.runs")["status"].to_list() == ["success"]
    losses = lake.read("silver.run_metrics", where={"metric": "loss"}).sort("step")
    assert losses["value"].to_list() == [0.9, 0.8]
    assert run.name in lake.read("bronze.run_files")["uri"][0]


def test_a_part_that_takes_on_what_another_run_has_is_seen(lake: Lake, tmp_path: Path) -> None:
    """All contents are known by then; only where they lie has changed."""
    write_run(tmp_path, {"tags/stage": "dev", "params/x": "1", "params/y": "2"})
    write_run(tmp_path, {"tags/stage": "prod"}, run_id=SECOND)
    import_paths(lake, [tmp_path / "mlruns"], now=NOW)
    write_run(tmp_path, {"tags/stage": "prod", "params/x": "2", "params/y": "1"})
    assert import_paths(lake, [tmp_path / "mlruns"], now=NOW).runs == 1
    assert lake.read("silver.runs", where={"run_id": FIRST})["tags"][0].to_list() == ["stage=prod"]
    assert lake.read("silver.run_params", where={"parameter": "x"})["value"].to_list() == ["2"]


@pytest.mark.parametrize("named", ["meta.yaml", "params/deep/lr"])
def test_naming_one_part_brings_the_others(
    lake: Lake, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, named: str
) -> None:
    write_run(tmp_path, {"params/deep/lr": "0.1", "metrics/loss": "1772359200000 0.5 0\n", "tags/a": "b"})
    monkeypatch.chdir(tmp_path)
    result = import_paths(lake, [f"mlruns/1/{FIRST}/{named}"], now=NOW)
    assert (result.runs, result.files, result.rejects) == (1, 5, 0)
    assert lake.read("silver.runs").select("suite", "tags").rows() == [("tuning", ["a=b"])]


def test_a_run_folder_alone_is_read_without_leaving_it(lake: Lake, tmp_path: Path) -> None:
    run = write_run(tmp_path, {"params/lr": "0.1"})
    (run / "params" / "stolen").symlink_to(tmp_path / "secret")
    (tmp_path / "secret").write_text("hunter2")
    result = import_paths(lake, [run], now=NOW)
    assert (result.runs, result.rejects) == (1, 1)
    assert lake.read("silver.runs")["suite"].to_list() == ["1"]
    assert lake.read("silver.run_params")["parameter"].to_list() == ["lr"]


def test_what_only_lies_in_a_store_is_no_reject(lake: Lake, tmp_path: Path) -> None:
    run = write_run(tmp_path, {"artifacts/out.txt": "hello", "artifacts/model/meta.yaml": "a: 1"})
    experiment = run.parent
    write_parts(experiment, {"tags/mlflow.note.content": "x", "models/m-1/meta.yaml": "model_id: m-1"})
    (run / "artifacts" / "bomb.zip").write_bytes(b"PK\x03\x04 cut off")
    write_parts(tmp_path, {f"mlartifacts/2/{SECOND}/artifacts/plot.svg": "<svg/>", "x.txt": "mine"})
    (tmp_path / "mlflow.db").write_bytes(run_database([run_record(7)]))
    (tmp_path / "mlflow.db-wal").write_bytes(b"")
    (tmp_path / "mlflow.db-shm").write_bytes(b"\0" * 9)
    result = import_paths(lake, [tmp_path], now=NOW)
    assert result.runs == 2
    assert [Path(row["source_uri"]).name for row in lake.read("bronze.rejects").to_dicts()] == ["x.txt"]


def test_an_artifact_that_is_a_run_of_another_format_is_imported(lake: Lake, tmp_path: Path) -> None:
    run = write_run(tmp_path, {})
    (run / "artifacts").mkdir()
    (run / "artifacts" / "log.db").write_bytes(run_database([run_record(7)]))
    assert import_paths(lake, [tmp_path], now=NOW).runs == 2


def test_metric_lines(tmp_path: Path) -> None:
    lines = [
        "1772359200000 0.5",  # no step: 0
        "1772359200020 0.7 2",
        "1772359200010 0.6 2",  # the same step, logged later but measured before
        "1772359200030 0.8 3 name digest",
        "1772359200030 0.8 4 half",
        "soon 0.8 5",
        "",
        "1772359200030 nan 6",
    ]
    run = write_run(tmp_path, {"metrics/val/loss": "\n".join(lines)})
    tables = read(run / "meta.yaml")
    assert values(tables) == [
        ("loss", "val", 0, 0, 0.5),
        ("loss", "val", 2, 0, 0.6),
        ("loss", "val", 2, 1, 0.7),
        ("loss", "val", 3, 0, 0.8),
    ]
    recorded = tables["silver.run_metrics"].filter(pl.col("step") == 2)["recorded_at"].to_list()
    assert [moment.microsecond for moment in recorded] == [10_000, 20_000]
    assert rules(tables) == ["metrics/val/loss: line", "metrics/val/loss: line", "metrics.val/loss: finite"]
    assert "metrics/val/loss, line 5: 4 fields" in tables["bronze.rejects"]["message"][0]


def test_a_long_metric_is_read_in_stretches(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("pipelines.runs.importers.mlflow_files._SORTED_LINES", 2)
    monkeypatch.setattr("pipelines.runs.sources._PIECE_BYTES", 64)
    text = "".join(f"177235920{index:04} {index} {index // 2}\n" for index in range(50))
    tables = read(write_run(tmp_path, {"metrics/loss": text}) / "meta.yaml")
    assert values(tables, "step", "repeat_index") == [(index // 2, index % 2) for index in range(50)]
    kept = tables["bronze.raw_records"].filter(pl.col("member") == "metrics/loss")
    assert kept["record_index"].to_list() == list(range(kept.height))
    assert kept.height > 10


@pytest.mark.parametrize(
    ("status", "expected"),
    [
        (1, "started"),
        (2, "started"),
        (3, "success"),
        (4, "error"),
        (5, "cancelled"),
        ("FINISHED", "success"),
        (9, "started"),
    ],
)
def test_statuses(tmp_path: Path, status: object, expected: str) -> None:
    assert only_run(read(write_run(tmp_path, {}, status=status) / "meta.yaml"))["status"] == expected


def test_what_the_tags_say_is_lifted_and_secrets_are_not(tmp_path: Path) -> None:
    tags = {
        "mlflow.source.git.commit": "c0ffee",
        "mlflow.source.git.branch": "main",
        "mlflow.source.git.dirty": "True",
        "mlflow.source.git.repoURL": "https://bot:hunter2@example.org/x.git",
        "mlflow.source.name": "https://bot:hunter2@example.org/train.py",
        "mlflow.note.content": "A *note*.",
        "mlflow.parentRunId": SECOND,
        "pull_request": "17",
        "stage": "dev",
        "nightly": "true",
        "essay": "x" * 500,
    }
    parts = {f"tags/{name}": text for name, text in tags.items()}
    parts |= {"params/llm/api_key": "hunter2", "params/backend": "vllm", "params/temperature": "0"}
    tables = read(write_run(tmp_path, parts, lifecycle_stage="deleted") / "meta.yaml")
    run = only_run(tables)
    assert run["code_version"] == {
        "commit": "c0ffee",
        "branch": "main",
        "pull_request": "17",
        "is_dirty": True,
        "repository_url": "https://[redacted]@example.org/x.git",
    }
    assert run["tags"] == ["deleted", "nightly", "pull_request=17", "stage=dev"]
    assert run["backend"] == "vllm"
    environment = json.loads(run["environment"])
    assert (environment["note"], environment["parent_run_id"]) == ("A *note*.", SECOND)
    assert environment["source_name"] == "https://[redacted]@example.org/train.py"
    assert "hunter2" not in everything(tables)
    assert run["fingerprint"]["sampling_digest"] is not None


def test_numbers_of_a_comparison_go_by_their_scorer(tmp_path: Path) -> None:
    parts = {f"metrics/compare/0123abcd/exact/{name}": "1772359200000 0.25 0\n" for name in ("diff", "p_value")}
    assert values(read(write_run(tmp_path, parts) / "meta.yaml")) == [
        ("compare/exact/diff", "0123abcd", 0, 0, 0.25),
        ("compare/exact/p_value", "0123abcd", 0, 0, 0.25),
    ]


def test_inputs_make_runs_comparable(tmp_path: Path) -> None:
    def run_with(digest: str, folder: Path) -> Any:
        parts = {"inputs/1/meta.yaml": "source_id: d1\ndestination_id: x\ntags: {}\n"}
        run = write_run(folder, parts)
        write_parts(run.parent, {"datasets/d1/meta.yaml": f"name: qa\ndigest: '{digest}'\n"})
        return only_run(read(run / "meta.yaml"))["fingerprint"]["suite_digest"]

    first, same, other = (run_with(digest, tmp_path / digest) for digest in ("77", "77", "78"))
    assert first is not None
    assert first == same != other
    rows = run_rows([run_record(1)]) | {
        "inputs": [{"source_id": "d1", "destination_type": "RUN", "destination_id": f"{1:032x}"}],
        "datasets": [{"dataset_uuid": "d1", "name": "qa", "digest": "77"}],
    }
    assert only_run(read_bytes(tmp_path, "m.db", database(rows)))["fingerprint"]["suite_digest"] == first


def test_a_meta_that_would_unfold_is_refused(tmp_path: Path) -> None:
    layers = "\n".join(f"b{n}: &b{n} [{', '.join([f'*b{n - 1}'] * 9)}]" for n in range(1, 12))
    run = write_run(tmp_path, {"params/lr": "0.1"})
    (run / "meta.yaml").write_text(f"run_id: x\nstatus: 3\nlifecycle_stage: active\nb0: &b0 [x]\n{layers}\n")
    tables = read(run / "meta.yaml")
    assert rules(tables) == ["meta.yaml: yaml", "meta"]
    assert only_run(tables)["run_id"] == FIRST
    assert tables["silver.run_params"]["value"].to_list() == ["0.1"]


def test_a_database_and_a_folder_say_the_same_of_a_run(tmp_path: Path) -> None:
    record = run_record(int(FIRST, 16), name="first")
    folder = write_run(
        tmp_path,
        {"params/lr": "0.1", "params/model_name": "tiny", "tags/team": "a", "metrics/loss": "1772359200010 0.5 3\n"},
    )
    tables, from_database = read(folder / "meta.yaml"), read_bytes(tmp_path, "m.db", run_database([record]))
    for table in ("silver.run_metrics", "silver.run_params"):
        assert tables[table].equals(from_database[table])
    run, other = only_run(tables), only_run(from_database)
    differing = {key for key in run if run[key] != other[key]}
    assert differing == {"file_sha256", "content_digest", "environment"}
    assert run["model"] == "tiny"
    assert run["started_at"] == dt.datetime(2026, 3, 1, 10, tzinfo=dt.UTC)
    assert tables["silver.run_metrics"].filter(pl.col("metric") == "runtime_ms")["value"].to_list() == [1500.0]


def write_trace(
    experiment: Path, name: str, *, run_id: str | None, request_time: str = "2026-03-01T10:00:01.5Z"
) -> None:
    spans = [span(name, "KLD5hq8VFlE=") | {"attributes": {"mlflow.spanInputs": '"Capital?"'}}]
    info = {
        "trace_id": name,
        "request_time": request_time,
        "execution_duration_ms": 40,
        "state": "OK",
        "response_preview": '{"choices": [{"message": {"role": "assistant", "content": "Paris"}}]}',
    }
    parts = {
        "trace_info.yaml": yaml.safe_dump(info),
        "tags/slice": "easy",
        "request_metadata/mlflow.trace.tokenUsage": '{"input_tokens": 5, "output_tokens": 2}',
        "artifacts/traces.json": json.dumps({"spans": spans}),
        "assessments/a-1.yaml": yaml.safe_dump({"assessment_name": "correct", "feedback": {"value": True}}),
    }
    parts |= {"request_metadata/mlflow.sourceRun": run_id} if run_id else {}
    write_parts(experiment / "traces" / name, parts)


def test_traces_of_a_file_store(lake: Lake, tmp_path: Path) -> None:
    run = write_run(tmp_path, {"params/lr": "0.1"})
    write_trace(run.parent, "tr-1", run_id=FIRST)
    write_trace(run.parent, "tr-2", run_id=None)
    write_trace(run.parent, "tr-3", run_id=None, request_time="2026-03-02T10:00:00Z")
    write_trace(run.parent, "tr-4", run_id="../../../elsewhere", request_time="2026-03-02T11:00:00Z")
    result = import_paths(lake, [tmp_path], now=NOW)
    assert (result.runs, result.samples, result.rejects) == (3, 4, 0)
    outputs = lake.read("silver.outputs").sort("run_date", "run_id")
    mine = outputs.filter(pl.col("run_id") == FIRST).row(0, named=True)
    assert (mine["prompt"], mine["output"], mine["latency_ms"], mine["tags"]) == (
        "Capital?",
        "Paris",
        40.0,
        ["slice=easy"],
    )
    assert mine["scores"] == [{"scorer": "correct", "value": 1.0}]
    assert outputs["sample_id"].n_unique() == 1
    assert outputs.group_by("run_date").len().sort("run_date")["len"].to_list() == [2, 2]
    spans = lake.read("silver.spans")
    assert spans["span_id"].unique().to_list() == ["28b0f986af151651"]
    assert spans["started_at"].unique().to_list() == [dt.datetime(2026, 3, 1, 10, tzinfo=dt.UTC)]
    write_trace(run.parent, "tr-5", run_id=FIRST)
    os.utime(run.parent / "traces", ns=(1, 1))
    assert import_paths(lake, [run / "meta.yaml"], now=NOW).samples == 2


def test_a_run_that_is_in_two_places_is_one_run(lake: Lake, tmp_path: Path) -> None:
    run = write_run(tmp_path / "one", {"params/lr": "0.1"})
    shutil.copytree(run.parent, tmp_path / "two" / "mlruns" / "1")
    result = import_paths(lake, [tmp_path / "one", tmp_path / "two"], now=NOW)
    assert (result.runs, result.files, result.rejects) == (1, 3, 0)


def test_an_experiment_that_is_named_anew_names_its_runs(lake: Lake, tmp_path: Path) -> None:
    write_run(tmp_path, {})
    import_paths(lake, [tmp_path / "mlruns"], now=NOW)
    write_experiment(tmp_path, name="tuned")
    import_paths(lake, [tmp_path / "mlruns"], now=NOW)
    assert lake.read("silver.runs")["suite"].to_list() == ["tuned"]


def test_a_real_file_store(lake: Lake) -> None:
    result = import_paths(lake, [shared("mlflow") / "mlflow_filestore" / "mlruns"], now=NOW)
    assert (result.runs, result.rejects) == (1, 0)
    run = lake.read("silver.runs").row(0, named=True)
    assert (run["suite"], run["model"], run["status"], run["tags"]) == ("e1", "x", "success", ["team=a"])
    losses = lake.read("silver.run_metrics", where={"metric": "loss"}).sort("step")
    assert losses["value"].to_list() == [1.0, 0.5, 1 / 3]
    assert "hello" not in raw_text({"bronze.raw_records": lake.read("bronze.raw_records")})


def test_naming_the_format_makes_no_runs_of_what_only_lies_there(lake: Lake, tmp_path: Path) -> None:
    write_run(tmp_path, {"params/lr": "0.1", "artifacts/out.txt": "hello"})
    (tmp_path / "note.txt").write_text("hello")
    result = import_paths(lake, [tmp_path], format="mlflow", now=NOW)
    assert (result.runs, result.rejects) == (1, 1)
    assert lake.read("bronze.rejects")["source_uri"].to_list() == [str((tmp_path / "note.txt").resolve())]


def test_a_format_that_is_named_leaves_the_folders_of_others(lake: Lake, tmp_path: Path) -> None:
    write_run(tmp_path, {"params/lr": "0.1"})
    result = import_paths(lake, [tmp_path / "mlruns" / "1" / FIRST / "meta.yaml"], format="lm_eval", now=NOW)
    assert (result.runs, result.files) == (0, 0)
    assert any("meta.yaml is mlflow by its content" in message for message in result.messages)
    assert any("lr is mlflow by its folder" in message for message in result.messages)
