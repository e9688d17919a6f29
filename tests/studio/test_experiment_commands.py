"""`benchlake explore`, `scenarios` and `decisions` as a user meets them."""

import csv
import json

import pytest

from pipelines.runs.steps import import_paths
from resources.installation import Installation
from tests.evidence.rows import START
from tests.studio.command_line import type_words
from tests.studio.test_diff_commands import run_lines


@pytest.fixture
def bench(monkeypatch, capsys, tmp_path):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("BENCHLAKE_AUTHOR", "ada")
    monkeypatch.setenv("COLUMNS", "200")

    def run(*words: str):
        return type_words(monkeypatch, capsys, *words)

    return run


@pytest.fixture
def filled(bench, tmp_path):
    for run_id, side in (("base-run", 0), ("cand-run", 1)):
        (tmp_path / f"{run_id}.jsonl").write_text(run_lines(run_id, f"backend-{side}", side))
    import_paths(Installation(folder=tmp_path).lake, [tmp_path], root=tmp_path, now=START)
    return bench


def test_two_runs_side_by_side(filled) -> None:
    said = filled("explore", "base", "cand")
    assert said.returncode == 0
    assert "1 run against base-run backend-0" in said.stdout
    assert "exact_match" in filled("explore", "base", "cand", "--expert").stdout
    found = json.loads(filled("explore", "base", "cand", "--json").stdout)
    assert [run["run_id"] for run in found["runs"]] == ["base-run", "cand-run"]
    assert filled("explore", "suite=tiny", "--format", "markdown").stdout.count("### ") == 3


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("explore", "base", "base"), "different runs"),
        (("explore", "nothing"), "No run has an id"),
        (("explore", "suite=none"), "No run is meant"),
        (("scenarios", "show", "none"), "No scenario is called"),
        (("scenarios", "save"), "--name and --run"),
        (("decisions", "show", "none"), "No decision has an id"),
        (("decisions", "record", "missing.yaml"), "missing.yaml cannot be read"),
    ],
)
def test_mistakes_are_told_with_what_to_do(filled, words, message) -> None:
    said = filled(*words)
    assert said.returncode == 3
    assert message in said.stderr
    assert "Traceback" not in said.stderr


def test_a_scenario_from_saving_to_putting_away(filled) -> None:
    assert "No scenario yet" in filled("scenarios", "list").stdout
    assert filled("scenarios", "save", "--name", "two", "--run", "suite=tiny", "--baseline", "base").returncode == 0
    saved = filled("scenarios", "show", "two", "--json").stdout
    assert filled("scenarios", "show", "two", "--json").stdout == saved
    assert "Nothing moved" in filled("scenarios", "rerun", "two").stdout
    assert json.loads(filled("scenarios", "rerun", "two", "--json").stdout)["movements"] == []
    assert json.loads(filled("scenarios", "list", "--json").stdout)[0]["run_ids"] == ["base-run", "cand-run"]
    assert filled("scenarios", "delete", "two").returncode == 0
    assert "No scenario yet" in filled("scenarios", "list").stdout


def test_a_decision_from_proposal_to_broken_promise(filled, tmp_path) -> None:
    assert "No decision matches" in filled("decisions", "list").stdout
    assert filled("decisions", "check").returncode == 0
    kpi = {"name": "runs", "query": "select count(*) from silver.runs", "comparison": "<=", "threshold": 2}
    entry = {"title": "Two runs are enough", "problem": "p", "decision": "d", "kpi": kpi, "run_ids": ["base"]}
    (tmp_path / "decision.json").write_text(json.dumps(entry))
    decision_id = filled("decisions", "record", "decision.json").stdout.split()[0]
    assert filled("decisions", "check").returncode == 0
    said = filled("decisions", "revise", decision_id[:8], "--status", "accepted", "--reason", "seen twice")
    assert "runs <= 2: pass with 2" in said.stdout
    (tmp_path / "more.jsonl").write_text(run_lines("third", "backend-0", 0))
    import_paths(Installation(folder=tmp_path).lake, [tmp_path / "more.jsonl"], root=tmp_path, now=START)
    assert filled("decisions", "check").returncode == 1
    assert json.loads(filled("decisions", "list", "--json").stdout)[0]["verdict"] == "fail"
    assert "Revision 1" in filled("decisions", "show", decision_id[:8]).stdout
    assert len(json.loads(filled("decisions", "show", decision_id[:8], "--json").stdout)) == 2
    assert filled("decisions", "export", "out").returncode == 0
    assert [path.suffix for path in (tmp_path / "out").iterdir()] == [".md"]


def test_an_undecided_promise_exits_with_2(filled, tmp_path) -> None:
    kpi = {"name": "k", "query": "select null", "comparison": "<=", "threshold": 2}
    entry = {"title": "t", "problem": "p", "decision": "d", "kpi": kpi, "status": "accepted"}
    (tmp_path / "decision.json").write_text(json.dumps(entry))
    filled("decisions", "record", "decision.json")
    assert filled("decisions", "check").returncode == 2


def test_what_is_shipped_can_be_saved_and_recorded_as_it_stands(filled, tmp_path) -> None:
    for room in ("scenarios", "decisions"):
        (tmp_path / f"{room}.yaml").write_text(filled(room, "template").stdout)
    assert filled("decisions", "record", "decisions.yaml").returncode == 0
    # Its filters mean the shipped suite's nights, which this lake has none of.
    assert "No run is meant" in filled("scenarios", "save", "scenarios.yaml").stderr


@pytest.mark.parametrize("form", ["json", "parquet"])
def test_an_export_travels_to_another_lake(filled, monkeypatch, tmp_path, form) -> None:
    said = filled("export", "out", "project", "--format", form, "--pin", "paper")
    assert said.returncode == 0
    assert "benchlake import out" in said.stdout
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    counts = json.loads(filled("import", "../out", "--json").stdout)
    assert (counts["runs"], counts["samples"], counts["rejects"]) == (2, 10, 0)
    assert filled("explore", "base", "cand").returncode == 0


def test_exports_for_others(filled, tmp_path) -> None:
    assert filled("export", "cells", "outputs", "--format", "csv", "--run", "base").returncode == 0
    with (tmp_path / "cells" / "silver.outputs.csv").open(newline="") as stream:
        assert len(list(csv.reader(stream))) == 6
    told = json.loads(filled("export", "eee", "runs", "--format", "every-eval-ever", "--json").stdout)
    assert told == {"run_count": 2, "sample_row_count": 10, "unscored_run_count": 0}
    assert filled("export", "eee", "runs", "--format", "every-eval-ever").returncode == 3
    assert "Did you mean runs" in filled("export", "other", "rums").stderr
    assert filled("import", "cells").returncode == 3


@pytest.mark.parametrize("name", ["run", "export", "comparison", "scenario", "decision", "silver.runs"])
def test_schemas_are_printed(bench, name) -> None:
    assert json.loads(bench("schema", name).stdout)["$schema"].startswith("https://json-schema.org/")


def test_a_metric_that_no_run_has_is_told_with_those_there_are(filled) -> None:
    said = filled("explore", "base", "cand", "--metric", "nope")
    assert (said.returncode, "No metric of these runs is called nope. There are: " in said.stderr) == (0, True)


def test_a_pairs_link_names_the_baseline_first(filled) -> None:
    told = filled("link", "pair", "base", "cand").stdout
    assert "benchlake diff base-run cand-run" in told
    assert "candidate_run_id = 'cand-run' and baseline_run_id = 'base-run'" in told


def test_notes_on_other_things_than_runs(filled) -> None:
    for subject in ("pair:base/cand", "sample:cand/list", "run:base"):
        assert filled("note", "add", "--on", subject, "-m", f"about {subject}").returncode == 0
    (note,) = json.loads(filled("note", "list", "--on", "pair:base/cand", "--json").stdout)
    assert (note["subject_id"], note["text"], note["author"]) == ("base-run/cand-run", "about pair:base/cand", "ada")
    # A note on a pair is about both, whichever is named first.
    assert json.loads(filled("note", "list", "--on", "pair:cand/base", "--json").stdout) == [note]
    assert len(json.loads(filled("note", "list", "--on", "sample", "--json").stdout)) == 1
    assert len(json.loads(filled("note", "list", "--json").stdout)) == 1


def test_a_kind_that_has_no_notes_is_refused(filled) -> None:
    said = filled("note", "list", "--on", "moon")
    assert (said.returncode, "kind of subject" in said.stderr) == (3, True)


@pytest.mark.parametrize(
    "subject", ["pair:cand", "sample:cand/none", "example:x", "decision:x", "moon:1", "run", "run:"]
)
def test_notes_on_nothing_are_refused(filled, subject) -> None:
    said = filled("note", "add", "--on", subject, "-m", "x")
    assert said.returncode == 3
    assert "Traceback" not in said.stderr
    assert filled("note", "add", "-m", "x").returncode == 3
