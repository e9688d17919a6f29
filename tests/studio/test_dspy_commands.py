"""`benchlake dspy` as a user meets it, with a model that is a rule."""

import json
import warnings
from contextlib import contextmanager

import pytest

import resources.language_models
from tests.optimization.fakes import RuleEngine
from tests.studio.command_line import Answer, type_words

TEMPLATE = """\
template: orders
instructions: Write the order.
inputs: [{name: message}]
outputs: [{name: order}]
example_query: {message: 20 lamps from Oslo to Bern}
"""


@pytest.fixture
def dspy(tmp_path, monkeypatch, capsys):
    """Run `benchlake dspy …` in a folder with one template file; `dspy.engine` answers."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("BENCHLAKE_HOME", str(tmp_path / "state"))
    monkeypatch.setenv("BENCHLAKE_AUTHOR", "ada")
    monkeypatch.setenv("DSPY_CACHEDIR", str(tmp_path / "dspy"))
    monkeypatch.setenv("LITELLM_LOCAL_MODEL_COST_MAP", "true")
    monkeypatch.delenv("BENCHLAKE_LAKE", raising=False)
    (tmp_path / "orders.yaml").write_text(TEMPLATE)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        import dspy.teleprompt  # noqa: F401

    @contextmanager
    def opened(name, models, *, state_dir, seed):
        state_dir.mkdir(parents=True, exist_ok=True)
        yield run.engine

    monkeypatch.setattr(resources.language_models, "open_language_model", opened)

    def run(*words: str) -> Answer:
        return type_words(monkeypatch, capsys, "dspy", *words)

    run.engine = RuleEngine()
    return run


def stock(folder) -> None:
    import datetime as dt

    from pipelines.examples.drafts import ExampleDraft
    from pipelines.examples.importing import ensure_examples
    from resources.installation import Installation
    from tests.optimization.fakes import items

    drafts = [
        ExampleDraft(inputs=item.inputs, expected_output=item.outputs["order"], function_name="orders")
        for item in items(60)
    ]
    ensure_examples(Installation(folder=folder).lake, drafts, now=dt.datetime.now(dt.UTC), author="ada")


def test_a_template_is_saved_shown_asked_and_exported(dspy, tmp_path) -> None:
    assert "There is no template" in dspy("templates", "list").stdout
    assert "Saved orders@1" in dspy("templates", "save", "orders.yaml", "-m", "first").stdout
    assert "Nothing new" in dspy("templates", "save", "orders.yaml").stdout
    assert "instructions: Write the order." in dspy("templates", "show", "orders").stdout
    (row,) = json.loads(dspy("templates", "list", "--json").stdout)
    assert (row["template"], row["state"], row["created_by"], row["change_note"]) == (
        "orders",
        "active",
        "ada",
        "first",
    )
    # 20 is a number that the rule gets right without a demo.
    assert json.loads(dspy("templates", "ask", "orders").stdout) == {"order": "Oslo>Bern"}
    wrong = dspy("templates", "ask", "orders", '{"text": "x"}')
    assert (wrong.returncode, "must be a JSON object of message" in wrong.stderr) == (3, True)
    written = dspy("templates", "export", "orders", "--output", "out").stdout.split()
    assert written == [f"out/orders.{end}" for end in ("py", "state.json", "template.yaml")]
    assert "orders@1 is archived" in dspy("templates", "archive", "orders@1", "--reason", "old").stdout
    assert "No version of the template 'orders' is active" in dspy("templates", "ask", "orders").stderr
    assert "orders@1 is active" in dspy("templates", "activate", "orders@1").stdout


def test_an_optimisation_is_told_as_it_goes_and_can_be_looked_at(dspy, tmp_path) -> None:
    assert "There is no optimisation run" in dspy("runs").stdout
    dspy("templates", "save", "orders.yaml")
    refused = dspy("optimize", "orders")
    assert (refused.returncode, "benchlake examples import" in refused.stderr) == (3, True)
    stock(tmp_path)
    words = (
        "optimize",
        "orders",
        "--optimizer",
        "labeled_few_shot",
        "--set",
        "labeled_demo_count=3",
        "--max-test",
        "20",
    )
    done = dspy(*words)
    assert done.returncode == 0, done.stderr
    assert "trial 0   start     validation" in done.stderr
    assert "improved: the whole interval is above 0." in done.stdout
    assert "orders@2 (pending) waits for its gates" in done.stdout
    assert "has finished before" in dspy(*words).stderr
    (run,) = json.loads(dspy("runs", "--json").stdout)
    shown = json.loads(dspy("show", run["optimization_run_id"][:8], "--json").stdout)
    assert (shown["conclusion"], shown["requested_by"]) == ("improved", "ada")
    assert "labeled_few_shot on" in dspy("show").stdout
    trials = json.loads(dspy("trials", "latest", "--svg", "t.svg", "--json").stdout)
    assert [row["trial_kind"] for row in trials] == ["start", "candidate", "start", "best"]
    assert (tmp_path / "t.svg").read_text().startswith("<svg")
    best = trials[-1]["program_id"][:8]
    assert "out/orders.py" in dspy("templates", "export", "orders@1", "--program", best, "-o", "out").stdout
    assert "demos" in (tmp_path / "out" / "orders.template.yaml").read_text()
    assert "+demos:" in dspy("templates", "diff", "orders@1", "orders@2").stdout
    assert "0 demos offered" in dspy("sync").stdout
    assert "is not running" in dspy("stop").stderr


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("optimize", "nothing"), "There is no template yet. Save one"),
        (("optimize", "orders", "--set", "demos=3"), "setting of the optimisers named 'demos'"),
        (("optimize", "orders", "--set", "depth"), "is not NAME=NUMBER"),
        (("optimize", "orders", "--set", "depth=0"), "greater than or equal to 1"),
        (("show", "abc"), "There is no optimisation run yet"),
        (("templates", "save", "missing.yaml"), "cannot be read"),
    ],
)
def test_what_is_wrong_is_told_with_exit_code_3(dspy, words, said) -> None:
    answer = dspy(*words)
    assert (answer.returncode, said in answer.stderr) == (3, True), answer.stderr


def test_the_optimisers_are_listed_with_their_settings(dspy) -> None:
    names = [row["optimizer"] for row in json.loads(dspy("optimizers", "--json").stdout)]
    assert ("gepa" in names, len(names)) == (True, 8)
    assert "labeled_demo_count" in dspy("optimizers").stdout
