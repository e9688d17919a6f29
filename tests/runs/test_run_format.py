"""The declaration of the run file: what the schema refuses is named by the importer, and what we write keeps it."""

from __future__ import annotations

import copy
import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from jsonschema import Draft202012Validator

from lake.tables import CONTRACTS
from pipelines.runs.run_format import LINES, PARTS, find_departures
from pipelines.runs.run_schema import describe_fields, json_schema
from tests.runs.formats import read_bytes
from tests.runs.run_files import benchlake_output, benchlake_run, json_lines

VALIDATOR = Draft202012Validator(json_schema())
GOOD: dict[str, dict[str, Any]] = {
    "run": benchlake_run(),
    "output": benchlake_output(
        0,
        scorer_errors={"judge": "no answer"},
        phases=[{"phase": "prefill", "start_ms": 0, "duration_ms": 12.5}],
    ),
    "metric": {
        "type": "metric",
        "metric": "loss",
        "value": 0.5,
        "unit": "nats",
        "variant": "valid",
        "step": 10,
        "repeat_index": 1,
        "standard_error": 0.1,
        "standard_deviation": 0.2,
        "sample_count": 4,
        "is_higher_better": False,
        "recorded_at": "2026-03-01T10:00:02Z",
    },
    "param": {"type": "param", "parameter": "learning_rate", "value": 0.1, "unit": "1"},
    "span": {
        "type": "span",
        "name": "prefill",
        "start_ns": -5,
        "duration_ns": 10,
        "span_id": "a",
        "parent_span_id": "b",
        "trace_id": 3,
        "sample_id": "s0",
        "category": "phase",
        "process": 1,
        "thread": "main",
        "started_at": 1772359200.5,
        "status": "error",
        "attributes": {"rows": 3},
    },
    "end": {"type": "end", "status": "success", "ended_at": "2026-03-01T10:05:00Z", "error_message": None},
}


def rejects_of(folder: Path, line: dict[str, Any]) -> list[dict[str, Any]]:
    header = [] if line.get("type") == "run" else [benchlake_run()]
    return read_bytes(folder, "run.jsonl", json_lines([*header, line]), kind="benchlake")["bronze.rejects"].to_dicts()


def test_the_schema_is_a_schema_and_describes_every_field() -> None:
    schema = json_schema()
    Draft202012Validator.check_schema(schema)
    described = [
        field["description"] for definition in schema["$defs"].values() for field in definition["properties"].values()
    ]
    assert len(described) > 60
    assert all("Allowed: " in text for text in described)
    assert "Unit: ms." in schema["$defs"]["OutputLine"]["properties"]["latency_ms"]["description"]
    # Words of the docs generator stay out of the schema.
    assert not any({"allowed", "unit"} & set(field) for field in schema["$defs"]["OutputLine"]["properties"].values())


@pytest.mark.parametrize("kind", LINES)
def test_a_line_with_every_field_is_good_everywhere(kind: str, tmp_path: Path) -> None:
    line = GOOD[kind]
    assert set(line) == set(LINES[kind].model_fields)
    assert list(VALIDATOR.iter_errors(line)) == []
    assert find_departures(line) == []
    assert rejects_of(tmp_path, line) == []


DROPPED = object()
ANY_JSON = st.recursive(
    st.sampled_from(
        [None, True, False, -1, 0, 3.0, 2.5, 2**40, 2**70, "", "x", "2026-03-01", "12", "ok", "2026-13-99"]
    ),
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(st.sampled_from(["a", "token", "commit"]), inner),
    max_leaves=3,
)


@settings(deadline=None, max_examples=300)
@given(kind=st.sampled_from(sorted(LINES)), value=st.just(DROPPED) | ANY_JSON, place=st.integers(0, 30))
def test_what_the_schema_refuses_the_importer_names(
    kind: str, value: Any, place: int, tmp_path_factory: pytest.TempPathFactory
) -> None:
    line = copy.deepcopy(GOOD[kind])
    # Inside objects and tokens as well as on the line itself.
    targets = [line, *(item for item in line.values() if isinstance(item, dict) and item), *line.get("tokens", ())]
    target = targets[place % len(targets)]
    key = sorted(set(target) - {"type"})[place % len(set(target) - {"type"})]
    if value is DROPPED:
        del target[key]
    else:
        target[key] = value
    if not VALIDATOR.is_valid(line):
        assert find_departures(line), line
        assert rejects_of(tmp_path_factory.mktemp("line"), line), line


@pytest.mark.parametrize(
    ("line", "path", "allowed"),
    [
        ({"type": "metric", "metric": "loss"}, "value", "a finite number"),
        ({"type": "output", "sample_id": "a", "latency_ms": "812"}, "latency_ms", "a finite number from 0"),
        ({"type": "output", "sample_id": "a", "tokens": [{"token": "x"}, 3]}, "tokens[1]", "an object"),
        (benchlake_run(fingerprint={"concurrency": True}), "fingerprint.concurrency", "a whole number from 0"),
        ({"type": "outputs"}, "type", "one of run, output, metric, param, span, end"),
        ({}, "type", "one of run, output, metric, param, span, end"),
    ],
)
def test_a_departure_says_where_and_what_is_allowed(line: dict[str, Any], path: str, allowed: str) -> None:
    assert [(found.path, found.allowed) for found in find_departures(line)] == [(path, allowed)]
    assert allowed in find_departures(line)[0].message


def test_a_departing_field_lands_as_far_as_it_can_be_read(tmp_path: Path) -> None:
    line = benchlake_output(0, latency_ms="812", finish_reason=5, tags="easy")
    tables = read_bytes(tmp_path, "run.jsonl", json_lines([benchlake_run(), line]))
    output = tables["silver.outputs"].row(0, named=True)
    assert (output["latency_ms"], output["finish_reason"], output["tags"]) == (812.0, "5", [])
    assert sorted(tables["bronze.rejects"]["rule"]) == ["finish_reason: type", "latency_ms: type", "tags: type"]
    assert "'812'; allowed: a finite number from 0" in str(tables["bronze.rejects"]["message"].to_list())


def test_fields_are_named_as_the_columns_that_they_become() -> None:
    columns = set(CONTRACTS["silver.outputs"].dtypes)
    fields = {field.name for field in describe_fields(LINES["output"])}
    # Tokens are a table of their own, phases become spans, errors of scorers stay in the raw record.
    assert fields - columns == {"type", "tokens", "scorer_errors", "phases"}
    assert {field.name for field in describe_fields(LINES["metric"])} - {"type"} <= set(
        CONTRACTS["silver.run_metrics"].dtypes
    )
    assert {field.name for field in describe_fields(LINES["span"])} - {"type"} <= set(CONTRACTS["silver.spans"].dtypes)
    for name in ("fingerprint", "code_version"):
        struct = CONTRACTS["silver.runs"].dtypes[name]
        assert [field.name for field in describe_fields(PARTS[name])] == [field.name for field in struct.fields]


def test_the_schema_survives_json() -> None:
    assert json.loads(json.dumps(json_schema())) == json_schema()
