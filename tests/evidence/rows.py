"""Runs and outputs made in code, as rows of `silver.runs` and `silver.outputs`."""

from __future__ import annotations

import datetime as dt
from typing import Any

import polars as pl

from lake.identity import text_digest
from lake.tables import contract_of
from pipelines.evidence.policy import Policy, parse_policy

START = dt.datetime(2026, 11, 20, 2, tzinfo=dt.UTC)
DAY = dt.timedelta(days=1)
FINGERPRINT = {
    "suite_digest": "suite",
    "prompt_digest": "prompts",
    "chat_template_digest": "template",
    "tokenizer": "tokenizer",
    "sampling_digest": "greedy",
    "logprobs_mode": "top5",
    "concurrency": 1,
    "hardware": "two cores",
}
POLICY = """
version: 1
comparisons:
  - {name: across, candidate: {backend: a}, baseline: {backend: b}}
  - {name: previous, baseline: previous}
gates:
  - {name: parity, family: score_parity, margin: 0.1, minimum_n: 5}
  - {name: latency, family: latency_regression, margin: 1.1, minimum_n: 5, severity: warn}
  - {name: failures, family: failure_rate, margin: 0.5, minimum_n: 5}
"""


def policy(text: str = POLICY) -> Policy:
    return parse_policy(text, source="gates.yaml")


def run(run_id: str, backend: str = "a", *, started_at: dt.datetime = START, **changes: Any) -> dict[str, Any]:
    return {
        "run_id": run_id,
        "run_date": started_at.date(),
        "source_kind": "benchlake",
        "file_sha256": "0" * 64,
        "content_digest": f"content of {run_id}",
        "suite": "capitals",
        "backend": backend,
        "model": "tiny",
        "engine": backend,
        "engine_version": "1",
        "fingerprint": FINGERPRINT,
        "code_version": dict.fromkeys(("commit", "branch", "pull_request", "is_dirty", "repository_url")),
        "tags": [],
        "started_at": started_at,
        "status": "success",
        "expected_sample_count": None,
    } | changes


def code_version(commit: str | None = "c1", *, is_dirty: bool | None = False) -> dict[str, Any]:
    return {"commit": commit, "branch": "main", "pull_request": None, "is_dirty": is_dirty, "repository_url": None}


def committed(run_id: str, days: int = 0, hours: int = 0, commit: str | None = "c1", **changes: Any) -> dict[str, Any]:
    """A run of a known commit, so many days and hours after the first."""
    started_at = START + days * DAY + dt.timedelta(hours=hours)
    return run(run_id, started_at=started_at, code_version=code_version(commit), **changes)


def output(run: dict[str, Any], index: int, text: str | None, **changes: Any) -> dict[str, Any]:
    return {
        "run_id": run["run_id"],
        "run_date": run["run_date"],
        "sample_id": f"s{index:03}",
        "repeat_index": 0,
        "prompt_digest": f"prompt {index}",
        "output": text,
        "output_digest": None if text is None else text_digest(text),
        "status": "ok" if text is not None else "error",
        "latency_ms": 100.0,
        "scores": [{"scorer": "exact_match", "value": 1.0}],
        "tags": [],
    } | changes


def run_rows(*runs: dict[str, Any]) -> pl.DataFrame:
    contract = contract_of("silver.runs")
    return pl.DataFrame(runs, schema={name: kind for name, kind in contract.dtypes.items() if name in runs[0]})


def output_rows(outputs: list[dict[str, Any]]) -> pl.DataFrame:
    contract = contract_of("silver.outputs")
    return pl.DataFrame(outputs, schema={name: kind for name, kind in contract.dtypes.items() if name in outputs[0]})


def beside(rows: list[dict[str, Any]]) -> pl.DataFrame:
    """Outputs laid side by side as gates see them; a row names what differs from two good answers."""
    good = {
        "repeat_index": 0,
        "tags": [],
        "candidate_status": "ok",
        "baseline_status": "ok",
        "candidate_latency_ms": 100.0,
        "baseline_latency_ms": 100.0,
        "candidate_time_to_first_token_ms": None,
        "baseline_time_to_first_token_ms": None,
    }
    frames = []
    for place, row in enumerate(rows):
        scores = {
            f"{side}_scores": [{"scorer": name, "value": value} for name, value in row.get(side, {"s": 1.0}).items()]
            for side in ("candidate", "baseline")
        }
        rest = {name: value for name, value in row.items() if name not in ("candidate", "baseline")}
        frames.append({"sample_id": f"s{place:04}", **good, **scores, **rest})
    score = pl.List(pl.Struct({"scorer": pl.String, "value": pl.Float64}))
    types = {"candidate_scores": score, "baseline_scores": score, "tags": pl.List(pl.String)}
    times = {f"{side}_time_to_first_token_ms": pl.Float64 for side in ("candidate", "baseline")}
    return pl.DataFrame(frames, schema_overrides=types | times, infer_schema_length=None)
