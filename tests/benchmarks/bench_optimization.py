"""What recording costs: an optimisation run against DSPy alone, with a model that takes no time.

Peer: the same optimiser and evaluations by DSPy's own classes on the same items, nothing written. Ours also meters each
call, writes a row per trial and per program and the run's own row as it goes. With a real model both wait for it, so
the ratio here is the worst case. Target: at most 2x.
"""

from __future__ import annotations

import datetime as dt
import os
import statistics
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING

from lake.store import Lake
from pipelines.optimization.requests import Models, OptimizationRequest, Watching
from pipelines.optimization.settings import OptimizerSettings
from pipelines.optimization.splitting import SplitShares, split_items
from pipelines.optimization.steps import launch_optimization_run
from tests.optimization.fakes import RuleEngine, items, version

if TYPE_CHECKING:
    from pipelines.optimization.splitting import Splits

ITEMS = 600
REPEATS = 5
CANDIDATES = 6


def main() -> None:
    """Print the ratio and the cost of a trial."""
    os.environ.setdefault("DSPY_CACHEDIR", tempfile.mkdtemp())
    os.environ.setdefault("LITELLM_LOCAL_MODEL_COST_MAP", "true")
    os.environ.setdefault("TQDM_DISABLE", "1")
    splits = split_items(items(ITEMS), shares=SplitShares(max_validation=60, max_test=100))
    ours, alone, trials = [], [], 0
    for _ in range(REPEATS):
        alone.append(time_alone(splits))
        seconds, trials = time_recorded(splits)
        ours.append(seconds)
    one, other = statistics.median(ours), statistics.median(alone)
    print(f"run with {trials} trials: {one:.2f} s, DSPy alone {other:.2f} s, ratio {one / other:.2f}")
    print(f"recording a trial: {(one - other) / trials * 1000:.0f} ms")


def time_recorded(splits: Splits) -> tuple[float, int]:
    """Seconds of a run, and its trials."""
    engine = RuleEngine()
    request = OptimizationRequest(
        version=version(),
        splits=splits,
        optimizer="random_search",
        settings=OptimizerSettings(candidate_count=CANDIDATES),
        requested_by="bench",
    )
    with tempfile.TemporaryDirectory() as folder:
        began = time.perf_counter()
        result = launch_optimization_run(
            Lake.open(Path(folder)),
            request,
            Models(engine=engine, prompt_engine=engine),
            Watching(clock=lambda: dt.datetime.now(dt.UTC)),
        )
        return time.perf_counter() - began, result.row["trial_count"]


def time_alone(splits: Splits) -> float:
    """Seconds of the same by DSPy: start, search, start and best on the test items."""
    import dspy
    from dspy.teleprompt import BootstrapFewShotWithRandomSearch

    from pipelines.optimization.dspy_adapter.calling import Metric, Quiet, calling, items_by_inputs, make_examples
    from pipelines.optimization.dspy_adapter.programs import build_program

    metric = Metric(template=version().template, items=items_by_inputs(splits.items))
    train, validation, test = map(make_examples, (splits.train, splits.validation, splits.test))

    def score(example: object, prediction: object, trace: object = None) -> float:
        return metric.score(example, prediction)

    began = time.perf_counter()
    model = dspy.LM("bench/rule", engine=RuleEngine(), cache=False, temperature=0.0, max_tokens=64)
    with Quiet(), calling(model):
        start = build_program(version().template)
        dspy.Evaluate(devset=validation, metric=score, num_threads=1)(start)
        search = BootstrapFewShotWithRandomSearch(
            metric=score, metric_threshold=1.0, max_bootstrapped_demos=2, max_labeled_demos=4,
            num_candidate_programs=CANDIDATES, num_threads=1,
        )  # fmt: skip
        best = search.compile(start, trainset=train, valset=validation, labeled_sample=False)
        for program in (start, best):
            dspy.Evaluate(devset=test, metric=score, num_threads=1)(program)
    return time.perf_counter() - began


if __name__ == "__main__":
    main()
