from __future__ import annotations

import datetime as dt
import itertools
import json
import sqlite3
import struct
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from pipelines.runs.importers import IMPORTERS, mlflow_tables
from pipelines.runs.sources import Limits, identify, read_head
from tests.runs.formats import Tables, read_bytes, rules
from tests.runs.mlflow_stores import STARTED_MS, database, run_database, run_record, run_rows, span


def values(tables: Tables, *columns: str) -> list[tuple[Any, ...]]:
    """Metrics of a run but for its runtime."""
    rows = tables["silver.run_metrics"].filter(pl.col("metric") != "runtime_ms")
    return rows.select(columns or ("metric", "variant", "step", "repeat_index", "value")).rows()


def test_an_older_schema_gives_what_it_has(tmp_path: Path) -> None:
    newer = ("trace_info", "trace_request_metadata", "trace_tags", "spans", "assessments", "inputs", "datasets")
    columns = ("metrics.step", "metrics.is_nan", "runs.name", "experiments.creation_time", "runs.lifecycle_stage")
    content = database(run_rows([run_record(0), run_record(1)]), leave_out=("latest_metrics", *newer, *columns))
    tables = read_bytes(tmp_path, "m.db", content)
    assert tables["silver.runs"]["suite"].to_list() == ["tuning", "tuning"]
    assert values(tables) == [("loss", "", 0, 0, 0.5)] * 2
    assert rules(tables) == []


def test_several_values_of_a_step_are_in_the_order_of_their_time(tmp_path: Path) -> None:
    logged = [(30, 2, 0.3), (20, 2, 0.2), (10, 1, 0.1)]
    metrics = [{"key": "loss", "value": value, "timestamp": at, "step": step} for at, step, value in logged]
    metrics += [{"key": "inf", "value": 1.7976931348623157e308, "timestamp": 1, "step": 0}]
    tables = read_bytes(tmp_path, "m.db", run_database([run_record(0, metrics=metrics)]))
    assert values(tables) == [("loss", "", 1, 0, 0.1), ("loss", "", 2, 0, 0.2), ("loss", "", 2, 1, 0.3)]
    assert rules(tables) == ["metrics.inf: finite"]


def test_the_last_values_stand_in_for_a_history_that_is_gone(tmp_path: Path) -> None:
    last = [{"key": key, "value": 9.0, "timestamp": 5, "step": 7, "run_uuid": f"{0:032x}"} for key in ("loss", "kept")]
    tables = read_bytes(tmp_path, "m.db", database(run_rows([run_record(0)]) | {"latest_metrics": last}))
    assert values(tables) == [("loss", "", 3, 0, 0.5), ("kept", "", 7, 0, 9.0)]


def test_hostile_cells_are_refused_one_by_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(mlflow_tables, "_CELL_LENGTH", 1_000)
    rows = run_rows([run_record(0), run_record(1, start_time="yesterday", status=b"\xff", experiment_id=99)])
    rows["params"] += [{"key": b"\xff\x00", "value": b"x" * 2_000, "run_uuid": f"{0:032x}"}]
    rows["metrics"] += [
        {"key": None, "value": "much", "timestamp": "x", "step": "y", "run_uuid": f"{1:032x}"},
        {"key": "ghost", "value": 1.0, "timestamp": 1, "step": 0, "run_uuid": "nobody"},
    ]
    rows["runs"] += [run_record(2, run_uuid=None)]
    tables = read_bytes(tmp_path, "m.db", database(rows))
    assert tables["silver.runs"].height == 2
    assert tables["silver.runs"]["suite"].to_list() == ["tuning", "99"]
    assert len(values(tables)) == 2
    assert set(rules(tables)) == {
        "cell_length",
        "metrics.: finite",
        "metrics..step: whole",
        "metrics: run_uuid",
        "runs: run_uuid",
        "start_time: finite",
    }


def test_pages_that_point_in_circles_do_not_keep_anybody(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The table's root is made the top of six layers of pages, each 400 times the next: 400^6 rows."""
    monkeypatch.setattr(mlflow_tables, "_LEAST_STEPS", 20_000)
    monkeypatch.setattr(mlflow_tables, "_STEPS_PER_CALL", 10_000)
    monkeypatch.setattr(mlflow_tables, "_STEPS_PER_BYTE", 1)
    content = run_database([run_record(index) for index in range(3)])
    tables = read_bytes(tmp_path, "m.db", _with_endless_table(content, "metrics"))
    assert tables["silver.runs"].height == 3
    assert tables["silver.run_params"].height == 6
    assert any("circles" in message for message in tables["bronze.rejects"]["message"])


def _with_endless_table(content: bytes, table: str) -> bytes:
    (size,), count = struct.unpack(">H", content[16:18]), 400
    connection = sqlite3.connect(":memory:")
    connection.deserialize(content)
    (root,) = connection.execute("select rootpage from sqlite_master where name = ?", (table,)).fetchone()
    pages = [bytearray(content[at : at + size]) for at in range(0, len(content), size)]
    leaf, numbers = bytes(pages[root - 1]), [root, *range(len(pages) + 1, len(pages) + 7)]
    for number, child in itertools.pairwise(numbers):
        page = bytearray(size)
        start = size - 6 * count
        struct.pack_into(">BHHHxI", page, 0, 5, 0, count, start, child)
        for place in range(count):
            struct.pack_into(">IB", page, start + 6 * place, child, place % 120 + 1)
            struct.pack_into(">H", page, 12 + 2 * place, start + 6 * place)
        pages[number - 1 :] = [page, *pages[number:]] if number <= len(pages) else [page]
    pages.append(bytearray(leaf))
    struct.pack_into(">I", pages[0], 28, len(pages))
    return b"".join(pages)


def test_a_schema_that_is_not_even_text_is_refused(tmp_path: Path) -> None:
    """What SQLite says of it quotes from it."""
    content = run_database([run_record(0)]).replace(b"CREATE TABLE runs", b"CREATE \xff\xff\xff\xff\xff runs")
    tables = read_bytes(tmp_path, "m.db", content, kind="mlflow")
    assert rules(tables) == ["database"]
    head = read_head(identify(tmp_path / "m.db", root=tmp_path.resolve(), limits=Limits()), limits=Limits())
    assert head.tables == frozenset()


def test_views_and_other_databases_are_nobodys(tmp_path: Path) -> None:
    views = "create view runs as select 1 as run_uuid; create view metrics as select 1 as key;"
    (tmp_path / "views.db").write_bytes(database({}, leave_out=("runs", "metrics"), after=views))
    head = read_head(identify(tmp_path / "views.db", root=tmp_path.resolve(), limits=Limits()), limits=Limits())
    assert not IMPORTERS["mlflow"].detects(head)


def trace(name: str, **changes: Any) -> dict[str, Any]:
    return {
        "request_id": name,
        "experiment_id": 1,
        "timestamp_ms": STARTED_MS,
        "execution_time_ms": 250,
        "status": "OK",
        "request_preview": '{"q": "Capital?"}',
        "response_preview": '"Paris"',
        "input_tokens": 5,
        "output_tokens": 2,
        "total_cost": 0.25,
    } | changes


def assessment(
    name: str, value: object, *, trace_id: str = "t1", kind: str = "feedback", **more: Any
) -> dict[str, Any]:
    return {"trace_id": trace_id, "name": name, "assessment_type": kind, "value": json.dumps(value), "valid": 1} | more


def test_traces_become_outputs_scores_and_spans(tmp_path: Path) -> None:
    run_id = f"{0:032x}"
    rows = run_rows([run_record(0, params={})]) | {
        "trace_info": [
            trace("t2", timestamp_ms=STARTED_MS + 5, status="ERROR", response_preview=None, input_tokens=None),
            trace("t1"),
            trace("t3", status="IN_PROGRESS"),
        ],
        "trace_request_metadata": [
            {"key": "mlflow.sourceRun", "value": run_id, "request_id": name} for name in ("t1", "t2", "t3")
        ],
        "trace_tags": [{"key": "slice", "value": "easy", "request_id": "t1"}],
        "spans": [
            span("t1", "s2", parent="s1"),
            span("t1", "s1", **{"mlflow.spanInputs": '{"q": "Capital?"}', "mlflow.spanOutputs": '"Paris, in full"'}),
        ],
        "assessments": [
            assessment("correct", value=True),
            assessment("judged", "yes", source_id="one"),
            assessment("judged", "no", source_id="two"),
            assessment("tone", "polite"),
            assessment("quality", 2, valid=0),
            assessment("expected_facts", ["x"], kind="expectation"),
            assessment("expected_response", "Paris", kind="expectation"),
        ],
    }
    tables = read_bytes(tmp_path, "m.db", database(rows))
    first, second = tables["silver.outputs"].to_dicts()
    assert first["sample_id"] == second["sample_id"]
    assert [row["repeat_index"] for row in (first, second)] == [0, 1]
    assert (first["prompt"], first["output"], first["reference"]) == ('{"q": "Capital?"}', "Paris, in full", "Paris")
    assert {entry["scorer"]: entry["value"] for entry in first["scores"]} == {
        "correct": 1.0,
        "judged,one": 1.0,
        "judged,two": 0.0,
    }
    assert (first["tags"], first["latency_ms"], first["input_token_count"]) == (["slice=easy", "tone=polite"], 250.0, 5)
    assert (second["status"], second["output"], second["input_token_count"]) == ("error", None, None)
    spans = tables["silver.spans"].select("span_id", "parent_span_id", "start_ns", "duration_ns", "sample_id").rows()
    assert spans == [("s1", None, 0, 1_000, first["sample_id"]), ("s2", "s1", 500, 500, first["sample_id"])]
    assert tables["silver.runs"]["model"].to_list() == ["tiny"]
    assert ("cost_usd", 0.75) in values(tables, "metric", "value")
    assert rules(tables) == []


def test_traces_of_no_run_are_a_run_a_day(tmp_path: Path) -> None:
    day = 24 * 3_600_000
    traces = [trace(f"t{place}", timestamp_ms=STARTED_MS + at) for place, at in enumerate((2 * day, 0, day, 1))]
    tables = read_bytes(tmp_path, "m.db", database(run_rows([run_record(0)]) | {"trace_info": traces}))
    loose = tables["silver.runs"].filter(pl.col("tags").list.contains("traces"))
    assert loose["run_date"].to_list() == [dt.date(2026, 3, 1), dt.date(2026, 3, 2), dt.date(2026, 3, 3)]
    assert loose["run_id"].n_unique() == 3
    counts = tables["silver.outputs"].group_by("run_date").len().sort("run_date")
    assert counts["len"].to_list() == [2, 1, 1]


def test_spans_that_cannot_be_used_cost_neither_their_trace_nor_the_others(tmp_path: Path) -> None:
    broken = span("t1", "s1") | {"content": "{", "start_time_unix_nano": "soon"}
    backwards = span("t1", "s2") | {"end_time_unix_nano": 5}
    empty = span("t1", "s3") | {"content": None, "name": None, "status": "ERROR"}
    rows = run_rows([]) | {"trace_info": [trace("t1"), trace("t2", timestamp_ms="soon", execution_time_ms=-1)]}
    tables = read_bytes(tmp_path, "m.db", database(rows | {"spans": [broken, backwards, empty]}))
    assert tables["silver.spans"].select("span_id", "name", "status").rows() == [("s3", "unnamed", "error")]
    assert tables["silver.outputs"]["latency_ms"].sort(nulls_last=True).to_list() == [250.0, None]
    assert sorted(rules(tables)) == ["execution_time_ms: min 0", "start_time_unix_nano: whole"]
