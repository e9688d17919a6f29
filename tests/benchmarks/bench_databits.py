"""DataBits in bulk: JSON lines into versions, lineage, near-duplicates, each beside a named floor or peer.

Floors: Polars reads the same JSON lines and writes them as Parquet, zstd, in batches of the same size; nothing is
checked, numbered or looked up there. Peer of MinHash: datasketch. `BENCHLAKE_BENCH_ROWS` sets the units (a million).
Memory is the peak of the process while it imports, less what it held before.
"""

from __future__ import annotations

import datetime as dt
import multiprocessing
import os
import resource
import statistics
import tempfile
import time
from pathlib import Path

import orjson
import polars as pl

from lake.store import Lake
from pipelines.databits.import_files import BATCH_ROWS
from pipelines.databits.importing import ImportOptions, import_databits
from pipelines.databits.lineage_steps import update_lineage
from pipelines.databits.minhash import bands, normalised
from pipelines.databits.revising import Changes, Hand, revise_databit
from tests.benchmarks.bench_append import WORDS

ROWS = int(os.environ.get("BENCHLAKE_BENCH_ROWS", "1_000_000"))
NOON = dt.datetime(2026, 11, 20, 12, tzinfo=dt.UTC)
MINHASH_TEXTS = 2_000
REPEATS = 3


def write_lines(path: Path, rows: int) -> None:
    """Units of 60 words with licence and two search keys; every tenth is made from the unit ten before it."""
    with path.open("wb") as stream:
        for number in range(rows):
            words = [WORDS[(number * 7 + place * place) % len(WORDS)] for place in range(60)]
            line: dict[str, object] = {
                "databit_id": f"{number * 2_654_435_761 % 2**32:08x}-{number:08d}",
                "content": f"{number} {' '.join(words)}",
                "license": "Apache-2.0",
                "creator": "bench",
                "search_keys": ["bench", f"part={number % 100}"],
            }
            if number % 10 == 0 and number:
                parent = number - 10
                line["derived_from"] = [
                    {"databit_id": f"{parent * 2_654_435_761 % 2**32:08x}-{parent:08d}", "version": 1}
                ] if number % 100 else []  # fmt: skip
            stream.write(orjson.dumps(line, option=orjson.OPT_APPEND_NEWLINE))


def take_in(path: str, lake: str, told: multiprocessing.Queue) -> None:
    """Import in a process of its own, so that its peak memory is its own."""
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    began = time.perf_counter()
    result = import_databits(Lake.open(lake), Path(path), ImportOptions(source="bench"), now=NOON, author="bench")
    peak = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 1024
    told.put((time.perf_counter() - began, peak, result.written_count, result.unchanged_count, time.process_time()))


def write_bare(path: str, folder: str, told: multiprocessing.Queue) -> None:
    """The floor: the same lines read by Polars and written as Parquet."""
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    began = time.perf_counter()
    texts = dict.fromkeys(("databit_id", "content", "license", "creator"), pl.String)
    parents = pl.List(pl.Struct({"databit_id": pl.String, "version": pl.Int64}))
    schema = {**texts, "search_keys": pl.List(pl.String), "derived_from": parents}
    lines = pl.scan_ndjson(path, schema=schema)
    for number, batch in enumerate(lines.collect_batches(chunk_size=BATCH_ROWS)):
        batch.write_parquet(f"{folder}/{number}.parquet", compression="zstd", compression_level=1)
    peak = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 1024
    told.put((time.perf_counter() - began, peak, time.process_time()))


def alone(work, *arguments: str) -> tuple[float, ...]:
    context = multiprocessing.get_context("spawn")
    told = context.Queue()
    process = context.Process(target=work, args=(*arguments, told))
    process.start()
    answer = told.get()
    process.join()
    return answer


def bench_import(folder: Path) -> Lake:
    path = folder / "units.jsonl"
    write_lines(path, ROWS)
    bare = folder / "bare"
    bare.mkdir()
    floor_seconds, floor_mb, floor_cpu = alone(write_bare, str(path), str(bare))
    seconds, peak_mb, written, _, cpu = alone(take_in, str(path), str(folder / "lake"))
    assert written == ROWS
    print(f"{ROWS:,} units, {path.stat().st_size / 1e6:.0f} MB of JSON lines")
    print(f"import {seconds:.1f} s, {ROWS / seconds:,.0f} units/s, peak +{peak_mb:,.0f} MB")
    print(f"bare Polars {floor_seconds:.1f} s, {ROWS / floor_seconds:,.0f} units/s, peak +{floor_mb:,.0f} MB")
    # The whole process, its start included: on a busy machine wall time says more about the neighbours.
    print(
        f"ratio {seconds / floor_seconds:.1f}; CPU {cpu:.1f} s against {floor_cpu:.1f} s, ratio {cpu / floor_cpu:.1f}"
    )
    again, _, written, unchanged, _ = alone(take_in, str(path), str(folder / "lake"))
    assert (written, unchanged) == (0, ROWS)
    print(f"the same file again: {again:.1f} s, nothing written")
    return Lake.open(folder / "lake")


def bench_lineage(lake: Lake) -> None:
    began = time.perf_counter()
    result = update_lineage(lake)
    whole = time.perf_counter() - began
    first = lake.read("gold.lineage_edges").row(0, named=True)["child_id"]
    revise_databit(lake, first, Changes(content="new"), expected_version=1, hand=Hand(author="b", at=NOON))
    began = time.perf_counter()
    update_lineage(lake)
    one = time.perf_counter() - began
    print(
        f"lineage of all: {whole:.1f} s for {result.version_count:,} versions, {result.edge_count:,} edges, "
        f"{result.closure_count:,} rows of closure; after one more version: {one:.2f} s ({one / whole:.1%})"
    )


def bench_minhash() -> None:
    from datasketch import MinHash

    texts = [
        f"{number} " + " ".join(WORDS[(number * 7 + place * place) % len(WORDS)] for place in range(60))
        for number in range(MINHASH_TEXTS)
    ]

    def ours() -> None:
        for text in texts:
            bands(text)

    def peer() -> None:
        for text in texts:
            plain = normalised(text)
            MinHash(num_perm=128).update_batch({plain[place : place + 5].encode() for place in range(len(plain) - 4)})

    times: dict[str, list[float]] = {"numpy": [], "datasketch": []}
    for _ in range(REPEATS):
        for name, work in (("numpy", ours), ("datasketch", peer)):
            began = time.perf_counter()
            work()
            times[name].append(time.perf_counter() - began)
    medians = {name: statistics.median(values) / MINHASH_TEXTS * 1e6 for name, values in times.items()}
    print(
        f"MinHash of a text of 60 words: {medians['numpy']:.0f} us, datasketch {medians['datasketch']:.0f} us, "
        f"ratio {medians['numpy'] / medians['datasketch']:.2f}"
    )


def main() -> None:
    bench_minhash()
    with tempfile.TemporaryDirectory() as folder:
        bench_lineage(bench_import(Path(folder)))


if __name__ == "__main__":
    main()
