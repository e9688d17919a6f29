"""Running a program on items: the model behind DSPy's interface, the settings of a call, the metric, an evaluation."""

from __future__ import annotations

import contextlib
import io
import logging
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, Self, TextIO

from pipelines.optimization.items import Item, as_text, score_outputs
from pipelines.optimization.spending import MeteredEngine
from pipelines.optimization.templates import ModelSettings, Template

# Every wrong answer is a score of 0, not a reason to give up: DSPy's own limit is 10.
_MAX_ERRORS = 1_000_000_000
# What DSPy and its optimisers write besides what they return.
_LOUD_LOGGERS = ("dspy", "optuna", "gepa", "LiteLLM")


@dataclass(frozen=True, kw_only=True)
class Metric:
    """How an optimiser scores a prediction: `score(item, prediction)`, and the words for one that reads feedback."""

    template: Template
    items: dict[str, Item]
    listeners: list[Callable[[Item, float, dict[str, Any]], None]] = field(default_factory=list)

    def score(self, example: Any, prediction: Any) -> float:  # noqa: ANN401 - DSPy's Example and Prediction
        """Score of a prediction, 0 to 1."""
        item = self.item_of(example)
        given = _as_dict(prediction)
        value = score_outputs(self.template, item.outputs, given)
        for listener in self.listeners:
            listener(item, value, given)
        return value

    def feedback(self, example: Any, prediction: Any) -> str:  # noqa: ANN401 - DSPy's Example and Prediction
        """What was right or wrong with a prediction, for optimisers that read."""
        name = self.template.scored_field
        wanted = as_text(self.item_of(example).outputs.get(name))
        given = _as_dict(prediction).get(name)
        if score_outputs(self.template, {name: wanted}, {name: given}) == 1.0:
            return f"Right: {name} is {wanted}."
        return f"Wrong: {name} should be {wanted}, not {'missing' if given is None else as_text(given)}."

    def item_of(self, example: Any) -> Item:  # noqa: ANN401 - DSPy's Example
        """The item that an example was made of; found by its inputs, since optimisers make new examples."""
        return self.items[_key({field.name: example[field.name] for field in self.template.inputs})]


def make_examples(items: Sequence[Item]) -> list[Any]:
    """Items as DSPy's examples: the fields alone, since any further key would be saved with every demo."""
    import dspy

    return [dspy.Example(**item.inputs, **item.outputs).with_inputs(*item.inputs) for item in items]


def items_by_inputs(items: Sequence[Item]) -> dict[str, Item]:
    """Items by what `Metric.item_of` looks them up by."""
    return {_key(dict(item.inputs)): item for item in items}


def make_model(engine: MeteredEngine, settings: ModelSettings) -> Any:  # noqa: ANN401 - a dspy.LM
    """The engine as DSPy's language model.

    Without DSPy's cache, whose key leaves out which server answers and whose files are pickles; the engine has one.
    Without its retries, since engines retry what is worth it.
    """
    import dspy

    return dspy.LM(
        model=f"benchlake/{settings.language_model}",
        engine=engine,
        cache=False,
        num_retries=0,
        temperature=settings.temperature,
        max_tokens=settings.max_output_tokens,
    )


@contextlib.contextmanager
def calling(model: Any, *, callbacks: Sequence[Any] = (), threads: int = 1) -> Iterator[None]:  # noqa: ANN401 - a dspy.LM
    """Settings within which programs run. A schema is sent with each call, without which small models never parse."""
    import dspy

    adapter = dspy.JSONAdapter(use_native_function_calling=False)
    with dspy.context(
        lm=model,
        adapter=adapter,
        callbacks=list(callbacks),
        num_threads=threads,
        max_errors=_MAX_ERRORS,
        disable_history=True,
    ):
        yield


def evaluate(program: Any, items: Sequence[Item], metric: Metric, *, threads: int) -> None:  # noqa: ANN401 - a dspy.Module
    """Run a program on items; what comes of it is seen by the callbacks of `watching.py`."""
    import dspy

    dspy.Evaluate(
        devset=make_examples(items),
        metric=lambda example, prediction, trace=None: metric.score(example, prediction),  # noqa: ARG005
        num_threads=threads,
        display_progress=False,
        max_errors=_MAX_ERRORS,
    )(program)


def ask(program: Any, inputs: dict[str, Any]) -> dict[str, Any]:  # noqa: ANN401 - a dspy.Module
    """Outputs of one call by field."""
    return _as_dict(program(**inputs))


class Quiet:
    """Keeps what optimisers print, log and draw out of standard output and error while they run.

    `aloud` gives both back for the length of a block, for whoever reports progress meanwhile.
    """

    def __init__(self) -> None:
        self._streams: tuple[TextIO, TextIO] | None = None

    def __enter__(self) -> Self:
        self._streams = (sys.stdout, sys.stderr)
        self._levels = {name: logging.getLogger(name).level for name in _LOUD_LOGGERS}
        for name in _LOUD_LOGGERS:
            logging.getLogger(name).setLevel(logging.CRITICAL)
        sys.stdout, sys.stderr = io.StringIO(), io.StringIO()
        return self

    def __exit__(self, *_: object) -> None:
        if self._streams is not None:
            sys.stdout, sys.stderr = self._streams
        for name, level in self._levels.items():
            logging.getLogger(name).setLevel(level)

    @contextlib.contextmanager
    def aloud(self) -> Iterator[None]:
        """The streams as they were."""
        if self._streams is None:
            yield
            return
        with contextlib.redirect_stdout(self._streams[0]), contextlib.redirect_stderr(self._streams[1]):
            yield


def _as_dict(prediction: Any) -> dict[str, Any]:  # noqa: ANN401 - a dspy.Prediction, or None where the call failed
    return dict(prediction.items()) if prediction is not None else {}


def _key(inputs: dict[str, Any]) -> str:
    from pipelines.examples.digests import input_digest

    return input_digest(inputs)
