from __future__ import annotations

import datetime as dt
from pathlib import Path

from tests.runs.formats import read_bytes, rules, sample_ids
from tests.runs.run_files import (
    benchlake_file,
    benchlake_output,
    benchlake_run,
    json_lines,
)


def test_benchlake_fields_land(tmp_path: Path) -> None:
    tables = read_bytes(tmp_path, "run.jsonl", benchlake_file())
    run = tables["silver.runs"].row(0, named=True)
    assert run["run_id"] == "run-1"
    assert run["run_date"] == dt.date(2026, 3, 1)
    assert run["status"] == "success"
    assert run["tags"] == ["a", "b"]
    assert run["parameters"] == '{"temperature":0}'
    assert (run["fingerprint"]["suite_digest"], run["fingerprint"]["concurrency"]) == ("aa", 2)
    assert (run["code_version"]["commit"], run["code_version"]["is_dirty"]) == ("c0ffee", False)
    output = tables["silver.outputs"].row(0, named=True)
    assert (output["latency_ms"], output["time_to_first_token_ms"], output["input_token_count"]) == (12.5, 3.0, 5)
    tokens = tables["silver.output_tokens"].row(0, named=True)
    assert tokens["tokens"] == ["City", " 0"]
    assert tokens["token_ids"] == [7, None]
    assert tokens["token_bytes"] == [b"City", None]
    assert tokens["logprobs"] == [-0.1, None]
    assert tokens["top_k"] == [[{"token_id": 7, "token": "City", "logprob": -0.1}], None]
    assert tables["silver.run_metrics"].row(0)[1:7] == ("tokens_per_s", "", 0, 0, dt.date(2026, 3, 1), 20.5)


def test_a_benchlake_file_without_a_run_still_lands(tmp_path: Path) -> None:
    content = b"broken\n" + json_lines([benchlake_output(0), benchlake_output(1)])
    tables = read_bytes(tmp_path, "run.jsonl", content)
    assert sample_ids(tables) == ["s0", "s1"]
    assert tables["silver.runs"]["suite"].to_list() == ["unknown"]
    assert rules(tables) == ["json", "header"]


def test_a_run_without_id_is_named_by_its_content(tmp_path: Path) -> None:
    header = benchlake_run()
    del header["run_id"]
    first = read_bytes(tmp_path / "a", "x.jsonl", json_lines([header]))["silver.runs"]["run_id"][0]
    again = read_bytes(tmp_path / "b", "y.jsonl", json_lines([header]))["silver.runs"]["run_id"][0]
    other = read_bytes(tmp_path / "c", "x.jsonl", json_lines([header | {"suite": "z"}]))["silver.runs"]["run_id"][0]
    assert first == again != other


def test_statuses_are_kept_and_unknown_words_named(tmp_path: Path) -> None:
    outputs = [
        benchlake_output(0, status="timeout", output=None),
        benchlake_output(1, status="weird"),
        benchlake_output(2, status=None, error_message="broke"),
    ]
    tables = read_bytes(tmp_path, "run.jsonl", json_lines([benchlake_run(), *outputs]))
    assert tables["silver.outputs"]["status"].to_list() == ["timeout", "error", "error"]  # unknown is not ok
    assert rules(tables) == ["status: vocabulary"]
