"""Does safety cost? `lake.append` of a million rows against a bare `pyarrow.parquet` write of the same rows and codec.

Floor: `write_table` of the rows as an Arrow table that is ready in memory, zstd at the store's level, one file.
`append` starts from the Polars frame: it checks every rule of the contract, looks the token up, parts by date, writes,
and commits. Target: at most 2x.
"""

from __future__ import annotations

import datetime as dt
import hashlib
import os
import statistics
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import polars as pl
import pyarrow.parquet as pq
import zstandard

from lake.store import Lake
from lake.tables import contract_of

if TYPE_CHECKING:
    from collections.abc import Callable

    import pyarrow as pa

ROWS = 1_000_000
SAMPLES = 1_000
REPEATS = 7
DAY = dt.date(2026, 11, 20)
WORDS = """
    the model answers that a prime number has exactly two divisors because of what Euclid showed in Paris or London
    when 42 apples def return None json true false however therefore first second third finally
""".split()  # noqa: SIM905 - a list of forty words is read as a text


def texts(seed: np.random.Generator, count: int, length: int) -> list[str]:
    """Texts of `length` words."""
    return [" ".join(WORDS[place] for place in row) for row in seed.integers(0, len(WORDS), (count, length))]


def spread(pool: list[str], seed: np.random.Generator, rows: int) -> pl.Series:
    """`rows` texts drawn from a pool, each made different by its place, as answers of one model are."""
    drawn = pl.Series(pool).gather(seed.integers(0, len(pool), rows))
    return drawn + pl.Series(range(rows)).cast(pl.String)


def output_rows(rows: int = ROWS) -> pl.DataFrame:
    """`silver.outputs` of `rows / SAMPLES` runs: 40-word prompts, 60-word answers, two scores, two tags."""
    seed = np.random.default_rng(1)
    runs = rows // SAMPLES
    digests = [hashlib.sha256(str(number).encode()).hexdigest() for number in range(SAMPLES)]
    scores = [
        [{"scorer": "exact_match", "value": float(n % 2)}, {"scorer": "f1", "value": n / SAMPLES}]
        for n in range(SAMPLES)
    ]
    return pl.DataFrame(
        {
            "run_id": np.repeat([f"{number:08x}-aaaa-5bbb-8ccc-0123456789ab" for number in range(runs)], SAMPLES),
            "sample_id": [f"sample-{number:05d}" for number in range(SAMPLES)] * runs,
            "repeat_index": pl.zeros(rows, dtype=pl.Int32, eager=True),
            "run_date": pl.repeat(DAY, rows, eager=True),
            "prompt_digest": digests * runs,
            "prompt": texts(seed, SAMPLES, 40) * runs,
            "output": spread(texts(seed, 5_000, 60), seed, rows),
            "status": pl.repeat("ok", rows, eager=True),
            "finish_reason": pl.repeat("stop", rows, eager=True),
            "input_token_count": seed.integers(10, 200, rows),
            "output_token_count": seed.integers(10, 200, rows),
            "latency_ms": seed.gamma(2, 200, rows),
            "time_to_first_token_ms": seed.gamma(2, 20, rows),
            "scores": pl.concat([pl.Series(scores)] * runs),
            "tags": pl.concat([pl.Series([["arithmetic", "short"]] * SAMPLES)] * runs),
        }
    )


def raw_record_rows(rows: int = ROWS) -> pl.DataFrame:
    """`bronze.raw_records`: each record compressed on its own, so the file's codec finds nothing more to gain."""
    seed = np.random.default_rng(2)
    packer = zstandard.ZstdCompressor(level=3)
    pool = [packer.compress(text.encode()) for text in texts(seed, 20_000, 120)]
    files = [hashlib.sha256(str(number).encode()).hexdigest() for number in range(rows // SAMPLES)]
    return pl.DataFrame(
        {
            "file_sha256": np.repeat(files, SAMPLES),
            "member": pl.repeat("", rows, eager=True),
            "record_index": np.tile(np.arange(SAMPLES), rows // SAMPLES),
            "run_id": np.repeat(files, SAMPLES),
            "sample_id": [f"sample-{number:05d}" for number in range(SAMPLES)] * (rows // SAMPLES),
            "raw": pl.Series(pool, dtype=pl.Binary).gather(seed.integers(0, len(pool), rows)),
        }
    )


def seconds(work: Callable[[], object]) -> float:
    began = time.perf_counter()
    work()
    return time.perf_counter() - began


def bare_write(rows: pa.Table, folder: Path) -> None:
    pq.write_table(rows, folder / "rows.parquet", compression="zstd", compression_level=1)


def compare(table: str, rows: pl.DataFrame) -> float:
    """Median ratio of `append` to the bare write, alternating; prints both."""
    contract = contract_of(table)
    absent = [
        pl.lit(None, dtype=contract.dtypes[name]).alias(name) for name in set(contract.dtypes) - set(rows.columns)
    ]
    ready = rows.with_columns(absent).select(list(contract.dtypes)).to_arrow().cast(contract.arrow_schema)
    bare, ours = [], []
    for repeat in range(REPEATS):
        with tempfile.TemporaryDirectory() as folder:
            lake = Lake.open(Path(folder, "lake"))
            pair = [
                lambda folder=folder: bare.append(seconds(lambda: bare_write(ready, Path(folder)))),
                lambda lake=lake: ours.append(seconds(lambda: lake.append(table, rows, token="t"))),
            ]
            # Who goes first alternates, so that neither always meets a warm or a busy disk.
            for step in pair if repeat % 2 else reversed(pair):
                step()
            assert lake.row_count(table) == rows.height
            sizes = Path(folder, "rows.parquet").stat().st_size, stored_bytes(lake, table)
    ratio = statistics.median(our / floor for our, floor in zip(ours, bare, strict=True))
    print(
        f"{table}: append {statistics.median(ours):.2f} s, bare Parquet write {statistics.median(bare):.2f} s, "
        f"ratio {ratio:.2f} (target 2.00), {rows.height / statistics.median(ours):,.0f} rows/s; "
        f"{sizes[1] / 1e6:.0f} MB stored, bare {sizes[0] / 1e6:.0f} MB"
    )
    return ratio


def stored_bytes(lake: Lake, table: str) -> int:
    return sum(path.stat().st_size for path in Path(lake.table_uri(table)).rglob("*.parquet"))


def main() -> None:
    print(f"{ROWS:,} rows, median of {REPEATS} alternating repeats, {os.cpu_count()} cores")
    compare("silver.outputs", output_rows())
    compare("bronze.raw_records", raw_record_rows())


if __name__ == "__main__":
    main()
