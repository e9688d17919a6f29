"""Where do an output's tokens and their ten likeliest alternatives belong? docs/decisions/0002 rests on this.

Three layouts of the same tokens, written, compacted and read through the same store:
- nested: a list column inside `silver.outputs`;
- beside: one row per output with a list column, in a table of its own (the contract `silver.output_tokens`);
- exploded: one row per token, with the alternatives in a list.
"""

from __future__ import annotations

import datetime as dt
import statistics
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import dataframely as dy
import numpy as np
import polars as pl
import pyarrow as pa

from lake.contracts import TableContract
from lake.store import Lake
from lake.tables import CONTRACTS, contract_of
from lake.tables.runs import Outputs, OutputTokens

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

RUNS, RUNS_A_DAY, SAMPLES, TOKENS, ALTERNATIVES = 100, 10, 40, 64, 10
VOCABULARY = 49_152
REPEATS = 5
FIRST_DAY = dt.date(2026, 11, 1)
OUTPUT_KEY = ["run_id", "sample_id", "repeat_index", "run_date"]


class OutputsWithTokens(Outputs):
    """`silver.outputs` with the tokens inside."""

    tokens = dy.List(OutputTokens.columns()["tokens"].inner, nullable=True, description="Generated tokens in order.")


class Tokens(dy.Schema):
    """One row per token."""

    run_id = dy.String(primary_key=True, description="Run.")
    sample_id = dy.String(primary_key=True, description="Sample.")
    repeat_index = dy.Int32(primary_key=True, description="Repeat.")
    token_index = dy.Int32(primary_key=True, description="Place of the token.")
    run_date = dy.Date(description="Date of the run.")
    token_id = dy.Int64(nullable=True, description="Token id.")
    token = dy.String(description="Token text.")
    bytes = dy.Binary(nullable=True, description="Bytes of the token.")
    logprob = dy.Float64(nullable=True, description="Natural-log probability.")
    top_k = dy.List(
        OutputTokens.columns()["tokens"].inner.inner["top_k"].inner, nullable=True, description="Alternatives."
    )


def contract(name: str, schema: type[dy.Schema], *sort_by: str) -> TableContract:
    return TableContract(
        name=name, layer="silver", grain="One row per row.", schema=schema, partition_by=("run_date",), sort_by=sort_by
    )


NESTED = contract("bench_outputs_with_tokens", OutputsWithTokens, "run_id", "sample_id", "repeat_index")
EXPLODED = contract("bench_tokens", Tokens, "run_id", "sample_id", "repeat_index", "token_index")


@dataclass(frozen=True)
class Layout:
    """Which table holds the outputs, which the tokens, and the rows of both for a day's runs."""

    outputs: str
    tokens: str
    mean_logprob: str


LAYOUTS = {
    "nested": Layout(
        NESTED.address,
        NESTED.address,
        f"select avg(t.logprob) from (select unnest(tokens) as t from {NESTED.address})",
    ),
    "beside": Layout(
        "silver.outputs",
        "silver.output_tokens",
        "select avg(t.logprob) from (select unnest(tokens) as t from silver.output_tokens)",
    ),
    "exploded": Layout("silver.outputs", EXPLODED.address, f"select avg(logprob) from {EXPLODED.address}"),
}


def alternatives(seed: np.random.Generator, tokens: int) -> pa.Array:
    """Flat structs, ten a token: ids as frequent as words are, log-probabilities falling, of single precision."""
    count = tokens * ALTERNATIVES
    ids = np.minimum(seed.zipf(1.3, count), VOCABULARY) - 1
    words = pa.array([f" t{number:x}" if number % 3 else f"{number:x}" for number in range(VOCABULARY)])
    steps = seed.exponential(0.9, (tokens, ALTERNATIVES)).astype(np.float32)
    logprobs = (-np.cumsum(steps, axis=1)).astype(np.float64).ravel()
    return pa.StructArray.from_arrays(
        [pa.array(ids), words.take(pa.array(ids)), pa.array(logprobs)], ["token_id", "token", "logprob"]
    )


def token_structs(seed: np.random.Generator, tokens: int) -> pa.StructArray:
    """The chosen token is the likeliest alternative, as in greedy decoding."""
    flat = alternatives(seed, tokens)
    offsets = pa.array(np.arange(0, tokens * ALTERNATIVES + 1, ALTERNATIVES, dtype=np.int32))
    chosen = flat.take(pa.array(np.arange(0, tokens * ALTERNATIVES, ALTERNATIVES)))
    text = chosen.field("token")
    return pa.StructArray.from_arrays(
        [
            chosen.field("token_id"),
            text,
            text.cast(pa.binary()),
            chosen.field("logprob"),
            pa.ListArray.from_arrays(offsets, flat),
        ],
        ["token_id", "token", "bytes", "logprob", "top_k"],
    )


def day_of_runs(day: int) -> tuple[pl.DataFrame, pl.DataFrame]:
    """Outputs of ten runs, and their tokens nested beside the key."""
    seed = np.random.default_rng(day)
    count = RUNS_A_DAY * SAMPLES
    outputs = pl.DataFrame(
        {
            "run_id": [
                f"{day:04x}{run:04x}-aaaa-5bbb-8ccc-0123456789ab" for run in range(RUNS_A_DAY) for _ in range(SAMPLES)
            ],
            "sample_id": [f"sample-{number:03d}" for number in range(SAMPLES)] * RUNS_A_DAY,
            "repeat_index": pl.zeros(count, dtype=pl.Int32, eager=True),
            "run_date": pl.repeat(FIRST_DAY + dt.timedelta(days=day), count, eager=True),
            "output": [" ".join(f"word{number}" for number in row) for row in seed.integers(0, 900, (count, TOKENS))],
            "status": pl.repeat("ok", count, eager=True),
            "latency_ms": seed.gamma(2, 200, count),
            "scores": [[{"scorer": "exact_match", "value": float(number % 2)}] for number in range(count)],
            "tags": [["short"]] * count,
        }
    )
    offsets = pa.array(np.arange(0, count * TOKENS + 1, TOKENS, dtype=np.int32))
    tokens = pl.Series("tokens", pa.ListArray.from_arrays(offsets, token_structs(seed, count * TOKENS)))
    return outputs, outputs.select(OUTPUT_KEY).with_columns(tokens)


def explode(beside: pl.DataFrame) -> pl.DataFrame:
    """One row per token."""
    index = pl.int_ranges(0, pl.col("tokens").list.len(), dtype=pl.Int32).alias("token_index")
    return beside.with_columns(index).explode("tokens", "token_index").unnest("tokens")


def shaped(name: str, outputs: pl.DataFrame, tokens: pl.DataFrame) -> Iterator[tuple[str, pl.DataFrame]]:
    """(table, rows) as the layout wants them."""
    layout = LAYOUTS[name]
    if name == "nested":
        yield layout.outputs, outputs.join(tokens, on=OUTPUT_KEY, maintain_order="left")
        return
    yield layout.outputs, outputs
    yield layout.tokens, tokens if name == "beside" else explode(tokens)


def seconds(work: Callable[[], object]) -> float:
    began = time.perf_counter()
    work()
    return time.perf_counter() - began


def stored_bytes(lake: Lake, name: str) -> int:
    """Bytes of the files of the newest version."""
    total = 0
    for table in {LAYOUTS[name].outputs, LAYOUTS[name].tokens}:
        handle = lake.handle(table)
        assert handle is not None
        total += int(pl.DataFrame(handle.get_add_actions(flatten=True))["size_bytes"].sum())
    return total


def measure(name: str, lake: Lake, days: list[tuple[pl.DataFrame, pl.DataFrame]]) -> dict[str, float]:
    layout = LAYOUTS[name]
    batches = [list(shaped(name, *day)) for day in days]
    figures = {
        "write s": sum(
            seconds(lambda: lake.append(table, rows, token=f"{number}-{table}"))
            for number, batch in enumerate(batches)
            for table, rows in batch
        )
    }
    for table in {layout.outputs, layout.tokens}:
        lake.maintain(table)
    figures["stored MB"] = stored_bytes(lake, name) / 1e6
    outputs, tokens = days[len(days) // 2]
    run = {"run_id": outputs["run_id"][SAMPLES], "run_date": outputs["run_date"][0]}
    mine = outputs.filter(run_id=run["run_id"]), tokens.filter(run_id=run["run_id"])
    token_columns = [
        name for name in contract_of(layout.tokens).dtypes if name in {*OUTPUT_KEY, *Tokens.column_names(), "tokens"}
    ]
    plain = [name for name in contract_of("silver.outputs").dtypes]
    repeated: dict[str, Callable[[int], Any]] = {
        "scan outputs ms": lambda _: lake.read(layout.outputs, columns=plain),
        "SQL over outputs ms": lambda _: lake.sql(
            f"select run_id, avg(latency_ms), max(length(output)) from {layout.outputs} group by 1"
        ),
        "tokens of one run ms": lambda _: lake.read(layout.tokens, columns=token_columns, where=run),
        "SQL mean logprob ms": lambda _: lake.sql(layout.mean_logprob),
        "upsert scores of a run ms": lambda number: rescore(name, lake, *mine, number),
        "upsert tokens of a run ms": lambda number: correct_tokens(name, lake, *mine, number),
    }
    for what, work in repeated.items():
        figures[what] = 1_000 * statistics.median(seconds(lambda: work(number)) for number in range(REPEATS))
    return figures


def rescore(name: str, lake: Lake, outputs: pl.DataFrame, tokens: pl.DataFrame, number: int) -> None:
    """Every score of one run changes; its tokens do not."""
    table, rows = next(shaped(name, outputs.with_columns(latency_ms=pl.lit(float(number))), tokens))
    assert lake.upsert(table, rows).rows_written == SAMPLES


def correct_tokens(name: str, lake: Lake, outputs: pl.DataFrame, tokens: pl.DataFrame, number: int) -> None:
    """A run comes again with other tokens."""
    changed = token_structs(np.random.default_rng(1_000 + number), SAMPLES * TOKENS)
    offsets = pa.array(np.arange(0, SAMPLES * TOKENS + 1, TOKENS, dtype=np.int32))
    again = tokens.with_columns(pl.Series("tokens", pa.ListArray.from_arrays(offsets, changed)))
    table, rows = list(shaped(name, outputs, again))[-1]
    lake.upsert(table, rows)


def main() -> None:
    CONTRACTS.update({NESTED.address: NESTED, EXPLODED.address: EXPLODED})
    days = [day_of_runs(day) for day in range(RUNS // RUNS_A_DAY)]
    print(f"{RUNS} runs x {SAMPLES} outputs x {TOKENS} tokens x {ALTERNATIVES} alternatives; medians of {REPEATS}")
    with tempfile.TemporaryDirectory() as folder:
        results = {name: measure(name, Lake.open(Path(folder, name)), days) for name in LAYOUTS}
    print(f"{'':28}" + "".join(f"{name:>12}" for name in results) + "   nested/beside  exploded/beside")
    for what in results["beside"]:
        row = {name: figures[what] for name, figures in results.items()}
        ratios = f"{row['nested'] / row['beside']:16.2f}{row['exploded'] / row['beside']:17.2f}"
        print(f"{what:28}" + "".join(f"{value:12.1f}" for value in row.values()) + ratios)


if __name__ == "__main__":
    main()
