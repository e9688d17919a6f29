"""What of DSPy moves between versions, and what here must change with it.

Each test names the module that stands on it. When DSPy is upgraded and one of these fails, that module is where the
change belongs; nothing else knows DSPy.
"""

import inspect
import re
from importlib.metadata import version
from pathlib import Path

import dspy
import dspy.teleprompt
import pytest

ROOT = Path(__file__).parents[2]
KNOWING = ("pipelines/optimization/dspy_adapter/", "resources/language_models/")
EXPORTED = "pipelines/optimization/source_code.py"


def test_the_version_is_the_one_the_adapter_was_written_for() -> None:
    assert version("dspy").startswith("3.4."), "read the release notes, then go through the tests of this file"


def test_dspy_is_imported_by_the_adapter_and_the_engines_alone_and_never_configured_globally() -> None:
    knowing, configured = [], []
    for folder in ("lake", "pipelines", "resources", "assets", "studio", "benchlake"):
        for path in (ROOT / folder).rglob("*.py"):
            text, name = path.read_text("utf-8"), str(path.relative_to(ROOT))
            if re.search(r"^\s*(import dspy|from dspy)", text, re.MULTILINE) and name != EXPORTED:
                knowing.append(name)
            if re.search(r"dspy\.configure(_cache)?\(|settings\.configure\(", text):
                configured.append(name)
    assert [name for name in knowing if not name.startswith(KNOWING)] == []
    assert knowing
    assert configured == []


def test_an_engine_is_an_object_with_complete_and_declares_what_it_supports() -> None:
    # calling.make_model: dspy.LM(engine=…), and BaseLM.forward goes in 3.5.
    assert {"engine", "cache", "num_retries"} <= set(inspect.signature(dspy.LM.__init__).parameters)
    from dspy.clients.capabilities import _capabilities

    source = inspect.getsource(_capabilities)
    assert "supports_response_schema" in source
    assert "supported_params" in source


def test_an_evaluation_gives_results_of_example_prediction_and_score() -> None:
    # watching.evaluation_ended: tuples in 2.6, EvaluationResult since.
    from dspy.evaluate.evaluate import EvaluationResult

    assert {"score", "results"} <= set(inspect.signature(EvaluationResult.__init__).parameters)


@pytest.mark.parametrize("handler", ["on_evaluate_start", "on_evaluate_end", "on_module_start"])
def test_callbacks_have_these_handlers(handler) -> None:
    # watching.make_callback
    from dspy.utils.callback import BaseCallback

    assert {"call_id"} <= set(inspect.signature(getattr(BaseCallback, handler)).parameters)


@pytest.mark.parametrize(
    ("name", "given", "compiled_with"),
    [
        ("LabeledFewShot", {"k"}, {"trainset", "sample"}),
        ("BootstrapFewShot", {"metric_threshold", "max_bootstrapped_demos", "max_labeled_demos"}, {"trainset"}),
        ("BootstrapFewShotWithRandomSearch", {"num_candidate_programs"}, {"trainset", "valset", "labeled_sample"}),
        ("MIPROv2", {"auto", "num_candidates", "prompt_model", "seed"}, {"num_trials", "minibatch", "valset"}),
        ("COPRO", {"prompt_model", "breadth", "depth"}, {"trainset", "eval_kwargs"}),
        ("SIMBA", {"bsize", "num_candidates", "max_steps", "max_demos", "prompt_model"}, {"trainset", "seed"}),
        ("GEPA", {"max_metric_calls", "reflection_lm", "track_stats", "seed"}, {"trainset", "valset"}),
    ],
)
def test_optimisers_take_these_words(name, given, compiled_with) -> None:
    # optimizers.py
    optimizer = getattr(dspy, name, None) or getattr(dspy.teleprompt, name)
    assert given <= set(inspect.signature(optimizer.__init__).parameters)
    assert compiled_with <= set(inspect.signature(optimizer.compile).parameters)


def test_a_predictor_s_state_has_these_keys_and_a_demo_of_its_own_is_marked() -> None:
    # programs.clean_state: a new key is refused until it is known to be harmless.
    program = dspy.Predict("question -> answer")
    program.demos = [dspy.Example(question="a", answer="b", augmented=True)]
    state = program.dump_state()
    assert set(state) == {"traces", "train", "demos", "signature", "lm"}
    assert set(state["signature"]) == {"instructions", "fields"}
    assert [set(field) for field in state["signature"]["fields"]] == [{"prefix", "description"}] * 2
    assert state["demos"] == [{"question": "a", "answer": "b", "augmented": True}]
    assert [name for name, _ in dspy.ChainOfThought("question -> answer").named_predictors()] == ["predict"]


def test_an_optimiser_is_not_stopped_by_an_exception_of_a_call_but_by_what_is_none() -> None:
    # spending.RunStopped and watching.WatchFailed rest on it.
    from dspy.utils.parallelizer import ParallelExecutor

    class Stop(BaseException):
        pass

    def fail(item):
        raise Stop if item else ValueError("a wrong answer")

    executor = ParallelExecutor(num_threads=1, max_errors=10, disable_progress_bar=True)
    assert executor.execute(fail, [0]) == [None]
    with pytest.raises(Stop):
        executor.execute(fail, [1])
