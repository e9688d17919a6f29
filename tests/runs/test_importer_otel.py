from __future__ import annotations

import datetime as dt
import json
from pathlib import Path
from typing import Any

import pytest

from pipelines.runs.importers import importer_of
from pipelines.runs.importers.otel_values import identifier, nanoseconds, plain_value
from pipelines.runs.sources import Limits, identify
from tests.runs.declared.otel import START_NS, answers, attributes, chat, export, identity, message, pack_whole, wrapped
from tests.runs.formats import Tables, raw_text, read, read_bytes, rules
from tests.runs.run_files import json_lines

SECOND = 1_000_000_000


def imported(tmp_path: Path, *spans: dict[str, Any], **resource: Any) -> Tables:
    return read_bytes(tmp_path, "traces.jsonl", json_lines([export(*spans, resource=resource or None)]))


def outputs(tables: Tables) -> list[dict[str, Any]]:
    return tables["silver.outputs"].to_dicts()


def spans(tables: Tables) -> list[dict[str, Any]]:
    return tables["silver.spans"].sort("span_index").to_dicts()


def metrics(tables: Tables) -> dict[tuple[str, str], float]:
    return {(row["metric"], row["variant"]): row["value"] for row in tables["silver.run_metrics"].to_dicts()}


def scores(row: dict[str, Any]) -> dict[str, float]:
    return {score["scorer"]: score["value"] for score in row["scores"]}


def plain(index: int, **changes: Any) -> dict[str, Any]:
    """A span that has nothing to do with a model."""
    return chat(index) | {"name": "handle", "kind": 1, "attributes": [], "parentSpanId": ""} | changes


def log(name: str, said: dict[str, Any], *, span_id: str | None = None, body: object = None) -> dict[str, Any]:
    record = {"timeUnixNano": str(START_NS), "eventName": name, "attributes": attributes(said), "body": wrapped(body)}
    return record | ({"traceId": chat(0)["traceId"], "spanId": span_id} if span_id else {})


def logs(*records: dict[str, Any]) -> dict[str, Any]:
    resource = {"attributes": attributes({"service.name": "helpdesk"})}
    return {"resourceLogs": [{"resource": resource, "scopeLogs": [{"logRecords": list(records)}]}]}


def histogram(
    name: str, count: int, total: float, said: dict[str, Any], *, time: int = 9, mode: int = 2
) -> dict[str, Any]:
    point = {"attributes": attributes(said), "startTimeUnixNano": str(START_NS), "count": str(count), "sum": total}
    times = {"timeUnixNano": str(START_NS + time), "min": 0.5, "max": 2.0}
    metric = {"name": name, "histogram": {"aggregationTemporality": mode, "dataPoints": [point | times]}}
    resource = {"attributes": attributes({"service.name": "helpdesk"})}
    return {"resourceMetrics": [{"resource": resource, "scopeMetrics": [{"metrics": [metric]}]}]}


def test_fields_of_a_chat_land(tmp_path: Path) -> None:
    tables = read_bytes(tmp_path, "traces.jsonl", json_lines([export(chat(0), plain(9, spanId="eee19b7ec3c1b174"))]))
    (row,) = outputs(tables)
    assert (row["sample_id"], row["prompt"], row["output"]) == (identity(0), "Capital number 0?", "City 0")
    assert (row["status"], row["finish_reason"]) == ("ok", "stop")
    assert (row["input_token_count"], row["output_token_count"]) == (5, 2)
    # 0.125 s to the first chunk, 250,000,000 ns for the span.
    assert (row["time_to_first_token_ms"], row["latency_ms"]) == (125.0, 250.0)
    first, second = spans(tables)
    assert (first["span_id"], first["parent_span_id"]) == ("0000000000000001", second["span_id"])
    assert (first["name"], first["category"], first["process"]) == ("chat tiny-1", "chat", "helpdesk")
    assert (first["start_ns"], first["duration_ns"], first["status"]) == (0, 250_000_000, "ok")
    assert (first["sample_id"], second["sample_id"], second["category"]) == (row["sample_id"], None, "internal")
    said = json.loads(first["attributes"])
    assert said["gen_ai.usage.input_tokens"] == 5
    assert "gen_ai.input.messages" not in said
    (run,) = tables["silver.runs"].to_dicts()
    assert (run["suite"], run["backend"], run["model"]) == ("helpdesk", "openai", "tiny-1")
    assert run["started_at"] == dt.datetime(2026, 2, 2, 2, 40, tzinfo=dt.UTC)
    assert run["code_version"]["commit"] == "c0ffee"
    parameters = {item["parameter"]: item["number"] for item in tables["silver.run_params"].to_dicts()}
    assert parameters == {"temperature": 0.5}
    assert metrics(tables) == {("span_count", ""): 2.0, ("wall_time_ms", "trace"): 9250.0}


def test_the_resource_becomes_code_version_tags_and_environment(tmp_path: Path) -> None:
    resource = {
        "service.name": "helpdesk",
        "service.version": "0123456789abcdef",
        "vcs.ref.head.name": "topic",
        "vcs.change.id": "42",
        "vcs.repository.url.full": "https://example.org/repo.git",
        "deployment.environment": "staging",
        "host.arch": "amd64",
    }
    (run,) = imported(tmp_path, chat(0), **resource)["silver.runs"].to_dicts()
    assert run["code_version"] == {
        "commit": "0123456789abcdef",
        "branch": "topic",
        "pull_request": "42",
        "is_dirty": None,
        "repository_url": "https://example.org/repo.git",
    }
    assert run["tags"] == ["staging"]
    assert json.loads(run["environment"])["host.arch"] == "amd64"


OLD = {
    "gen_ai.operation.name": None,
    "gen_ai.provider.name": None,
    "gen_ai.input.messages": None,
    "gen_ai.output.messages": None,
    "gen_ai.usage.input_tokens": None,
    "gen_ai.usage.output_tokens": None,
    "gen_ai.response.finish_reasons": None,
    "llm.request.type": "chat",
    "gen_ai.system": "vllm",
    "gen_ai.usage.prompt_tokens": 7,
    "gen_ai.usage.completion_tokens": 3,
}


def test_old_names_are_read(tmp_path: Path) -> None:
    flat = {
        "gen_ai.prompt.0.role": "system",
        "gen_ai.prompt.0.content": "Be short.",
        "gen_ai.prompt.1.role": "user",
        "gen_ai.prompt.1.content": "Hi",
        "gen_ai.completion.0.content": "Hello",
        "gen_ai.completion.0.finish_reason": "length",
    }
    tables = imported(tmp_path, chat(0, **OLD, **flat))
    (row,) = outputs(tables)
    assert (row["prompt"], row["output"]) == ("[system]\nBe short.\n\n[user]\nHi", "Hello")
    assert (row["finish_reason"], row["input_token_count"], row["output_token_count"]) == ("length", 7, 3)
    assert tables["silver.runs"]["backend"].to_list() == ["vllm"]


@pytest.mark.parametrize(
    "events",
    [
        [
            ("gen_ai.content.prompt", {"gen_ai.prompt": '[{"role": "user", "content": "Hi"}]'}),
            ("gen_ai.content.completion", {"gen_ai.completion": '[{"role": "assistant", "content": "Hello"}]'}),
        ],
        [
            ("gen_ai.user.message", {"content": "Hi"}),
            ("gen_ai.choice", {"index": 0, "finish_reason": "stop", "message": '{"content": "Hello"}'}),
        ],
        [
            ("gen_ai.user.message", {"gen_ai.event.content": '{"role": "user", "content": "Hi"}'}),
            ("gen_ai.choice", {"gen_ai.event.content": '{"finish_reason": "stop", "message": {"content": "Hello"}}'}),
        ],
    ],
)
def test_messages_in_the_events_of_a_span_are_read(tmp_path: Path, events: list[tuple[str, dict[str, Any]]]) -> None:
    span = chat(0, **OLD) | {"events": [{"name": name, "attributes": attributes(said)} for name, said in events]}
    (row,) = outputs(imported(tmp_path, span))
    assert (row["prompt"], row["output"]) == ("Hi", "Hello")


def test_messages_in_logs_find_their_span_before_or_after_it(tmp_path: Path) -> None:
    span = chat(0, **OLD)
    asked = log("gen_ai.user.message", {}, span_id=span["spanId"], body={"content": "Hi"})
    answered = log(
        "gen_ai.choice", {}, span_id=span["spanId"], body={"finish_reason": "stop", "message": {"content": "Hello"}}
    )
    content = json_lines([logs(asked), export(span), logs(answered)])
    (row,) = outputs(read_bytes(tmp_path, "all.jsonl", content))
    assert (row["prompt"], row["output"], row["finish_reason"]) == ("Hi", "Hello", "stop")


def test_logs_beside_the_traces_are_read_with_them(tmp_path: Path) -> None:
    said = {
        "gen_ai.input.messages": [message("user", "Hi")],
        "gen_ai.output.messages": [message("assistant", "Hello")],
    }
    span = chat(0, **OLD)
    details = log("gen_ai.client.inference.operation.details", said, span_id=span["spanId"])
    (tmp_path / "app-traces.jsonl").write_bytes(json_lines([export(span)]))
    (tmp_path / "app-logs.jsonl").write_bytes(json_lines([logs(details)]))
    (tmp_path / "other-logs.jsonl").write_bytes(json_lines([logs(details)]))
    importer = importer_of("otel")
    assert importer.companions(tmp_path / "app-traces.jsonl") == [tmp_path / "app-logs.jsonl"]
    files = {
        name: identify(tmp_path / f"{name}.jsonl", root=tmp_path.resolve(), limits=Limits())
        for name in ("app-traces", "app-logs", "other-logs")
    }
    keys = {name: importer.group_key(file) for name, file in files.items()}
    assert keys["app-traces"] == keys["app-logs"] != keys["other-logs"]
    tables = read(tmp_path / "app-logs.jsonl", tmp_path / "app-traces.jsonl")
    (row,) = outputs(tables)
    assert (row["prompt"], row["output"], row["latency_ms"]) == ("Hi", "Hello", 250.0)
    assert tables["silver.runs"]["file_sha256"].to_list() == [files["app-traces"].sha256]


def test_an_operation_that_was_only_logged_is_an_output_without_latency(tmp_path: Path) -> None:
    said = {
        "gen_ai.operation.name": "chat",
        "gen_ai.request.model": "tiny-1",
        "gen_ai.input.messages": [message("user", "Hi")],
        "gen_ai.output.messages": [message("assistant", "Hello")],
    }
    details = log("gen_ai.client.inference.operation.details", said, span_id="00000000000000aa")
    tables = read_bytes(tmp_path, "logs.jsonl", json_lines([logs(details)]))
    (row,) = outputs(tables)
    assert (row["prompt"], row["output"], row["latency_ms"]) == ("Hi", "Hello", None)
    assert tables["silver.runs"]["model"].to_list() == ["tiny-1"]


def test_an_event_whose_span_is_not_there_is_told(tmp_path: Path) -> None:
    lost = log("gen_ai.user.message", {"content": "Hi"}, span_id="00000000000000aa")
    assert rules(read_bytes(tmp_path, "all.jsonl", json_lines([export(chat(0)), logs(lost)]))) == ["event: span"]


@pytest.mark.parametrize("where", ["span", "child", "log", "response"])
def test_evaluations_are_scores_wherever_they_are_written(tmp_path: Path, where: str) -> None:
    said = {"gen_ai.evaluation.name": "relevance", "gen_ai.evaluation.score.value": 0.75}
    event = {"name": "gen_ai.evaluation.result", "attributes": attributes(said)}
    span = chat(0)
    records = [export(span)]
    if where == "span":
        records = [export(span | {"events": [event]})]
    elif where == "child":
        records.append(export(plain(1, parentSpanId=span["spanId"], events=[event])))
    elif where == "log":
        records.insert(0, logs(log("gen_ai.evaluation.result", said, span_id=span["spanId"])))
    else:
        records.append(logs(log("gen_ai.evaluation.result", said | {"gen_ai.response.id": "chatcmpl-0"})))
    (row,) = outputs(read_bytes(tmp_path, "all.jsonl", json_lines(records)))
    assert scores(row) == {"relevance": 0.75}


def test_calls_of_tools_are_the_output(tmp_path: Path) -> None:
    call = {"type": "tool_call", "id": "c1", "name": "weather", "arguments": {"city": "Rome"}}
    asked = [
        message("user", "Weather in Rome?"),
        {"role": "assistant", "parts": [call]},
        {"role": "tool", "parts": [{"type": "tool_call_response", "id": "c1", "response": "sunny"}]},
    ]
    said = {"gen_ai.input.messages": json.dumps(asked)}
    answered = json.dumps([{"role": "assistant", "parts": [call], "finish_reason": "tool_calls"}])
    (row,) = outputs(imported(tmp_path, chat(0, **said, **{"gen_ai.output.messages": answered})))
    assert row["output"] == '[{"arguments":{"city":"Rome"},"name":"weather"}]'
    assert row["finish_reason"] == "tool_calls"
    assert row["prompt"] == (
        '[user]\nWeather in Rome?\n\n[assistant]\n[{"arguments":{"city":"Rome"},"name":"weather"}]\n\n[tool]\nsunny'
    )


def test_system_instructions_come_first(tmp_path: Path) -> None:
    instructions = json.dumps([{"type": "text", "content": "Be short."}])
    (row,) = outputs(imported(tmp_path, chat(0, **{"gen_ai.system_instructions": instructions})))
    assert row["prompt"] == "[system]\nBe short.\n\n[user]\nCapital number 0?"


def test_several_answers_are_repeats(tmp_path: Path) -> None:
    both = json.dumps([message("assistant", "Rome"), message("assistant", "Roma")])
    said = {"gen_ai.output.messages": both, "gen_ai.response.finish_reasons": ["stop", "length"]}
    rows = outputs(imported(tmp_path, chat(0, **said)))
    assert [(row["repeat_index"], row["output"], row["finish_reason"]) for row in rows] == [
        (0, "Rome", "stop"),
        (1, "Roma", "length"),
    ]
    assert [row["output_token_count"] for row in rows] == [None, None]


def test_the_same_prompt_again_is_a_repeat(tmp_path: Path) -> None:
    again = chat(1) | {"attributes": chat(0)["attributes"]}
    assert [row["repeat_index"] for row in outputs(imported(tmp_path, chat(0), again))] == [0, 1]


@pytest.mark.parametrize(
    ("status", "kind", "expected"),
    [
        ({"code": 2, "message": "no such model"}, "NotFoundError", ("error", "no such model")),
        ({"code": "STATUS_CODE_ERROR"}, None, ("error", "The span reports an error.")),
        ({"code": 2}, "openai.APITimeoutError", ("timeout", "openai.APITimeoutError")),
        ({}, "CancelledError", ("cancelled", "CancelledError")),
    ],
)
def test_failures_are_told_apart(
    tmp_path: Path, status: dict[str, Any], kind: str | None, expected: tuple[str, str]
) -> None:
    failed = chat(0, **{"error.type": kind, "gen_ai.output.messages": None}) | {"status": status}
    tables = imported(tmp_path, failed)
    (row,) = outputs(tables)
    assert (row["status"], row["error_message"]) == expected
    # How long it took to fail is no latency.
    assert (row["output"], row["latency_ms"], row["time_to_first_token_ms"]) == (None, None, None)


def test_an_exception_says_why(tmp_path: Path) -> None:
    event = {"name": "exception", "attributes": attributes({"exception.message": "connection refused"})}
    failed = chat(0) | {"status": {"code": 2}, "events": [event]}
    tables = imported(tmp_path, failed)
    assert outputs(tables)[0]["error_message"] == "connection refused"
    assert "connection refused" in spans(tables)[0]["attributes"]
    assert spans(tables)[0]["status"] == "error"


def test_the_first_chunk_gives_the_time_where_no_attribute_does(tmp_path: Path) -> None:
    chunks = [
        {"name": "gen_ai.content.completion.chunk", "timeUnixNano": str(START_NS + offset)}
        for offset in (90_000_000, 60_000_000, 120_000_000)
    ]
    span = chat(0, **{"gen_ai.response.time_to_first_chunk": None}) | {"events": chunks}
    assert outputs(imported(tmp_path, span))[0]["time_to_first_token_ms"] == 60.0


def test_embeddings_and_traces_without_models_are_spans_alone(tmp_path: Path) -> None:
    embedding = chat(0, **{"gen_ai.operation.name": "embeddings"})
    tables = imported(tmp_path, embedding)
    assert (outputs(tables), [span["category"] for span in spans(tables)]) == ([], ["embeddings"])
    tables = imported(tmp_path / "plain", plain(0), plain(1))
    assert outputs(tables) == []
    assert len(spans(tables)) == 2
    (run,) = tables["silver.runs"].to_dicts()
    assert (run["suite"], run["backend"], run["model"]) == ("helpdesk", "unknown", "unknown")


def test_runs_are_services_and_models(tmp_path: Path) -> None:
    second = chat(1, **{"gen_ai.request.model": "tiny-2"})
    alone = imported(tmp_path / "one", plain(5), chat(0))
    assert alone["silver.runs"]["model"].to_list() == ["tiny-1"]
    both = imported(tmp_path / "two", chat(0), second, plain(5))
    assert sorted(both["silver.runs"]["model"]) == ["tiny-1", "tiny-2", "unknown"]
    content = json_lines([export(chat(0)), export(chat(1), resource={"service.name": "search"})])
    services = read_bytes(tmp_path / "services", "traces.jsonl", content)["silver.runs"]
    assert sorted(services["suite"]) == ["helpdesk", "search"]
    assert services["run_id"].n_unique() == 2


def test_a_file_that_grows_keeps_its_runs(tmp_path: Path) -> None:
    before = read_bytes(tmp_path / "a", "traces.jsonl", json_lines([export(chat(0))]))
    after = read_bytes(tmp_path / "b", "traces.jsonl", json_lines([export(chat(0)), export(chat(1))]))
    assert before["silver.runs"]["run_id"].equals(after["silver.runs"]["run_id"])
    assert spans(after)[0]["span_index"] == spans(before)[0]["span_index"]


@pytest.mark.parametrize(
    "change",
    [
        {"startTimeUnixNano": None},
        {"endTimeUnixNano": "0"},
        {"endTimeUnixNano": str(START_NS - 1)},
        {"startTimeUnixNano": "x"},
    ],
)
def test_a_span_without_usable_times_is_told(tmp_path: Path, change: dict[str, Any]) -> None:
    tables = imported(tmp_path, chat(0) | change, chat(1))
    assert [span["span_index"] for span in spans(tables)] == [1]
    assert rules(tables) == ["span: time"]


def test_nanoseconds_are_exact(tmp_path: Path) -> None:
    # A float of 1.77e18 is 256 ns coarse.
    odd = chat(0) | {"startTimeUnixNano": str(START_NS + 1), "endTimeUnixNano": START_NS + 1_000_000_003}
    tables = imported(tmp_path, plain(0, spanId="00000000000000ff"), odd)
    assert [(span["start_ns"], span["duration_ns"]) for span in spans(tables)] == [(0, 250_000_000), (1, 1_000_000_002)]


def test_long_attributes_stay_in_the_raw_record(tmp_path: Path) -> None:
    tables = imported(tmp_path, chat(0, dump="x" * 70_000))
    assert spans(tables)[0]["attributes"] is None
    assert rules(tables) == ["attributes: bytes"]
    assert "xxxx" in raw_text(tables)


def test_a_whole_file_is_read_span_by_span(tmp_path: Path) -> None:
    content = pack_whole([chat(0), chat(1, dump="x" * 9_000), chat(2)])
    tables = read_bytes(tmp_path, "trace.json", content, limits=Limits(line_bytes=8_000))
    assert [row["sample_id"] for row in outputs(tables)] == [identity(0), identity(2)]
    assert rules(tables) == ["line_bytes"]
    assert tables["silver.runs"]["code_version"][0]["commit"] == "c0ffee"


LATENCY, USAGE = "gen_ai.client.operation.duration", "gen_ai.client.token.usage"
ASKED = {"gen_ai.operation.name": "chat", "gen_ai.request.model": "tiny-1"}


def test_totals_so_far_count_once_and_differences_add_up(tmp_path: Path) -> None:
    lines = [
        export(chat(0)),
        # Totals: the second holds the first.
        histogram(LATENCY, 2, 1.0, ASKED, time=1),
        histogram(LATENCY, 4, 6.0, ASKED, time=2),
        histogram(LATENCY, 1, 0.1, ASKED | {"error.type": "500"}),
        # Differences: each is new.
        histogram(USAGE, 1, 10, ASKED | {"gen_ai.token.type": "input"}, time=1, mode=1),
        histogram(USAGE, 1, 30, ASKED | {"gen_ai.token.type": "input"}, time=2, mode=1),
    ]
    tables = read_bytes(tmp_path, "all.jsonl", json_lines(lines))
    found = metrics(tables)
    # 6 s over 4 requests.
    assert (found["latency_ms", "mean"], found["latency_ms", "min"], found["latency_ms", "max"]) == (
        1500.0,
        500.0,
        2000.0,
    )
    assert (found["failed_count", ""], found["input_token_count", ""]) == (1.0, 40.0)
    assert tables["silver.runs"].height == 1


def test_metrics_alone_are_a_run(tmp_path: Path) -> None:
    tables = read_bytes(tmp_path, "metrics.jsonl", json_lines([histogram(LATENCY, 4, 6.0, ASKED)]))
    (run,) = tables["silver.runs"].to_dicts()
    assert (run["suite"], run["model"], run["run_date"]) == ("helpdesk", "tiny-1", dt.date(2026, 2, 2))
    assert metrics(tables)["latency_ms", "mean"] == 1500.0


def test_a_file_without_anything_to_compare_says_so(tmp_path: Path) -> None:
    tables = read_bytes(tmp_path, "logs.jsonl", json_lines([logs(log("device.app.lifecycle", {}))]))
    assert tables["silver.runs"].is_empty()
    assert rules(tables) == ["empty"]


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ({"stringValue": "a"}, "a"),
        ({"intValue": "-9223372036854775808"}, -(2**63)),
        ({"intValue": 5}, 5),
        ({"doubleValue": 0.5}, 0.5),
        ({"boolValue": False}, False),
        ({"bytesValue": "AAE="}, "AAE="),
        ({"arrayValue": {"values": [{"intValue": "1"}, {}]}}, [1, None]),
        ({"kvlistValue": {"values": [{"key": "a", "value": {"arrayValue": {}}}]}}, {"a": []}),
        ({}, None),
        (None, None),
    ],
)
def test_values_are_unwrapped(given: object, expected: object) -> None:
    assert plain_value(given) == expected


def test_identifiers_are_hex_however_they_are_written() -> None:
    assert identifier("5B8EFFF798038103D269B633813FC60C") == "5b8efff798038103d269b633813fc60c"
    assert identifier("W47/95gDgQPSabYzgT/GDA==") == "5b8efff798038103d269b633813fc60c"
    assert (identifier(""), identifier("0000000000000000"), identifier(None)) == (None, None, None)


def test_times_are_whole_numbers_that_fit() -> None:
    assert nanoseconds("1770000000000000001") == 1_770_000_000_000_000_001
    assert [nanoseconds(value) for value in (None, 0, "", "9" * 30, -1, 1.5, True, [])] == [None] * 8


def test_answers_in_later_details_do_not_replace_those_of_the_span(tmp_path: Path) -> None:
    span = chat(0)
    details = {
        "timeUnixNano": "1",
        "eventName": "gen_ai.client.inference.operation.details",
        "attributes": answers("late"),
    }
    content = json_lines([export(span), logs(details | {"traceId": span["traceId"], "spanId": span["spanId"]})])
    assert outputs(read_bytes(tmp_path, "all.jsonl", content))[0]["output"] == "City 0"
