"""Starting DSPy's optimisers with our settings: one function each, the same few words for all of them.

What each does with a program is DSPy's; what it may spend, what is recorded and which candidate wins is
`pipelines/optimization/steps.py`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from lake.errors import UserError
from lake.tables.optimization import Optimizer
from pipelines.optimization.dspy_adapter.calling import Metric, make_examples
from pipelines.optimization.items import Item
from pipelines.optimization.settings import OptimizerSettings


@dataclass(frozen=True, kw_only=True)
class Search:
    """What an optimiser is given. `prompt_model` writes instructions; `train` comes in the order demos are taken."""

    train: Sequence[Item]
    validation: Sequence[Item]
    metric: Metric
    settings: OptimizerSettings
    seed: int
    threads: int
    prompt_model: Any


def optimize(optimizer: Optimizer, program: Any, search: Search) -> Any:  # noqa: ANN401 - dspy.Modules
    """The program that the optimiser ends with; call it within `calling`."""
    return _OPTIMIZERS[optimizer](program, search)


def _labeled_few_shot(program: Any, search: Search) -> Any:  # noqa: ANN401 - dspy.Modules
    from dspy.teleprompt import LabeledFewShot

    # Not DSPy's own sample, which has a fixed seed and may draw one label alone; the order is balanced and seeded.
    demos = make_examples(search.train)[: search.settings.labeled_demo_count]
    return LabeledFewShot(k=search.settings.labeled_demo_count).compile(program, trainset=demos, sample=False)


def _bootstrap_few_shot(program: Any, search: Search) -> Any:  # noqa: ANN401 - dspy.Modules
    from dspy.teleprompt import BootstrapFewShot

    return BootstrapFewShot(**_demo_settings(search)).compile(program, trainset=make_examples(search.train))


def _random_search(program: Any, search: Search) -> Any:  # noqa: ANN401 - dspy.Modules
    from dspy.teleprompt import BootstrapFewShotWithRandomSearch

    optimizer = BootstrapFewShotWithRandomSearch(
        **_demo_settings(search), num_candidate_programs=search.settings.candidate_count, num_threads=search.threads
    )
    return optimizer.compile(
        program, trainset=make_examples(search.train), valset=make_examples(search.validation), labeled_sample=False
    )


def _mipro_v2(program: Any, search: Search) -> Any:  # noqa: ANN401 - dspy.Modules
    from dspy.teleprompt import MIPROv2

    settings = search.settings
    optimizer = MIPROv2(
        **_demo_settings(search),
        prompt_model=search.prompt_model,
        auto=None,
        num_candidates=settings.candidate_count,
        num_threads=search.threads,
        seed=search.seed,
    )
    # A mini-batch leaves scores that cannot be compared; the splits are small enough to do without.
    return optimizer.compile(
        program,
        trainset=make_examples(search.train),
        valset=make_examples(search.validation),
        num_trials=settings.trial_count,
        minibatch=False,
    )


def _copro(program: Any, search: Search) -> Any:  # noqa: ANN401 - dspy.Modules
    from dspy.teleprompt import COPRO

    optimizer = COPRO(
        prompt_model=search.prompt_model,
        metric=_scoring(search.metric),
        breadth=search.settings.breadth,
        depth=search.settings.depth,
    )
    # It searches on the one set that it is given; the validation split is what all optimisers are chosen by.
    return optimizer.compile(
        program,
        trainset=make_examples(search.validation),
        eval_kwargs={"num_threads": search.threads, "display_progress": False},
    )


def _simba(program: Any, search: Search) -> Any:  # noqa: ANN401 - dspy.Modules
    from dspy.teleprompt import SIMBA

    settings = search.settings
    size = min(settings.batch_size, len(search.train))
    optimizer = SIMBA(
        metric=_scoring(search.metric),
        bsize=size,
        num_candidates=settings.candidate_count,
        max_steps=settings.depth,
        max_demos=settings.labeled_demo_count,
        prompt_model=search.prompt_model,
        # Its candidates are told apart by the order of calls.
        num_threads=1,
    )
    return optimizer.compile(program, trainset=make_examples(search.train), seed=search.seed)


def _gepa(program: Any, search: Search) -> Any:  # noqa: ANN401 - dspy.Modules
    import dspy

    optimizer = dspy.GEPA(
        metric=_telling(search.metric),
        max_metric_calls=search.settings.metric_call_count,
        reflection_lm=search.prompt_model,
        num_threads=search.threads,
        seed=search.seed,
        track_stats=True,
    )
    return optimizer.compile(program, trainset=make_examples(search.train), valset=make_examples(search.validation))


def _knn_few_shot(program: Any, search: Search) -> Any:  # noqa: ANN401 - dspy.Modules
    """Give the program the training items to choose from.

    DSPy's KNNFewShot replaces a method of the module, which cannot be saved, and compiles anew for each question. The
    program of a template with a `neighbour_count` chooses by itself, shows the same demos, and is JSON like any other.
    """
    if len(program.predictors()) > 1:
        raise UserError("knn_few_shot is for templates of one step.")
    learnt = program.deepcopy()
    learnt.predictors()[0].demos = [dict(example.items()) for example in make_examples(search.train)]
    return learnt


def _demo_settings(search: Search) -> dict[str, Any]:
    return {
        "metric": _scoring(search.metric),
        "metric_threshold": search.settings.bootstrap_threshold,
        "max_bootstrapped_demos": search.settings.bootstrapped_demo_count,
        "max_labeled_demos": search.settings.labeled_demo_count,
    }


def _scoring(metric: Metric) -> Callable[..., float]:
    def score(example: Any, prediction: Any, trace: Any = None) -> float:  # noqa: ANN401, ARG001
        return metric.score(example, prediction)

    return score


def _telling(metric: Metric) -> Callable[..., Any]:
    import dspy

    def score(example: Any, prediction: Any, trace: Any = None, pred_name: Any = None, pred_trace: Any = None) -> Any:  # noqa: ANN401, ARG001
        value = metric.score(example, prediction)
        return dspy.Prediction(score=value, feedback=metric.feedback(example, prediction)) if pred_name else value

    return score


_OPTIMIZERS: dict[Optimizer, Callable[[Any, Search], Any]] = {
    "labeled_few_shot": _labeled_few_shot,
    "bootstrap_few_shot": _bootstrap_few_shot,
    "random_search": _random_search,
    "knn_few_shot": _knn_few_shot,
    "mipro_v2": _mipro_v2,
    "copro": _copro,
    "simba": _simba,
    "gepa": _gepa,
}
