"""Is measuring token divergence near the time of the bare join of the same columns, in bounded memory?

Two runs of many samples, 64 tokens each with five alternatives, most of them alike up to somewhere, are written
to a lake. Timed: reading both runs whole and joining them in Polars, which is the least that any comparison of them
does; and the step, which reads, compares and writes. Each runs in a process of its own, so that the peak memory of one
is not the other's.

`python -m tests.benchmarks.bench_divergence --samples 200000` is the size that the target is about; the default is
smaller, because filling the lake takes a while.
"""

from __future__ import annotations

import argparse
import datetime as dt
import json
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pyarrow as pa

from lake.store import Lake
from lake.tables import contract_of
from pipelines.evidence.divergence_steps import measure_token_divergence
from pipelines.evidence.policy import parse_policy

TOKENS_PER_SAMPLE, ALTERNATIVES, VOCABULARY = 64, 5, 50_000
BATCH_SAMPLES = 5_000
START = dt.datetime(2026, 11, 20, 2, tzinfo=dt.UTC)
POLICY = """
version: 1
comparisons:
  - {name: across, candidate: {backend: a}, baseline: {backend: b}}
"""
TOKEN_TABLE = "silver.output_tokens"
_FINGERPRINT = [field.name for field in contract_of("silver.runs").dtypes["fingerprint"].fields]


def main(words: Sequence[str] = ()) -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--samples", type=int, default=20_000)
    parser.add_argument("--part", choices=["join", "step"], help="for the processes that this one starts")
    parser.add_argument("--lake", help="for the processes that this one starts")
    options = parser.parse_args(words)
    if options.part:
        print(json.dumps(_measured(options.part, Lake.open(options.lake))))
        return
    with tempfile.TemporaryDirectory() as parent:
        lake = Lake.open(Path(parent, "lake"))
        _fill(lake, options.samples)
        join, step = (_in_a_process(part, lake) for part in ("join", "step"))
        print(f"2 x {options.samples:,} samples of {TOKENS_PER_SAMPLE} tokens with {ALTERNATIVES} alternatives")
        for name, found in (("bare join", join), ("step", step)):
            print(f"{name:<10} {found['cpu']:6.1f} CPU-s, {found['wall']:6.1f} s, peak {found['peak_mb']:,.0f} MB")
        print(f"ratio: {step['cpu'] / join['cpu']:.2f}x the CPU time of the bare join (target: below 4x)")
        print(f"ratio: {step['wall'] / join['wall']:.2f}x its wall time; peak memory target: below 4,096 MB")
        print(f"classes: {step['kinds']}")


def _in_a_process(part: str, lake: Lake) -> dict[str, Any]:
    command = [sys.executable, "-m", "tests.benchmarks.bench_divergence", "--part", part, "--lake", lake.uri]
    found: dict[str, Any] = json.loads(subprocess.run(command, check=True, stdout=subprocess.PIPE).stdout)
    return found


def _measured(part: str, lake: Lake) -> dict[str, object]:
    began, began_cpu = time.perf_counter(), time.process_time()
    if part == "join":
        sides = [lake.read(TOKEN_TABLE, where={"run_id": run_id}) for run_id in ("run-a", "run-b")]
        joined = sides[0].join(sides[1], on=["sample_id", "repeat_index"])
        assert joined.height
    else:
        measure_token_divergence(lake, parse_policy(POLICY, source="gates.yaml"), [START.date()])
    found: dict[str, object] = {
        "wall": time.perf_counter() - began,
        "cpu": time.process_time() - began_cpu,
        "peak_mb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024,
    }
    if part == "step":
        kinds = lake.read("gold.token_divergences", columns=["divergence_kind"])["divergence_kind"]
        found["kinds"] = dict(sorted(kinds.value_counts().iter_rows()))
    return found


def _fill(lake: Lake, samples: int) -> None:
    """Two runs: of the second, one token in 500 differs, and every log-probability by a hundredth or so."""
    lake.upsert(
        "silver.runs",
        pl.DataFrame(
            [run_row("run-a", "a", samples), run_row("run-b", "b", samples)],
            schema_overrides={
                name: dtype for name, dtype in contract_of("silver.runs").dtypes.items() if name in run_row("", "", 0)
            },
        ),
    )
    words = pa.array([f" w{number}" for number in range(VOCABULARY)])
    for start in range(0, samples, BATCH_SAMPLES):
        count = min(BATCH_SAMPLES, samples - start)
        ids = [f"s{number}" for number in range(start, start + count)]
        baseline = _Draw.first(np.random.default_rng(start), count)
        for run_id, draw in (("run-b", baseline), ("run-a", baseline.shaken(np.random.default_rng(start + 1)))):
            lake.append(TOKEN_TABLE, draw.rows(run_id, ids, words), token=f"{run_id} {start}")
            outputs = pl.DataFrame({"sample_id": ids}).with_columns(
                run_id=pl.lit(run_id), repeat_index=pl.lit(0, pl.Int32), run_date=START.date(), status=pl.lit("ok"),
                finish_reason=pl.lit("length"), output_token_count=pl.lit(TOKENS_PER_SAMPLE, pl.Int64),
                scores=pl.lit([], contract_of("silver.outputs").dtypes["scores"]), tags=pl.lit([], pl.List(pl.String)),
            )  # fmt: skip
            lake.append("silver.outputs", outputs, token=f"{run_id} {start}")


class _Draw:
    """Tokens and alternatives of some samples as flat arrays; the chosen token is the likeliest."""

    def __init__(self, ids: np.ndarray, logprobs: np.ndarray) -> None:
        self.ids, self.logprobs = ids, logprobs

    @classmethod
    def first(cls, rng: np.random.Generator, count: int) -> _Draw:
        size = count * TOKENS_PER_SAMPLE
        ids = rng.integers(0, VOCABULARY - ALTERNATIVES, (size, 1)) + np.arange(ALTERNATIVES)
        weights = np.sort(rng.exponential(1.0, (size, ALTERNATIVES + 3)), axis=1)[:, ::-1] ** 3
        return cls(ids, np.log(weights / weights.sum(axis=1, keepdims=True))[:, :ALTERNATIVES])

    def shaken(self, rng: np.random.Generator) -> _Draw:
        logprobs = np.minimum(self.logprobs + rng.normal(0, 0.02, self.logprobs.shape), -1e-6)
        ids = self.ids.copy()
        flips = rng.random(len(ids)) < 1 / 500
        ids[flips, :2] = ids[flips, 1::-1]
        return _Draw(ids, -np.sort(-logprobs, axis=1))

    def rows(self, run_id: str, samples: list[str], words: pa.Array) -> pl.DataFrame:
        size, ids = len(self.ids), self.ids.reshape(-1)
        top = pa.StructArray.from_arrays(
            [pa.array(ids), words.take(pa.array(ids)), pa.array(self.logprobs.reshape(-1))],
            ["token_id", "token", "logprob"],
        )
        top_k = pa.ListArray.from_arrays(
            pa.array(np.arange(0, size * ALTERNATIVES + 1, ALTERNATIVES, dtype=np.int32)), top
        )
        chosen = words.take(pa.array(self.ids[:, 0]))
        flat = {
            "tokens": chosen,
            "token_ids": pa.array(self.ids[:, 0]),
            "token_bytes": chosen.cast(pa.binary()),
            "logprobs": pa.array(self.logprobs[:, 0]),
            "top_k": top_k,
        }
        offsets = pa.array(np.arange(0, size + 1, TOKENS_PER_SAMPLE, dtype=np.int32))
        lists = pa.table({name: pa.ListArray.from_arrays(offsets, values) for name, values in flat.items()})
        frame = pl.DataFrame(lists).with_columns(
            run_id=pl.lit(run_id), sample_id=pl.Series(samples), repeat_index=pl.lit(0, pl.Int32), run_date=START.date()
        )
        return frame.select(list(contract_of(TOKEN_TABLE).dtypes))


def run_row(run_id: str, backend: str, samples: int) -> dict[str, object]:
    return {
        "run_id": run_id, "run_date": START.date(), "source_kind": "benchlake", "file_sha256": "0" * 64,
        "content_digest": run_id, "suite": "bench", "backend": backend, "model": "m", "engine": backend,
        "engine_version": "1",
        "fingerprint": dict.fromkeys(_FINGERPRINT) | {"tokenizer": "t", "logprobs_mode": "raw"},
        "code_version": dict.fromkeys(("commit", "branch", "pull_request", "is_dirty", "repository_url")),
        "tags": [], "started_at": START, "status": "success", "expected_sample_count": samples,
    }  # fmt: skip


if __name__ == "__main__":
    main(sys.argv[1:])
