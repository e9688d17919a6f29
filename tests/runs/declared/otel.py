import json
from typing import Any

from lake.identity import text_digest
from tests.runs.formats import Format, Record, Tables
from tests.runs.run_files import json_lines

START_NS = 1_770_000_000_000_000_000  # 2026-02-02T02:40:00Z
RESOURCE = {"service.name": "helpdesk", "service.version": "1.2.3", "vcs.ref.head.revision": "c0ffee"}


def wrapped(value: Any) -> Record:
    """A value in the wrapping of OTLP."""
    if isinstance(value, bool):
        return {"boolValue": value}
    if isinstance(value, int):
        return {"intValue": str(value)}
    if isinstance(value, float):
        return {"doubleValue": value}
    if isinstance(value, list):
        return {"arrayValue": {"values": [wrapped(item) for item in value]}}
    if isinstance(value, dict):
        return {"kvlistValue": {"values": attributes(value)}}
    return {} if value is None else {"stringValue": value}


def attributes(values: dict[str, Any]) -> list[Record]:
    return [{"key": key, "value": wrapped(value)} for key, value in values.items()]


def message(role: str, text: str) -> Record:
    return {"role": role, "parts": [{"type": "text", "content": text}]}


def chat(index: int, **changes: Any) -> Record:
    """A span of a chat, 250 ms long, the index-th second of the trace."""
    said = {
        "gen_ai.operation.name": "chat",
        "gen_ai.provider.name": "openai",
        "gen_ai.request.model": "tiny-1",
        "gen_ai.request.temperature": 0.5,
        "gen_ai.response.id": f"chatcmpl-{index}",
        "gen_ai.response.finish_reasons": ["stop"],
        "gen_ai.response.time_to_first_chunk": 0.125,
        "gen_ai.usage.input_tokens": 5,
        "gen_ai.usage.output_tokens": 2,
        "gen_ai.input.messages": json.dumps([message("user", f"Capital number {index}?")]),
        "gen_ai.output.messages": json.dumps([message("assistant", f"City {index}")]),
    } | changes
    start_ns = START_NS + index * 1_000_000_000
    return {
        "traceId": "5b8efff798038103d269b633813fc60c",
        "spanId": f"{index + 1:016x}",
        "parentSpanId": "eee19b7ec3c1b174",
        "name": "chat tiny-1",
        "kind": 3,
        "startTimeUnixNano": str(start_ns),
        "endTimeUnixNano": str(start_ns + 250_000_000),
        "attributes": attributes({key: value for key, value in said.items() if value is not None}),
        "status": {},
    }


def export(*spans: Record, resource: dict[str, Any] | None = None) -> Record:
    """An export of spans, as a line of the collector's file exporter."""
    return {
        "resourceSpans": [
            {
                "resource": {"attributes": attributes(RESOURCE if resource is None else resource)},
                "scopeSpans": [{"scope": {"name": "chats", "version": "1"}, "spans": list(spans)}],
            }
        ]
    }


def line(index: int) -> Record:
    return export(chat(index))


def pack_whole(records: list[Record]) -> bytes:
    return json.dumps(export(*records), indent=2).encode()


def identity(index: int) -> str:
    return f"prompt-{text_digest(f'Capital number {index}?')[:16]}"


def answers(text: str) -> list[Record]:
    return attributes({"gen_ai.output.messages": json.dumps([message("assistant", text)])})


def nan_line(record: Record) -> Record:
    return export(nan_span(record["resourceSpans"][0]["scopeSpans"][0]["spans"][0]))


def nan_span(record: Record) -> Record:
    return record | {"attributes": [*record["attributes"], *attributes({"spread": float("nan")})]}


def surrogate_line(record: Record) -> Record:
    return export(surrogate_span(record["resourceSpans"][0]["scopeSpans"][0]["spans"][0]))


def surrogate_span(record: Record) -> Record:
    return record | {"name": "a\ud800b"}


def check_good(tables: Tables) -> None:
    assert tables["silver.spans"]["duration_ns"].to_list() == [250_000_000] * 3
    assert tables["silver.spans"]["start_ns"].to_list() == [0, 1_000_000_000, 2_000_000_000]


FORMATS = (
    Format(
        source_kind="otel",
        name="traces.jsonl",
        record=line,
        pack=json_lines,
        is_lines=True,
        identity=identity,
        cut_before=lambda content: content.index(b"Capital number 3?") + 5,
        nan=nan_line,
        surrogate=surrogate_line,
        good_tables=check_good,
    ),
    Format(
        source_kind="otel",
        name="trace.json",
        record=chat,
        pack=pack_whole,
        identity=identity,
        cut_before=lambda content: content.index(b"Capital number 3?") + 5,
        nan=nan_span,
        surrogate=surrogate_span,
        good_tables=check_good,
    ),
)
