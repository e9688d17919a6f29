"""The writer: what is logged lands whole, at once, and again after a kill."""

from __future__ import annotations

import datetime as dt
import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from enum import StrEnum
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
from jsonschema import Draft202012Validator

import benchlake
from benchlake.workspace import Workspace
from lake.errors import UserError
from pipelines.runs.partial_runs import RunBusyError
from pipelines.runs.run_lines import CodeVersion
from pipelines.runs.run_schema import json_schema
from pipelines.runs.run_writer import RunWriter
from pipelines.runs.sources import walk_files
from pipelines.runs.steps import import_paths

NAMES = {"suite": "support", "backend": "mine", "model": "mine-2"}
NOW = dt.datetime(2026, 3, 1, 12, tzinfo=dt.UTC)


@pytest.fixture
def lake(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Workspace:
    for name in ("BENCHLAKE_HOME", "BENCHLAKE_LAKE"):
        monkeypatch.delenv(name, raising=False)
    return benchlake.open_lake(tmp_path)


def lines_of(run: RunWriter) -> list[dict[str, Any]]:
    return [json.loads(line) for line in run.path.read_text("utf-8").split("\n") if line]


def log_and_raise(run: RunWriter, error: BaseException, sample_id: str = "q1") -> None:
    run.log_output(sample_id, output="4")
    raise error


def count_and_raise(run: RunWriter) -> None:
    run.count_fallback("slow path")
    log_and_raise(run, ValueError("stop"), "q2")


@pytest.mark.parametrize("value", [float("nan"), float("inf"), np.float32("nan")])
def test_a_loss_that_is_nan_ends_no_training_and_is_named(lake: Workspace, value: float) -> None:
    with lake.start_run(**NAMES, run_id="r") as run:
        run.log_metric("loss", 0.5, step=1)
        run.log_metric("loss", value, step=2)
        run.log_metric("loss", 0.4, step=3)
    assert lake.sql("select step from silver.run_metrics where metric = 'loss' order by 1")["step"].to_list() == [1, 3]
    assert "value: finite" in lake.sql("select rule from bronze.rejects")["rule"].to_list()
    assert lake.sql("select status from silver.runs")["status"].to_list() == ["success"]


def import_landing(lake: Workspace) -> None:
    assert import_paths(lake.lake, [lake.landing], now=NOW).rejects == 0


def test_five_lines_are_a_run_that_can_be_asked(lake: Workspace) -> None:
    with lake.start_run(**NAMES, parameters={"temperature": 0}) as run:
        run.log_output("q1", prompt="2+2?", output="4", reference="4", scores={"exact_match": 1.0}, latency_ms=812)
        run.log_metric("loss", 0.31, step=10)
    rows = lake.sql("select sample_id, output, latency_ms, status from silver.outputs").to_dicts()
    assert rows == [{"sample_id": "q1", "output": "4", "latency_ms": 812.0, "status": "ok"}]
    metric = lake.read("silver.run_metrics", where={"metric": "loss"}).row(0, named=True)
    assert (metric["value"], metric["unit"], metric["step"], metric["is_higher_better"]) == (0.31, "nats", 10, False)
    assert lake.runs("suite=support")["status"].to_list() == ["success"]
    assert run.result is not None
    assert (run.result.samples, run.result.rejects) == (1, 0)
    assert lake.import_files().unchanged_files == 1


def test_everything_that_can_be_logged_keeps_the_schema_and_lands_without_a_reject(lake: Workspace) -> None:
    with lake.start_run(
        **NAMES,
        engine="own",
        engine_version="1",
        tags=("b", "a"),
        environment={"cpu": "any"},
        fingerprint={"tokenizer": "t", "concurrency": 1},
        code_version={"commit": "c0ffee", "pull_request": "7"},
        expected_sample_count=2,
    ) as run:
        tokens = [{"token": "4", "logprob": -0.5, "top_k": [{"token": "4", "logprob": -0.5}]}]
        messages = [{"role": "user", "content": "2+2?"}]
        run.log_output("q1", prompt=messages, output="4", tokens=tokens, tags=["easy"], started_at=NOW)
        run.log_output("q1", repeat_index=1, error_message="broke")
        run.log_output(7, output="half \ud800 pair", status="timeout", time_to_first_token_ms=3)
        run.log_metric("mse_ms", 2, variant="valid", standard_error=0.1, standard_deviation=0.2, sample_count=9)
        run.log_params({"optimizer": {"name": "adam"}, "warmup": 5}, units={"warmup": "steps"})
        run.log_model(size_bytes=1_000, parameter_count=250)
        run.log_span("load", start_ns=0, duration_ns=5, attributes={"rows": 3}, started_at=NOW)
        run.count_fallback("flash_attention -> math")
        run.count_fallback("flash_attention -> math", count=2)
        run.count_fallback("never", count=0)
        with run.measure("prefill"):
            pass
    validator = Draft202012Validator(json_schema())
    assert [error.message for line in lines_of(run) for error in validator.iter_errors(line)] == []
    assert run.result is not None
    assert (run.result.rejects, run.result.messages) == (0, ())
    outputs = lake.read("silver.outputs").sort("sample_id", "repeat_index")
    assert outputs["status"].to_list() == ["timeout", "ok", "error"]
    assert outputs["prompt"].to_list()[1] == '[{"content":"2+2?","role":"user"}]'
    metrics = {(row["metric"], row["variant"]): row for row in lake.read("silver.run_metrics").to_dicts()}
    assert metrics["fallback_count", "flash_attention -> math"]["value"] == 3
    assert metrics["fallback_count", "never"]["value"] == 0
    assert metrics["mse_ms", "valid"]["unit"] == "ms"
    assert metrics["parameter_count", ""]["value"] == 250
    assert metrics["runtime_ms", ""]["value"] > 0
    assert {"wall_time_ms", "cpu_time_ms"} == {name for name, variant in metrics if variant == "prefill"}
    params = {row["parameter"]: row for row in lake.read("silver.run_params").to_dicts()}
    assert (params["warmup"]["number"], params["warmup"]["unit"]) == (5.0, "steps")
    assert params["optimizer.name"]["value"] == "adam"
    assert lake.read("silver.output_tokens")["logprobs"].to_list() == [[-0.5]]
    header = lake.read("silver.runs").row(0, named=True)
    assert (header["code_version"]["commit"], header["code_version"]["pull_request"]) == ("c0ffee", "7")
    assert (header["tags"], header["fingerprint"]["tokenizer"]) == (["a", "b"], "t")


def test_repeated_measurements_are_repeats_and_nested_ones_know_their_span(lake: Workspace) -> None:
    with lake.start_run(**NAMES) as run:
        for _ in range(3):
            run.log_metric("latency_ms", 5, variant="mean")
        run.log_metric("latency_ms", 6, variant="mean", repeat_index=4)
        run.log_metric("latency_ms", 7, variant="mean")
        run.log_metric("latency_ms", 8, variant="mean")
        with run.measure("outer"), run.measure("inner") as took:
            pass
    repeats = lake.read("silver.run_metrics", where={"metric": "latency_ms"}).sort("repeat_index")
    assert repeats["repeat_index"].to_list() == [0, 1, 2, 3, 4, 5]
    assert repeats["value"].to_list() == [5, 5, 5, 7, 6, 8]
    spans = {row["name"]: row for row in lake.read("silver.spans").to_dicts()}
    assert spans["inner"]["parent_span_id"] == spans["outer"]["span_id"]
    assert spans["outer"]["parent_span_id"] is None
    assert spans["outer"]["start_ns"] <= spans["inner"]["start_ns"]
    assert spans["inner"]["duration_ns"] == took.duration_ns


@pytest.mark.parametrize(
    ("log", "words"),
    [
        (lambda run: run.log_metric("loss", "0.3"), ["log_metric: value is '0.3'", "a finite number"]),
        (lambda run: run.log_metric("loss", 1, step=-1), ["step is -1", "a whole number from 0"]),
        (lambda run: run.log_metric("loss", 1, step=True), ["step is true", "a whole number from 0"]),
        (lambda run: run.log_metric(5, 1), ["metric is 5", "text"]),
        (lambda run: run.log_metric("latency_ms", 1, unit="s"), ["kept in ms", "'s'"]),
        (lambda run: run.log_output("a", scores={"f1": "high"}), ["scores.f1 is 'high'", "a finite number"]),
        (lambda run: run.log_output("a", scores=0.5), ["scores is 0.5", "an object"]),
        (lambda run: run.log_output("a", status="fine"), ["status is 'fine'", "assert_fail"]),
        (lambda run: run.log_output(None), ["sample_id is null", "text or a whole number"]),
        (lambda run: run.log_output("a", output=b"x"), ["output is bytes", "Decode"]),
        (lambda run: run.log_output("a", started_at=NOW.replace(tzinfo=None)), ["started_at", "time zone"]),
        (lambda run: run.log_output("a", tokens=[{"token": "x", "logprob": "?"}]), ["tokens[0].logprob is '?'"]),
        (lambda run: run.log_params({"a": {"b": {1, 2}}}), ["value.b is a set", "lists and dicts"]),
        (lambda run: run.log_params({"a": {1: 2}}), ["value has the name 1", "text"]),
        (lambda run: run.log_params({"a": 2**80}), ["64 bits"]),
        (lambda run: run.log_params([1]), ["parameters is list", "dict"]),
        (lambda run: run.log_params({"a": 1}, units={"b": "s"}), ["units names b"]),
        (lambda run: run.log_span("x", start_ns=0, duration_ns=-1), ["duration_ns is -1"]),
        (lambda run: run.count_fallback("x", count=-1), ["count -1"]),
        (lambda run: run.measure(3).__enter__(), ["name is 3"]),
        (lambda run: run.end(status="fine"), ["status is 'fine'", "cancelled"]),
    ],
)
def test_what_cannot_be_logged_is_refused_at_the_call_and_nothing_of_it_is_written(
    lake: Workspace, log: Callable[[RunWriter], None], words: list[str]
) -> None:
    run = lake.start_run(**NAMES)
    size = run.path.stat().st_size
    with pytest.raises(UserError) as refused:
        log(run)
    assert [word for word in words if word not in str(refused.value)] == []
    assert run.path.stat().st_size == size


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({"suite": 5}, ["suite is 5", "text"]),
        ({"tags": "nightly"}, ["tags is 'nightly'", "a list of texts"]),
        ({"fingerprint": {"concurrency": "2"}}, ["fingerprint.concurrency is '2'"]),
        ({"code_version": "c0ffee"}, ["code_version is 'c0ffee'", "an object"]),
        ({"parameters": {"a": object()}}, ["parameters.a is a object"]),
        ({"run_id": "../up"}, ["cannot be a file name"]),
        ({"run_id": "a.partial"}, ["cannot be a file name"]),
    ],
)
def test_a_run_that_cannot_begin_says_why_and_leaves_no_file(
    lake: Workspace, given: dict[str, Any], words: list[str]
) -> None:
    with pytest.raises(UserError) as refused:
        lake.start_run(**NAMES | given)
    assert [word for word in words if word not in str(refused.value)] == []
    assert list(lake.landing.iterdir()) == []


def test_scalars_of_number_libraries_are_numbers(lake: Workspace) -> None:
    class Mode(StrEnum):
        FAST = "fast"

    with lake.start_run(**NAMES) as run:
        run.log_output("q", scores={"f1": np.float32(0.5)}, latency_ms=np.int64(7), output_token_count=np.int32(3))
        run.log_metric("loss", np.float64(0.25), step=np.int64(2))
        run.log_params({"mode": Mode.FAST, "is_on": np.bool_(True), "sizes": (1, 2)})
    assert lake.read("silver.outputs")["scores"].to_list() == [[{"scorer": "f1", "value": 0.5}]]
    params = dict(lake.read("silver.run_params").select("parameter", "value").iter_rows())
    assert params == {"mode": "fast", "is_on": "true", "sizes": "[1,2]"}


@pytest.mark.parametrize(
    ("error", "status", "message"),
    [
        (ValueError("no weights"), "error", "ValueError: no weights"),
        (KeyboardInterrupt(), "cancelled", "KeyboardInterrupt"),
        (SystemExit(0), "success", None),
        (SystemExit(3), "error", "SystemExit: 3"),
    ],
)
def test_how_the_block_is_left_is_how_the_run_ended(
    lake: Workspace, error: BaseException, status: str, message: str | None
) -> None:
    with pytest.raises(type(error)), lake.start_run(**NAMES) as run:
        log_and_raise(run, error)
    row = lake.read("silver.runs", where={"run_id": run.run_id}).row(0, named=True)
    assert (row["status"], row["error_message"]) == (status, message)
    assert lake.read("silver.outputs").height == 1
    with pytest.raises(UserError, match="has ended"):
        run.log_output("q2", output="5")


def test_an_import_that_fails_neither_hides_the_error_nor_loses_the_run(
    lake: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_args: object, **_options: object) -> None:
        raise OSError("storage is away")

    with monkeypatch.context() as patch:
        patch.setattr("pipelines.runs.steps.import_paths", refuse)
        with pytest.raises(ValueError, match="mine") as failed, lake.start_run(**NAMES) as run:
            log_and_raise(run, ValueError("mine"))
        assert "storage is away" in failed.value.__notes__[0]
        with pytest.raises(OSError, match="away") as away, lake.start_run(**NAMES):
            pass
        assert "the next import takes it in" in away.value.__notes__[0]
    import_landing(lake)
    assert sorted(lake.read("silver.runs")["status"]) == ["error", "success"]
    assert run.path.exists()


KILLED = """
import os, sys, benchlake
run = benchlake.open_lake(sys.argv[1]).start_run(
    run_id="mine", suite="support", backend="mine", model="mine-2", parameters={"a": 1}, code_version={"commit": "c0"})
for number in range(3):
    run.log_output(f"q{number}", output=str(number))
run.log_metric("loss", 1.0, step=1)
run.log_params({"b": 2})
run.count_fallback("x")
print("ready", flush=True)
sys.stdin.read()
"""


@pytest.fixture
def killed(lake: Workspace) -> Workspace:
    """A lake in whose landing folder a process wrote a run until it was killed."""
    writer = subprocess.Popen(
        [sys.executable, "-c", KILLED, str(lake.folder)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    try:
        assert writer.stdout is not None
        assert writer.stdout.readline() == "ready\n"
        # While it lives nobody imports it, and nobody else may write it.
        assert list(walk_files(lake.landing)) == []
        with pytest.raises(RunBusyError, match="another process"):
            lake.start_run(run_id="mine", **NAMES)
    finally:
        writer.send_signal(signal.SIGKILL)
        writer.communicate()
    return lake


def test_a_killed_run_is_imported_as_far_as_it_came(killed: Workspace) -> None:
    import_landing(killed)
    assert killed.read("silver.runs").select("run_id", "status").rows() == [("mine", "started")]
    assert sorted(killed.read("silver.outputs")["sample_id"]) == ["q0", "q1", "q2"]
    assert killed.read("silver.run_metrics")["metric"].to_list() == ["loss"]


def test_a_killed_run_goes_on_where_it_stopped(killed: Workspace) -> None:
    import_landing(killed)
    path = killed.landing / "mine.jsonl"
    with path.open("ab") as stream:
        stream.write(b'{"type":"output","sample_id":"q3","outp')
    with killed.start_run(run_id="mine", **NAMES, parameters={"a": 1, "c": 3}, code_version={"commit": "c0"}) as run:
        assert [run.has_output(f"q{number}") for number in range(4)] == [True, True, True, False]
        with pytest.raises(UserError, match="is logged already"):
            run.log_output("q1", output="again")
        run.log_output("q3", output="3")
        run.log_metric("loss", 0.5, step=1)
        run.log_params({"b": 2})
        with pytest.raises(UserError, match="b is 2 in this run"):
            run.log_params({"b": 3})
    assert run.result is not None
    assert run.result.rejects == 0
    assert killed.read("silver.runs")["status"].to_list() == ["success"]
    assert sorted(killed.read("silver.outputs")["sample_id"]) == ["q0", "q1", "q2", "q3"]
    metrics = killed.read("silver.run_metrics", where={"metric": "loss"}).sort("repeat_index")
    assert metrics.select("repeat_index", "value").rows() == [(0, 1.0), (1, 0.5)]
    assert sorted(killed.read("silver.run_params")["parameter"]) == ["a", "b", "c"]


def test_a_finished_run_goes_on_only_when_asked(lake: Workspace) -> None:
    with lake.start_run(run_id="mine", **NAMES) as run:
        run.log_output("q1", output="1")
        run.count_fallback("slow path", count=2)
    with pytest.raises(UserError, match=r"has ended .success.*resume=True"):
        lake.start_run(run_id="mine", **NAMES)
    before = run.path.read_bytes()
    with pytest.raises(UserError, match="began with model 'mine-2', this call says 'other'"):
        lake.start_run(run_id="mine", resume=True, **NAMES | {"model": "other"})
    assert run.path.read_bytes() == before
    with pytest.raises(ValueError, match="stop"), lake.start_run(run_id="mine", resume=True, **NAMES) as run:
        count_and_raise(run)
    with lake.start_run(run_id="mine", resume=True, **NAMES) as run:
        run.log_output("q3", output="3")
    assert [line["type"] for line in lines_of(run)].count("end") == 1
    assert run.result is not None
    assert run.result.rejects == 0
    row = lake.read("silver.runs").row(0, named=True)
    assert (row["status"], row["error_message"]) == ("success", None)
    assert lake.read("silver.outputs").height == 3
    fallbacks = lake.read("silver.run_metrics", where={"metric": "fallback_count"})
    assert fallbacks["value"].to_list() == [3.0]
    runtime = lake.read("silver.run_metrics", where={"metric": "runtime_ms"})["value"].item()
    took = row["ended_at"] - row["started_at"]
    assert runtime == pytest.approx(took / dt.timedelta(milliseconds=1), abs=5)


def test_another_commit_does_not_go_on_with_a_run(killed: Workspace) -> None:
    with pytest.raises(UserError, match="commit 'c0', this call says 'c1'"):
        killed.start_run(run_id="mine", **NAMES, code_version={"commit": "c1"})


def test_a_run_in_the_lake_whose_file_is_gone_is_not_begun_again(lake: Workspace) -> None:
    with lake.start_run(run_id="mine", **NAMES) as run:
        run.log_output("q1", output="1")
    run.path.unlink()
    with pytest.raises(UserError, match="is in the lake, but its file is not"):
        lake.start_run(run_id="mine", **NAMES)


def test_somebody_elses_file_is_left_alone(lake: Workspace) -> None:
    path = lake.landing / "mine.jsonl"
    path.write_text('{"hello": 1}\n')
    with pytest.raises(UserError, match="is not the file of run mine"):
        lake.start_run(run_id="mine", resume=True, **NAMES)
    assert path.read_text() == '{"hello": 1}\n'


def test_threads_may_log_at_the_same_time(lake: Workspace) -> None:
    with lake.start_run(**NAMES) as run:

        def log(number: int) -> None:
            run.log_output(f"q{number}", output="x" * 5_000)
            run.log_metric("loss", number)
            run.count_fallback("slow path")

        with ThreadPoolExecutor(8) as pool:
            list(pool.map(log, range(200)))
    assert run.result is not None
    assert (run.result.samples, run.result.rejects) == (200, 0)
    metrics = lake.read("silver.run_metrics")
    assert sorted(metrics.filter(pl.col("metric") == "loss")["repeat_index"]) == list(range(200))
    assert metrics.filter(pl.col("metric") == "fallback_count")["value"].to_list() == [200.0]


def test_a_line_that_the_disk_does_not_take_is_taken_back(lake: Workspace, monkeypatch: pytest.MonkeyPatch) -> None:
    write = os.write

    def fill(handle: int, data: bytes) -> int:
        if len(data) > 10:
            return write(handle, bytes(data[:10]))
        raise OSError("No space left on device")

    with lake.start_run(**NAMES) as run:
        whole = run.path.read_bytes()
        monkeypatch.setattr(os, "write", fill)
        with pytest.raises(OSError, match="No space"):
            run.log_output("q1", output="x" * 95)
        monkeypatch.setattr(os, "write", write)
        assert run.path.read_bytes() == whole
        run.log_output("q1", output="y")
    assert lake.read("silver.outputs")["output"].to_list() == ["y"]


def test_a_workspace_imports_lists_and_reads_what_the_command_line_does(lake: Workspace, tmp_path: Path) -> None:
    with lake.start_run(**NAMES, tags=["experiment-1"], code_version=CodeVersion(branch="main")) as run:
        run.log_output("q1", output="4")
    copied = tmp_path / "elsewhere.jsonl"
    copied.write_bytes(run.path.read_bytes().replace(run.run_id.encode(), b"other").replace(b"experiment-1", b"x"))
    assert lake.import_files(copied, format="benchlake").runs == 1
    assert lake.runs("tag=experiment-*", "branch=main")["run_id"].to_list() == [run.run_id]
    assert lake.runs("suite=nothing").is_empty()
    assert lake.read("silver.outputs", columns=["run_id"], where={"run_id": "other"}).height == 1
    assert lake.sql("select count(*) as n from silver.runs", at={"silver.runs": 1})["n"].item() == 1
    assert repr(lake) == f"Workspace({str(tmp_path)!r}, lake={lake.lake.uri!r})"
    with pytest.raises(UserError, match="no format named 'benchlak'"):
        lake.import_files(copied, format="benchlak")


def test_a_folder_that_is_none_is_told(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"missing is not a folder"):
        benchlake.open_lake(tmp_path / "missing")
