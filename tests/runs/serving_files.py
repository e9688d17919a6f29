"""Small files of serving benchmarks, promptfoo and OpenAI-compatible servers, made in code.

What belongs here: builders of good records. What must follow from them is in the tests of each importer.
"""

from __future__ import annotations

from typing import Any

Record = dict[str, Any]


def vllm_result(index: int, **changes: Any) -> Record:
    """Two requests of 0.5 s and 1 s: the second is asked 0.1 s after the first."""
    return {
        "date": "20260301-102030",
        "endpoint_type": "openai",
        "backend": "vllm",
        "label": f"rates-{index}",
        "model_id": "org/tiny",
        "tokenizer_id": "org/tiny",
        "num_prompts": 2,
        "git_commit": "c0ffee",
        "branch": "main",
        "pr": "12",
        "gpu": "L4",
        "temperature": "0",
        "tags": "nightly, serving",
        "request_rate": "inf",
        "burstiness": 1.0,
        "max_concurrency": 2,
        "duration": 1.5 + index / 1024,
        "completed": 2,
        "failed": 0,
        "total_input_tokens": 9,
        "total_output_tokens": 5,
        "request_throughput": 1.25,
        "request_goodput": None,
        "output_throughput": 3.25,
        "total_token_throughput": 9.5,
        "input_lens": [4, 5],
        "output_lens": [2, 3],
        "ttfts": [0.25, 0.5],
        "itls": [[0.25], [0.25, 0.25]],
        "start_times": [1000.5, 1000.625],
        "generated_texts": ["one", "two three"],
        "errors": ["", ""],
        "max_output_tokens_per_s": 4.0,
        "max_concurrent_requests": 2,
        "rtfx": 0.0,
        "mean_ttft_ms": 375.0,
        "median_ttft_ms": 370.0,
        "std_ttft_ms": 125.0,
        "p99_ttft_ms": 499.0,
        "p99.9_ttft_ms": 499.9,
        "mean_tpot_ms": 250.0,
        "mean_itl_ms": 250.0,
        "mean_e2el_ms": 750.0,
    } | changes


def openai_token(text: str, logprob: float | None, **changes: Any) -> Record:
    return {"token": text, "logprob": logprob, "bytes": list(text.encode()), "top_logprobs": []} | changes


def openai_response(index: int, text: str | None = None, **changes: Any) -> Record:
    text = text if text is not None else f"City {index}"
    top = {"token": "Town", "logprob": -1.5, "bytes": [84]}
    return {
        "id": f"chatcmpl-{index}",
        "object": "chat.completion",
        "created": 1772360000 + index,
        "model": "tiny-2026",
        "system_fingerprint": "fp_1",
        "choices": [
            {
                "index": 0,
                "message": {"role": "assistant", "content": text},
                "finish_reason": "stop",
                "logprobs": {
                    "content": [
                        openai_token("City", -0.25, top_logprobs=[top]),
                        openai_token(f" {index}", -0.5),
                    ]
                },
            }
        ],
        "usage": {"prompt_tokens": 5, "completion_tokens": 2, "total_tokens": 7},
    } | changes


def openai_request(index: int, **changes: Any) -> Record:
    message = {"role": "user", "content": f"Capital number {index}?"}
    return {"model": "tiny", "messages": [message], "temperature": 0, "seed": 7, "logprobs": True} | changes


def openai_pair(index: int, **changes: Any) -> Record:
    return {
        "sample_id": f"s{index}",
        "started_at": "2026-03-01T10:00:00Z",
        "latency_ms": 250.0,
        "ttft_s": 0.125,
        "request": openai_request(index),
        "response": openai_response(index),
    } | changes


def openai_chunks(index: int, texts: tuple[str, ...] = ("Ci", "ty")) -> list[Record]:
    """A stream: the role, the texts, the finish reason, and the usage in a chunk without choices."""
    head = {"id": f"chatcmpl-{index}", "object": "chat.completion.chunk", "created": 1772360000, "model": "tiny"}
    deltas: list[Record] = [{"role": "assistant", "content": ""}, *({"content": text} for text in texts), {}]
    chunks = [
        head | {"choices": [{"index": 0, "delta": delta, "finish_reason": None if delta else "stop"}]}
        for delta in deltas
    ]
    for chunk, text in zip(chunks[1:], texts, strict=False):
        chunk["choices"][0]["logprobs"] = {"content": [openai_token(text, -0.5)]}
    return [*chunks, head | {"choices": [], "usage": {"prompt_tokens": 4, "completion_tokens": 2}}]


def promptfoo_result(index: int, **changes: Any) -> Record:
    """A test that passed one of its two assertions and failed the other."""
    assertions = [
        {"type": "contains", "value": "City"},
        {"type": "equals", "value": f"City {index}!", "metric": "right"},
    ]
    return {
        "cost": 0.25,
        "error": f"Expected {index}!",
        "gradingResult": {
            "pass": False,
            "score": 0.5,
            "reason": f"Expected {index}!",
            "componentResults": [
                {"pass": True, "score": 1, "assertion": assertions[0]},
                {"pass": False, "score": 0, "assertion": assertions[1]},
            ],
        },
        "id": f"result-{index}",
        "latencyMs": 12,
        "namedScores": {"right": 0},
        "prompt": {"raw": f"Capital number {index}?", "label": "Capital number {{n}}?"},
        "promptId": "p",
        "promptIdx": 0,
        "provider": {"id": "openai:chat:tiny", "label": "small"},
        "response": {
            "output": f"City {index}",
            "cached": False,
            "finishReason": "stop",
            "tokenUsage": {"total": 7, "prompt": 5, "completion": 2},
        },
        "score": 0.5,
        "success": False,
        "testCase": {"vars": {"n": index}, "assert": assertions, "metadata": {"git_commit": "c0ffee", "topic": "maps"}},
        "testIdx": index,
        "vars": {"n": index},
        "failureReason": 1,
    } | changes


def promptfoo_aggregates(results: list[Record], **changes: Any) -> Record:
    passed = sum(result.get("success") is True for result in results)
    erred = sum(result.get("failureReason") == 2 for result in results)
    return {
        "score": 0.5 * len(results),
        "testPassCount": passed,
        "testFailCount": len(results) - passed - erred,
        "testErrorCount": erred,
        "assertPassCount": len(results),
        "assertFailCount": len(results),
        "totalLatencyMs": 12 * len(results),
        "tokenUsage": {"prompt": 10, "completion": 4, "cached": 0, "assertions": {"prompt": 8, "completion": 1}},
        "namedScores": {"right": 1.5},
        "namedScoresCount": {"right": 2},
        "cost": 0.75,
    } | changes


def promptfoo_prompt(results: list[Record], **metrics: Any) -> Record:
    template = "Capital number {{n}}?"
    return {
        "id": "p",
        "raw": template,
        "label": template,
        "provider": "small",
        "metrics": promptfoo_aggregates(results, **metrics),
    }


def promptfoo_evaluation(results: list[Record], **changes: Any) -> Record:
    return {
        "evalId": "eval-abc-2026-03-01T10:00:00",
        "results": {
            "version": 3,
            "timestamp": "2026-03-01T10:00:00.000Z",
            "prompts": [promptfoo_prompt(results)],
            "results": results,
            "stats": {"successes": 0, "failures": len(results), "errors": 0, "durationMs": 1500},
        },
        "config": {
            "description": "capitals",
            "tags": {"team": "core", "nightly": ""},
            "metadata": {"git_commit": "c0ffee", "branch": "main", "pr": 12},
            "providers": [
                {"id": "openai:chat:tiny", "label": "small", "config": {"temperature": 0.5, "max_tokens": 9}},
                "echo",
            ],
            "tests": [{"vars": {"n": result.get("testIdx")}} for result in results[:3]],
            "evaluateOptions": {},
        },
        "shareableUrl": None,
        "metadata": {
            "promptfooVersion": "0.121.20",
            "nodeVersion": "v22",
            "evaluationCreatedAt": "2026-03-01T10:00:00.000Z",
        },
        "runtimeOptions": {"maxConcurrency": 4, "showProgressBar": True, "repeat": 1},
    } | changes


def promptfoo_table(results: list[Record], *, has_results: bool = True) -> Record:
    """A file of version 2: its results have no indexes, its table has the order."""
    unplaced = [{key: value for key, value in result.items() if key not in _PLACED} for result in results]
    return {
        "results": {
            "version": 2,
            "timestamp": "2026-03-01T10:00:00.000Z",
            "results": unplaced if has_results else [],
            "stats": {"successes": 0, "failures": len(results)},
            "table": {
                "head": {"prompts": [promptfoo_prompt(results)], "vars": ["n"]},
                "body": [_row_of(result) for result in results],
            },
        },
        "config": {"description": "capitals"},
        "shareableUrl": None,
    }


_PLACED = frozenset({"id", "testIdx", "promptIdx", "promptId", "failureReason", "testCase"})


def _row_of(result: Record) -> Record:
    prompt, response = result.get("prompt"), result.get("response")
    answer = response.get("output") if isinstance(response, dict) else None
    return {
        "outputs": [
            {
                "pass": result.get("success"),
                "score": result.get("score"),
                "namedScores": result.get("namedScores"),
                "text": f"{result.get('error')}\n---\n{answer}",
                "prompt": prompt.get("raw") if isinstance(prompt, dict) else None,
                "provider": "small",
                "latencyMs": result.get("latencyMs"),
                "tokenUsage": {"total": 7, "prompt": 5, "completion": 2},
                "gradingResult": result.get("gradingResult"),
                "cost": result.get("cost"),
            }
        ],
        "vars": [str(result.get("vars"))],
        "test": {"vars": result.get("vars")},
    }
