"""One row a position, or one row a pair with a list a field? docs/decisions/0005 rests on this.

The same positions in both layouts, through the same store: written, written again unchanged, one pair looked up, and
summed up by SQL.
"""

from __future__ import annotations

import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import dataframely as dy
import numpy as np
import polars as pl

from lake.contracts import TableContract
from lake.store import Lake
from lake.tables import CONTRACTS
from pipelines.evidence.token_positions import POSITIONS
from tests.evidence.rows import START

PAIRS, TOKENS, REPEATS = 10_000, 64, 5
KEY = ["comparison_id", "sample_id", "repeat_index"]
LISTS = [
    "candidate_token_indexes", "baseline_token_indexes", "candidate_logprobs", "baseline_logprobs", "kl_lower",
    "kl_upper", "has_same_top",
]  # fmt: skip


class PositionRows(dy.Schema):
    """One row a position."""

    comparison_id = dy.String(primary_key=True)
    sample_id = dy.String(primary_key=True)
    repeat_index = dy.Int32(primary_key=True)
    position_index = dy.Int32(primary_key=True)
    run_date = dy.Date()
    candidate_token_indexes = dy.Int32()
    baseline_token_indexes = dy.Int32()
    candidate_logprobs = dy.Float64(nullable=True)
    baseline_logprobs = dy.Float64(nullable=True)
    kl_lower = dy.Float64(nullable=True)
    kl_upper = dy.Float64(nullable=True)
    has_same_top = dy.Bool(nullable=True)


ROWS = TableContract(
    name="bench_position_rows",
    layer="gold",
    grain="One row per position.",
    schema=PositionRows,
    partition_by=("run_date",),
    sort_by=(*KEY, "position_index"),
)


def main() -> None:
    CONTRACTS[ROWS.address] = ROWS
    nested, exploded = _positions()
    with tempfile.TemporaryDirectory() as folder:
        lake = Lake.open(folder)
        layouts = {"lists": (POSITIONS, nested), "rows": (ROWS.address, exploded)}
        print(f"{PAIRS:,} pairs of {TOKENS} positions; median of {REPEATS}, seconds")
        for name, (table, rows) in layouts.items():
            where = {"run_date": START.date(), "comparison_id": "c"}
            mean = f"select avg(kl) from (select unnest(kl_lower) as kl from {table})"
            steps: dict[str, Callable[[], object]] = {
                "write": lambda table=table, rows=rows, where=where: (
                    lake.replace(table, rows.clear(), where=where),
                    lake.replace(table, rows, where=where),
                ),
                "write unchanged": lambda table=table, rows=rows, where=where: lake.replace(table, rows, where=where),
                "look up one pair": lambda table=table: lake.read(
                    table, where={"comparison_id": "c", "sample_id": "s77"}
                ),
                "SQL mean of kl_lower": lambda table=table, mean=mean: lake.sql(
                    mean if table == POSITIONS else f"select avg(kl_lower) from {table}"
                ),
            }
            took = {what: _median(step) for what, step in steps.items()}
            size = sum(path.stat().st_size for path in Path(lake.table_uri(table)).rglob("*.parquet")) / (REPEATS + 1)
            print(
                f"{name:<6} {size / 1e6:6.1f} MB  " + "  ".join(f"{what} {value:.3f}" for what, value in took.items())
            )


def _median(step: Callable[[], object]) -> float:
    seconds = []
    for _ in range(REPEATS + 1):
        began = time.perf_counter()
        step()
        seconds.append(time.perf_counter() - began)
    return statistics.median(seconds[1:])


def _positions() -> tuple[pl.DataFrame, pl.DataFrame]:
    """The same positions with a list a field and as one row each."""
    rng = np.random.default_rng(7)
    size = PAIRS * TOKENS
    logprobs = np.round(-rng.exponential(0.7, size), 6)
    index = np.tile(np.arange(TOKENS, dtype=np.int32), PAIRS)
    flat = pl.DataFrame(
        {
            "comparison_id": ["c"] * size,
            "sample_id": np.repeat([f"s{number}" for number in range(PAIRS)], TOKENS),
            "repeat_index": np.zeros(size, dtype=np.int32),
            "run_date": [START.date()] * size,
            "position_index": index,
            "candidate_token_indexes": index,
            "baseline_token_indexes": index,
            "candidate_logprobs": np.round(logprobs + rng.normal(0, 0.02, size), 6),
            "baseline_logprobs": logprobs,
            "kl_lower": rng.exponential(0.003, size),
            "kl_upper": rng.exponential(10.0, size),
            "has_same_top": rng.random(size) > 0.02,
        }
    )
    keys = [*KEY, "run_date"]
    nested = flat.group_by(keys, maintain_order=True).agg(LISTS)
    whole = nested.with_columns(first_position_index=pl.lit(0, pl.Int64))
    return whole.select(list(CONTRACTS[POSITIONS].dtypes)), flat.select(list(ROWS.dtypes))


if __name__ == "__main__":
    main()
