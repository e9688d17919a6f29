"""Is the example store quick at 100,000 examples? Search by text, a page of the list, create: medians, warm.

Floors in the same run, taking turns with what they are compared with: for a search, encoding the query alone (the
model's share, which no store can save); for a page, reading the same rows by key with PyArrow from the table's files;
for a creation, two bare appends of one row to a Delta table (a unit and an example), without checks or look-ups.
Targets: search p50 under 60 ms, page under 50 ms, create under 100 ms. Vectors of the stored texts are random, under
the model's name: what they mean is not measured here (bench_embeddings), and embedding them would take minutes.
"""

from __future__ import annotations

import argparse
import datetime as dt
import statistics
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import polars as pl
import pyarrow.dataset as pads
from deltalake import write_deltalake

from lake.identity import text_digest
from lake.store import Lake
from pipelines.embeddings.embedder import Embedder, Vectors
from pipelines.embeddings.service import EmbeddingService
from pipelines.examples.catalogue import ExampleFilter
from pipelines.examples.drafts import ExampleDraft
from pipelines.examples.following import EXAMPLES
from pipelines.examples.importing import ensure_examples
from pipelines.examples.search import ExampleSearch
from pipelines.examples.store import ExampleStore
from resources.installation import Installation
from tests.benchmarks.bench_append import WORDS

COUNT = 100_000
REPEATS = 31
NOW = dt.datetime(2026, 11, 20, 12, tzinfo=dt.UTC)
SUBJECTS = ("rivers", "planets", "taxes", "cooking", "chemistry", "football", "poetry", "gardens")


class RandomVectors:
    """Random directions under a model's name, one a text."""

    def __init__(self, model: Embedder) -> None:
        self.model_name, self.revision, self.dimension = model.model_name, model.revision, model.dimension

    def encode(self, texts: Sequence[str]) -> Vectors:
        """Vectors that depend on the texts alone."""
        drawn = np.stack(
            [
                np.random.default_rng(int(text_digest(text)[:12], 16)).standard_normal(self.dimension, dtype=np.float32)
                for text in texts
            ]
        )
        return drawn / np.linalg.norm(drawn, axis=1, keepdims=True)


def drafts(count: int) -> list[ExampleDraft]:
    """Examples of about 25 words of input and 12 of output."""
    rng = np.random.default_rng(5)
    words = np.array([*WORDS, *(f"term{number}" for number in range(20_000))])
    places = rng.integers(0, len(words), (count, 37))
    return [
        ExampleDraft(
            inputs={"question": f"{SUBJECTS[number % 8]} {number}: {' '.join(words[row[:25]])}"},
            expected_output=" ".join(words[row[25:]]),
            function_name=f"task-{number % 5}",
            tags=[SUBJECTS[number % 8]],
            license="MIT",
        )
        for number, row in enumerate(places)
    ]


def fill(lake: Lake, service: EmbeddingService, count: int) -> float:
    """Put `count` examples and vectors into the lake; seconds that the examples took."""
    made = drafts(count)
    began = time.perf_counter()
    for start in range(0, count, 20_000):
        ensure_examples(lake, made[start : start + 20_000], now=NOW, author="bench")
    seconds = time.perf_counter() - began
    lake.maintain(EXAMPLES, retention_hours=168)
    service.update()
    return seconds


def taking_turns(acts: dict[str, Callable[[int], object]], *, repeats: int = REPEATS) -> dict[str, list[float]]:
    """Milliseconds of each act, in turns, after one turn that is not counted."""
    took: dict[str, list[float]] = {name: [] for name in acts}
    for turn in range(repeats + 1):
        for name, act in acts.items():
            began = time.perf_counter()
            act(turn)
            took[name].append((time.perf_counter() - began) * 1000)
    return {name: values[1:] for name, values in took.items()}


def show(took: dict[str, list[float]], targets: dict[str, float], floor: str) -> None:
    """One line an act: median, 95th percentile, ratio to the floor, target."""
    base = statistics.median(took[floor])
    for name, values in took.items():
        median, high = statistics.median(values), statistics.quantiles(values, n=20)[-1]
        target = (
            f"  target {targets[name]:.0f}: {'met' if median < targets[name] else 'MISSED'}" if name in targets else ""
        )
        print(f"{name:<34} p50 {median:7.1f} ms  p95 {high:7.1f} ms  {median / base:5.1f}x {floor}{target}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--count", type=int, default=COUNT)
    parser.add_argument("--folder", type=Path, help="Build the lake here and keep it; used again if it is there.")
    options, _ = parser.parse_known_args()
    embedder = Installation(folder=Path.cwd()).embedder
    with tempfile.TemporaryDirectory() as name:
        folder = options.folder or Path(name)
        lake = Lake.open(folder / "lake")
        filling = EmbeddingService(lake, open_embedder=lambda _: RandomVectors(embedder), indexes=folder / "indexes")
        if not lake.exists(EXAMPLES):
            seconds = fill(lake, filling, options.count)
            print(f"{options.count:,} examples in {seconds:.1f} s ({options.count / seconds:,.0f}/s)")
        service = EmbeddingService(lake, open_embedder=lambda _: embedder, indexes=folder / "indexes")
        store = ExampleStore(lake)
        search = ExampleSearch(store, embedder=embedder, vector_index=service.index, keyword_folder=folder / "keywords")
        measure_search(search, embedder)
        measure_pages(store)
        measure_creation(search, folder)


def measure_search(search: ExampleSearch, embedder: Embedder) -> None:
    queries = [draft.inputs["question"] for draft in drafts(REPEATS + 1)]
    one_in_five, one_in_forty = (
        ExampleFilter(function_name="task-1"),
        ExampleFilter(function_name="task-1", tags=("taxes",)),
    )
    took = taking_turns(
        {
            "encoding the query alone": lambda turn: embedder.encode([queries[turn]]),
            "search by text, hybrid": lambda turn: search.search(queries[turn], count=10),
            "search by text, embedding": lambda turn: search.search(queries[turn], count=10, mode="embedding"),
            "search by text, keywords": lambda turn: search.search(queries[turn], count=10, mode="keywords"),
            "search, filter leaves 20%": lambda turn: search.search(queries[turn], count=10, wanted=one_in_five),
            "search, filter leaves 2.5%": lambda turn: search.search(queries[turn], count=10, wanted=one_in_forty),
            "search, diversity 0.3": lambda turn: search.search(queries[turn], count=10, diversity=0.3),
        }
    )
    show(took, {name: 60.0 for name in took if name.startswith("search")}, "encoding the query alone")


def measure_pages(store: ExampleStore) -> None:
    keys = store.catalogue().rows["example_id"]
    rng = np.random.default_rng(2)
    begins = rng.integers(0, keys.len() - 100, REPEATS + 1)
    handle = store.lake.handle(EXAMPLES)
    assert handle is not None

    def by_arrow(turn: int) -> pl.DataFrame:
        wanted = keys.slice(int(begins[turn]), 20).to_list()
        found = handle.to_pyarrow_dataset().to_table(filter=pads.field("example_id").isin(wanted))
        return pl.DataFrame(found)

    took = taking_turns(
        {
            "the page's rows by PyArrow": by_arrow,
            "list page of 20": lambda turn: store.list(after=keys[int(begins[turn])], limit=20),
            "list page of 20, filtered": lambda turn: store.list(
                ExampleFilter(tags=("taxes",)), after=keys[int(begins[turn])], limit=20
            ),
            "one example by id": lambda turn: store.get(keys[int(begins[turn])]),
        }
    )
    show(took, {name: 50.0 for name in took if name.startswith("list")}, "the page's rows by PyArrow")


def measure_creation(search: ExampleSearch, folder: Path) -> None:
    """Examples added by one process: checked first, as the command line does; then without; then checked after those.

    The vectors of what was checked are remembered. What came unchecked has to be embedded, a few at a time.
    """
    row = search.store.list(limit=1).rows

    def draft(turn: int) -> ExampleDraft:
        question = f"what is the meaning of term{turn} at {time.time_ns()}?"
        return ExampleDraft(inputs={"question": question}, expected_output=f"it is {turn}")

    def create(turn: int) -> None:
        search.store.create(draft(turn), now=NOW, author="bench")

    def checked(turn: int) -> None:
        new = draft(turn)
        search.near_duplicates(new)
        search.store.create(new, now=NOW, author="bench")

    acts = {
        "check for near-duplicates, create": checked,
        "create": create,
        "check and create, others unchecked": checked,
    }
    for name, act in acts.items():
        # A log that grows is slower to open, so each has a floor of its own.
        with tempfile.TemporaryDirectory(dir=folder) as floor:

            def two_appends(_: int, floor: str = floor) -> None:
                for table in ("one", "two"):
                    write_deltalake(f"{floor}/{table}", row, mode="append")

            took = taking_turns({"two bare appends": two_appends, name: act}, repeats=15)
        show(took, {name: 100.0}, "two bare appends")


if __name__ == "__main__":
    main()
