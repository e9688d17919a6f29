"""How fast are files imported, and in how much memory?

Peers: `inspect_ai.log.read_eval_log` on the same Inspect log (target: the whole import at least 10 times as fast), and
`polars.scan_ndjson(...).sink_parquet(...)` on the same lm-evaluation-harness samples (target: at least 0.5 times as
fast). The import is all of it: hash, redaction, parsing, raw records, rows, Delta commits. Target for memory: below
1.5 GiB at 200,000 samples, and no more than half as much again as at 20,000.

inspect_ai is no dependency of this project. Name a Python that has it in BENCHLAKE_INSPECT_PYTHON, or with
`--inspect-python`; without one that comparison is left out.

    python -m tests.benchmarks.bench_import --samples 20000 --many 200000 --repeats 3

Each measurement is a process of its own, so that its peak memory is its own; contenders alternate, clocks start after
the imports of modules.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from tests.benchmarks.import_files import DEFLATE, ZSTD, inspect_json_file, inspect_zip_file, lm_eval_file

INSPECT_TARGET = 10.0
LM_EVAL_TARGET = 0.5
MEMORY_TARGET_BYTES = 1536 << 20
_MEASURED = """
import json, resource, sys, time
{before}
began = time.perf_counter()
count = {work}
seconds = time.perf_counter() - began
peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)
print(json.dumps({{"seconds": seconds, "peak_bytes": peak, "count": count}}))
"""
_IMPORT = _MEASURED.format(
    before="""
import datetime as dt, tempfile
from lake.store import Lake
from pipelines.runs.steps import import_paths
folder = tempfile.TemporaryDirectory()
""",
    work="import_paths(Lake.open(folder.name), [sys.argv[1]], now=dt.datetime(2026, 3, 5, tzinfo=dt.UTC)).samples",
)
_READING = _MEASURED.format(
    before="""
from pathlib import Path
from pipelines.runs.importers import SourceGroup, detect_importer
from pipelines.runs.sources import Limits, identify, read_head
path = Path(sys.argv[1]).resolve()
file = identify(path, root=path.parent, limits=Limits())
importer = detect_importer(read_head(file, limits=Limits()))
beside = [identify(other, root=path.parent, limits=Limits()) for other in importer.companions(path)]
group = SourceGroup(source_kind=importer.source_kind, importer_version=importer.version, files=(file, *beside))
""",
    work="sum(batch.outputs.height for batch in importer.read(group, limits=Limits()))",
)
_POLARS = _MEASURED.format(
    before="""
import tempfile
import polars as pl
folder = tempfile.TemporaryDirectory()
""",
    work='pl.scan_ndjson(sys.argv[1]).sink_parquet(folder.name + "/rows.parquet")'
    ' or pl.scan_parquet(folder.name + "/rows.parquet").select(pl.len()).collect().item()',
)
_INSPECT = _MEASURED.format(
    before="from inspect_ai.log import read_eval_log",
    work="len(read_eval_log(sys.argv[1]).samples)",
)


@dataclass(frozen=True)
class Measured:
    """One run of one contender."""

    seconds: float
    peak_bytes: int
    count: int


@dataclass(frozen=True)
class Contender:
    """A program that prints what it measured, for the file that it is given."""

    name: str
    code: str
    python: str = sys.executable

    def measure(self, path: Path) -> Measured:
        """One run in a process of its own."""
        done = subprocess.run(
            [self.python, "-c", self.code, str(path)], cwd=Path(__file__).parents[2], stdout=subprocess.PIPE, check=True
        )
        return Measured(**json.loads(done.stdout))


IMPORT, READING = Contender("import", _IMPORT), Contender("reading alone", _READING)
POLARS = Contender("polars.scan_ndjson to Parquet", _POLARS)


def compare(path: Path, contenders: Sequence[Contender], *, repeats: int) -> dict[str, list[Measured]]:
    """Every contender on the file, in turn; who goes first alternates."""
    results: dict[str, list[Measured]] = {contender.name: [] for contender in contenders}
    for repeat in range(repeats):
        for contender in contenders if repeat % 2 else reversed(contenders):
            results[contender.name].append(contender.measure(path))
    counts = {one.count for runs in results.values() for one in runs}
    assert len(counts) == 1, f"the contenders disagree about {path.name}: {counts}"
    return results


def tell(title: str, results: dict[str, list[Measured]], peer: str, *, target: float) -> None:
    """Print medians, and speeds against the peer of the same round."""
    size = next(iter(results.values()))[0].count
    print(f"{title}, {size:,} samples")
    for name, runs in results.items():
        seconds = statistics.median(one.seconds for one in runs)
        peak = statistics.median(one.peak_bytes for one in runs)
        line = f"  {name:<30} {seconds:7.2f} s {size / seconds:10,.0f} samples/s {peak / (1 << 20):7,.0f} MiB peak"
        if name != peer:
            pairs = zip(results[peer], runs, strict=True)
            ratio = statistics.median(theirs.seconds / ours.seconds for theirs, ours in pairs)
            line += f"   {ratio:.2f}x the speed of {peer} (target {target:g}x)"
        print(line, flush=True)


def compare_inspect(folder: Path, samples: int, repeats: int, python: str | None) -> None:
    """The whole import of a log in each container against inspect_ai reading it."""
    if python is None:
        print("Inspect: no peer. Name a Python with inspect_ai in BENCHLAKE_INSPECT_PYTHON to compare with it.")
    kinds: dict[str, Callable[[], Path]] = {
        "Inspect .eval (zstd)": lambda: inspect_zip_file(folder, samples, method=ZSTD),
        "Inspect .eval (deflate)": lambda: inspect_zip_file(folder, samples, method=DEFLATE),
        "Inspect .json": lambda: inspect_json_file(folder, samples),
    }
    for title, write in kinds.items():
        path = write()
        peer = Contender("inspect_ai.read_eval_log", _INSPECT, python or "")
        contenders = [IMPORT, READING] if python is None else [IMPORT, READING, peer]
        results = compare(path, contenders, repeats=repeats)
        tell(title, results, IMPORT.name if python is None else peer.name, target=INSPECT_TARGET)
        path.unlink()


def measure_memory(folder: Path, few: int, many: int) -> None:
    """Peak memory of the import of few and of many samples."""
    for title, write in (("Inspect .eval", inspect_zip_file), ("Inspect .json", inspect_json_file)):
        peaks = {}
        for samples in (few, many):
            path = write(folder, samples)
            measured = IMPORT.measure(path)
            path.unlink()
            peaks[samples] = measured.peak_bytes
            print(
                f"{title}, {samples:,} samples: {measured.peak_bytes / (1 << 20):,.0f} MiB peak (target below "
                f"{MEMORY_TARGET_BYTES / (1 << 20):,.0f}), {samples / measured.seconds:,.0f} samples/s",
                flush=True,
            )
        print(f"{title}: {peaks[many] / peaks[few]:.2f}x the memory for {many / few:g}x the samples (target 1.5x)")


def main(words: Sequence[str] = ()) -> None:
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--samples", type=int, default=20_000, help="samples of a file that is compared")
    options.add_argument("--many", type=int, default=200_000, help="samples of a file that memory is measured with")
    options.add_argument("--repeats", type=int, default=3)
    options.add_argument("--inspect-python", default=os.environ.get("BENCHLAKE_INSPECT_PYTHON"))
    given = options.parse_args(words)
    print(f"medians of {given.repeats}, {os.cpu_count()} cores", flush=True)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        compare_inspect(folder, given.samples, given.repeats, given.inspect_python)
        path = lm_eval_file(folder, given.many)
        results = compare(path, [IMPORT, READING, POLARS], repeats=given.repeats)
        tell("lm-evaluation-harness samples", results, POLARS.name, target=LM_EVAL_TARGET)
        path.unlink()
        measure_memory(folder, given.samples, given.many)


if __name__ == "__main__":
    main(sys.argv[1:])
