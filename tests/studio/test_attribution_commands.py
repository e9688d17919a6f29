"""`benchlake attribution` as a user meets it, with a model that is a rule."""

import json
import warnings
from contextlib import contextmanager
from typing import get_args

import pytest

import resources.installation
import resources.language_models
from resources.attribution import ASKED_METHODS
from resources.installation import Installation
from studio.attribution_commands import AskedMethodName, MethodName
from tests.attribution.learnt import LetterEmbedder, learn, stock
from tests.attribution.test_demo_steps import OneGoodDemo
from tests.studio.command_line import Answer, type_words


@pytest.fixture
def attribution(tmp_path, monkeypatch, capsys):
    """Run `benchlake attribution …` in a folder with an empty lake; `attribution.engine` answers."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("BENCHLAKE_HOME", str(tmp_path / "state"))
    monkeypatch.setenv("DSPY_CACHEDIR", str(tmp_path / "dspy"))
    monkeypatch.setenv("LITELLM_LOCAL_MODEL_COST_MAP", "true")
    monkeypatch.delenv("BENCHLAKE_LAKE", raising=False)
    # Wide enough that no cell is folded.
    monkeypatch.setenv("COLUMNS", "200")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        import dspy.teleprompt  # noqa: F401

    @contextmanager
    def opened(name, models, *, state_dir, seed):
        yield run.engine

    monkeypatch.setattr(resources.language_models, "open_language_model", opened)
    monkeypatch.setattr(resources.installation.Installation, "embedder", LetterEmbedder())

    def run(*words: str) -> Answer:
        return type_words(monkeypatch, capsys, "attribution", *words)

    run.engine = OneGoodDemo()
    return run


def test_the_method_names_are_those_of_the_contract() -> None:
    from lake.tables.attribution import METHODS

    assert set(get_args(AskedMethodName)) == set(ASKED_METHODS)
    assert set(get_args(MethodName)) == set(METHODS)


def test_what_is_missing_is_told_with_what_to_do(attribution, tmp_path) -> None:
    none = attribution("top")
    assert (none.returncode, "benchlake dspy optimize" in none.stderr) == (3, True)
    # A sentence and no empty table.
    assert "benchlake dspy optimize" in attribution("deltas").stdout
    assert len(attribution("deltas").stdout.splitlines()) == 1
    none = attribution("unit", "abcd")
    assert (none.returncode, none.stderr.startswith("No unit with a value")) == (3, True)
    learn(stock(Installation(folder=tmp_path).lake), engine=attribution.engine)
    none = attribution("top")
    assert (none.returncode, "benchlake attribution run" in none.stderr) == (3, True)
    assert "benchlake attribution run latest" in attribution("deltas").stdout
    wrong = attribution("run", "--method", "shapley")
    assert (wrong.returncode, "shapley_exact" in wrong.stderr) == (3, True)


def test_a_run_is_valued_and_looked_at(attribution, tmp_path) -> None:
    learn(stock(Installation(folder=tmp_path).lake), engine=attribution.engine)
    done = attribution("run", "latest")
    assert done.returncode == 0, done.stderr
    assert "leave one out: 1 helpful, 0 harmful, 2 indistinguishable from 0." in done.stdout
    assert "influence proxy: no values. Left out: its outputs are no classes" in done.stdout
    again = json.loads(attribution("run", "--json").stdout)
    assert again["is_complete"]
    assert not any(method["is_new"] for method in again["methods"])

    table = attribution("top", "latest", "--method", "leave_one_out").stdout
    assert "indistinguishable from 0" in " ".join(table.split())
    rows = json.loads(attribution("top", "--method", "leave_one_out", "--svg", "top.svg", "--json").stdout)
    assert [row["finding"] for row in rows] == ["helpful", "indistinguishable", "indistinguishable"]
    assert (tmp_path / "top.svg").read_text().startswith("<svg")
    assert "add --method" in attribution("top", "--svg", "x.svg").stderr

    unit = rows[0]["unit_id"][:10]
    history = json.loads(attribution("unit", unit, "--svg", "unit.svg", "--json").stdout)
    # A demo is one of the training examples, which are valued by their vectors as well.
    assert {row["method"] for row in history} == {"knn_shapley", "leave_one_out", "lineage_rollup"}
    assert (tmp_path / "unit.svg").read_text().startswith("<svg")
    assert "helpful" in attribution("unit", unit).stdout

    assert "(helpful)" in attribution("lineage", unit).stdout
    assert attribution("lineage", unit, "--format", "mermaid").stdout.startswith("flowchart TD")
    (version,) = json.loads(attribution("lineage", unit, "--json").stdout)
    assert (version["value"], version["finding"], version["parents"]) == (1.0, "helpful", [])


def test_changes_between_runs_are_listed(attribution, tmp_path) -> None:
    lake = stock(Installation(folder=tmp_path).lake)
    for seed in (0, 1):
        learn(lake, engine=attribution.engine, seed=seed, demos=10)
        assert attribution("run", "latest", "--method", "knn_shapley").returncode == 0
    rows = json.loads(attribution("deltas", "--run", "latest", "--json").stdout)
    # The same examples for the same queries: nothing has changed, and none of it is called distinct.
    assert {(row["effect"], row["is_distinct"]) for row in rows} == {(0.0, False)}
    assert "indistinguishable from 0" in " ".join(attribution("deltas").stdout.split())
