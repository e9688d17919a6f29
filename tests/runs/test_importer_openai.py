from __future__ import annotations

import datetime as dt
import gzip
import json
from pathlib import Path
from typing import Any

import pytest

from lake.identity import text_digest
from pipelines.runs.importers.openai_files import find_batch_parts
from pipelines.runs.sources import Limits
from tests.runs.formats import Tables, everything, raw_text, read, read_bytes, rules, sample_ids
from tests.runs.run_files import json_lines
from tests.runs.serving_files import openai_chunks, openai_pair, openai_request, openai_response, openai_token


def pairs(folder: Path, *records: dict[str, Any]) -> Tables:
    return read_bytes(folder, "pairs.jsonl", json_lines(list(records)))


def only(tables: Tables, table: str = "silver.outputs") -> dict[str, Any]:
    assert tables[table].height == 1
    return tables[table].row(0, named=True)


def test_a_pair_lands(tmp_path: Path) -> None:
    tables = pairs(tmp_path, openai_pair(0, suite="capitals", backend="staging", metadata={"git_commit": "c0ffee"}))
    row = only(tables)
    assert (row["sample_id"], row["prompt"], row["output"]) == ("s0", "Capital number 0?", "City 0")
    assert (row["latency_ms"], row["time_to_first_token_ms"]) == (250.0, 125.0)
    assert (row["input_token_count"], row["output_token_count"], row["finish_reason"]) == (5, 2, "stop")
    assert row["started_at"] == dt.datetime(2026, 3, 1, 10, tzinfo=dt.UTC)
    run = only(tables, "silver.runs")
    assert (run["suite"], run["backend"], run["model"]) == ("capitals", "staging", "tiny")
    assert run["code_version"]["commit"] == "c0ffee"
    assert json.loads(run["parameters"]) == {"logprobs": True, "seed": 7, "temperature": 0}
    assert json.loads(run["environment"]) == {"response_models": ["tiny-2026"], "system_fingerprints": ["fp_1"]}
    assert run["ended_at"] - run["started_at"] == dt.timedelta(milliseconds=250)


def test_tokens_of_chat(tmp_path: Path) -> None:
    """vLLM gives ids beside the choice, llama.cpp in each token; bytes may be part of a character."""
    response = openai_response(0)
    content = [
        openai_token("\ufffd", -0.25, bytes=[226, 130]),
        openai_token("x", None, id=9, top_logprobs=None),
        openai_token("token_id:42", -9999.0, top_logprobs=[{"token": "token_id:43", "logprob": -1.0}]),
        None,
    ]
    response["choices"][0] |= {"logprobs": {"content": content}, "token_ids": [1, 2, 3, 4]}
    tables = pairs(tmp_path, openai_pair(0, response=response))
    row = only(tables, "silver.output_tokens")
    assert row["tokens"] == ["\ufffd", "x", "token_id:42", ""]
    assert row["token_ids"] == [1, 9, 42, 4]
    assert row["token_bytes"] == [b"\xe2\x82", b"x", None, None]
    assert row["logprobs"] == [-0.25, None, -9999.0, None]
    assert row["top_k"] == [[], None, [{"token_id": 43, "token": "token_id:43", "logprob": -1.0}], None]
    assert rules(tables) == []


def completion(text: str, logprobs: dict[str, Any] | None, **choice: Any) -> dict[str, Any]:
    return {
        "id": "cmpl-1",
        "object": "text_completion",
        "model": "tiny",
        "choices": [{"index": 0, "text": text, "finish_reason": "length", "logprobs": logprobs} | choice],
        "usage": {"prompt_tokens": 2, "completion_tokens": 2},
    }


def test_tokens_of_an_echoed_completion(tmp_path: Path) -> None:
    """Two tokens were asked and two generated; the first of all has no log-probability, nor has one of the others."""
    logprobs = {
        "tokens": ["Ca", "t", " is", " here"],
        "token_logprobs": [None, -0.1, -0.2, None],
        "top_logprobs": [None, {"t": -0.1}, {" is": -0.2, " was": -1.0}, None],
        "text_offset": [0, 2, 3, 6],
    }
    request = {"model": "tiny", "prompt": "Cat", "echo": True}
    record = {"request": request, "response": completion("Cat is here", logprobs)}
    tables = pairs(tmp_path, record)
    assert only(tables)["output"] == " is here"
    row = only(tables, "silver.output_tokens")
    assert (row["tokens"], row["logprobs"]) == ([" is", " here"], [-0.2, None])
    assert [top["token"] for top in row["top_k"][0]] == [" is", " was"]
    assert row["top_k"][1] is None


def test_every_prompt_of_a_request_is_a_sample_and_every_choice_a_repeat(tmp_path: Path) -> None:
    response = completion("a", None)
    response["choices"] = [{"index": index, "text": text, "finish_reason": "stop"} for index, text in enumerate("abcd")]
    record = {"sample_id": "two", "request": {"model": "m", "prompt": ["p", "q"], "n": 2}, "response": response}
    rows = pairs(tmp_path, record)["silver.outputs"].sort("sample_id", "repeat_index")
    assert rows["sample_id"].to_list() == ["two#0", "two#0", "two#1", "two#1"]
    assert rows["repeat_index"].to_list() == [0, 1, 0, 1]
    assert rows["prompt"].to_list() == ["p", "p", "q", "q"]
    assert rows["output"].to_list() == list("abcd")
    # The count is of all four answers together.
    assert rows["output_token_count"].to_list() == [None] * 4


def test_the_same_prompt_pairs_with_itself_wherever_it_stands(tmp_path: Path) -> None:
    records = [openai_pair(index, id=f"chatcmpl-{index}") for index in (0, 1, 0)]
    for record in records:
        del record["sample_id"]
    records[2]["response"] = openai_response(9)
    there = pairs(tmp_path / "a", *records)["silver.outputs"]
    back = pairs(tmp_path / "b", *records[::-1])["silver.outputs"]
    key = ["sample_id", "repeat_index"]
    assert there.select(key).sort(key).equals(back.select(key).sort(key))
    assert there["repeat_index"].to_list() == [0, 0, 1]


def test_failures_are_no_answers(tmp_path: Path) -> None:
    asked = openai_request(0)
    records: list[dict[str, Any]] = [
        {"sample_id": "a", "request": asked, "error": "ReadTimeout: timed out", "latency_ms": 1.0},
        {"sample_id": "b", "request": asked, "response": {"status_code": 500, "body": {"error": {"message": "boom"}}}},
        {"sample_id": "c", "request": asked, "response": {"status_code": 504, "body": "gateway"}},
        {"sample_id": "d", "request": asked, "response": {"error": {"message": "gone", "code": "batch_cancelled"}}},
        {"sample_id": "e", "request": asked, "response": openai_response(1, choices=[])},
        {"sample_id": "f", "request": asked, "response": {"status_code": 499, "body": None}, "error": {}},
    ]
    rows = pairs(tmp_path, *records)["silver.outputs"]
    assert rows["status"].to_list() == ["timeout", "error", "timeout", "cancelled", "error", "cancelled"]
    assert rows["error_message"].to_list() == [
        "ReadTimeout: timed out",
        "boom",
        "gateway",
        "gone",
        "The server answered with no choice.",
        "HTTP status 499.",
    ]
    for name in ("output", "latency_ms", "output_token_count"):
        assert rows[name].to_list() == [None] * 6


def test_settings_that_differ_are_named(tmp_path: Path) -> None:
    warm = openai_pair(1, request=openai_request(1, temperature=0.5, seed=8))
    tables = pairs(tmp_path, openai_pair(0), warm, openai_pair(2))
    run = only(tables, "silver.runs")
    assert json.loads(run["parameters"]) == {"logprobs": True, "varying": ["seed", "temperature"]}
    # A seed is another for every sample by design; a tag of it would slice nothing.
    assert tables["silver.outputs"]["tags"].to_list() == [[], ["temperature=0.5"], []]
    same = only(pairs(tmp_path / "b", warm, openai_pair(2), openai_pair(0)), "silver.runs")
    other = only(pairs(tmp_path / "c", openai_pair(0)), "silver.runs")
    assert run["fingerprint"]["sampling_digest"] == same["fingerprint"]["sampling_digest"]
    assert run["fingerprint"]["sampling_digest"] != other["fingerprint"]["sampling_digest"]


def test_a_model_is_a_run(tmp_path: Path) -> None:
    other = openai_pair(1, request=openai_request(1, model="large"))
    failed = {"sample_id": "s2", "request": openai_request(2, model="large"), "error": "refused"}
    tables = pairs(tmp_path, openai_pair(0), other, failed)
    assert sorted(tables["silver.runs"]["model"]) == ["large", "tiny"]
    assert tables["silver.outputs"].group_by("run_id").len()["len"].sort().to_list() == [1, 2]


def batch(index: int) -> dict[str, Any]:
    body = openai_request(index)
    return {"custom_id": f"s{index}", "method": "POST", "url": "/v1/chat/completions", "body": body}


def answer(index: int) -> dict[str, Any]:
    response = {"status_code": 200, "request_id": f"r{index}", "body": openai_response(index)}
    return {"id": f"batch_req_{index}", "custom_id": f"s{index}", "response": response, "error": None}


def expired(index: int) -> dict[str, Any]:
    error = {"code": "batch_expired", "message": "This request could not be executed before the window closed."}
    return {"id": f"batch_req_{index}", "custom_id": f"s{index}", "response": None, "error": error}


def test_the_files_of_a_batch_are_one_run(tmp_path: Path) -> None:
    (tmp_path / "night_input.jsonl").write_bytes(json_lines([batch(index) for index in range(4)]))
    (tmp_path / "night_output.jsonl").write_bytes(json_lines([answer(1), answer(0)]))
    (tmp_path / "night_error.jsonl").write_bytes(json_lines([expired(2)]))
    (tmp_path / "other_output.jsonl").write_bytes(json_lines([answer(0)]))
    (tmp_path / "night.jsonl").write_bytes(json_lines([answer(0)]))
    (tmp_path / "night_results.jsonl").write_bytes(b"no batch")
    names = ["night_error.jsonl", "night_input.jsonl", "night_output.jsonl"]
    assert [path.name for path in find_batch_parts(tmp_path / "night_output.jsonl")] == names[:2]
    tables = read(*(tmp_path / name for name in names))
    run = only(tables, "silver.runs")
    assert (run["model"], run["expected_sample_count"]) == ("tiny", 4)
    rows = tables["silver.outputs"].sort("sample_id")
    assert rows["sample_id"].to_list() == ["s0", "s1", "s2"]
    assert rows["status"].to_list() == ["ok", "ok", "timeout"]
    assert rows["prompt"].to_list() == [f"Capital number {index}?" for index in range(3)]
    assert rules(tables) == []


def test_a_batch_in_one_file_joins_in_either_order(tmp_path: Path) -> None:
    for name, records in {"a": [batch(0), answer(0)], "b": [answer(0), batch(0)]}.items():
        row = only(read_bytes(tmp_path, f"{name}.jsonl", json_lines(records)))
        assert (row["sample_id"], row["prompt"], row["output"]) == ("s0", "Capital number 0?", "City 0")


def test_requests_alone_say_that_their_answers_are_missing(tmp_path: Path) -> None:
    tables = read_bytes(tmp_path, "night_input.jsonl", json_lines([batch(0), batch(1)]))
    assert tables["silver.runs"].is_empty()
    assert rules(tables) == ["answers"]
    assert raw_text(tables).count("Capital number") == 2


def test_a_stream_is_put_together(tmp_path: Path) -> None:
    kept = [
        {"sample_id": "list", "request": openai_request(0), "response": openai_chunks(0)},
        {
            "sample_id": "text",
            "request": openai_request(0),
            "response": "".join(f"data: {json.dumps(chunk)}\n\n" for chunk in openai_chunks(1)) + "data: [DONE]\n\n",
        },
    ]
    tables = pairs(tmp_path, *kept)
    rows = tables["silver.outputs"]
    assert rows["output"].to_list() == ["City", "City"]
    assert rows["output_token_count"].to_list() == [2, 2]
    assert rows["finish_reason"].to_list() == ["stop", "stop"]
    assert tables["silver.output_tokens"]["tokens"].to_list() == [["Ci", "ty"]] * 2


def test_a_stream_that_broke_off_is_cancelled(tmp_path: Path) -> None:
    row = only(pairs(tmp_path, openai_pair(0, response=openai_chunks(0)[:2])))
    assert (row["status"], row["output"], row["latency_ms"]) == ("cancelled", "Ci", None)


@pytest.mark.parametrize("is_event_stream", [False, True])
def test_mixed_chunks_find_their_streams(tmp_path: Path, *, is_event_stream: bool) -> None:
    mixed = [chunk for both in zip(openai_chunks(0), openai_chunks(1, ("a", "b")), strict=True) for chunk in both]
    content = json_lines(mixed)
    if is_event_stream:
        content = b": hello\n\n" + b"".join(b"data: " + line + b"\n\n" for line in content.splitlines())
    tables = read_bytes(tmp_path, "chunks.jsonl", content + (b"data: [DONE]\n" if is_event_stream else b""))
    assert tables["silver.outputs"]["output"].to_list() == ["City", "ab"]
    assert rules(tables) == []


def test_tool_calls_and_refusals_are_outputs(tmp_path: Path) -> None:
    call = {"id": "call_7", "type": "function", "function": {"name": "add", "arguments": '{"a": 1}'}}
    said = [{"content": None, "tool_calls": [call]}, {"content": None, "refusal": "No."}, {"content": ""}]
    records = []
    for index, message in enumerate(said):
        choice = {"index": 0, "message": message, "finish_reason": "stop"}
        records.append(openai_pair(index, response=openai_response(index, choices=[choice])))
    outputs = pairs(tmp_path, *records)["silver.outputs"]["output"].to_list()
    assert outputs == ['[{"arguments":"{\\"a\\": 1}","name":"add"}]', "No.", ""]


def test_the_responses_api(tmp_path: Path) -> None:
    logprob = {"token": "Hi", "logprob": -0.5, "bytes": [72, 105], "top_logprobs": []}
    response = {
        "id": "resp_1",
        "object": "response",
        "created_at": 1772360000,
        "model": "tiny",
        "output": [
            {"type": "reasoning", "summary": []},
            {"type": "message", "content": [{"type": "output_text", "text": "Hi", "logprobs": [logprob]}]},
        ],
        "incomplete_details": {"reason": "max_output_tokens"},
        "usage": {"input_tokens": 3, "output_tokens": 1},
    }
    request = {"model": "tiny", "instructions": "Be kind.", "input": "Hello"}
    tables = pairs(tmp_path, {"request": request, "response": response})
    row = only(tables)
    assert (row["prompt"], row["output"]) == ("[system]\nBe kind.\n\n[user]\nHello", "Hi")
    assert (row["finish_reason"], row["input_token_count"], row["output_token_count"]) == ("length", 3, 1)
    assert only(tables, "silver.output_tokens")["logprobs"] == [-0.5]


def test_llama_cpp_times_its_own_answers(tmp_path: Path) -> None:
    timings = {"cache_n": 3, "prompt_n": 2, "prompt_ms": 12.5, "predicted_n": 4, "predicted_ms": 40.0}
    response = openai_response(0, system_fingerprint="b6789-0abc123", timings=timings)
    del response["usage"]
    row = only(read_bytes(tmp_path, "r.json", json.dumps(response, indent=2).encode()))
    assert (row["time_to_first_token_ms"], row["latency_ms"]) == (12.5, 52.5)
    assert (row["input_token_count"], row["output_token_count"]) == (5, 4)
    run = only(read_bytes(tmp_path, "r.json", json.dumps(response).encode()), "silver.runs")
    assert (run["engine"], run["engine_version"], run["backend"]) == ("llama.cpp", "b6789-0abc123", "llama.cpp")
    # What the client measured counts for more.
    assert only(pairs(tmp_path, openai_pair(0, response=response)))["latency_ms"] == 250.0


@pytest.mark.parametrize(
    ("extra", "engine"),
    [
        ({"kv_transfer_params": None}, ("vllm", None)),
        ({"system_fingerprint": "vllm-0.12.0-tp1-2f0c"}, ("vllm", "0.12.0")),
        ({}, (None, None)),
    ],
)
def test_engines_are_known_by_what_they_add(tmp_path: Path, extra: dict[str, Any], engine: tuple[str, str]) -> None:
    run = only(pairs(tmp_path, openai_pair(0, response=openai_response(0, **extra))), "silver.runs")
    assert (run["engine"], run["engine_version"]) == engine


def test_http_envelopes_are_opened_and_their_secrets_taken_out(tmp_path: Path) -> None:
    record = {
        "request": {
            "url": "http://gpu-box:8000/v1/chat/completions",
            "headers": [["Authorization", "Bearer hunter2hunter2"], ["x-api-key", "hunter2"]],
            "body": json.dumps(openai_request(0)),
        },
        "response": {"status": 200, "headers": {"set-cookie": "hunter2"}, "body": json.dumps(openai_response(0))},
        "metadata": {"api_key": "hunter2"},
    }
    tables = pairs(tmp_path, record)
    assert only(tables)["output"] == "City 0"
    assert only(tables, "silver.runs")["backend"] == "gpu-box:8000"
    assert "hunter2" not in everything(tables)


@pytest.mark.parametrize("started_at", [1772359200, 1772359200000, 1772359200000000, "2026-03-01T10:00:00Z"])
def test_instants_in_any_unit(tmp_path: Path, started_at: object) -> None:
    pair = openai_pair(0, started_at=started_at, ended_at="2026-03-01T10:00:00.5Z")
    del pair["latency_ms"]
    row = only(pairs(tmp_path, pair))
    assert row["started_at"] == dt.datetime(2026, 3, 1, 10, tzinfo=dt.UTC)
    assert row["latency_ms"] == 500.0


def test_a_list_of_pairs_is_read_too(tmp_path: Path) -> None:
    for indent in (None, 2):
        content = json.dumps([openai_response(index) for index in range(3)], indent=indent).encode()
        tables = read_bytes(tmp_path, "list.json", gzip.compress(content))
        assert tables["silver.outputs"]["output"].to_list() == ["City 0", "City 1", "City 2"]
    cut = read_bytes(tmp_path, "list.json", content[: content.index(b"chatcmpl-2")])
    assert (sample_ids(cut), rules(cut)) == (["record-0", "record-1"], ["truncated"])
    assert cut["silver.runs"]["status"].to_list() == ["started"]
    limited = read_bytes(tmp_path, "list.json", content, limits=Limits(member_bytes=200))
    assert set(rules(limited)) == {"member_bytes"}


def test_what_is_no_exchange_is_refused_and_kept(tmp_path: Path) -> None:
    content = json_lines([openai_pair(0), {"hello": "world"}])
    tables = read_bytes(tmp_path, "pairs.jsonl", content)
    assert (sample_ids(tables), rules(tables)) == (["s0"], ["exchange"])
    assert "world" in raw_text(tables)


def test_long_settings_are_kept_by_digest(tmp_path: Path) -> None:
    tools = [{"type": "function", "function": {"name": "x" * 5000}}]
    run = only(pairs(tmp_path, openai_pair(0, request=openai_request(0, tools=tools))), "silver.runs")
    digest = text_digest(json.dumps(tools, separators=(",", ":"), sort_keys=True))
    assert json.loads(run["parameters"])["tools"] == f"sha256:{digest}"
