"""The commands of DataBits, whole, from words to exit code."""

import json
from pathlib import Path

import pytest

from tests.studio.command_line import Answer, type_words


@pytest.fixture
def say(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("BENCHLAKE_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("BENCHLAKE_AUTHOR", "ann")
    monkeypatch.setenv("COLUMNS", "200")

    def run(*words: str) -> Answer:
        return type_words(monkeypatch, capsys, "databits", *words)

    return run


def test_a_units_life(say) -> None:
    assert say("list").stdout.startswith("No DataBit yet. Take some in:")
    assert (
        say("create", "Paris, capital of France.", "--id", "unit-one", "--license", "mit", "--key", "k=v").returncode
        == 0
    )
    assert say("revise", "unit-one", "Paris!", "--expect", "1", "--note", "short").stdout == "unit-one@2 is revised.\n"
    refused = say("revise", "unit-one", "No", "--expect", "1")
    assert refused.returncode == 3
    assert "expected at version 1 and is at version 2" in refused.stderr
    assert "[-, capital of France.-]{+!+}" in say("diff", "unit-one@1").stdout
    assert json.loads(say("fork", "unit-one@1", '{"a":1}', "--content-json", "--id", "fork-one", "--json").stdout) == {
        "databit_id": "fork-one", "version": 1, "act": "forked",
    }  # fmt: skip
    shown = json.loads(say("show", "fork-one", "--json").stdout)
    assert shown["content"] == {"a": 1}
    assert shown["attribution"]["derived_from"] == [{"databit_id": "unit-one", "version": 1}]
    assert say("merge", "unit-one", "fork-one", "--id", "merged-one").returncode == 0
    tree = json.loads(say("lineage", "merged-one", "--json").stdout)
    assert tree["roots"] == ["unit-one@1", "unit-one@2"]
    assert tree["license"]["effective_license"] == "MIT"
    assert say("retract", "fork-one").stdout == "fork-one@2 is retracted.\n"
    assert "RETRACTED" in say("show", "fork-one").stdout
    assert [row["version"] for row in json.loads(say("history", "unit-one", "--json").stdout)] == [1, 2]
    found = json.loads(say("list", "--key", "k=v", "--search", "PARIS", "--json").stdout)
    assert [row["databit_id"] for row in found] == ["merged-one", "unit-one"]


@pytest.mark.parametrize(
    ("form", "beginning"), [("mermaid", "flowchart TD"), ("dot", "digraph"), ("svg", "<svg"), ("tree", "made from")]
)
def test_lineage_in_every_form(say, form: str, beginning: str) -> None:
    say("create", "x", "--id", "unit-one")
    assert say("lineage", "unit-one", "--format", form).stdout.startswith(beginning)
    say("lineage", "unit-one", "--format", form, "--output", "drawn")
    assert Path("drawn").read_text().startswith(beginning)


def test_files_quality_and_the_queue(say) -> None:
    Path("in.jsonl").write_text('{"content": "Write to jo@example.com today."}\nnot json\n')
    first = say("import", "in.jsonl")
    assert first.returncode == 0
    assert "1 versions written, 0 unchanged, 1 rejects" in first.stdout
    assert "in.jsonl, line 2" in first.stderr
    assert json.loads(say("import", "in.jsonl", "--json").stdout) == {
        "lines": 2,
        "written": 0,
        "unchanged": 1,
        "rejects": 1,
    }
    Path("bad.jsonl").write_text("no\n")
    assert say("import", "bad.jsonl").returncode == 3
    assert {row["scorer"] for row in json.loads(say("quality", "--json").stdout)} >= {"language", "personal_data_count"}
    (item,) = json.loads(say("curation", "list", "--json").stdout)
    assert item["rule"] == "personal_data"
    claimed = say("curation", "claim").stdout
    assert "Write to [email] today." in claimed
    assert say("curation", "edit", item["item_id"][:8], "Write to us.").stdout.startswith(item["item_id"])
    assert say("curation", "accept", item["item_id"]).returncode == 3
    assert json.loads(say("curation", "stats", "--json").stdout)["states"][0]["edited"] == 1
    out = say("export", "out.jsonl", "--json")
    assert json.loads(out.stdout) == {"rows": 1, "unknown": 1, "overridden": 0}
    assert json.loads(Path("out.jsonl").read_text())["content"] == "Write to us."


def test_what_no_unit_has_is_told_with_what_there_is(say, tmp_path) -> None:
    assert say("export", "out.jsonl").returncode == 3
    say("create", "Paris", "--id", "unit-one", "--license", "MIT", "--key", "role=prompt", "--key", "fact")
    assert "Keys there are: role=prompt, fact." in say("list", "--key", "role=promt").stdout
    both = say("list", "--key", "fact", "--key", "role=output").stdout
    assert "search keys fact (1 alone), role=output (0 alone)" in both
    assert "Licences there are: MIT." in say("list", "--license", "Apache-2.0").stdout
    assert "index search" in say("list", "--search", "Berlin").stdout
    refused = say("export", "out.jsonl", "--key", "role=promt")
    assert (refused.returncode, "Keys there are: role=prompt, fact." in refused.stderr) == (3, True)
    assert not (tmp_path / "out.jsonl").exists()


def test_an_export_against_a_licence_needs_a_reason(say) -> None:
    say("create", "x", "--id", "unit-one", "--license", "CC-BY-ND-4.0")
    say("fork", "unit-one", "y", "--id", "fork-one")
    refused = say("export", "out.parquet")
    assert refused.returncode == 3
    assert "does not allow that something is made from it" in refused.stderr
    assert not Path("out.parquet").exists()
    assert say("export", "out.parquet", "--override-licenses", "it is ours").returncode == 0


def test_mistakes_say_what_to_do(say) -> None:
    for words, answer in (
        (("show", "nobody"), "benchlake databits list"),
        (("create",), "Give the content"),
        (("create", "{", "--content-json"), "is no JSON"),
        (("create", "x", "--license", "Apache 2"), "Did you mean Apache-2.0"),
        (("export", "x.txt"), "must end in .parquet"),
        (("curation", "accept", "none"), "curation list --all"),
    ):
        said = say(*words)
        assert said.returncode == 3
        assert answer in said.stderr
