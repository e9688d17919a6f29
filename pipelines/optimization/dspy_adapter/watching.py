"""Seeing every candidate that an optimiser evaluates, while it does.

DSPy's callbacks tell of each `Evaluate`; SIMBA does not use it, so its candidates are told apart by the programs that
are called. DSPy swallows exceptions of callbacks: what goes wrong here is carried out as a `WatchFailed`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from pipelines.optimization.dspy_adapter.calling import Metric
from pipelines.optimization.dspy_adapter.programs import ProgramFacts, read_facts
from pipelines.optimization.items import Item


class WatchFailed(BaseException):
    """What was seen could not be recorded; the cause is the error itself."""


@dataclass(frozen=True, kw_only=True)
class Evaluated:
    """A program with the scores of its items and what it gave for each; nothing where it gave no output."""

    facts: ProgramFacts
    items: tuple[Item, ...]
    scores: tuple[float, ...]
    outputs: tuple[Mapping[str, Any], ...]


@dataclass
class Watch:
    """Takes what is evaluated and hands it to `on_evaluated`, one program after the other.

    `sees_calls` while an optimiser works that does not use `Evaluate`.
    """

    metric: Metric
    on_evaluated: Callable[[Evaluated], None]
    sees_calls: bool = False
    _started: dict[str, tuple[ProgramFacts, Sequence[Any]]] = field(default_factory=dict)
    _current: tuple[int, ProgramFacts] | None = None
    _scored: list[tuple[Item, float, Mapping[str, Any]]] = field(default_factory=list)

    def evaluation_started(self, call_id: str, program: Any, examples: Sequence[Any]) -> None:  # noqa: ANN401
        """Remember the program as it is now; COPRO goes on changing the same object."""
        self._started[call_id] = (read_facts(program), list(examples))

    def evaluation_ended(self, call_id: str, result: Any) -> None:  # noqa: ANN401 - a dspy EvaluationResult or None
        """Hand on an evaluation that came to its end."""
        facts, _ = self._started.pop(call_id)
        if result is None:
            return
        self.on_evaluated(
            Evaluated(
                facts=facts,
                items=tuple(self.metric.item_of(example) for example, _, _ in result.results),
                scores=tuple(float(score) for _, _, score in result.results),
                outputs=tuple(_outputs_of(prediction) for _, prediction, _ in result.results),
            )
        )

    def program_called(self, program: Any) -> None:  # noqa: ANN401 - a dspy.Module
        """Tell candidates apart where there is no evaluation; one whose model was set is a sampled trajectory."""
        if any(predictor.lm is not None for predictor in program.predictors()):
            self.flush()
            return
        if self._current is None or self._current[0] != id(program):
            self.flush()
            self._current = (id(program), read_facts(program))

    def item_scored(self, item: Item, score: float, given: Mapping[str, Any]) -> None:
        """Count a score for the program that was called last."""
        if self.sees_calls and self._current is not None:
            self._scored.append((item, score, given))

    def flush(self) -> None:
        """Hand on what was scored of the program that was called last."""
        current, scored = self._current, self._scored
        self._current, self._scored = None, []
        if current is not None and scored:
            self.on_evaluated(
                Evaluated(
                    facts=current[1],
                    items=tuple(item for item, _, _ in scored),
                    scores=tuple(score for _, score, _ in scored),
                    outputs=tuple(given for _, _, given in scored),
                )
            )


def make_callback(watch: Watch) -> Any:  # noqa: ANN401 - a dspy BaseCallback
    """The watch as DSPy's callback."""
    from dspy.utils.callback import BaseCallback

    class WatchCallback(BaseCallback):  # type: ignore[misc]  # DSPy has no types
        """Passes on what the watch wants to see."""

        def on_evaluate_start(self, call_id: str, instance: Any, inputs: dict[str, Any]) -> None:  # noqa: ANN401
            examples = inputs.get("devset") or instance.devset
            _guarded(lambda: watch.evaluation_started(call_id, inputs["program"], examples))

        def on_evaluate_end(self, call_id: str, outputs: Any, exception: BaseException | None = None) -> None:  # noqa: ANN401
            _guarded(lambda: watch.evaluation_ended(call_id, None if exception is not None else outputs))

        def on_module_start(self, call_id: str, instance: Any, inputs: dict[str, Any]) -> None:  # noqa: ANN401, ARG002
            if watch.sees_calls and hasattr(instance, "predictor_of"):
                _guarded(lambda: watch.program_called(instance))

    return WatchCallback()


def _outputs_of(prediction: Any) -> dict[str, Any]:  # noqa: ANN401 - what a program gave
    # Where GEPA looks at how answers came about, a prediction comes with its trace.
    given = prediction[0] if isinstance(prediction, tuple) else prediction
    return dict(given.items()) if callable(getattr(given, "items", None)) else {}


def _guarded(act: Callable[[], None]) -> None:
    try:
        act()
    except Exception as error:
        raise WatchFailed(str(error)) from error
