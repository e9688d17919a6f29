"""Where do an output's tokens and their ten likeliest alternatives belong? docs/decisions/0002 rests on this.

Four layouts of the same tokens, written, compacted and read through the same store:
- nested: a list of structs inside `silver.outputs`;
- beside: one row per output with a list of structs, in a table of its own;
- aligned: the same, but one list a field (ids, texts, bytes, log-probabilities, alternatives) instead of structs
  (the contract `silver.output_tokens`);
- exploded: one row per token, with the alternatives in a list.
"""

from __future__ import annotations

import datetime as dt
import statistics
import tempfile
import time
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import dataframely as dy
import numpy as np
import polars as pl
import pyarrow as pa

from lake.contracts import TableContract
from lake.store import Lake
from lake.tables import CONTRACTS, contract_of
from lake.tables.runs import Outputs

if TYPE_CHECKING:
    from collections.abc import Callable

DAYS, RUNS_A_DAY, SAMPLES, TOKENS, ALTERNATIVES = 3, 50, 40, 64, 10
VOCABULARY = 49_152
REPEATS = 5
FIRST_DAY = dt.date(2026, 11, 1)
KEY = ["run_id", "sample_id", "repeat_index", "run_date"]
FIELDS = ["token_id", "token", "bytes", "logprob", "top_k"]
ALTERNATIVE = dy.Struct({"token_id": dy.Int64(nullable=True), "token": dy.String(), "logprob": dy.Float64()})

TOKEN = dy.Struct(
    {
        "token_id": dy.Int64(nullable=True),
        "token": dy.String(),
        "bytes": dy.Binary(nullable=True),
        "logprob": dy.Float64(nullable=True),
        "top_k": dy.List(ALTERNATIVE, nullable=True),
    }
)
# The lists of the contract, in the order of FIELDS.
LISTS = ["token_ids", "tokens", "token_bytes", "logprobs", "top_k"]


class OutputsWithTokens(Outputs):
    """`silver.outputs` with the tokens inside."""

    tokens = dy.List(TOKEN, nullable=True, description="Generated tokens in order.")


class StructTokens(dy.Schema):
    """One list of structs."""

    run_id = dy.String(primary_key=True)
    sample_id = dy.String(primary_key=True)
    repeat_index = dy.Int32(primary_key=True)
    run_date = dy.Date()
    tokens = dy.List(TOKEN)


class ExplodedTokens(dy.Schema):
    """One row per token."""

    run_id = dy.String(primary_key=True)
    sample_id = dy.String(primary_key=True)
    repeat_index = dy.Int32(primary_key=True)
    token_index = dy.Int32(primary_key=True)
    run_date = dy.Date()
    token_id = dy.Int64(nullable=True)
    token = dy.String()
    bytes = dy.Binary(nullable=True)
    logprob = dy.Float64(nullable=True)
    top_k = dy.List(ALTERNATIVE, nullable=True)


def bench_contract(name: str, schema: type[dy.Schema], *sort_by: str) -> TableContract:
    return TableContract(
        name=name, layer="silver", grain="One row per row.", schema=schema, partition_by=("run_date",), sort_by=sort_by
    )


NESTED = bench_contract("bench_nested", OutputsWithTokens, *KEY[:3])
STRUCTS = bench_contract("bench_structs", StructTokens, *KEY[:3])
EXPLODED = bench_contract("bench_exploded", ExplodedTokens, *KEY[:3], "token_index")


@dataclass(frozen=True)
class Layout:
    """Which table holds the outputs, which the tokens, their columns, and all log-probabilities in SQL."""

    outputs: str
    tokens: str
    columns: list[str]
    logprobs: str


LAYOUTS = {
    "nested": Layout(NESTED.address, NESTED.address, [*KEY, "tokens"], "select unnest(tokens).logprob"),
    "beside": Layout("silver.outputs", STRUCTS.address, [*KEY, "tokens"], "select unnest(tokens).logprob"),
    "aligned": Layout("silver.outputs", "silver.output_tokens", [*KEY, *LISTS], "select unnest(logprobs)"),
    "exploded": Layout("silver.outputs", EXPLODED.address, [*KEY, "token_index", *FIELDS], "select logprob"),
}


def token_structs(seed: np.random.Generator, tokens: int) -> pl.DataFrame:
    """One row a token. Ids are as frequent as words are, log-probabilities fall and have single precision; the
    chosen token is the likeliest alternative, as in greedy decoding."""
    ids = pa.array(np.minimum(seed.zipf(1.3, tokens * ALTERNATIVES), VOCABULARY) - 1)
    vocabulary = pa.array([f" t{number:x}" if number % 3 else f"{number:x}" for number in range(VOCABULARY)])
    falls = seed.exponential(0.9, (tokens, ALTERNATIVES)).astype(np.float32)
    logprobs = (-np.cumsum(falls, axis=1)).astype(np.float64).ravel()
    flat = pa.StructArray.from_arrays([ids, vocabulary.take(ids), pa.array(logprobs)], ["token_id", "token", "logprob"])
    offsets = pa.array(np.arange(0, tokens * ALTERNATIVES + 1, ALTERNATIVES, dtype=np.int32))
    frame = pl.DataFrame({"top_k": pl.Series(pa.ListArray.from_arrays(offsets, flat))})
    likeliest = pl.col("top_k").list.first().struct
    chosen = frame.with_columns(likeliest.field("token_id"), likeliest.field("token"), likeliest.field("logprob"))
    return chosen.with_columns(bytes=pl.col("token").cast(pl.Binary)).select(FIELDS)


def exploded_tokens(outputs: pl.DataFrame, seed: np.random.Generator) -> pl.DataFrame:
    """`TOKENS` tokens for each output, one row a token."""
    index = pl.int_range(0, TOKENS, dtype=pl.Int32, eager=True).alias("token_index").to_frame()
    keys = outputs.select(KEY).join(index, how="cross", maintain_order="left_right")
    return keys.hstack(token_structs(seed, keys.height))


def day_of_outputs(day: int) -> pl.DataFrame:
    """The outputs of a day's runs."""
    seed = np.random.default_rng(day)
    count = RUNS_A_DAY * SAMPLES
    runs = [f"{day:04x}{run:04x}-aaaa-5bbb-8ccc-0123456789ab" for run in range(RUNS_A_DAY)]
    words = seed.integers(0, 900, (count, TOKENS))
    return pl.DataFrame(
        {
            "run_id": np.repeat(runs, SAMPLES),
            "sample_id": [f"sample-{number:03d}" for number in range(SAMPLES)] * RUNS_A_DAY,
            "repeat_index": pl.zeros(count, dtype=pl.Int32, eager=True),
            "run_date": pl.repeat(FIRST_DAY + dt.timedelta(days=day), count, eager=True),
            "output": [" ".join(f"word{number}" for number in row) for row in words],
            "status": pl.repeat("ok", count, eager=True),
            "latency_ms": seed.gamma(2, 200, count),
            "scores": [[{"scorer": "exact_match", "value": float(number % 2)}] for number in range(count)],
            "tags": [["short"]] * count,
        }
    )


def shaped(name: str, outputs: pl.DataFrame, tokens: pl.DataFrame) -> dict[str, pl.DataFrame]:
    """{table: rows} as the layout wants them; `tokens` has one row a token."""
    layout = LAYOUTS[name]
    if name == "exploded":
        return {layout.outputs: outputs, layout.tokens: tokens}
    if name == "aligned":
        lists = [pl.col(field).alias(column) for field, column in zip(FIELDS, LISTS, strict=True)]
        aligned = tokens.group_by(KEY, maintain_order=True).agg(lists)
        return {layout.outputs: outputs, layout.tokens: aligned}
    beside = tokens.group_by(KEY, maintain_order=True).agg(tokens=pl.struct(FIELDS))
    if name == "beside":
        return {layout.outputs: outputs, layout.tokens: beside}
    return {layout.outputs: outputs.join(beside, on=KEY, maintain_order="left")}


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


def write(lake: Lake, name: str, days: list[tuple[pl.DataFrame, pl.DataFrame]]) -> float:
    """Append run by run, as the importer does, in commits of ten; gives the seconds."""
    total = 0.0
    for day, (outputs, tokens) in enumerate(days):
        for start in range(0, RUNS_A_DAY, 10):
            runs = pl.col("run_id").is_in(outputs["run_id"].unique(maintain_order=True)[start : start + 10].implode())
            for table, rows in shaped(name, outputs.filter(runs), tokens.filter(runs)).items():
                total += seconds(partial(lake.append, table, rows, token=f"{day}-{start}"))
    return total


def measure(lake: Lake, name: str, days: list[tuple[pl.DataFrame, pl.DataFrame]]) -> dict[str, float]:
    """Every figure of one layout."""
    layout = LAYOUTS[name]
    figures = {"write s": write(lake, name, days)}
    tables = {layout.outputs, layout.tokens}
    figures["compact s"] = sum(seconds(partial(lake.maintain, table)) for table in tables)
    figures["stored MB"] = stored_bytes(lake, name) / 1e6
    outputs, tokens = days[1]
    run = {"run_id": outputs["run_id"][20 * SAMPLES], "run_date": outputs["run_date"][0]}
    mine = outputs.filter(run_id=run["run_id"]), tokens.filter(run_id=run["run_id"])
    plain = list(contract_of("silver.outputs").dtypes)
    summary = f"select run_id, avg(latency_ms), max(length(output)) from {layout.outputs} group by 1"
    logprobs = f"select avg(logprob) from ({layout.logprobs} as logprob from {layout.tokens})"
    works: dict[str, Callable[[int], object]] = {
        "outputs without tokens ms": lambda _: lake.read(layout.outputs, columns=plain),
        "SQL over outputs ms": lambda _: lake.sql(summary),
        "tokens of one run ms": lambda _: lake.read(layout.tokens, columns=layout.columns, where=run),
        "SQL mean logprob ms": lambda _: lake.sql(logprobs),
        "upsert outputs of a run ms": lambda number: correct_latencies(lake, name, *mine, number),
        "upsert tokens of a run ms": lambda number: correct_tokens(lake, name, *mine, number),
    }
    for what, work in works.items():
        figures[what] = 1_000 * statistics.median(seconds(partial(work, number)) for number in range(REPEATS))
    return figures


def correct_latencies(lake: Lake, name: str, outputs: pl.DataFrame, tokens: pl.DataFrame, number: int) -> None:
    """Every output of one run changes; its tokens do not."""
    table, rows = next(iter(shaped(name, outputs.with_columns(latency_ms=pl.lit(float(number))), tokens).items()))
    assert lake.upsert(table, rows).rows_written == SAMPLES


def correct_tokens(lake: Lake, name: str, outputs: pl.DataFrame, tokens: pl.DataFrame, number: int) -> None:
    """A run comes again with other tokens, as many as before."""
    again = exploded_tokens(outputs, np.random.default_rng(1_000 + number))
    table, rows = list(shaped(name, outputs, again).items())[-1]
    assert lake.upsert(table, rows).rows_written == rows.height


def main() -> None:
    CONTRACTS.update({contract.address: contract for contract in (NESTED, STRUCTS, EXPLODED)})
    days = []
    for day in range(DAYS):
        outputs = day_of_outputs(day)
        days.append((outputs, exploded_tokens(outputs, np.random.default_rng(100 + day))))
    print(
        f"{DAYS} days x {RUNS_A_DAY} runs x {SAMPLES} outputs x {TOKENS} tokens x {ALTERNATIVES} alternatives; "
        f"medians of {REPEATS}; in brackets against beside"
    )
    with tempfile.TemporaryDirectory() as folder:
        results = {name: measure(Lake.open(Path(folder, name)), name, days) for name in LAYOUTS}
    print(f"{'':28}" + "".join(f"{name:>18}" for name in results))
    for what, base in results["beside"].items():
        cells = (f"{figures[what]:10.1f} ({figures[what] / base:.2f})" for figures in results.values())
        print(f"{what:28}" + "".join(f"{cell:>18}" for cell in cells))


if __name__ == "__main__":
    main()
