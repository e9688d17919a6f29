"""Does a night cost what is new, or what has gathered?

Floor: the same one new run on a lake of 10 earlier runs. The night's own work is timed (import, pairing, diffs, gates,
promotion, contract checks), without starting Python or Dagster, which would hide growth behind a constant.
Target: at most 1.3x on a lake of 1,000 earlier runs.
"""

from __future__ import annotations

import datetime as dt
import json
import statistics
import tempfile
import time
from pathlib import Path

from lake.store import Lake
from pipelines.evidence.policy import load_policy
from pipelines.evidence.steps import (
    compare_runs,
    count_contingencies,
    diff_outputs,
    judge_gates,
    measure_token_divergence,
    promote_runs,
    stale_run_dates,
)
from pipelines.runs.steps import import_paths
from resources.config import DEFAULTS
from resources.contract_checks import check_contract

SAMPLES = 40
REPEATS = 7
LAST = dt.datetime(2026, 11, 20, 2, tzinfo=dt.UTC)
CHECKED = (
    "bronze.run_files", "bronze.raw_records", "bronze.rejects", "silver.runs", "silver.outputs", "silver.output_tokens",
    "silver.run_metrics", "gold.output_diffs", "gold.contingencies", "gold.token_divergences", "gold.token_positions",
    "gold.run_comparisons", "gold.gate_results", "gold.promoted_runs",
)  # fmt: skip


def run_file(folder: Path, started: dt.datetime) -> Path:
    """A run of 40 samples with tokens, as the suite runner writes it."""
    records: list[dict[str, object]] = [
        {
            "type": "run",
            "schema_version": 1,
            "run_id": f"bench-{started:%Y%m%d-%H%M}",
            "suite": "bench",
            "backend": "llama.cpp",
            "model": "m",
            "engine": "llama.cpp",
            "started_at": started.isoformat(),
            "fingerprint": {"suite_digest": "s", "prompt_digest": "p"},
            "expected_sample_count": SAMPLES,
        }
    ]
    for index in range(SAMPLES):
        words = [f"word{(index * 7 + place * started.day) % 23}" for place in range(24)]
        tokens = [
            {"token_id": place, "token": word, "logprob": -0.2, "top_k": [{"token": word, "logprob": -0.2}] * 5}
            for place, word in enumerate(words)
        ]
        records.append(
            {
                "type": "output",
                "sample_id": f"s{index}",
                "repeat_index": 0,
                "prompt": f"question {index}",
                "output": " ".join(words),
                "status": "ok",
                "latency_ms": 100.0 + index,
                "scores": {"exact_match": float(index % 2)},
                "tokens": tokens,
            }
        )
    records.append({"type": "end", "status": "success", "ended_at": (started + dt.timedelta(minutes=2)).isoformat()})
    path = folder / f"{started:%Y%m%d-%H%M}.jsonl"
    path.write_text("\n".join(map(json.dumps, records)) + "\n")
    return path


def night(lake: Lake, landing: Path, now: dt.datetime) -> None:
    """What a night does with the lake, after the suite was asked."""
    policy = load_policy(DEFAULTS / "gates.yaml")
    import_paths(lake, [landing], root=landing, now=now)
    dates = stale_run_dates(lake, policy, since=-1)
    for step in (diff_outputs, count_contingencies, measure_token_divergence, compare_runs, judge_gates, promote_runs):
        step(lake, policy, dates)
    for table in CHECKED:
        check_contract(lake, table)


def history(folder: Path, runs: int) -> tuple[Lake, Path]:
    """A lake with `runs` earlier runs, one a night, all judged, maintained as it would be weekly."""
    lake, landing = Lake.open(folder / "lake"), folder / "landing"
    landing.mkdir(parents=True)
    for back in range(runs, 0, -1):
        run_file(landing, LAST - dt.timedelta(days=back))
    night(lake, landing, LAST)
    for table in CHECKED:
        lake.maintain(table)
    return lake, landing


def main() -> None:
    with tempfile.TemporaryDirectory() as parent:
        lakes = {runs: history(Path(parent, str(runs)), runs) for runs in (10, 1_000)}
        seconds: dict[int, list[float]] = {runs: [] for runs in lakes}
        for repeat in range(REPEATS):
            for runs, (lake, landing) in lakes.items():
                now = LAST + dt.timedelta(days=repeat)
                run_file(landing, now)
                began = time.perf_counter()
                night(lake, landing, now)
                seconds[runs].append(time.perf_counter() - began)
    medians = {runs: statistics.median(times[1:]) for runs, times in seconds.items()}
    for runs, median in medians.items():
        print(f"one new run on {runs:>5} earlier runs: {median:.2f} s (median of {REPEATS - 1})")
    print(f"ratio: {medians[1_000] / medians[10]:.2f}x (target: at most 1.30x)")


if __name__ == "__main__":
    main()
