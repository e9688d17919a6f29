"""Small MLflow stores, made in code: the tables of a tracking server's database, and the folder of a run."""

from __future__ import annotations

import json
import sqlite3
from pathlib import Path
from typing import Any

import yaml

STARTED_MS = 1_772_359_200_000  # 2026-03-01 10:00:00 UTC

# Without the constraints of the real ones, so that a test can write what those forbid.
TABLES = {
    "experiments": "experiment_id, name, artifact_location, lifecycle_stage, creation_time",
    "runs": "run_uuid, name, source_type, source_name, user_id, status, start_time, end_time, source_version, "
    "lifecycle_stage, artifact_uri, experiment_id",
    "metrics": "key, value, timestamp, run_uuid, step, is_nan",
    "latest_metrics": "key, value, timestamp, step, is_nan, run_uuid",
    "params": "key, value, run_uuid",
    "tags": "key, value, run_uuid",
    "datasets": "dataset_uuid, experiment_id, name, digest",
    "inputs": "input_uuid, source_type, source_id, destination_type, destination_id",
    "trace_info": "request_id, experiment_id, timestamp_ms, execution_time_ms, status, request_preview, "
    "response_preview, input_tokens, output_tokens, total_cost",
    "trace_request_metadata": "key, value, request_id",
    "trace_tags": "key, value, request_id",
    "spans": "trace_id, span_id, parent_span_id, name, type, status, start_time_unix_nano, end_time_unix_nano, "
    "content, model_name",
    "assessments": "assessment_id, trace_id, name, assessment_type, value, created_timestamp, source_type, "
    "source_id, valid",
}


def database(rows: dict[str, list[dict[str, Any]]], *, leave_out: tuple[str, ...] = (), after: str = "") -> bytes:
    """A database with these rows by table; `leave_out` names tables and `table.column`s, `after` is more SQL."""
    connection = sqlite3.connect(":memory:")
    for table, columns in TABLES.items():
        kept = [name for name in columns.split(", ") if f"{table}.{name}" not in leave_out]
        if table not in leave_out:
            connection.execute(f"create table {table} ({', '.join(kept)})")
            for row in rows.get(table, ()):
                values = [cell(row.get(name)) for name in kept]
                connection.execute(f"insert into {table} values ({', '.join('?' * len(kept))})", values)
    connection.executescript(after)
    connection.commit()
    return connection.serialize()


def cell(value: object) -> object:
    """What SQLite can hold; anything else as JSON."""
    if value is None or isinstance(value, bool | float | bytes):
        return value
    if isinstance(value, int):
        return value if abs(value) < 2**63 else str(value)
    return value.encode("utf-8", "replace").decode() if isinstance(value, str) else json.dumps(value)


def run_record(index: int, **changes: Any) -> dict[str, Any]:
    return {
        "run_uuid": f"{index:032x}",
        "name": f"run {index}",
        "status": "FINISHED",
        "start_time": STARTED_MS,
        "end_time": STARTED_MS + 1_500,
        "user_id": "ann",
        "lifecycle_stage": "active",
        "experiment_id": 1,
        "params": {"lr": "0.1", "model_name": "tiny"},
        "tags": {"team": "a"},
        "metrics": [{"key": "loss", "value": 0.5, "timestamp": STARTED_MS + 10, "step": 3, "is_nan": 0}],
    } | changes


def run_rows(records: list[dict[str, Any]]) -> dict[str, list[dict[str, Any]]]:
    """Rows of the tables for runs; keys of a record that are no columns become tags, where a tool could write them."""
    rows: dict[str, list[dict[str, Any]]] = {"runs": list(records), "params": [], "tags": [], "metrics": []}
    rows["experiments"] = [{"experiment_id": 1, "name": "tuning", "creation_time": STARTED_MS}]
    known = {*TABLES["runs"].split(", "), "params", "tags", "metrics"}
    for record in records:
        run_id = record.get("run_uuid")
        extra = {key: value for key, value in record.items() if key not in known}
        for table in ("params", "tags"):
            pairs = record.get(table) if isinstance(record.get(table), dict) else {}
            pairs = {**pairs, **extra} if table == "tags" else pairs
            rows[table] += [{"key": key, "value": value, "run_uuid": run_id} for key, value in pairs.items()]
        metrics = record.get("metrics") if isinstance(record.get("metrics"), list) else []
        rows["metrics"] += [row | {"run_uuid": run_id} for row in metrics if isinstance(row, dict)]
    return rows


def run_database(records: list[dict[str, Any]]) -> bytes:
    return database(run_rows(records))


def run_meta(run_id: str = "a" * 32, **changes: Any) -> dict[str, Any]:
    return {
        "artifact_uri": f"file:///mlruns/1/{run_id}/artifacts",
        "end_time": STARTED_MS + 1_500,
        "entry_point_name": "",
        "experiment_id": "1",
        "lifecycle_stage": "active",
        "run_id": run_id,
        "run_name": "first",
        "source_name": "",
        "source_type": 4,
        "source_version": "",
        "start_time": STARTED_MS,
        "status": 3,
        "tags": [],
        "user_id": "ann",
    } | changes


def write_experiment(folder: Path, **changes: Any) -> Path:
    """The experiment's folder in a file store."""
    experiment = folder / "mlruns" / "1"
    experiment.mkdir(parents=True, exist_ok=True)
    meta = {
        "artifact_location": "file:///mlruns/1",
        "creation_time": STARTED_MS,
        "experiment_id": "1",
        "name": "tuning",
    }
    (experiment / "meta.yaml").write_text(yaml.safe_dump(meta | changes))
    return experiment


def write_run(folder: Path, parts: dict[str, str], *, run_id: str = "a" * 32, **changes: Any) -> Path:
    """The folder of a run with these files; returns it."""
    run = write_experiment(folder) / run_id
    write_parts(run, {"meta.yaml": yaml.safe_dump(run_meta(run_id, **changes)), **parts})
    return run


def write_parts(folder: Path, parts: dict[str, str]) -> None:
    for name, content in parts.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(content)


def span(trace_id: str, span_id: str, parent: str | None = None, **attributes: Any) -> dict[str, Any]:
    content = {"name": "ask", "status": {"code": "STATUS_CODE_OK", "message": "m"}, "attributes": attributes}
    return {
        "trace_id": trace_id,
        "span_id": span_id,
        "parent_span_id": parent,
        "name": "ask",
        "type": "CHAIN",
        "status": "OK",
        "start_time_unix_nano": STARTED_MS * 10**6 + (500 if parent else 0),
        "end_time_unix_nano": STARTED_MS * 10**6 + 1_000,
        "content": json.dumps(content),
        "model_name": "tiny" if parent else None,
    }
