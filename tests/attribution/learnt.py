"""An optimisation run that has ended, in a lake: what there is to attribute; and embedders that need no model."""

import datetime as dt
import itertools

import numpy as np

from pipelines.attribution.demo_steps import Asking, DemoPlan, attribute_demos
from pipelines.examples.drafts import ExampleDraft
from pipelines.examples.importing import ensure_examples
from pipelines.optimization.items import read_items
from pipelines.optimization.requests import Models, OptimizationRequest, Watching
from pipelines.optimization.settings import OptimizerSettings
from pipelines.optimization.spending import Budget
from pipelines.optimization.splitting import SplitShares, split_items
from pipelines.optimization.steps import launch_optimization_run
from pipelines.optimization.template_registry import read_template, save_template
from tests.optimization.fakes import RuleEngine, items, template

NOW = dt.datetime(2026, 11, 21, 12, tzinfo=dt.UTC)


def stock(lake, drafts=None):
    """Sixty examples and the template; `drafts` instead of them if given."""
    own = [
        ExampleDraft(inputs=item.inputs, expected_output=item.outputs["order"], function_name="orders")
        for item in items(60)
    ]
    ensure_examples(lake, drafts or own, now=NOW, author="ada")
    save_template(lake, template(), now=NOW, author="ada")
    return lake


def learn(lake, *, demos=3, seed=0, engine=None, optimizer="labeled_few_shot"):
    """Run id of a labelled few-shot run on twelve test items."""
    version = read_template(lake, "orders@1")
    engine = engine or RuleEngine()
    request = OptimizationRequest(
        version=version,
        splits=split_items(read_items(lake, version.template).items, shares=SplitShares(max_validation=6, max_test=12)),
        optimizer=optimizer,
        settings=OptimizerSettings(labeled_demo_count=demos),
        seed=seed,
        requested_by="ada",
    )
    seconds = itertools.count()
    watching = Watching(clock=lambda: NOW + dt.timedelta(minutes=1 + 10 * seed, seconds=next(seconds)))
    models = Models(engine=engine, prompt_engine=engine)
    return launch_optimization_run(lake, request, models, watching).run_id


def asking(engine, **budget):
    """Who answers, with a clock that stands still."""
    return Asking(engine=engine, budget=Budget(**budget), clock=lambda: NOW + dt.timedelta(hours=1))


def attribute(lake, engine, *, method="leave_one_out", reference="latest", **plan):
    """Value the demos without a budget."""
    return attribute_demos(lake, reference, DemoPlan(method=method, **plan), asking(engine))


class LetterEmbedder:
    """Counts of letters, at length 1; how often it was asked stands in `encoded`."""

    model_name, revision, dimension = "letters", "1", 128

    def __init__(self) -> None:
        self.encoded = 0

    def encode(self, texts):
        self.encoded += len(texts)
        counts = np.zeros((len(texts), 128), dtype=np.float32)
        for place, text in enumerate(texts):
            for sign in text:
                counts[place, ord(sign) % 128] += 1
        return counts / np.linalg.norm(counts, axis=1, keepdims=True)
