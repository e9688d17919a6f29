"""Is all evidence on a pair of large runs made near the time of the least that it takes, in bounded memory?

Two runs of many samples, 64 tokens each with the log-probabilities of the likeliest five, are written to a lake; of a
third or so of the samples the texts part somewhere and differ from there on. Timed in turns, each in a process of its
own so that no peak is another's:

- *floor*: Polars alone reads the columns that the steps read from the same Parquet files and joins both runs on sample
  and repeat; then rapidfuzz finds the edits of the pairs that differ, of words that were split before the clock ran;
- *steps*: diff, contingencies, token divergence, comparison and gates, from lake to lake, as the night does them.

Then one pair's evidence is looked up in a lake of many outputs, narrow ones on many run dates, in a warm process: what
`benchlake diff RUN RUN --sample ID` does, and the pair's stored row with both texts.

`python -m tests.benchmarks.bench_evidence --samples 200000 --outputs 10000000` is the size that the targets are about.
The default is smaller, because filling the lakes takes a while.
"""

from __future__ import annotations

import argparse
import datetime as dt
import json
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, TypeVar
from urllib.parse import unquote

import numpy as np
import polars as pl
import pyarrow as pa
from rapidfuzz.distance import Indel

from lake.store import Lake
from lake.tables import contract_of
from pipelines.evidence.comparisons import COUNTED_COLUMNS, DIFFED_COLUMNS
from pipelines.evidence.contingencies import SCORED_COLUMNS
from pipelines.evidence.diff import split_words
from pipelines.evidence.policy import parse_policy
from pipelines.evidence.run_diffs import diff_runs
from pipelines.evidence.steps import (
    compare_runs,
    count_contingencies,
    diff_outputs,
    judge_gates,
    measure_token_divergence,
)
from pipelines.evidence.telling import with_texts
from pipelines.evidence.verdicts import JUDGED_COLUMNS
from pipelines.runs.remarks import find_run
from tests.benchmarks.bench_divergence import run_row

TOKENS_PER_SAMPLE, ALTERNATIVES, VOCABULARY = 64, 5, 50_000
BATCH_SAMPLES = 5_000
# A token in so many is another one, and after it every other.
PARTING_TOKENS, KEPT_AFTERWARDS = 160, 0.5
START = dt.datetime(2026, 11, 20, 2, tzinfo=dt.UTC)
TURNS = 3
POLICY = """
version: 1
comparisons:
  - {name: across, candidate: {backend: a}, baseline: {backend: b}}
gates:
  - {name: score_parity, family: score_parity, margin: 0.02}
  - {name: latency_regression, family: latency_regression, margin: 1.1, severity: warn}
  - {name: failure_rate, family: failure_rate, margin: 0.02}
"""
TOKENS, OUTPUTS, RUNS = "silver.output_tokens", "silver.outputs", "silver.runs"
GOLD = ("gold.output_diffs", "gold.contingencies", "gold.token_divergences", "gold.token_positions",
        "gold.run_comparisons", "gold.gate_results", "gold.policies")  # fmt: skip
OUTPUT_COLUMNS = tuple(
    dict.fromkeys((*DIFFED_COLUMNS, *COUNTED_COLUMNS, *SCORED_COLUMNS, *JUDGED_COLUMNS, "finish_reason",
                   "output_token_count"))
)  # fmt: skip
_Result = TypeVar("_Result")
PAIR = ["sample_id", "repeat_index"]
# What a lake of very many outputs is made of.
LOOKUP_SAMPLES, LOOKUP_RUNS_PER_DATE, LOOKUP_TURNS = 1_000, 20, 15


def main(words: Sequence[str] = ()) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--samples", type=int, default=20_000, help="of each of the two runs")
    parser.add_argument("--outputs", type=int, default=1_000_000, help="of the lake in which a pair is looked up")
    parser.add_argument("--turns", type=int, default=TURNS)
    parser.add_argument("--part", choices=["floor", "steps"], help="for the processes that this one starts")
    parser.add_argument("--lake", help="for the processes that this one starts, or a lake to keep")
    options = parser.parse_args(words)
    if options.part:
        measure = {"floor": _floor, "steps": _steps}[options.part]
        print(json.dumps(_measured(measure, Lake.open(options.lake))))
        return
    with tempfile.TemporaryDirectory() as parent:
        if options.samples:
            _compare_speed(Lake.open(Path(options.lake or parent, "pair")), options.samples, options.turns)
        if options.outputs:
            _look_up(Lake.open(Path(options.lake or parent, "many")), options.outputs)


def _compare_speed(lake: Lake, samples: int, turns: int) -> None:
    if not lake.exists(RUNS):
        fill_pair(lake, samples)
    found: dict[str, list[dict[str, Any]]] = {"floor": [], "steps": []}
    for _ in range(turns):
        for part, measured in found.items():
            measured.append(_in_a_process(part, lake))
    floor, steps = ({name: statistics.median(turn[name] for turn in turns) for name in ("wall", "cpu", "peak_mb")}
                    for turns in found.values())  # fmt: skip
    print(f"2 x {samples:,} samples of {TOKENS_PER_SAMPLE} tokens with {ALTERNATIVES} alternatives, {turns} turns")
    for name, took in (("floor", floor), ("steps", steps)):
        print(f"{name:<6} {took['wall']:7.1f} s, {took['cpu']:7.1f} CPU-s, peak {took['peak_mb']:,.0f} MB")
    for part, measured in found.items():
        print(f"{part}: " + ", ".join(f"{name} {seconds:.2f} s" for name, seconds in measured[-1]["parts"].items()))
    print(f"ratio: {steps['wall'] / floor['wall']:.2f}x the time of the bare join and rapidfuzz (target: below 4x)")
    print(f"ratio: {steps['cpu'] / floor['cpu']:.2f}x its CPU time; peak memory target: below 4,096 MB")
    print(f"found: {found['steps'][-1]['found']}")


def _in_a_process(part: str, lake: Lake) -> dict[str, Any]:
    command = [sys.executable, "-m", "tests.benchmarks.bench_evidence", "--part", part, "--lake", lake.uri]
    found: dict[str, Any] = json.loads(subprocess.run(command, check=True, stdout=subprocess.PIPE).stdout)
    return found


def _measured(measure: Callable[[Lake], dict[str, Any]], lake: Lake) -> dict[str, Any]:
    return measure(lake) | {"peak_mb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024}


class _Clock:
    """Wall and CPU seconds of named parts."""

    def __init__(self) -> None:
        self.parts: dict[str, float] = {}
        self.cpu = 0.0

    def time(self, name: str, call: Callable[[], _Result]) -> _Result:
        began, began_cpu = time.perf_counter(), time.process_time()
        result = call()
        self.parts[name] = time.perf_counter() - began
        self.cpu += time.process_time() - began_cpu
        return result

    def told(self, **found: object) -> dict[str, Any]:
        return {"wall": sum(self.parts.values()), "cpu": self.cpu, "parts": self.parts, "found": found}


def _floor(lake: Lake) -> dict[str, Any]:
    clock = _Clock()
    texts = clock.time("join outputs", lambda: _joined(lake, OUTPUTS, OUTPUT_COLUMNS))
    different = texts.filter(pl.col("output") != pl.col("output_baseline")).select("output_baseline", "output")
    pairs = [(split_words(baseline), split_words(candidate)) for baseline, candidate in different.iter_rows()]
    del texts
    clock.time("rapidfuzz", lambda: [Indel.opcodes(*pair) for pair in pairs])
    token_columns = ("run_id", *PAIR, "tokens", "token_ids", "token_bytes", "logprobs", "top_k")
    tokens = clock.time("join tokens", lambda: _joined(lake, TOKENS, token_columns))
    return clock.told(different=different.height, joined=tokens.height)


def _joined(lake: Lake, table: str, columns: Sequence[str]) -> pl.DataFrame:
    """Both runs beside each other, by Polars from the very files of the table."""
    handle = lake.handle(table)
    assert handle is not None
    scanned = pl.scan_parquet([unquote(uri) for uri in handle.file_uris()]).select(columns)
    sides = [scanned.filter(pl.col("run_id") == run_id).drop("run_id") for run_id in ("run-a", "run-b")]
    return sides[0].join(sides[1], on=PAIR, suffix="_baseline").collect()


def _steps(lake: Lake) -> dict[str, Any]:
    for table in GOLD:
        if lake.exists(table):
            lake.replace(table, contract_of(table).empty(), where={})
    policy, dates, clock = parse_policy(POLICY, source="gates.yaml"), [START.date()], _Clock()
    steps = (diff_outputs, count_contingencies, measure_token_divergence, compare_runs, judge_gates)
    for step in steps:
        clock.time(step.__name__, lambda step=step: step(lake, policy, dates, mode="all"))  # type: ignore[misc]
    kinds = lake.read("gold.output_diffs", columns=["change_kind"])["change_kind"]
    verdicts = lake.read("gold.gate_results", columns=["gate", "verdict"])
    return clock.told(kinds=dict(sorted(kinds.value_counts().iter_rows())), verdicts=dict(verdicts.iter_rows()))


def fill_pair(lake: Lake, samples: int) -> None:
    """Two runs of as many samples; texts are the tokens one after the other."""
    lake.upsert(RUNS, pl.DataFrame(
        [run_row("run-a", "a", samples), run_row("run-b", "b", samples)],
        schema_overrides={name: kind for name, kind in contract_of(RUNS).dtypes.items() if name in run_row("", "", 0)},
    ))  # fmt: skip
    words = pa.array([f" w{number}" for number in range(VOCABULARY)])
    for start in range(0, samples, BATCH_SAMPLES):
        rng, count = np.random.default_rng(start), min(BATCH_SAMPLES, samples - start)
        sample_ids = [f"s{number:07}" for number in range(start, start + count)]
        baseline = rng.integers(0, VOCABULARY - ALTERNATIVES, (count, TOKENS_PER_SAMPLE))
        parted = (rng.random(baseline.shape) < 1 / PARTING_TOKENS).cumsum(axis=1) > 0
        candidate = np.where(
            parted & (rng.random(baseline.shape) > KEPT_AFTERWARDS),
            rng.integers(0, VOCABULARY - ALTERNATIVES, baseline.shape),
            baseline,
        )
        weights = np.sort(rng.exponential(1.0, (baseline.size, ALTERNATIVES + 3)), axis=1)[:, ::-1] ** 3
        logprobs = np.log(weights / weights.sum(axis=1, keepdims=True))[:, :ALTERNATIVES]
        shaken = -np.sort(-np.minimum(logprobs + rng.normal(0, 0.02, logprobs.shape), -1e-6), axis=1)
        for run_id, ids, known in (("run-b", baseline, logprobs), ("run-a", candidate, shaken)):
            rows = _token_rows(run_id, sample_ids, ids.reshape(-1), known, words)
            lake.append(TOKENS, rows, token=f"{run_id} {start}")
            lake.append(OUTPUTS, _output_rows(run_id, rows, rng), token=f"{run_id} {start}")


def _token_rows(
    run_id: str, sample_ids: list[str], chosen: np.ndarray, logprobs: np.ndarray, words: pa.Array
) -> pl.DataFrame:
    size = len(chosen)
    ids = (chosen[:, None] + np.arange(ALTERNATIVES)).reshape(-1)
    top = pa.StructArray.from_arrays(
        [pa.array(ids), words.take(pa.array(ids)), pa.array(logprobs.reshape(-1))], ["token_id", "token", "logprob"]
    )
    inner = pa.array(np.arange(0, size * ALTERNATIVES + 1, ALTERNATIVES, dtype=np.int32))
    texts = words.take(pa.array(chosen))
    flat = {
        "tokens": texts,
        "token_ids": pa.array(chosen),
        "token_bytes": texts.cast(pa.binary()),
        "logprobs": pa.array(logprobs[:, 0]),
        "top_k": pa.ListArray.from_arrays(inner, top),
    }
    offsets = pa.array(np.arange(0, size + 1, TOKENS_PER_SAMPLE, dtype=np.int32))
    lists = pa.table({name: pa.ListArray.from_arrays(offsets, values) for name, values in flat.items()})
    frame = pl.DataFrame(lists).with_columns(
        run_id=pl.lit(run_id),
        sample_id=pl.Series(sample_ids),
        repeat_index=pl.lit(0, pl.Int32),
        run_date=START.date(),
    )
    return frame.select(list(contract_of(TOKENS).dtypes))


def _output_rows(run_id: str, tokens: pl.DataFrame, rng: np.random.Generator) -> pl.DataFrame:
    count = tokens.height
    score = pl.struct(scorer=pl.lit("exact_match"), value=pl.Series(rng.integers(0, 2, count).astype(float)))
    return tokens.select(
        "run_id", "run_date", *PAIR,
        prompt_digest=pl.lit("p") + pl.col("sample_id"),
        output=pl.col("tokens").list.join(""),
        status=pl.lit("ok"),
        finish_reason=pl.lit("length"),
        output_token_count=pl.lit(TOKENS_PER_SAMPLE, pl.Int64),
        latency_ms=pl.Series(rng.lognormal(4, 0.4, count)),
        scores=pl.concat_list(score),
        tags=pl.lit([], pl.List(pl.String)),
    ).with_columns(output_digest=pl.col("output").hash().cast(pl.String))  # fmt: skip


def _look_up(lake: Lake, outputs: int) -> None:
    if not lake.exists(RUNS):
        began = time.perf_counter()
        fill_many(lake, outputs)
        print(f"a lake of {lake.row_count(OUTPUTS):,} outputs was filled in {time.perf_counter() - began:.0f} s")
    day_count = -(-outputs // (LOOKUP_SAMPLES * LOOKUP_RUNS_PER_DATE))
    rng = np.random.default_rng(7)
    seconds: dict[str, list[float]] = {"diffed anew": [], "as it was stored": []}
    cpu_seconds: dict[str, list[float]] = {name: [] for name in seconds}
    for _ in range(LOOKUP_TURNS + 1):
        day, place = int(rng.integers(0, day_count)), int(rng.integers(0, LOOKUP_RUNS_PER_DATE // 2))
        ids, sample = _pair_ids(day, place), f"s{rng.integers(0, LOOKUP_SAMPLES):05}"
        for name, look_up in (("diffed anew", _diffed), ("as it was stored", _stored)):
            began, began_cpu = time.perf_counter(), time.process_time()
            found = look_up(lake, ids, sample, run_date=(START - dt.timedelta(days=day)).date())
            seconds[name].append(time.perf_counter() - began)
            cpu_seconds[name].append(time.process_time() - began_cpu)
            assert found.height == 1
    print(f"one pair's evidence of {lake.row_count(OUTPUTS):,} outputs, {LOOKUP_TURNS} turns (target: below 150 ms)")
    for name, took in seconds.items():
        warm = sorted(took[1:])
        print(
            f"{name:<17} median {1000 * statistics.median(warm):4.0f} ms, worst {1000 * warm[-1]:4.0f} ms, "
            f"first in the process {1000 * took[0]:4.0f} ms; "
            f"median {1000 * statistics.median(cpu_seconds[name][1:]):.0f} ms of CPU"
        )


def _diffed(lake: Lake, ids: tuple[str, str], sample: str, *, run_date: dt.date) -> pl.DataFrame:
    """`benchlake diff BASELINE CANDIDATE --sample SAMPLE`."""
    candidate, baseline = (find_run(lake, run_id) for run_id in ids)
    return diff_runs(lake, candidate=candidate, baseline=baseline, sample_id=sample).pairs


def _stored(lake: Lake, ids: tuple[str, str], sample: str, *, run_date: dt.date) -> pl.DataFrame:
    """The pair's row of `gold.output_diffs` with both texts, as pages show it."""
    where = {"run_date": run_date, "comparison_id": "-vs-".join(ids), "sample_id": sample}
    return with_texts(lake, lake.read("gold.output_diffs", where=where))


def _pair_ids(day: int, place: int) -> tuple[str, str]:
    return f"run-{day:05}-{2 * place:02}", f"run-{day:05}-{2 * place + 1:02}"


def fill_many(lake: Lake, outputs: int) -> None:
    """Runs of a thousand samples each, twenty a date, and the diffs of every second one against the next."""
    per_date = LOOKUP_SAMPLES * LOOKUP_RUNS_PER_DATE
    rows: list[dict[str, object]] = []
    for day in range(-(-outputs // per_date)):
        started_at = START - dt.timedelta(days=day)
        when = {"run_date": started_at.date(), "started_at": started_at}
        ids = [f"run-{day:05}-{number:02}" for number in range(LOOKUP_RUNS_PER_DATE)]
        rows += [run_row(run_id, "a", LOOKUP_SAMPLES) | when for run_id in ids]
        lake.append(OUTPUTS, _narrow_outputs(ids, day, started_at.date()), token=f"day {day}")
        pairs = [_pair_ids(day, place) for place in range(LOOKUP_RUNS_PER_DATE // 2)]
        lake.append("gold.output_diffs", _narrow_diffs(pairs, started_at.date()), token=f"day {day}")
    kinds = contract_of(RUNS).dtypes
    lake.upsert(RUNS, pl.DataFrame(rows, schema_overrides={name: kinds[name] for name in rows[0]}))


def _narrow_outputs(run_ids: Sequence[str], day: int, run_date: dt.date) -> pl.DataFrame:
    rng = np.random.default_rng(day)
    texts = [f"the answer is {number}" for number in rng.integers(0, 50, len(run_ids) * LOOKUP_SAMPLES)]
    keys = _keys("run_id", run_ids)
    return keys.with_columns(
        output=pl.Series(texts), output_digest=pl.Series(texts), run_date=pl.lit(run_date), status=pl.lit("ok"),
        prompt_digest=pl.lit("p") + pl.col("sample_id"), scores=pl.lit([], contract_of(OUTPUTS).dtypes["scores"]),
        tags=pl.lit([], pl.List(pl.String)),
    )  # fmt: skip


def _narrow_diffs(pairs: Sequence[tuple[str, str]], run_date: dt.date) -> pl.DataFrame:
    sides = pl.DataFrame(
        [("-vs-".join(pair), *pair) for pair in pairs],
        schema=["comparison_id", "candidate_run_id", "baseline_run_id"],
        orient="row",
    )
    keys = _keys("comparison_id", sides["comparison_id"].to_list()).join(sides, on="comparison_id")
    return keys.with_columns(run_date=pl.lit(run_date), change_kind=pl.lit("content"), similarity_ratio=pl.lit(0.9))


def _keys(name: str, values: Sequence[str]) -> pl.DataFrame:
    samples = [f"s{number:05}" for number in range(LOOKUP_SAMPLES)]
    frame = pl.DataFrame({name: np.repeat(values, LOOKUP_SAMPLES), "sample_id": samples * len(values)})
    return frame.with_columns(repeat_index=pl.lit(0, pl.Int32))


if __name__ == "__main__":
    main(sys.argv[1:])
