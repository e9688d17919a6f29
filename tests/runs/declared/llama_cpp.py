import csv
import io
import json
from typing import Any

from tests.runs.formats import PLANTED, Format, Record, Tables, sample_ids
from tests.runs.run_files import json_lines


def answer(index: int, **changes: Any) -> Record:
    """An answer of the server as it writes it, shortened."""
    return {
        "index": 0,
        "content": f" City {index}",
        "tokens": [7, 8],
        "stop": True,
        "model": "/models/tiny-1.Q4_1.gguf",
        "tokens_predicted": 2,
        "tokens_evaluated": 5,
        "generation_settings": {"seed": 1, "temperature": 0.0, "top_k": 40, "n_predict": 2, "stop": []},
        "prompt": f"Capital number {index}?",
        "stop_type": "limit",
        "truncated": False,
        "timings": {
            "cache_n": 0,
            "prompt_n": 5,
            "prompt_ms": 40.0,
            "predicted_n": 2,
            "predicted_ms": 20.5,
        },
        "completion_probabilities": [
            {
                "id": 7,
                "token": " City",
                "bytes": [32, 67, 105, 116, 121],
                "logprob": -0.25,
                "top_logprobs": [{"id": 7, "token": " City", "bytes": [32], "logprob": -0.25}],
            },
            {"id": 8, "token": f" {index}", "bytes": [32], "logprob": -1.5, "top_logprobs": []},
        ],
    } | changes


def pair(index: int, **changes: Any) -> Record:
    request = {"prompt": f"Capital number {index}?", "n_predict": 2, "n_probs": 1, "cache_prompt": False}
    return {"sample_id": f"s{index}", "request": request, "response": answer(index, **changes)}


def bench(index: int, **changes: Any) -> Record:
    """A test's result as llama-bench writes it, shortened; build and model are made up."""
    return {
        "build_commit": "0123abcd",
        "build_number": 5000,
        "cpu_info": "Any CPU",
        "gpu_info": "",
        "backends": "CPU",
        "model_filename": "models/tiny-1.Q4_1.gguf",
        "model_type": "llama 135M Q4_1",
        "model_size": 91_000_000,
        "model_n_params": 134_515_008,
        "n_batch": 2048,
        "n_threads": 4,
        "type_k": "f16",
        "n_gpu_layers": 0,
        "n_prompt": 100 + index,
        "n_gen": 0,
        "n_depth": 0,
        "test_time": "2026-03-01T10:00:00Z",
        "avg_ns": 250_000_000,
        "stddev_ns": 1_000_000,
        "avg_ts": 400.5,
        "stddev_ts": 1.25,
        "samples_ns": [249_000_000, 251_000_000],
        "samples_ts": [401.75, 399.25],
    } | changes


def bench_list(records: list[Record]) -> bytes:
    return b"[\n" + b",\n".join(json.dumps(record, indent=2).encode() for record in records) + b"\n]\n"


def bench_table(records: list[Record]) -> bytes:
    """As `llama-bench -o csv`: everything quoted, no samples."""
    names = list(dict.fromkeys(name for record in records for name in record if not name.startswith("samples")))
    text = io.StringIO()
    writer = csv.writer(text, quoting=csv.QUOTE_ALL, lineterminator="\n")
    writer.writerow(names)
    for record in records:
        cells = (record.get(name) for name in names)
        writer.writerow([cell if isinstance(cell, str) else json.dumps(cell) for cell in cells])
    return text.getvalue().encode("utf-8", "backslashreplace")


def bench_tests(tables: Tables) -> list[str]:
    rates = tables["silver.run_metrics"].to_dicts()
    return sorted(
        row["variant"]
        for row in rates
        if row["metric"] == "input_tokens_per_s" and not row["variant"].endswith("sample")
    )


def bench_identity(index: int) -> str:
    return f"pp{100 + index}"


def spread_is_nan(record: Record) -> Record:
    return record | {"stddev_ts": float("nan")}


def odd_model(record: Record) -> Record:
    return record | {"model_type": "a\ud800b"}


FORMATS = (
    Format(
        source_kind="llama_cpp",
        name="answers.jsonl",
        record=pair,
        pack=json_lines,
        is_lines=True,
        landed=sample_ids,
        identity=lambda index: f"s{index}",
        cut_before=lambda content: content.index(b'"s3"') + 40,
        nan=lambda record: record | {"response": record["response"] | {"timings": {"prompt_ms": float("nan")}}},
        surrogate=lambda record: record | {"response": record["response"] | {"content": "a\ud800b"}},
    ),
    Format(
        source_kind="llama_cpp",
        name="bench.json",
        record=bench,
        pack=bench_list,
        landed=bench_tests,
        identity=bench_identity,
        cut_before=lambda content: content.index(b'"n_prompt": 103') + 10,
        nan=spread_is_nan,
        surrogate=odd_model,
    ),
    Format(
        source_kind="llama_cpp",
        name="bench.jsonl",
        record=bench,
        pack=json_lines,
        is_lines=True,
        landed=bench_tests,
        identity=bench_identity,
        cut_before=lambda content: content.index(b'"n_prompt": 103') + 10,
        nan=spread_is_nan,
        surrogate=odd_model,
    ),
    Format(
        source_kind="llama_cpp",
        name="bench.csv",
        record=bench,
        pack=bench_table,
        landed=bench_tests,
        identity=bench_identity,
        cut_before=lambda content: content.index(b'"103"') + 2,
        nan=spread_is_nan,
        # A table of text has no members with names: what could be secret in it is a URL.
        secret=lambda record: record | {"model_filename": PLANTED["model_base_url"], "extra": PLANTED["note"]},
    ),
)
