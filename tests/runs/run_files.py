"""Small run files of every format, made in code, for the tests of sources, importers and the import step.

What belongs here: builders of good files and the ways to spoil them. What must follow is in the tests.
"""

from __future__ import annotations

import io
import json
import struct
import zipfile
import zlib
from typing import Any

import zstandard

DATE_ID = "2026-03-01T10-20-30.123456"


def json_lines(records: list[dict[str, Any]]) -> bytes:
    return b"".join(json.dumps(record).encode() + b"\n" for record in records)


def benchlake_run(**changes: Any) -> dict[str, Any]:
    return {
        "type": "run",
        "schema_version": 1,
        "run_id": "run-1",
        "suite": "capitals",
        "backend": "local",
        "model": "tiny-1",
        "engine": "llama.cpp",
        "engine_version": "b1",
        "started_at": "2026-03-01T10:00:00Z",
        "parameters": {"temperature": 0},
        "environment": {"cpu": "any"},
        "fingerprint": {"suite_digest": "aa", "concurrency": 2},
        "code_version": {"commit": "c0ffee", "is_dirty": False},
        "tags": ["b", "a"],
        "expected_sample_count": 3,
    } | changes


def benchlake_output(index: int, **changes: Any) -> dict[str, Any]:
    return {
        "type": "output",
        "sample_id": f"s{index}",
        "repeat_index": 0,
        "prompt": f"Capital number {index}?",
        "output": f"City {index}",
        "reference": f"City {index}",
        "status": "ok",
        "finish_reason": "stop",
        "input_token_count": 5,
        "output_token_count": 2,
        "latency_ms": 12.5,
        "time_to_first_token_ms": 3.0,
        "scores": {"exact_match": 1.0},
        "tags": ["easy"],
        "error_message": None,
        "started_at": "2026-03-01T10:00:01+00:00",
        "tokens": [
            {
                "token_id": 7,
                "token": "City",
                "bytes": [67, 105, 116, 121],
                "logprob": -0.1,
                "top_k": [{"token_id": 7, "token": "City", "logprob": -0.1}],
            },
            {"token_id": None, "token": f" {index}", "bytes": None, "logprob": None, "top_k": None},
        ],
    } | changes


def benchlake_file(outputs: int = 3) -> bytes:
    metric = {"type": "metric", "metric": "tokens_per_s", "value": 20.5, "unit": "1", "is_higher_better": True}
    end = {"type": "end", "status": "success", "ended_at": "2026-03-01T10:05:00Z", "error_message": None}
    return json_lines([benchlake_run(), *(benchlake_output(index) for index in range(outputs)), metric, end])


def lm_eval_sample(index: int, **changes: Any) -> dict[str, Any]:
    return {
        "doc_id": index,
        "doc": {"q": f"{index} + 1?", "a": str(index + 1)},
        "target": str(index + 1),
        "arguments": {"gen_args_0": {"arg_0": f"{index} + 1?", "arg_1": {"until": ["\n"]}}},
        "resps": [[f" {index + 1} "]],
        "filtered_resps": [str(index + 1)],
        "filter": "none",
        "metrics": ["exact_match"],
        "doc_hash": "d",
        "prompt_hash": "p",
        "target_hash": "t",
        "exact_match": 1.0,
    } | changes


def lm_eval_choice(index: int, **changes: Any) -> dict[str, Any]:
    """Two choices, the second has the higher log-probability (-0.2 against -1.5); the right one is the first."""
    arguments = {f"gen_args_{n}": {"arg_0": "Is it?", "arg_1": choice} for n, choice in enumerate([" yes", " no"])}
    return (
        lm_eval_sample(index)
        | {
            "arguments": arguments,
            "target": "0",
            "resps": [[["-1.5", "False"]], [["-0.2", "True"]]],
            "filtered_resps": [["-1.5", "False"], ["-0.2", "True"]],
            "metrics": ["acc"],
            "acc": 0.0,
        }
        | changes
    )


def lm_eval_samples(count: int = 3) -> bytes:
    return json_lines([lm_eval_sample(index) for index in range(count)])


def lm_eval_results(tasks: tuple[str, ...] = ("sums",), **changes: Any) -> bytes:
    value = {
        "results": {
            task: {"alias": task, "sample_len": 3, "exact_match,none": 1.0, "exact_match_stderr,none": 0.1}
            for task in tasks
        },
        "configs": {
            task: {
                "task": task,
                "output_type": "generate_until",
                "doc_to_text": "{{q}}",
                "generation_kwargs": {"until": ["\n"]},
            }
            for task in tasks
        },
        "versions": dict.fromkeys(tasks, 1.0),
        "n-shot": dict.fromkeys(tasks, 0),
        "higher_is_better": {task: {"exact_match": True} for task in tasks},
        "n-samples": {task: {"original": 9, "effective": 3} for task in tasks},
        "config": {"model": "hf", "model_args": "pretrained=org/tiny,dtype=float32", "bootstrap_iters": 10},
        "git_hash": "beef01",
        "date": 1772360000.5,
        "pretty_env_info": "N/A",
        "transformers_version": "5.23",
        "lm_eval_version": "0.4.13",
        "model_source": "hf",
        "model_name": "org/tiny",
        "chat_template": None,
        "total_evaluation_time_seconds": "12.5",
    } | changes
    return json.dumps(value, indent=2).encode()


def lm_eval_name(task: str | None = None) -> str:
    return f"samples_{task}_{DATE_ID}.jsonl" if task else f"results_{DATE_ID}.json"


def inspect_header(samples: int, **changes: Any) -> dict[str, Any]:
    return {
        "version": 2,
        "status": "success",
        "eval": {
            "eval_id": "eval-1",
            "run_id": "night-1",
            "created": "2026-03-01T23:30:00-02:00",
            "task": "greetings",
            "task_id": "task-1",
            "task_version": 0,
            "dataset": {"name": "greetings", "samples": 100},
            "model": "openai/tiny",
            "model_args": {},
            "config": {"limit": samples, "epochs": 1},
            "revision": {"type": "git", "origin": "https://example.org/x.git", "commit": "abc123", "dirty": True},
            "packages": {"inspect_ai": "0.3.285"},
            "tags": ["night"],
        },
        "plan": {"name": "plan", "steps": [{"solver": "generate", "params": {}}], "config": {"temperature": 0.5}},
        "results": {
            "total_samples": samples,
            "completed_samples": samples,
            "scores": [
                {
                    "name": "match",
                    "scorer": "match",
                    "metrics": {
                        "accuracy": {"name": "accuracy", "value": 0.5},
                        "stderr": {"name": "stderr", "value": 0.25},
                    },
                }
            ],
        },
        "stats": {"started_at": "2026-03-01T23:30:00-02:00", "completed_at": "2026-03-01T23:31:00-02:00"},
    } | changes


def inspect_sample(index: int, **changes: Any) -> dict[str, Any]:
    top = {"token": "Hi", "logprob": -0.3, "bytes": [72, 105]}
    return {
        "id": index,
        "epoch": 1,
        "input": f"Greet number {index}",
        "target": "Hello",
        "output": {
            "model": "tiny",
            "completion": f"Hello {index}",
            "choices": [
                {
                    "message": {"role": "assistant", "content": f"Hello {index}"},
                    "stop_reason": "stop",
                    "logprobs": {
                        "content": [{"token": "Hello", "logprob": -0.2, "bytes": [72], "top_logprobs": [top]}]
                    },
                }
            ],
            "usage": {"input_tokens": 4, "output_tokens": 2},
        },
        "scores": {"match": {"value": "C", "answer": "Hello"}},
        "model_usage": {"openai/tiny": {"input_tokens": 8, "output_tokens": 3, "total_tokens": 11}},
        "total_time": 0.5,
        "attachments": {},
    } | changes


def inspect_json(samples: list[dict[str, Any]], **header: Any) -> bytes:
    head = inspect_header(len(samples), **header)
    return json.dumps(head | {"samples": samples, "reductions": []}, indent=1).encode()


def inspect_zip(samples: list[dict[str, Any]], *, method: int = 93, has_header: bool = True, **header: Any) -> bytes:
    head = inspect_header(len(samples), **header)
    start = {key: head[key] for key in ("version", "eval", "plan")}
    members = {"_journal/start.json": json.dumps(start).encode()}
    for sample in samples:
        name = f"samples/{sample.get('id')}_epoch_{sample.get('epoch')}.json"
        members[name] = json.dumps(sample).encode()
    if has_header:
        members["header.json"] = json.dumps(head).encode()
    return make_zip(members, method=method)


def make_zip(members: dict[str, bytes], *, method: int = 8, declared: dict[str, int] | None = None) -> bytes:
    """A zip by hand: zipfile cannot write method 93, nor lie about sizes."""
    body, directory = io.BytesIO(), io.BytesIO()
    for text, content in members.items():
        name = text.encode("utf-8", "replace")
        packed = _pack(content, method)
        size = (declared or {}).get(text, len(content))
        facts = (20, 0, method, 0, 33, zlib.crc32(content), len(packed), size, len(name), 0)
        offset = body.tell()
        body.write(struct.pack("<4s5H3I2H", b"PK\x03\x04", *facts) + name + packed)
        directory.write(struct.pack("<4s6H3I5H2I", b"PK\x01\x02", 20, *facts, 0, 0, 0, 0, offset) + name)
    start, listed = body.tell(), directory.getvalue()
    count = len(members)
    return body.getvalue() + listed + struct.pack("<4s4H2IH", b"PK\x05\x06", 0, 0, count, count, len(listed), start, 0)


def _pack(content: bytes, method: int) -> bytes:
    if method == zipfile.ZIP_STORED:
        return content
    if method == zipfile.ZIP_DEFLATED:
        packer = zlib.compressobj(9, zlib.DEFLATED, -15)
        return packer.compress(content) + packer.flush()
    return zstandard.ZstdCompressor().compress(content)
