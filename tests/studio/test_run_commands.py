"""The commands about runs, as a person types them."""

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from studio.cli import app
from tests.runs.run_files import benchlake_output, benchlake_run, json_lines

END = {"type": "end", "status": "success", "ended_at": "2026-03-01T10:05:00Z"}


@pytest.fixture
def benchlake(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """A folder with three runs; gives a function that runs a command and returns what it prints."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("BENCHLAKE_HOME", str(tmp_path / "state"))
    monkeypatch.setenv("BENCHLAKE_AUTHOR", "ann")
    for index, branch in enumerate(["main", "main", "topic"]):
        run = benchlake_run(
            run_id=f"{index}abc", started_at=f"2026-03-0{index + 1}T10:00:00Z", tags=[], code_version={"branch": branch}
        )
        lines = [run, *(benchlake_output(sample) for sample in range(25)), END]
        (tmp_path / f"{index}.jsonl").write_bytes(json_lines(lines))

    def call(*words: str) -> str:
        result = CliRunner().invoke(app, list(words), catch_exceptions=True, terminal_width=120)
        if result.exception and not isinstance(result.exception, SystemExit):
            raise result.exception
        return result.stdout

    call("import", str(tmp_path))
    return call


def ids(listed: str) -> list[str]:
    return [row["run_id"] for row in json.loads(listed)]


def test_runs_are_filtered_by_options_and_words(benchlake) -> None:
    assert ids(benchlake("runs", "--json")) == ["2abc", "1abc", "0abc"]
    assert ids(benchlake("runs", "--branch", "main", "--json")) == ["1abc", "0abc"]
    assert ids(benchlake("runs", "branch=ma*", "--until", "2026-03-02", "--json")) == ["0abc"]
    assert ids(benchlake("runs", "--since", "1d", "--json")) == []
    assert "No run matches" in benchlake("runs", "--tag", "absent-*")


def test_tags_notes_and_baselines_from_end_to_end(benchlake) -> None:
    assert benchlake("tag", "add", "experiment-a,night", "branch=main") == "2 of 2 runs changed.\n"
    assert ids(benchlake("runs", "--tag", "experiment-*", "--json")) == ["1abc", "0abc"]
    assert benchlake("tag", "remove", "night", "0abc", "--reason", "busy machine") == "1 of 1 runs changed.\n"
    assert ids(benchlake("runs", "--tag", "night", "--json")) == ["1abc"]
    assert json.loads(benchlake("tag", "history", "0abc", "--json"))[0]["reason"] == "busy machine"

    assert benchlake("note", "add", "0", "-m", "a | b") == "Noted on 1 run.\n"
    assert json.loads(benchlake("note", "list", "--json"))[0]["author"] == "ann"
    assert json.loads(benchlake("runs", "0abc", "--json"))[0]["note_count"] == 1

    said = benchlake("baseline", "set", "0abc", "--for", "suite,branch", "--from", "2026-01-01")
    assert "0abc is the baseline of runs with suite capitals, branch main" in said
    assert json.loads(benchlake("runs", "0abc", "--json"))[0]["is_baseline"] is True
    benchlake("gate", "--date", "2026-03-02")
    found = json.loads(
        benchlake(
            "sql", "select candidate_run_id from gold.run_comparisons where pairing = 'designated-baseline'", "--json"
        )
    )
    assert found == [{"candidate_run_id": "1abc"}]
    assert "no designated baseline" in benchlake("baseline", "withdraw", "0abc")
    assert json.loads(benchlake("baseline", "list", "--json")) == []
    assert len(json.loads(benchlake("baseline", "list", "--history", "--json"))) == 2
