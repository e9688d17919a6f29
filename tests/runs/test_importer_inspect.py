from __future__ import annotations

import datetime as dt
from pathlib import Path

import pytest

from pipelines.runs.sources import Limits
from tests.runs.formats import read, read_bytes, rules, sample_ids, shared
from tests.runs.run_files import (
    inspect_json,
    inspect_sample,
    inspect_zip,
)


@pytest.mark.parametrize("method", [0, 8, 93])
def test_inspect_containers_agree(tmp_path: Path, method: int) -> None:
    samples = [inspect_sample(index) for index in range(3)]
    as_json = read_bytes(tmp_path, "log.json", inspect_json(samples))
    as_zip = read_bytes(tmp_path, "log.eval", inspect_zip(samples, method=method))
    for table in ("silver.outputs", "silver.output_tokens", "silver.run_metrics"):
        assert as_zip[table].equals(as_json[table])
    varying = ["file_sha256", "content_digest"]
    assert as_zip["silver.runs"].drop(varying).equals(as_json["silver.runs"].drop(varying))


def test_inspect_fields_land(tmp_path: Path) -> None:
    tables = read_bytes(tmp_path, "log.json", inspect_json([inspect_sample(0), inspect_sample(0, epoch=2)]))
    run = tables["silver.runs"].row(0, named=True)
    assert (run["run_id"], run["source_run_id"], run["suite"]) == ("eval-1", "night-1", "greetings")
    # 23:30 two hours west of Greenwich is 01:30 of the next day in UTC.
    assert run["run_date"] == dt.date(2026, 3, 2)
    assert (run["backend"], run["model"], run["expected_sample_count"]) == ("openai", "openai/tiny", 2)
    assert (run["code_version"]["commit"], run["code_version"]["is_dirty"]) == ("abc123", True)
    outputs = tables["silver.outputs"]
    assert outputs["repeat_index"].to_list() == [0, 1]
    row = outputs.row(0, named=True)
    assert (row["latency_ms"], row["input_token_count"], row["output_token_count"]) == (500.0, 8, 3)
    assert (row["prompt"], row["output"], row["reference"]) == ("Greet number 0", "Hello 0", "Hello")
    tokens = tables["silver.output_tokens"].row(0, named=True)
    assert (tokens["tokens"], tokens["token_ids"], tokens["token_bytes"]) == (["Hello"], [None], [b"H"])
    assert tokens["logprobs"] == [-0.2]
    assert tokens["top_k"] == [[{"token_id": None, "token": "Hi", "logprob": -0.3}]]
    metrics = {row["metric"]: row for row in tables["silver.run_metrics"].to_dicts()}
    assert (metrics["accuracy"]["value"], metrics["accuracy"]["standard_error"]) == (0.5, 0.25)
    assert metrics["accuracy"]["variant"] == "match"


@pytest.mark.parametrize(
    ("value", "scores"),
    [
        ("C", {"s": 1.0}),
        ("I", {"s": 0.0}),
        ("P", {"s": 0.5}),
        ("N", {"s": 0.0}),
        (True, {"s": 1.0}),
        (3, {"s": 3.0}),
        ("2.5", {"s": 2.5}),
        ("a label", {}),
        (None, {}),
        ({"a": "C", "b": {"c": 2}}, {"s.a": 1.0, "s.b.c": 2.0}),
        ([1, False], {"s.0": 1.0, "s.1": 0.0}),
    ],
)
def test_inspect_score_values(tmp_path: Path, value: object, scores: dict[str, float]) -> None:
    tables = read_bytes(tmp_path, "log.json", inspect_json([inspect_sample(0, scores={"s": {"value": value}})]))
    assert {score["scorer"]: score["value"] for score in tables["silver.outputs"]["scores"][0]} == scores
    assert rules(tables) == []


def test_edited_scores_count_as_edited(tmp_path: Path) -> None:
    score = {"value": "I", "history": [{"value": "I"}, {"value": "C"}, {"value": "UNCHANGED"}]}
    tables = read_bytes(tmp_path, "log.json", inspect_json([inspect_sample(0, scores={"s": score})]))
    assert tables["silver.outputs"]["scores"][0].to_list() == [{"scorer": "s", "value": 1.0}]


def test_attachments_and_messages_are_resolved(tmp_path: Path) -> None:
    key = "0123456789abcdef0123456789abcdef"
    sample = inspect_sample(
        0,
        input=[
            {"role": "system", "content": "Be kind"},
            {"role": "user", "content": [{"type": "text", "text": f"attachment://{key}"}, {"type": "image"}]},
        ],
        output={"choices": [{"message": {"content": f"attachment://{key}"}}]},
        target=["a", "b"],
        attachments={key: "a very long text"},
    )
    row = read_bytes(tmp_path, "log.json", inspect_json([sample]))["silver.outputs"].row(0, named=True)
    assert row["prompt"] == "[system]\nBe kind\n\n[user]\na very long text\n(image)"
    assert row["output"] == "a very long text"
    assert row["reference"] == '["a","b"]'


def test_errors_and_limits_become_statuses(tmp_path: Path) -> None:
    samples = [
        inspect_sample(0, error={"message": "broke", "traceback": "..."}, output={}),
        inspect_sample(1, limit={"type": "time", "limit": 5}),
        inspect_sample(2, limit={"type": "token", "limit": 5}),
    ]
    outputs = read_bytes(tmp_path, "log.json", inspect_json(samples))["silver.outputs"]
    assert outputs["status"].to_list() == ["error", "timeout", "ok"]
    assert outputs["error_message"].to_list() == ["broke", None, None]
    assert outputs["finish_reason"].to_list() == [None, "time", "token"]
    assert outputs["output"].to_list() == [None, "Hello 1", "Hello 2"]


def test_an_unfinished_log_is_a_started_run(tmp_path: Path) -> None:
    tables = read_bytes(tmp_path, "log.eval", inspect_zip([inspect_sample(0)], has_header=False))
    assert tables["silver.runs"]["status"].to_list() == ["started"]
    assert tables["silver.runs"]["run_id"].to_list() == ["eval-1"]
    assert sample_ids(tables) == ["0"]
    assert rules(tables) == []


@pytest.mark.parametrize(("status", "expected"), [("success", ["sample_count"]), ("cancelled", [])])
def test_a_finished_log_with_too_few_samples_says_so(tmp_path: Path, status: str, expected: list[str]) -> None:
    content = inspect_json([inspect_sample(0)], status=status, results={"total_samples": 5})
    tables = read_bytes(tmp_path, "log.json", content)
    assert rules(tables) == expected
    assert tables["silver.runs"]["expected_sample_count"].to_list() == [5]


def test_an_oversize_sample_is_left_out(tmp_path: Path) -> None:
    samples = [inspect_sample(0), inspect_sample(1, store={"blob": "x" * 20_000}), inspect_sample(2)]
    for name, content in {"log.json": inspect_json(samples), "log.eval": inspect_zip(samples)}.items():
        tables = read_bytes(tmp_path, name, content, limits=Limits(member_bytes=10_000))
        assert sample_ids(tables) == ["0", "2"]
        assert "member_bytes" in rules(tables)


def test_real_inspect_logs() -> None:
    folder = shared("inspect")
    for path in sorted([*folder.glob("*.eval"), *folder.glob("*popularity.json"), folder / "log_formats.json"]):
        tables = read(path)
        promised = tables["silver.runs"]["expected_sample_count"][0]
        assert tables["silver.outputs"].height == promised
        assert rules(tables) == []
        accuracy = tables["silver.run_metrics"].filter(metric="accuracy")["value"].to_list()
        means = tables["silver.outputs"]["scores"].list.first().struct.field("value").mean()
        assert not accuracy or means == pytest.approx(accuracy[0])
