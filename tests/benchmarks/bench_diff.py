"""Is the word diff as fast as the library below it, and how far from the one in the standard library?

Peers on the same tokens of real answers by two models: `rapidfuzz.distance.Indel.opcodes`, which finds the same edits
but leaves them in its own objects, and `difflib.SequenceMatcher` without its lossy junk heuristic. Targets: at most
1.5x the time of the first, at least 50x the speed of the second. The whole step from texts to table columns, which
also tells the kind of change, JSON and what moved, is timed too, against the least that any diff of words must do:
split both texts and call rapidfuzz.
"""

from __future__ import annotations

import difflib
import gzip
import json
import os
import statistics
import time
from collections.abc import Callable
from pathlib import Path

import polars as pl
from rapidfuzz.distance import Indel

from lake.identity import text_digest
from pipelines.evidence.diff import diff_word_lists, split_words
from pipelines.evidence.output_diffs import diff_pairs

DATA = Path(os.environ.get("BENCHLAKE_SHARED_DATA", Path(__file__).parents[3] / "shared" / "data"))
OUTPUTS = DATA / "alpaca_eval" / "outputs.jsonl.gz"
BASELINE, CANDIDATE = "gpt4_1106_preview", "Mistral-7B-Instruct-v0.2"
REPEATS = 9
# difflib takes a tenth of a second for a pair; this many tell its speed well enough.
DIFFLIB_PAIRS = 40


def read_pairs() -> list[tuple[str, str]]:
    """Both models' answers to the same prompts."""
    answers: dict[str, dict[int, str]] = {BASELINE: {}, CANDIDATE: {}}
    with gzip.open(OUTPUTS, "rt", encoding="utf-8") as lines:
        for line in lines:
            row = json.loads(line)
            if row["model"] in answers:
                answers[row["model"]][row["id"]] = row["output"]
    return [(answers[BASELINE][prompt], answers[CANDIDATE][prompt]) for prompt in sorted(answers[BASELINE])]


def alternate(**contestants: Callable[[], object]) -> dict[str, float]:
    """Median process seconds of each, run in turns so that a busy spell hits all alike; the first turn warms up."""
    seconds: dict[str, list[float]] = {name: [] for name in contestants}
    for _ in range(REPEATS + 1):
        for name, run in contestants.items():
            began = time.process_time()
            run()
            seconds[name].append(time.process_time() - began)
    return {name: statistics.median(times[1:]) for name, times in seconds.items()}


def main() -> None:
    if not OUTPUTS.exists():
        print(f"skipped: there is no {OUTPUTS}; set BENCHLAKE_SHARED_DATA to the folder of real files")
        return
    pairs = read_pairs()
    words = [(split_words(baseline), split_words(candidate)) for baseline, candidate in pairs]
    frame = pl.DataFrame(
        {
            "baseline_output": [baseline for baseline, _ in pairs],
            "candidate_output": [candidate for _, candidate in pairs],
            "baseline_output_digest": [text_digest(baseline) for baseline, _ in pairs],
            "candidate_output_digest": [text_digest(candidate) for _, candidate in pairs],
        }
    )
    took = alternate(
        ours=lambda: diff_word_lists(words),
        bare=lambda: [Indel.opcodes(baseline, candidate) for baseline, candidate in words],
        step=lambda: diff_pairs(frame),
        split_and_bare=lambda: [Indel.opcodes(split_words(left), split_words(right)) for left, right in pairs],
    )
    few = words[:DIFFLIB_PAIRS]
    began = time.process_time()
    for baseline, candidate in few:
        difflib.SequenceMatcher(None, baseline, candidate, autojunk=False).get_opcodes()
    difflib_seconds = time.process_time() - began
    ours_on_few = alternate(ours=lambda: diff_word_lists(few))["ours"]

    tokens = sum(len(baseline) + len(candidate) for baseline, candidate in words) / len(words) / 2
    print(
        f"{len(pairs)} pairs of {CANDIDATE} against {BASELINE}, {tokens:.0f} words a side; process CPU, {REPEATS} turns"
    )
    print(f"words to opcodes:  {len(pairs) / took['ours']:>8,.0f} pairs/s")
    print(f"texts to columns:  {len(pairs) / took['step']:>8,.0f} pairs/s")
    print(f"difflib:           {len(few) / difflib_seconds:>8,.1f} pairs/s")
    print(f"ratio: {took['ours'] / took['bare']:.2f}x the time of bare rapidfuzz on the same words (target: 1.50x)")
    print(f"ratio: {took['step'] / took['split_and_bare']:.2f}x the time of splitting and bare rapidfuzz, from texts")
    print(f"ratio: {difflib_seconds / ours_on_few:.0f}x the speed of difflib on the same words (target: at least 50x)")


if __name__ == "__main__":
    main()
