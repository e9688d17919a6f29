from tests.runs.formats import PLANTED, Format, Record, Tables
from tests.runs.run_files import json_lines
from tests.runs.serving_files import openai_pair, openai_response


def surrogate(record: Record) -> Record:
    return record | {"response": openai_response(0, "a\ud800b")}


def secret(record: Record) -> Record:
    return record | {"request": record["request"] | {"url": "https://user:hunter2secret@example.org/v1"} | PLANTED}


def good_tables(tables: Tables) -> None:
    outputs = tables["silver.outputs"]
    assert outputs["prompt"].to_list() == [f"Capital number {index}?" for index in range(3)]
    assert outputs["status"].to_list() == ["ok"] * 3
    assert tables["silver.output_tokens"].height == 3


def good_responses(tables: Tables) -> None:
    assert tables["silver.outputs"]["output"].to_list() == ["City 0", "City 1", "City 2"]


FORMATS = (
    Format(
        source_kind="openai",
        name="pairs.jsonl",
        record=openai_pair,
        pack=json_lines,
        is_lines=True,
        identity=lambda index: f"s{index}",
        cut_before=lambda content: content.index(b'"s3"') + 40,
        nan=lambda record: record | {"latency_ms": float("nan")},
        surrogate=surrogate,
        secret=secret,
        good_tables=good_tables,
    ),
    Format(
        source_kind="openai",
        name="responses.jsonl",
        record=openai_response,
        pack=json_lines,
        is_lines=True,
        # A response names no sample; what it says is the only thing to know it by.
        landed=lambda tables: sorted(filter(None, tables["silver.outputs"]["output"])),
        identity=lambda index: f"City {index}",
        cut_before=lambda content: content.index(b'"chatcmpl-3"') + 40,
        good_tables=good_responses,
    ),
)
