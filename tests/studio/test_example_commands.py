"""`benchlake examples` as a user meets it: words in, words and exit codes out."""

import datetime as dt
import json

import pytest

from lake.store import Lake
from pipelines.examples.effect_steps import update_effects
from pipelines.examples.usages import Usage, record_usages
from tests.studio.command_line import Answer, type_words

NOW = dt.datetime(2026, 11, 20, 12, tzinfo=dt.UTC)


@pytest.fixture
def examples(tmp_path, monkeypatch, capsys):
    """Run `benchlake examples …` in an empty folder whose embeddings need no model."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("BENCHLAKE_HOME", str(tmp_path / "state"))
    monkeypatch.setenv("BENCHLAKE_LAKE", str(tmp_path / "lake"))
    monkeypatch.setenv("BENCHLAKE_AUTHOR", "ada")
    (tmp_path / "benchlake.toml").write_text('[embeddings]\nmodel = "hashing"\n')

    def run(*words: str) -> Answer:
        return type_words(monkeypatch, capsys, "examples", *words)

    return run


def add(examples, question: str, answer: str, *words: str) -> dict:
    return json.loads(examples("add", "-i", f"question={question}", "-o", answer, "--json", *words).stdout)


def test_an_example_is_added_changed_shown_and_deleted(examples) -> None:
    row = add(examples, "What is a+b=c?", "a sum", "--tag", "maths", "--license", "mit")
    assert (row["inputs"], row["license"], row["created_by"]) == ({"question": "What is a+b=c?"}, "MIT", "ada")
    short = row["example_id"][:8]
    assert "version 2" in examples("edit", short, "-o", "an equation", "-m", "better", "--by", "bob").stdout
    shown = examples("show", short).stdout
    assert ("an equation" in shown, "better" in shown, "too few comparable uses" in shown) == (True, True, True)
    versions = json.loads(examples("show", short, "--json").stdout)["versions"]
    assert [(one["version"], one["created_by"]) for one in versions] == [(1, "ada"), (2, "bob")]
    refused = examples("edit", short, "-o", "x", "--expect-version", "1")
    assert (refused.returncode, "at version 2" in refused.stderr) == (3, True)
    assert "deleted" in examples("delete", short, "--reason", "wrong").stdout
    assert "No examples" in examples("list").stdout
    assert short in examples("list", "--all").stdout


def test_adding_what_is_nearly_there_warns(examples) -> None:
    row = add(examples, "What is the capital city of France?", "Paris")
    again = examples("add", "-i", "question=What is the capital city of France?", "-o", "It is Paris")
    assert (again.returncode, f"Nearly the same: {row['example_id'][:8]}" in again.stderr) == (0, True)
    quiet = examples("add", "-i", "question=What is the capital city of France?", "-o", "Paris!", "--no-check")
    assert quiet.stderr == ""
    refused = examples("add", "-i", "question=What is the capital city of France?", "-o", "Paris")
    assert (refused.returncode, "stands already" in refused.stderr) == (3, True)
    unnamed = examples("add", "-i", "no name", "-o", "x")
    assert (unnamed.returncode, "NAME=VALUE" in unnamed.stderr) == (3, True)


def test_files_come_in_are_searched_and_go_out(examples, tmp_path) -> None:
    (tmp_path / "a.csv").write_text("question,answer,tags\nWho painted it?,Ada,art\nWho sang it?,Bob,art\n,none,\n")
    brought = examples("import", "a.csv", "--function", "qa")
    assert ("2 new" in brought.stdout, "1 rejects" in brought.stdout, "Why:" in brought.stderr) == (True, True, True)
    assert json.loads(examples("import", "a.csv", "--function", "qa", "--json").stdout)["unchanged_count"] == 2
    first = json.loads(examples("list", "--limit", "1", "--json").stdout)
    more = examples("list", "--limit", "1", "--after", first[0]["example_id"], "--json")
    assert json.loads(more.stdout)[0]["example_id"] > first[0]["example_id"]
    found = json.loads(examples("search", "painted", "--mode", "keywords", "--json").stdout)
    assert [row["expected_output"] for row in found] == ["Ada"]
    both = examples("search", "who painted it", "--tag", "art")
    assert ("Ada" in both.stdout, "2 examples are found by their words alone" in both.stderr) == (True, True)
    assert "Nothing found" in examples("search", "zebra", "--mode", "keywords").stdout
    assert "2 examples in" in examples("export", "out.jsonl").stdout
    assert examples("export", "out.jsonl").returncode == 3
    assert "Ada" in (tmp_path / "out.jsonl").read_text()


def test_uses_and_what_they_say(examples, tmp_path) -> None:
    assert "No uses recorded" in examples("usage").stdout
    assert "nothing is known" in examples("effectiveness").stdout
    row = add(examples, "What is it?", "it")
    lake = Lake.open(tmp_path / "lake")
    uses = [
        Usage(
            example_id=row["example_id"],
            consumer_kind="evaluation",
            consumer_id="run-1",
            sample_id=f"s{number}",
            outcome_score=1.0,
            baseline_score=0.0,
            used_at=NOW,
        )
        for number in range(30)
    ]
    record_usages(lake, uses)
    assert len(json.loads(examples("usage", row["example_id"][:8], "--limit", "5", "--json").stdout)) == 5
    assert "run-2" not in examples("usage", "--consumer", "run-1").stdout
    assert "30 new uses" in examples("update").stdout
    assert update_effects(lake, now=NOW).use_count == 0
    effects = json.loads(examples("effectiveness", "--json").stdout)
    assert (effects[0]["comparable_count"], effects[0]["effect_kind"]) == (30, "helps")
    assert "helps" in examples("effectiveness", row["example_id"][:8], "--svg", "effect.svg").stdout
    assert (tmp_path / "effect.svg").read_text().startswith("<svg")
    best = json.loads(examples("list", "--best-first", "--min-effectiveness", "0.1", "--json").stdout)
    assert [one["example_id"] for one in best] == [row["example_id"]]


def test_where_there_is_no_run_it_says_how_to_make_one(examples) -> None:
    refused = examples("extract", "deadbeef")
    assert (refused.returncode, "benchlake import" in refused.stderr) == (3, True)


def test_a_filter_that_matches_nothing_says_which_labels_there_are(examples, tmp_path) -> None:
    assert "Add one" in examples("list", "--tag", "maths").stdout
    add(examples, "One and one?", "two", "--tag", "maths", "--function", "sums")
    add(examples, "Capital of France?", "Paris", "--tag", "geography", "--function", "qa")
    misspelt = examples("list", "--tag", "geografy")
    assert misspelt.returncode == 0
    assert "No example matches; 2 are stored" in misspelt.stdout
    assert "--tag geografy: no example. There are: geography, maths." in misspelt.stdout
    # Each label exists; only together they admit none.
    apart = examples("list", "--tag", "maths", "--function", "qa").stdout
    assert ("--tag maths: 1 example alone." in apart, "--function qa: 1 example alone." in apart) == (True, True)
    assert "--domain law: no example. None has a domain at all." in examples("list", "--domain", "law").stdout
    assert "Highest estimate: none yet." in examples("list", "--min-effectiveness", "0.1").stdout
    assert "--tag law: no example." in examples("search", "capital", "--mode", "keywords", "--tag", "law").stdout
    assert "left on this page" in examples("list", "--after", "zzzz").stdout
    refused = examples("export", "out.jsonl", "--tag", "law")
    assert (refused.returncode, "There are: geography, maths." in refused.stderr) == (3, True)
    assert not (tmp_path / "out.jsonl").exists()


def test_an_import_of_which_nothing_lands_is_bad_input(examples, tmp_path) -> None:
    (tmp_path / "none.jsonl").write_text('{"x": 1}\n')
    assert examples("import", "none.jsonl").returncode == 3
    assert examples("import", "none.jsonl", "--json").returncode == 3
    (tmp_path / "some.jsonl").write_text('{"x": 1}\n{"question": "Who?", "answer": "Ada"}\n')
    assert examples("import", "some.jsonl").returncode == 0
    assert examples("import", "some.jsonl").returncode == 0
