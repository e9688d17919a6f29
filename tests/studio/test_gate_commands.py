"""Judging from the command line: two runs that are named, one candidate, and the policy itself."""

import json
from pathlib import Path
from xml.etree import ElementTree as ET

import pytest
import yaml
from jsonschema import Draft202012Validator
from typer.testing import CliRunner, Result

from studio.cli import app
from tests.runs.run_files import benchlake_output, benchlake_run, json_lines

END = {"type": "end", "status": "success", "ended_at": "2026-03-01T10:05:00Z"}


@pytest.fixture
def benchlake(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """A good run, its like, a wrong, a slow and an incomparable one; gives a function that runs a command."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("BENCHLAKE_HOME", str(tmp_path / "state"))
    changes = {
        "good": {},
        "same": {},
        "wrong": {"output": "Nowhere", "scores": {"exact_match": 0.0}},
        "slow": {"latency_ms": 100.0},
    }
    for index, (name, change) in enumerate(changes.items()):
        run = benchlake_run(run_id=name, backend=name, started_at=f"2026-03-0{index + 1}T10:00:00Z")
        lines = [run, *(benchlake_output(sample, **change) for sample in range(40)), END]
        (tmp_path / f"{name}.jsonl").write_bytes(json_lines(lines))
    other = benchlake_run(run_id="other", fingerprint={"suite_digest": "bb"}, started_at="2026-03-05T10:00:00Z")
    (tmp_path / "other.jsonl").write_bytes(json_lines([other, benchlake_output(0), END]))

    def call(*words: str) -> Result:
        return CliRunner().invoke(app, list(words), terminal_width=120)

    assert call("import", str(tmp_path)).exit_code == 0
    return call


def test_two_runs_are_compared_whether_or_not_the_policy_pairs_them(benchlake) -> None:
    passed = benchlake("compare", "good", "same", "--json")
    assert passed.exit_code == 0
    found = json.loads(passed.stdout)
    assert found["comparison"]["comparability"] == "warn"
    # Nothing has scored the tokens, which the shipped policy asks for to warn.
    verdicts = {row["gate"]: row["verdict"] for row in found["verdicts"]}
    assert verdicts.pop("token_divergence") == "inconclusive"
    assert set(verdicts.values()) == {"pass"}
    failed = benchlake("compare", "good", "wrong")
    assert failed.exit_code == 1
    assert "40 pairs, 40 differ" in failed.stdout
    # The slow one only warns, by the shipped policy.
    assert benchlake("compare", "good", "slow").exit_code == 0
    assert json.loads(benchlake("sql", "select count(*) as n from gold.gate_results", "--json").stdout) == [{"n": 0}]


def test_what_cannot_be_compared_is_undecided_as_the_caller_wants(benchlake) -> None:
    assert benchlake("compare", "good", "other").exit_code == 2
    assert benchlake("compare", "good", "other", "--undecided-exit-code", "0").exit_code == 0
    assert benchlake("compare", "good", "wrong", "--undecided-exit-code", "0").exit_code == 1


def test_a_candidate_alone_is_judged_against_what_the_policy_gives_it(benchlake, tmp_path: Path) -> None:
    (tmp_path / "gates.yaml").write_text(
        "version: 1\ncomparisons: [{name: c, candidate: {backend: wrong}, baseline: {backend: good}}]\n"
        "gates: [{name: parity, family: score_parity, margin: 0.1}]"
    )
    result = benchlake("gate", "--candidate", "wrong", "--format", "markdown")
    assert result.exit_code == 1
    assert "### Benchlake gates" in result.stdout
    assert benchlake("gate", "--candidate", "good").exit_code == 2


def test_the_baseline_comes_first_and_both_roles_are_told_first(benchlake) -> None:
    told = benchlake("compare", "good", "wrong")
    assert [line.split()[:2] for line in told.stdout.splitlines()[:2]] == [["baseline", "good"], ["candidate", "wrong"]]
    assert told.stderr == ""
    found = json.loads(benchlake("compare", "good", "wrong", "--json").stdout)["comparison"]
    assert (found["baseline_run_id"], found["candidate_run_id"]) == ("good", "wrong")


def test_runs_that_look_exchanged_are_told_with_the_command_that_exchanges_them(benchlake, tmp_path: Path) -> None:
    exchange = "benchlake compare good wrong"
    # The one named first ran two days after the other.
    later = benchlake("compare", "wrong", "good")
    assert "wrong ran later (2026-03-03)" in later.stderr
    assert exchange in later.stderr
    assert "exchange" not in later.stdout
    # A designation says which is the yardstick, whenever it ran.
    assert benchlake("baseline", "set", "wrong").exit_code == 0
    assert benchlake("compare", "wrong", "good").stderr == ""
    assert "wrong is a designated baseline" in benchlake("compare", "good", "wrong").stderr
    # And what the policy compares settles it.
    (tmp_path / "gates.yaml").write_text(
        "version: 1\ncomparisons: [{name: c, candidate: {backend: wrong}, baseline: {backend: good}}]\n"
        "gates: [{name: parity, family: score_parity, margin: 0.1}]"
    )
    benchlake("gate", "--candidate", "wrong")
    assert "The policy compares them the other way round" in benchlake("compare", "wrong", "good").stderr


def test_junit_is_xml_that_ci_reads(benchlake) -> None:
    result = benchlake("gate", "--candidate", "wrong", "--baseline", "good", "--format", "junit")
    assert result.exit_code == 1
    names = {case.get("name") for case in ET.fromstring(result.stdout).iter("testcase")}
    assert names == {"score_parity", "latency_regression", "failure_rate", "token_divergence"}


def test_bad_use_is_told(benchlake) -> None:
    assert "--baseline needs --candidate" in str(benchlake("gate", "--baseline", "good").exception)
    assert "No run has an id" in str(benchlake("compare", "good", "absent").exception)


def test_the_policy_is_checked_explained_and_has_a_schema(benchlake, tmp_path: Path) -> None:
    import yaml

    from resources.config import DEFAULTS

    assert benchlake("gates", "lint").stdout.startswith("Valid: 3 comparisons, 4 gates (2 block).")
    assert "must not be more than" in benchlake("gates", "explain").stdout
    schema = json.loads(benchlake("gates", "schema").stdout)
    check = Draft202012Validator(schema)
    shipped = yaml.safe_load((DEFAULTS / "gates.yaml").read_text())
    assert list(check.iter_errors(shipped)) == []
    assert list(check.iter_errors(shipped | {"gates": [{"name": "g", "famly": "x"}]}))
    (tmp_path / "bad.yaml").write_text("version: 1\ncomparisons: []\ngates: []")
    assert "not a valid policy" in str(benchlake("gates", "lint", "bad.yaml").exception)


def test_a_policy_that_waits_for_reruns_says_so(benchlake, tmp_path: Path) -> None:
    text = """
version: 1
on_inconclusive: promote
unchanged_runs: {tag: same-code}
comparisons: [{name: nightly, baseline: previous}]
gates: [{name: g, family: latency_regression, margin: auto, confirm_on_rerun: true}]
"""
    (tmp_path / "waits.yaml").write_text(text, encoding="utf-8")
    linted = benchlake("gates", "lint", "waits.yaml").stdout
    assert "1 gates (1 block, 1 confirm on a re-run)" in linted
    assert "lets a run through while its failure awaits a re-run" in linted
    explained = benchlake("gates", "explain", "waits.yaml").stdout
    assert "until a re-run decides" in explained
    assert "with tag same-code count as runs of one code" in explained
    schema = json.loads(benchlake("gates", "schema").stdout)
    assert {"confirm_on_rerun", "margin"} <= schema["$defs"]["Gate"]["properties"].keys()
    Draft202012Validator(schema).validate(yaml.safe_load(text))
