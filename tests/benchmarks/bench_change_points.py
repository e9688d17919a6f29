"""Does the detector cry wolf, does it find real steps, and how fast is it? Published in docs/trust.md.

Noise of five kinds without any change; real benchmark noise with injected steps of known size and place (shared data,
skipped where absent); 10,000 series of 500 points. Peers: the same rank statistic without the price of the search (a
plain two-sample test at the best split), and Apache Otava where `BENCHLAKE_OTAVA_PYTHON` names the interpreter of an
environment that has it: the same series, processor time, alternating. `--series N` changes the number of series.
"""

from __future__ import annotations

import argparse
import gzip
import json
import os
import re
import statistics
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np

from pipelines.evidence.statistics import wilson
from pipelines.trends.detector import detect_many
from tests.trends.series import NOISES, noise

PAGE = Path(__file__).parents[2] / "docs" / "trust.md"
BEGIN, END = "<!-- change points: begin -->", "<!-- change points: end -->"
SEED = 20_261_122
LENGTHS = (20, 60, 200, 500)
MARGIN = 5
LARGE_COUNT, LARGE_LENGTH = 10_000, 500
ROUNDS = 3
OTAVA = """
import json, sys, time
from otava.series import AnalysisOptions, Series
many = json.load(sys.stdin)
began = time.process_time()
for values in many:
    series = Series("t", "b", list(range(len(values))), metrics={"m": None}, data={"m": values}, attributes={})
    series.analyze(AnalysisOptions())
print(time.process_time() - began)
"""
Series = list[np.ndarray]


def find(many: Series) -> list[list[int]]:
    return [[point.index for point in detection.change_points] for detection in detect_many(many)]


def split_naively(many: Series) -> list[list[int]]:
    """The best split of all by the t of ranks, called a change at p = 0.001 as if nobody had searched."""
    return [[best] if (best := _best_split(values)) else [] for values in many]


def _best_split(values: np.ndarray) -> int:
    ranks = np.argsort(np.argsort(values)) * 1.0
    ranks = (ranks - ranks.mean()) / ranks.std()
    cuts = np.arange(4, len(values) - 3)
    gains = np.cumsum(ranks)[cuts - 1] ** 2 * (1 / cuts + 1 / (len(values) - cuts))
    place = int(gains.argmax())
    share = gains[place] / len(values)
    return int(cuts[place]) if (len(values) - 2) * share / (1 - share) > 3.29**2 else 0


def false_alarms(detect: Callable[[Series], list[list[int]]], kind: str, count: int) -> tuple[int, int]:
    rng = np.random.default_rng(SEED)
    each = count // len(LENGTHS)
    found = sum(bool(cuts) for length in LENGTHS for cuts in detect([noise(kind, length, rng) for _ in range(each)]))
    return found, each * len(LENGTHS)


def shared_windows() -> list[dict]:
    folder = Path(os.environ.get("BENCHLAKE_SHARED_DATA", Path(__file__).parents[3] / "shared" / "data"))
    path = folder / "ci_noise" / "series.jsonl.gz"
    return [json.loads(line) for line in gzip.decompress(path.read_bytes()).splitlines()] if path.exists() else []


def score(windows: list[dict], found: list[list[int]]) -> dict[str, float]:
    """Pooled F1, share of windows without a step that are flagged, and recall by the size of the step."""
    hits = wrong = flagged = 0
    by_size: dict[float, list[bool]] = {}
    for window, cuts in zip(windows, found, strict=True):
        if window["change"] is None:
            flagged += bool(cuts)
            wrong += len(cuts)
            continue
        is_hit = any(abs(cut - window["change"]) <= MARGIN for cut in cuts)
        by_size.setdefault(abs(window["delta"]), []).append(is_hit)
        hits += is_hit
        wrong += len(cuts) - is_hit
    changed = sum(map(len, by_size.values()))
    recall = {f"{size:.0%}": statistics.mean(found) for size, found in sorted(by_size.items())}
    return {"F1": 2 * hits / (hits + wrong + changed), "flagged": flagged / (len(windows) - changed), **recall}


def seconds_per_series(many: Series) -> float:
    began = time.process_time()
    detect_many(many)
    return (time.process_time() - began) / len(many)


def otava_seconds_per_series(many: Series) -> float | None:
    python = os.environ.get("BENCHLAKE_OTAVA_PYTHON")
    if not python:
        return None
    given = json.dumps([list(map(float, values)) for values in many])
    told = subprocess.run([python, "-c", OTAVA], input=given, capture_output=True, text=True, check=True)
    return float(told.stdout) / len(many)


def report_noise(count: int) -> list[str]:
    lines = [
        f"Series of {', '.join(map(str, LENGTHS))} points in equal parts. Flagged: at least one change point is found.",
        "",
        "| noise | series | flagged | by a two-sample test at the best split, p = 0.001 |",
        "|---|---|---|---|",
    ]
    for kind in NOISES:
        (own, total), (naive, _) = false_alarms(find, kind, count), false_alarms(split_naively, kind, count)
        low, high = wilson(own, total, confidence=0.95)
        name = kind.replace("_", "-")
        lines.append(f"| {name} | {total:,} | {own / total:.2%} [{low:.2%}, {high:.2%}] | {naive / total:.1%} |")
    return lines


def report_steps() -> list[str]:
    windows = shared_windows()
    if not windows:
        return ["Real benchmark noise: the shared data is absent here."]
    many = [np.array(window["values"]) for window in windows]
    own, naive = score(windows, find(many)), score(windows, split_naively(many))
    sizes = [name for name in own if name.endswith("%")]
    lines = [
        f"{len(windows)} windows of a real benchmark history, {MARGIN} points of tolerance; recall by size of step.",
        "",
        f"| detector | F1 | windows without a step flagged | {' | '.join(f'step of {size}' for size in sizes)} |",
        f"|---|---|---|{'---|' * len(sizes)}",
    ]
    for name, figures in (("Benchlake", own), ("two-sample test at the best split", naive)):
        recalls = " | ".join(f"{figures[size]:.3f}" for size in sizes)
        lines.append(f"| {name} | {figures['F1']:.3f} | {figures['flagged']:.1%} | {recalls} |")
    return lines


def report_speed() -> list[str]:
    rng = np.random.default_rng(SEED)
    large = [100 + rng.normal(size=LARGE_LENGTH) + 3 * (np.arange(LARGE_LENGTH) > 300) * (place % 2)
             for place in range(LARGE_COUNT)]  # fmt: skip
    own = seconds_per_series(large)
    lines = [
        f"{LARGE_COUNT:,} series of {LARGE_LENGTH} points, half of them with a step: {own * LARGE_COUNT:.1f} CPU-s."
    ]
    sample = large[:60]
    pairs = [(seconds_per_series(large[:600]), otava_seconds_per_series(sample)) for _ in range(ROUNDS)]
    ratios = [other / mine for mine, other in pairs if other is not None]
    if ratios:
        lines.append(f"Apache Otava takes {statistics.median(ratios):.1f} times as long per series of this kind.")
    return lines


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--series", type=int, default=4_000)
    options, _ = parser.parse_known_args()
    found = "\n".join([*report_noise(options.series), "", *report_steps(), "", *report_speed()])
    print(found)
    page = PAGE.read_text("utf-8")
    PAGE.write_text(
        re.sub(f"{BEGIN}.*{END}", lambda _: f"{BEGIN}\n{found}\n{END}", page, flags=re.DOTALL), encoding="utf-8"
    )


if __name__ == "__main__":
    main()
