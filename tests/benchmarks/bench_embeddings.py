"""Are embeddings as fast as the library that everybody uses, and the same vectors?

Peers in the same run, in turns: `SentenceTransformer.encode` at its defaults, and at the best settings known for this
machine (batches of 16, no progress bar). Targets: at least 0.9x the best settings, at least 2x the defaults where short
and long texts are mixed, cosine at least 0.999 to the reference vectors. Texts are real: customer queries of a line,
model answers of a page, and both mixed.
"""

from __future__ import annotations

import csv
import gzip
import json
import os
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np

from resources.embedders import open_embedder
from resources.embedding_models.configuration import PACKAGED, EmbeddingsConfig
from resources.embedding_models.folders import find_model

DATA = Path(os.environ.get("BENCHLAKE_SHARED_DATA", Path(__file__).parents[3] / "shared" / "data"))
QUERIES = DATA / "banking77" / "train.csv"
ANSWERS = DATA / "alpaca_eval" / "outputs.jsonl.gz"
REPEATS = int(os.environ.get("BENCHLAKE_BENCH_REPEATS", "3"))
SHORT, LONG = 1_500, 100


def read_texts() -> dict[str, list[str]]:
    """Real texts by length: queries of about 12 words, answers of about 270, and both in one list."""
    with QUERIES.open(encoding="utf-8") as lines:
        short = [row["text"] for row in csv.DictReader(lines)]
    with gzip.open(ANSWERS, "rt", encoding="utf-8") as lines:
        long = [json.loads(line)["output"] for line in lines]
    rng = np.random.default_rng(7)
    short = [short[place] for place in rng.choice(len(short), SHORT, replace=False)]
    long = [long[place] for place in rng.choice(len(long), LONG, replace=False)]
    mixed = [*short, *long]
    rng.shuffle(mixed)
    return {"queries": short, "answers": long, "mixed": mixed}


def seconds(work: Callable[[], object]) -> float:
    began = time.perf_counter()
    work()
    return time.perf_counter() - began


def main() -> None:
    if not (QUERIES.exists() and ANSWERS.exists()):
        print(f"skipped: there are no {QUERIES} and {ANSWERS}; set BENCHLAKE_SHARED_DATA to the folder of real files")
        return
    import torch
    from sentence_transformers import SentenceTransformer

    torch.set_num_threads(os.cpu_count() or 1)
    folder = find_model(PACKAGED, revision=None, folder=Path())
    reference = SentenceTransformer(str(folder.path), device="cpu", local_files_only=True)
    with tempfile.TemporaryDirectory() as models:
        ours = open_embedder(EmbeddingsConfig(), folder=Path(), models=Path(models))
        ours.encode(["warm"])
        reference.encode(["warm"])
        for name, texts in read_texts().items():
            compare(name, texts, ours=ours.encode, reference=reference)
        times = [seconds(lambda: ours.encode(["How do I get my money back?"])) for _ in range(200)]
        print(f"one query: p50 {statistics.median(times) * 1e3:.1f} ms")


def compare(name: str, texts: list[str], *, ours: Callable[[list[str]], np.ndarray], reference: object) -> None:
    """Prints texts a second of each contestant, medians of turns, and how far our vectors are from the reference."""
    contestants = {
        "ours": lambda: ours(texts),
        "best": lambda: reference.encode(texts, batch_size=16, show_progress_bar=False),
        "defaults": lambda: reference.encode(texts),
    }
    took: dict[str, list[float]] = {contestant: [] for contestant in contestants}
    for _ in range(REPEATS):
        for contestant, run in contestants.items():
            took[contestant].append(seconds(run))
    median = {contestant: statistics.median(times) for contestant, times in took.items()}
    expected = np.asarray(reference.encode(texts, batch_size=16, normalize_embeddings=True))
    cosines = (expected * ours(texts)).sum(axis=1)
    print(
        f"{name}: {len(texts) / median['ours']:,.0f} texts/s; "
        f"{median['best'] / median['ours']:.2f}x best settings (target 0.90), "
        f"{median['defaults'] / median['ours']:.2f}x defaults (target 2.00); "
        f"cosine at least {cosines.min():.6f} (target 0.999)"
    )


if __name__ == "__main__":
    main()
