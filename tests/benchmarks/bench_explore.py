"""Runs side by side on demand: three runs of 10,000 samples, from the lake to the typed value, against 200 ms.

The floor is reading the same columns of the same rows alone.
"""

from __future__ import annotations

import statistics
import tempfile
import time
from collections.abc import Callable

from lake.store import Lake
from pipelines.experiments.reading import read_run_rows
from pipelines.experiments.run_diff import diff_runs
from tests.evidence.rows import output, output_rows, run, run_rows

SAMPLES, TURNS, TARGET_MS = 10_000, 7, 200
NAMES = ["baseline", "second", "third"]


def main() -> None:
    with tempfile.TemporaryDirectory() as folder:
        lake = Lake.open(folder)
        for place, name in enumerate(NAMES):
            item = run(name)
            lake.upsert("silver.runs", run_rows(item))
            outputs = [
                output(
                    item,
                    index,
                    f"answer {index * (place + 1) % 97}",
                    sample_id=f"s{index:06}",
                    latency_ms=100.0 + (index * 37 + place * 11) % 50,
                    scores=[{"scorer": "f1", "value": (index * (place + 3)) % 11 / 10}],
                )
                for index in range(SAMPLES)
            ]
            lake.upsert("silver.outputs", output_rows(outputs))
        diff_runs(read_run_rows(lake, NAMES))
        reading = _median_ms(lambda: read_run_rows(lake, NAMES))
        whole = _median_ms(lambda: diff_runs(read_run_rows(lake, NAMES)))
    verdict = "met" if whole <= TARGET_MS else "MISSED"
    print(f"three runs of {SAMPLES:,} samples: {whole:.0f} ms, {whole / reading:.1f}x reading alone ({reading:.0f} ms)")
    print(f"target {TARGET_MS} ms: {verdict}")


def _median_ms(act: Callable[[], object]) -> float:
    times = []
    for _ in range(TURNS):
        began = time.perf_counter()
        act()
        times.append(1_000 * (time.perf_counter() - began))
    return statistics.median(times)


if __name__ == "__main__":
    main()
