"""How fast are traces imported and compared, and in how much memory?

Floor: `orjson.loads` of the same bytes, already unpacked (target: the whole import at least 0.5 times as fast). Peer:
Holistic Trace Analysis loading the pair of traces (target: importing the pair takes at most a quarter of its processor
time). The import is all of it: hash, unpacking, redaction, raw records, placing of spans, Delta commits.

HTA is no dependency of this project. Name a Python that has it in BENCHLAKE_HTA_PYTHON, or with `--hta-python`; without
one the import is compared with the 6.9 s of processor time that HTA was once measured to take for this pair.

    python -m tests.benchmarks.bench_timelines --repeats 5 --giant-mb 1024

Memory: a synthetic trace of so many megabytes is imported in a process of its own and summed up in another (target:
below 1.5 GiB each at 1 GB, and for the import no more than half as much again as at a quarter of it).
"""

from __future__ import annotations

import argparse
import gzip
import json
import os
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

from tests.runs.formats import SHARED

FLOOR_TARGET, PEER_TARGET = 0.5, 4.0
STATED_HTA_CPU_SECONDS = 6.9
MEMORY_TARGET_BYTES = 1536 << 20
_MEASURED = """
import json, resource, sys, time
def cpu_seconds():
    uses = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(use.ru_utime + use.ru_stime for use in uses)
{before}
began, began_cpu = time.perf_counter(), cpu_seconds()
count = {work}
seconds, cpu = time.perf_counter() - began, cpu_seconds() - began_cpu
peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)
print(json.dumps({{"seconds": seconds, "cpu_seconds": cpu, "peak_bytes": peak, "count": count}}))
"""
_ORJSON = _MEASURED.format(
    before="""
import gzip, orjson
texts = [gzip.decompress(open(name, "rb").read()) for name in sys.argv[1:]]
""",
    work='sum(len(orjson.loads(text)["traceEvents"]) for text in texts)',
)
_BEFORE = """
import datetime as dt, tempfile
from pathlib import Path
from lake.store import Lake
from pipelines.runs.steps import import_paths
folder = tempfile.TemporaryDirectory()
lake = Lake.open(folder.name + "/lake")
now = dt.datetime(2026, 3, 5, tzinfo=dt.UTC)
# A first small import loads the libraries, whose time is not that of a trace.
small = Path(folder.name) / "small.json"
small.write_text('[{"ph":"X","cat":"cpu_op","name":"a","pid":1,"tid":1,"ts":1,"dur":1,"args":{}}]')
import_paths(Lake.open(folder.name + "/other"), [small], now=now)
def run():
    import_paths(lake, sys.argv[1:], now=now)
    return lake.row_count("silver.spans")
"""
_IMPORT = _MEASURED.format(before=_BEFORE, work="run()")
_COMPARE = _MEASURED.format(
    before=_BEFORE
    + """
from pipelines.timelines.listing import compare_timelines
from pipelines.timelines.staleness import stale_timeline_dates
from pipelines.timelines.steps import summarise_timelines
run()
""",
    work="len(compare_timelines(lake, **dict(zip(('baseline', 'candidate'), "
    "lake.read('silver.runs').sort('started_at').to_dicts()))).diff)",
)
_SUMMED = _MEASURED.format(
    before="""
from lake.store import Lake
from pipelines.timelines.steps import summarise_timelines
lake = Lake.open(sys.argv[1])
""",
    work='summarise_timelines(lake, lake.read("silver.runs")["run_date"].to_list()).rows_read',
)
# The lake is the last word, and stays for the process that sums up.
_GIANT = _MEASURED.format(before=_BEFORE + "lake = Lake.open(sys.argv.pop())", work="run()")
_HTA = _MEASURED.format(
    before="""
import shutil, tempfile
from pathlib import Path
from hta.trace_analysis import TraceAnalysis
folders = []
for name in sys.argv[1:]:
    folder = tempfile.mkdtemp()
    shutil.copy(name, folder)
    folders.append(folder)
""",
    work="sum(len(TraceAnalysis(trace_dir=folder).t.traces) for folder in folders)",
)


def measure(code: str, paths: Sequence[Path], *, python: str = sys.executable) -> dict[str, float]:
    """One run in a process of its own."""
    done = subprocess.run(
        [python, "-c", code, *map(str, paths)], cwd=Path(__file__).parents[2], stdout=subprocess.PIPE, check=True,
        stderr=None if python == sys.executable else subprocess.DEVNULL,
    )  # fmt: skip
    found: dict[str, float] = json.loads(done.stdout.decode().splitlines()[-1])
    return found


def compare_real(paths: Sequence[Path], *, repeats: int, hta_python: str | None) -> None:
    """The pair of real traces: import against the floor and against HTA, in turn."""
    contenders = {"orjson.loads": (_ORJSON, sys.executable), "import": (_IMPORT, sys.executable)}
    if hta_python:
        contenders["HTA loading"] = (_HTA, hta_python)
    results: dict[str, list[dict[str, float]]] = {name: [] for name in contenders}
    for repeat in range(repeats):
        for name in list(contenders) if repeat % 2 else list(contenders)[::-1]:
            code, python = contenders[name]
            results[name].append(measure(code, paths, python=python))
    for name, runs in results.items():
        middle = {key: statistics.median(run[key] for run in runs) for key in ("seconds", "cpu_seconds", "peak_bytes")}
        print(
            f"  {name:<14} {middle['seconds']:6.2f} s {middle['cpu_seconds']:6.2f} CPU-s "
            f"{middle['peak_bytes'] / (1 << 20):6,.0f} MiB peak"
        )
    pairs = list(zip(results["orjson.loads"], results["import"], strict=True))
    for key, word in (
        ("seconds", "by the clock"),
        ("cpu_seconds", "by processor time, which other work disturbs less"),
    ):
        ratio = statistics.median(floor[key] / ours[key] for floor, ours in pairs)
        print(f"  import: {ratio:.2f}x the speed of orjson.loads {word} (target {FLOOR_TARGET:g}x)")
    if hta_python:
        both = zip(results["HTA loading"], results["import"], strict=True)
        speed = statistics.median(peer["cpu_seconds"] / ours["cpu_seconds"] for peer, ours in both)
        print(f"  import: {speed:.1f}x the speed of HTA, in processor time of the same round (target {PEER_TARGET:g}x)")
    else:
        speed = STATED_HTA_CPU_SECONDS / statistics.median(run["cpu_seconds"] for run in results["import"])
        print(f"  import: {speed:.1f}x the speed of HTA as once measured elsewhere (target {PEER_TARGET:g}x)")
    seconds = measure(_COMPARE, paths)["seconds"]
    print(f"  comparing the pair, from the lake to the answer: {seconds:.2f} s")


def giant_trace(path: Path, megabytes: int) -> None:
    """A trace of so many megabytes: steps of nested operators with launches, kernels, copies and arguments."""
    args = json.dumps({"External id": 1, "Input Dims": [[8, 128, 64], [64, 64]], "Call stack": "x" * 400})
    index = at = 0
    with path.open("w") as stream:
        stream.write('{"schemaVersion": 1, "baseTimeNanoseconds": 1795140000000000000, "traceEvents": [\n')
        while stream.tell() < megabytes << 20:
            lines = []
            for _ in range(400):
                index += 1
                name = f"aten::op{index % 97}"
                thread, launch = 1 + index % 3, f'{{"correlation":{index}}}'
                lines += [
                    _event("cpu_op", name, 1, thread, at + 0.125, 90.5, args),
                    _event("cpu_op", f"inner{index % 31}", 1, thread, at + 5.5, 40.25, args),
                    _event("cuda_runtime", "cudaLaunchKernel", 1, thread, at + 10.5, 4.125, launch),
                    _event("kernel", f"gemm{index % 13}", 0, 7, at + 20.5, 60.75, launch),
                    f'{{"ph":"s","id":{index},"pid":1,"tid":{thread},"ts":{at + 10.5},"cat":"ac2g","name":"ac2g"}}',
                    f'{{"ph":"f","id":{index},"pid":0,"tid":7,"ts":{at + 20.5},"cat":"ac2g","name":"ac2g","bp":"e"}}',
                ]
                at += 100
            lines.append(_event("user_annotation", f"ProfilerStep#{index // 400}", 1, 1, at - 40_000, 40_000, "{}"))
            stream.write(",\n".join(lines) + ",\n")
        stream.write('{"ph":"M","name":"process_name","pid":1,"tid":0,"args":{"name":"python"}}\n]}\n')


def _event(category: str, name: str, process: int, thread: int, start: float, duration: float, args: str) -> str:
    return (
        f'{{"ph":"X","cat":"{category}","name":"{name}","pid":{process},"tid":{thread},"ts":{start},"dur":{duration},'
        f'"args":{args}}}'
    )


def measure_memory(folder: Path, megabytes: int) -> None:
    """Peak memory of importing and summing up a large trace, and one of a quarter of its size."""
    peaks = []
    for size in (megabytes // 4, megabytes):
        path = folder / f"{size}.pt.trace.json"
        giant_trace(path, size)
        found = measure(_GIANT, [path, folder / f"lake {size}"])
        path.unlink()
        summed = measure(_SUMMED, [folder / f"lake {size}"])
        peaks.append(found["peak_bytes"])
        told, told_summed = (f"{one['peak_bytes'] / (1 << 20):,.0f} MiB peak" for one in (found, summed))
        print(
            f"  {size:,} MB, {found['count']:,} spans: import {told}, {found['cpu_seconds']:.1f} CPU-s; summing up "
            f"{told_summed}, {summed['cpu_seconds']:.1f} CPU-s (target below {MEMORY_TARGET_BYTES / (1 << 20):,.0f})",
            flush=True,
        )
    print(f"  {peaks[1] / peaks[0]:.2f}x the memory for four times the trace (target 1.5x)")


def main(words: Sequence[str] = ()) -> None:
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--repeats", type=int, default=3)
    options.add_argument("--giant-mb", type=int, default=1024, help="megabytes of the synthetic trace; 0 for none")
    options.add_argument("--hta-python", default=os.environ.get("BENCHLAKE_HTA_PYTHON"))
    given = options.parse_args(words)
    print(f"medians of {given.repeats}, {os.cpu_count()} cores", flush=True)
    paths = [SHARED / "traces" / f"hta_{name}.pt.trace.json.gz" for name in ("control", "test")]
    if all(path.exists() for path in paths):
        size = sum(len(gzip.decompress(path.read_bytes())) for path in paths) / 1e6
        print(f"A pair of real traces, {size:.0f} MB unpacked")
        compare_real(paths, repeats=given.repeats, hta_python=given.hta_python)
    else:
        print(f"Real traces are not at {SHARED / 'traces'}: set BENCHLAKE_SHARED_DATA")
    if given.giant_mb:
        print("A synthetic trace")
        with tempfile.TemporaryDirectory() as name:
            measure_memory(Path(name), given.giant_mb)


if __name__ == "__main__":
    main(sys.argv[1:])
