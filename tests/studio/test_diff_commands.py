"""`benchlake diff` as a user meets it."""

import datetime as dt
import json
import sys

import pytest

from pipelines.evidence.segments import Segment
from pipelines.runs.steps import import_paths
from resources.installation import Installation
from resources.state import State
from studio.cli import main
from studio.diff_rendering import lines_of

OUTPUTS = {
    "fact-france": ("It is Paris.", 1.0, "It is Lyon.", 0.0),
    "fact-japan": ("Tokyo", 1.0, "Tokyo.", 1.0),
    "math-sum": ("It is 41.", 0.0, "It is 42.", 1.0),
    "list": ("\n".join(f"line {number} of it" for number in range(9)), 1.0, None, 0.0),
    "same": ("yes", 1.0, "yes", 1.0),
}
OUTPUTS["list"] = (*OUTPUTS["list"][:2], OUTPUTS["list"][0].replace("line 4", "line four\x1b[31m"), 1.0)


def run_lines(run_id: str, backend: str, side: int, **header) -> str:
    lines = [
        {"type": "run", "schema_version": 1, "run_id": run_id, "suite": "tiny", "backend": backend, "model": "m",
         "started_at": "2026-11-20T02:00:00Z"} | header,
        *(
            {"type": "output", "sample_id": sample, "output": given[2 * side], "status": "ok", "reference": "Paris",
             "scores": {"exact_match": given[2 * side + 1]}}
            for sample, given in OUTPUTS.items()
        ),
        {"type": "end", "status": "success", "ended_at": "2026-11-20T02:00:05Z"},
    ]  # fmt: skip
    return "\n".join(map(json.dumps, lines))


@pytest.fixture(scope="module")
def project(tmp_path_factory):
    """A folder with a lake that holds two runs."""
    folder = tmp_path_factory.mktemp("project")
    (folder / "old.jsonl").write_text(run_lines("old-1", "transformers", 0))
    (folder / "new.jsonl").write_text(run_lines("new-1", "llama.cpp", 1))
    installation = Installation(folder=folder, state=State(home=folder / "state", lake_uri=str(folder / "lake")))
    files = sorted(folder.glob("*.jsonl"))
    found = import_paths(installation.lake, files, now=dt.datetime(2026, 11, 21, tzinfo=dt.UTC))
    assert (found.runs, found.rejects) == (2, 0)
    return folder


@pytest.fixture
def benchlake(project, monkeypatch, capsys):
    """Run the command line here; gives exit code, output and errors."""
    monkeypatch.setenv("BENCHLAKE_HOME", str(project / "state"))
    monkeypatch.setenv("BENCHLAKE_LAKE", str(project / "lake"))
    monkeypatch.setenv("COLUMNS", "100")
    monkeypatch.chdir(project)

    def run(*words: str) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", ["benchlake", *words])
        capsys.readouterr()
        with pytest.raises(SystemExit) as end:
            main()
        captured = capsys.readouterr()
        return int(end.value.code or 0), captured.out, captured.err

    return run


def titles(out: str) -> list[str]:
    return [line.split("  ")[0] for line in out.splitlines() if line.endswith("\u2500")]


def test_only_changed_pairs_are_shown_the_most_telling_first_side_by_side(benchlake):
    code, out, _ = benchlake("diff", "old", "new")
    assert code == 0
    assert titles(out) == ["fact-france", "math-sum", "list", "fact-japan"]
    assert "5 pairs: 3 content, 1 formatting, 1 identical." in out
    assert "exact_match: 3 both right, 1 only candidate, 1 only baseline, 0 both wrong." in out
    lost = out.splitlines()[4:7]
    assert "lost by exact_match, 1 to 0" in lost[0]
    assert lost[1].split() == ["baseline:", "transformers", "candidate:", "llama.cpp"]
    assert lost[2].split() == ["It", "is", "[-Paris-].", "It", "is", "{+Lyon+}."]


def test_lines_that_stayed_are_folded_and_control_characters_are_shown_not_obeyed(benchlake):
    _, out, _ = benchlake("diff", "old", "new", "--kind", "content")
    assert "\u2026 3 lines alike" in out
    assert "line 3 of it" in out
    assert "line 2 of it" not in out
    assert "\x1b" not in out
    assert "\\x1b[31m" in out
    _, whole, _ = benchlake("diff", "old", "new", "--sample", "list")
    assert titles(whole) == ["list"]
    assert "line 0 of it" in whole


def test_what_is_asked_for_is_shown(benchlake):
    assert titles(benchlake("diff", "old", "new", "--kind", "formatting", "--kind", "identical")[1]) == [
        "fact-japan",
        "same",
    ]
    assert titles(benchlake("diff", "old", "new", "--all")[1])[-1] == "same"
    assert titles(benchlake("diff", "old", "new", "--flips")[1]) == ["fact-france", "math-sum"]
    few = benchlake("diff", "old", "new", "--limit", "1")[1]
    assert titles(few) == ["fact-france"]
    assert "3 more pairs" in few
    assert titles(benchlake("diff", "old", "new", "--sample", "same")[1]) == ["same"]


def test_each_side_against_the_reference(benchlake):
    _, out, _ = benchlake("diff", "old", "new", "--sample", "fact-france", "--reference")
    assert "fact-france  baseline contained" in out
    assert "fact-france  candidate absent" in out
    assert "reference" in out.splitlines()[5]


def test_json_is_one_object(benchlake):
    code, out, _ = benchlake("diff", "old", "new", "--json")
    told = json.loads(out)
    assert code == 0
    assert told["kinds"] == {"content": 3, "formatting": 1, "identical": 1}
    assert (told["baseline"]["run_id"], told["candidate"]["run_id"]) == ("old-1", "new-1")
    first = told["pairs"][0]
    assert (first["sample_id"], first["change_kind"], first["candidate_output"]) == (
        "fact-france",
        "content",
        "It is Lyon.",
    )
    assert first["flips"][0]["flip"] == "lost"
    assert {row["slice_value"] for row in told["contingencies"]} == {"tiny", "fact"}


def test_markdown_can_be_pasted(benchlake):
    _, out, _ = benchlake("diff", "old", "new", "--format", "markdown", "--limit", "1")
    assert "| It is \u200a~~Paris~~\u200a\\. | It is \u200a**Lyon**\u200a\\. |" in out
    assert "3 more pairs" in out


def test_bad_words_are_answered_with_the_good_ones(benchlake):
    for words, hint in (
        (("diff", "old", "nobody"), "nobody"),
        (("diff", "old", "new", "--kind", "contents"), "content"),
        (("diff", "old", "new", "--sample", "fact-jappan"), "fact-japan"),
    ):
        code, _, err = benchlake(*words)
        assert (code, hint in err) == (3, True), err


def test_runs_of_another_task_are_not_compared(benchlake, project):
    fingerprints = [{"fingerprint": {"suite_digest": digest}} for digest in "ab"]
    (project / "a.jsonl").write_text(run_lines("task-a", "x", 0, **fingerprints[0]))
    (project / "b.jsonl").write_text(run_lines("task-b", "x", 1, **fingerprints[1]))
    benchlake("import", "a.jsonl", "b.jsonl")
    code, out, _ = benchlake("diff", "task-a", "task-b")
    assert (code, "These runs cannot be compared." in out) == (2, True), out


def test_a_line_ends_where_both_sides_have_its_line_feed():
    before, after = Segment("one\ntwo ", "one\ntwo ", "kept"), Segment("\nthree", "\nthree", "kept")
    segments = [before, Segment("a\n", "b\n", "edited"), after]
    lines = list(lines_of(segments))
    assert ["".join(piece.candidate for piece in line.pieces) for line in lines] == ["one\n", "two b\n\n", "three"]
    assert [line.is_edited for line in lines] == [False, True, False]
