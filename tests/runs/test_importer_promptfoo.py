from __future__ import annotations

import copy
import datetime as dt
import gzip
import json
from pathlib import Path
from typing import Any

import pytest

from tests.runs.formats import Tables, raw_text, read, read_bytes, rules, sample_ids, shared
from tests.runs.run_files import json_lines
from tests.runs.serving_files import (
    openai_response,
    promptfoo_evaluation,
    promptfoo_prompt,
    promptfoo_result,
    promptfoo_table,
)

Record = dict[str, Any]


def whole(folder: Path, *results: Record, **changes: Any) -> Tables:
    return read_bytes(folder, "output.json", json.dumps(promptfoo_evaluation(list(results), **changes)).encode())


def only(tables: Tables, table: str = "silver.outputs") -> Record:
    assert tables[table].height == 1
    return tables[table].row(0, named=True)


def metrics(tables: Tables) -> dict[tuple[str, str], float]:
    rows = tables["silver.run_metrics"].to_dicts()
    return {(row["metric"], row["variant"]): row["value"] for row in rows}


def test_an_evaluation_lands(tmp_path: Path) -> None:
    tables = whole(tmp_path, promptfoo_result(0), promptfoo_result(1))
    run = only(tables, "silver.runs")
    assert (run["suite"], run["backend"], run["model"]) == ("capitals", "small", "tiny")
    assert run["source_run_id"] == "eval-abc-2026-03-01T10:00:00"
    assert run["started_at"] == dt.datetime(2026, 3, 1, 10, tzinfo=dt.UTC)
    assert run["ended_at"] - run["started_at"] == dt.timedelta(seconds=1.5)
    code = run["code_version"]
    assert (code["commit"], code["branch"], code["pull_request"]) == ("c0ffee", "main", "12")
    assert (run["tags"], run["expected_sample_count"]) == (["nightly", "team=core"], 2)
    assert run["fingerprint"]["concurrency"] == 4
    parameters = {row["parameter"]: row["number"] for row in tables["silver.run_params"].to_dicts()}
    assert (parameters["provider.temperature"], parameters["options.maxConcurrency"]) == (0.5, 4)
    assert json.loads(run["environment"]) == {"nodeVersion": "v22", "promptfooVersion": "0.121.20"}


def test_a_result_lands(tmp_path: Path) -> None:
    row = only(whole(tmp_path, promptfoo_result(0)))
    assert (row["sample_id"], row["repeat_index"], row["status"]) == ("0", 0, "assert_fail")
    assert (row["prompt"], row["output"], row["reference"]) == ("Capital number 0?", "City 0", "City 0!")
    assert (row["latency_ms"], row["input_token_count"], row["output_token_count"]) == (12.0, 5, 2)
    assert (row["finish_reason"], row["error_message"]) == ("stop", "Expected 0!")
    scores = {score["scorer"]: score["value"] for score in row["scores"]}
    assert scores == {"score": 0.5, "right": 0.0, "assert.contains": 1.0, "assert.equals": 0.0}
    # git_commit is the evaluation's and says nothing of this test.
    assert row["tags"] == ["topic=maps"]


def test_aggregates_become_metrics(tmp_path: Path) -> None:
    results = [promptfoo_result(0, success=True, failureReason=0), promptfoo_result(1), failed(2, 2)]
    found = metrics(whole(tmp_path, *results))
    # One of the two that were graded passed; the third was never answered.
    assert found["pass_ratio", ""] == 0.5
    assert (found["completed_count", ""], found["failed_count", ""]) == (2, 1)
    # The sum of three halves over the two that count.
    assert found["score", ""] == 0.75
    assert found["score", "right"] == 0.75
    assert (found["input_token_count", ""], found["output_token_count", "grading"]) == (10, 1)
    assert found["cost_usd", ""] == 0.75


def failed(index: int, reason: int | None, **changes: Any) -> Record:
    result = promptfoo_result(index, success=False, score=0, gradingResult=None, response={"error": "boom"}) | {
        "error": "boom",
        "failureReason": reason,
    }
    return {key: value for key, value in (result | changes).items() if key != "failureReason" or value is not None}


@pytest.mark.parametrize(
    ("changes", "status"),
    [
        ({"success": True, "failureReason": 0}, "ok"),
        ({"success": False, "failureReason": 1}, "assert_fail"),
        ({"success": False, "failureReason": 0}, "assert_fail"),
        ({"success": False, "failureReason": 2}, "error"),
        ({"success": True, "failureReason": 2}, "error"),
        ({"success": False, "failureReason": 2, "error": "Evaluation timed out after 100ms"}, "timeout"),
        ({"success": False, "failureReason": 2, "error": "Aborted: stopped"}, "cancelled"),
        ({"success": False, "failureReason": None}, "assert_fail"),
        ({"success": False, "failureReason": None, "gradingResult": None}, "error"),
        ({"success": None}, "error"),
    ],
)
def test_statuses(tmp_path: Path, changes: Record, status: str) -> None:
    row = only(whole(tmp_path, promptfoo_result(0, **changes)))
    assert row["status"] == status
    # An error is no score of 0, and how long it took is no latency.
    has_measurements = status in {"ok", "assert_fail"}
    assert (bool(row["scores"]), row["latency_ms"] is not None) == (has_measurements, has_measurements)


def test_cached_answers_have_no_latency_and_no_tokens(tmp_path: Path) -> None:
    response = {"output": "x", "cached": True, "isRefusal": True, "tokenUsage": {"cached": 19, "total": 19}}
    row = only(whole(tmp_path, promptfoo_result(0, response=response, latencyMs=3)))
    assert (row["latency_ms"], row["input_token_count"], row["output_token_count"]) == (None, None, None)
    assert row["tags"] == ["cached", "refusal", "topic=maps"]


def test_every_provider_with_every_prompt_is_a_run(tmp_path: Path) -> None:
    results = [promptfoo_result(0), promptfoo_result(0, promptIdx=1, id="b", provider={"id": "echo", "label": ""})]
    value = promptfoo_evaluation(results)
    value["results"]["prompts"] = [promptfoo_prompt(results[:1]), promptfoo_prompt(results[1:]) | {"provider": "echo"}]
    tables = read_bytes(tmp_path, "output.json", json.dumps(value).encode())
    assert sorted(tables["silver.runs"]["backend"]) == ["echo", "small"]
    assert sample_ids(tables) == ["0", "0"]
    assert rules(tables) == []


def test_repetitions_are_repeats_whatever_the_order(tmp_path: Path) -> None:
    """Three tests asked twice: promptfoo numbers them 0 to 5."""
    results = [
        promptfoo_result(test // 2, id=f"r{test}", testIdx=test) for test in (3, 0, 5, 1, 2, 4)
    ]  # fmt: skip
    for name, content in {
        "output.json": json.dumps(promptfoo_evaluation(results)).encode(),
        "output.jsonl": json_lines(results),
    }.items():
        rows = read_bytes(tmp_path, name, content)["silver.outputs"].sort("sample_id", "repeat_index")
        assert rows["sample_id"].to_list() == ["0", "0", "1", "1", "2", "2"]
        assert rows["repeat_index"].to_list() == [0, 1] * 3
        assert rows["output"].to_list() == ["City 0"] * 2 + ["City 1"] * 2 + ["City 2"] * 2


def test_the_same_test_and_prompt_again_is_a_repeat_unless_it_is_the_same_result(tmp_path: Path) -> None:
    again = promptfoo_result(0, id="retried")
    tables = whole(tmp_path, promptfoo_result(0), again, promptfoo_result(0))
    assert tables["silver.outputs"]["repeat_index"].to_list() == [0, 1]
    assert rules(tables)[0] == "duplicate"


def test_a_missing_test_does_not_move_the_others(tmp_path: Path) -> None:
    assert sample_ids(whole(tmp_path, promptfoo_result(0), promptfoo_result(3))) == ["0", "3"]


def test_aggregates_of_more_than_the_file_holds_are_named(tmp_path: Path) -> None:
    value = promptfoo_evaluation([promptfoo_result(0)])
    value["results"]["prompts"] = [promptfoo_prompt([promptfoo_result(index) for index in range(4)])]
    tables = read_bytes(tmp_path, "output.json", json.dumps(value).encode())
    assert rules(tables) == ["aggregates"]
    assert "sums up 4 results, the file holds 1" in tables["bronze.rejects"]["message"][0]
    assert only(tables, "silver.runs")["expected_sample_count"] == 4
    passed = promptfoo_evaluation([promptfoo_result(0)])
    passed["results"]["prompts"] = [promptfoo_prompt([promptfoo_result(0, success=True)])]
    tables = read_bytes(tmp_path, "output.json", json.dumps(passed).encode())
    assert "counts 1 passes, its results 0" in tables["bronze.rejects"]["message"][0]


def test_a_newer_version_is_read_as_far_as_it_is_alike_and_named(tmp_path: Path) -> None:
    value = promptfoo_evaluation([promptfoo_result(0), {"test": {"index": 1}, "verdict": "good"}])
    value["results"]["version"] = 4
    value["results"]["prompts"] = []
    tables = read_bytes(tmp_path, "output.json", json.dumps(value).encode())
    assert sample_ids(tables) == ["0"]
    assert rules(tables) == ["version", "testIdx"]
    assert "version 4" in tables["bronze.rejects"]["message"][0]
    assert "verdict" in raw_text(tables)


def test_version_2_takes_its_order_from_the_table(tmp_path: Path) -> None:
    """Results come as they were finished; the second question was asked twice."""
    results = [promptfoo_result(index) for index in (0, 1, 1, 2)]
    value = promptfoo_table(results)
    value["results"]["results"].reverse()
    rows = read_bytes(tmp_path, "v2.json", json.dumps(value).encode())["silver.outputs"].sort("output", "repeat_index")
    assert rows["output"].to_list() == ["City 0", "City 1", "City 1", "City 2"]
    assert rows["sample_id"].to_list() == ["0", "1", "1", "2"]
    assert rows["repeat_index"].to_list() == [0, 0, 1, 0]
    assert rows["status"].to_list() == ["assert_fail"] * 4


def test_version_2_without_results_is_read_from_the_table(tmp_path: Path) -> None:
    results = [promptfoo_result(0), promptfoo_result(1, success=True)]
    value = promptfoo_table(results, has_results=False)
    value["results"]["table"]["body"][1]["outputs"][0]["text"] = "Rome"
    tables = read_bytes(tmp_path, "v2.json", json.dumps(value, indent=1).encode())
    rows = tables["silver.outputs"]
    assert rows["output"].to_list() == ["City 0", "Rome"]
    assert rows["error_message"].to_list() == ["Expected 0!", None]
    assert rows["input_token_count"].to_list() == [5, 5]
    assert only(tables, "silver.runs")["backend"] == "small"
    assert rules(tables) == []


def test_an_evaluation_object_of_the_node_package_is_read(tmp_path: Path) -> None:
    results = [promptfoo_result(0)]
    value = {
        "createdAt": 1772359200000,
        "id": "eval-abc-2026",
        "config": {"providers": ["openai:chat:tiny"], "tests": [{}]},
        "results": results,
        "prompts": [promptfoo_prompt(results)],
        "persisted": True,
    }
    tables = read_bytes(tmp_path, "eval.json", gzip.compress(json.dumps(value, indent=2).encode()))
    assert only(tables, "silver.runs")["started_at"] == dt.datetime(2026, 3, 1, 10, tzinfo=dt.UTC)
    assert (sample_ids(tables), rules(tables)) == (["0"], [])


@pytest.mark.parametrize(
    ("provider", "model", "engine"),
    [
        ("openai:chat:gpt-4o", "gpt-4o", None),
        ("openai:gpt-4o", "gpt-4o", None),
        ("ollama:chat:llama3:8b", "llama3:8b", "ollama"),
        ("bedrock:anthropic.claude-v2:1", "anthropic.claude-v2:1", None),
        ("huggingface:text-generation:org/tiny", "org/tiny", None),
        ("file://provider.py", "file://provider.py", None),
        ("https://example.org/api", "https://example.org/api", None),
        ("echo", "echo", None),
    ],
)
def test_models_are_told_from_providers(tmp_path: Path, provider: str, model: str, engine: str | None) -> None:
    run = only(
        read_bytes(tmp_path, "o.jsonl", json_lines([promptfoo_result(0, provider={"id": provider})])), "silver.runs"
    )
    assert (run["model"], run["engine"], run["backend"]) == (model, engine, provider)


def test_lines_alone_have_counts_and_the_code_of_their_tests(tmp_path: Path) -> None:
    tables = read_bytes(tmp_path, "o.jsonl", json_lines([promptfoo_result(0), promptfoo_result(1, success=True)]))
    found = metrics(tables)
    assert (found["pass_ratio", ""], found["cost_usd", ""]) == (0.5, 0.5)
    run = only(tables, "silver.runs")
    assert (run["code_version"]["commit"], run["suite"]) == ("c0ffee", "unknown")


def test_traces_are_spans_of_their_samples(tmp_path: Path) -> None:
    began = 1772359200000.0
    call = {"spanId": "b", "parentSpanId": "a", "name": "chat", "startTime": began + 2.5, "endTime": began + 4.0}
    traces = [
        {
            "traceId": "t1",
            "testCaseId": "1-0",
            "spans": [
                call | {"statusCode": 2, "statusMessage": "refused", "attributes": {"gen_ai.system": "x"}},
                {"spanId": "a", "name": "eval", "startTime": began, "endTime": began + 5.0},
                {"spanId": "c", "name": "no start"},
            ],
        },
        {"traceId": "t2", "metadata": {"testIdx": 0, "promptIdx": 0}, "spans": [call]},
    ]
    tables = whole(tmp_path, promptfoo_result(0), promptfoo_result(1), traces=traces)
    spans = tables["silver.spans"]
    assert spans["sample_id"].to_list() == ["1", "1", "0"]
    assert spans["span_index"].to_list() == [0, 1, 2]
    assert spans["start_ns"].to_list() == [2_500_000, 0, 0]
    assert spans["duration_ns"].to_list() == [1_500_000, 5_000_000, 1_500_000]
    assert spans["status"].to_list() == ["error", "ok", "ok"]
    assert json.loads(spans["attributes"][0]) == {"gen_ai.system": "x", "status_message": "refused"}
    assert rules(tables) == ["startTime"]


def test_tokens_come_from_the_provider_s_own_response(tmp_path: Path) -> None:
    for raw in (openai_response(0), json.dumps(openai_response(0))):
        result = promptfoo_result(0)
        result["response"] |= {"raw": raw, "logProbs": [-0.25, -0.5]}
        row = only(whole(tmp_path, result), "silver.output_tokens")
        assert (row["tokens"], row["logprobs"]) == (["City", " 0"], [-0.25, -0.5])
    alone = promptfoo_result(0)
    alone["response"] |= {"logProbs": [-0.25]}
    tables = whole(tmp_path, alone)
    assert tables["silver.output_tokens"].is_empty()
    assert "logProbs" in raw_text(tables)


def test_the_header_is_kept_with_its_secrets_taken_out(tmp_path: Path) -> None:
    value = promptfoo_evaluation([promptfoo_result(0)])
    value["config"]["providers"][0]["config"] |= {"apiKey": "hunter2hunter2", "headers": {"Authorization": "hunter2"}}
    value["unseen"] = {"deep": 1}
    value["results"]["unseen.too"] = 2
    tables = read_bytes(tmp_path, "output.json", json.dumps(value).encode())
    header = json.loads(raw_text(tables).splitlines()[0])
    expected = copy.deepcopy(value)
    del expected["results"]["results"]
    expected["config"]["providers"][0]["config"] |= {"apiKey": "[redacted]", "headers": {"Authorization": "[redacted]"}}
    assert header == expected
    assert "hunter2" not in str(tables["silver.runs"].to_dicts())


def test_real_evaluations() -> None:
    folder = shared("promptfoo")
    riddles = read(folder / "test___fixtures___sample-export.json")
    assert sorted(riddles["silver.runs"]["model"]) == ["gpt-5", "gpt-5-mini"]
    assert riddles["silver.outputs"]["status"].to_list() == ["assert_fail"] * 4
    assert rules(riddles) == []
    simple = read(folder / "examples_simple-cli_output.json")
    assert simple["silver.runs"].height == 2
    assert simple["silver.outputs"].group_by("run_id").len()["len"].to_list() == [4, 4]
    assert simple["silver.outputs"]["latency_ms"].drop_nulls().is_empty()
    assert rules(simple) == []
    empty = read(folder / "examples_config-node-package_output.json")
    assert empty["silver.outputs"].is_empty()
    assert rules(empty) == ["aggregates"] * empty["silver.runs"].height
