"""`benchlake suite` as a user meets it: words in, words and exit codes out."""

import json

import pytest

from tests.studio.command_line import Answer, type_words

TEXT = """\
# Kept with the suite.
name: support
version: "1"
scorers: [contains]
samples:
  - {id: refund, prompt: "How do I get a refund?", reference: form}
"""


@pytest.fixture
def suite(tmp_path, monkeypatch, capsys):
    """Run `benchlake suite …` in a folder with one suite file."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("BENCHLAKE_HOME", str(tmp_path / "state"))
    monkeypatch.setenv("BENCHLAKE_AUTHOR", "ada")
    monkeypatch.delenv("BENCHLAKE_LAKE", raising=False)
    (tmp_path / "support.yaml").write_text(TEXT)

    def run(*words: str) -> Answer:
        return type_words(monkeypatch, capsys, "suite", *words)

    return run


def test_a_suite_is_saved_compared_archived_and_exported(suite, tmp_path) -> None:
    assert "Saved support@1" in suite("save", "support.yaml", "-m", "first").stdout
    assert "Nothing new" in suite("save", "support.yaml").stdout
    (tmp_path / "next.yaml").write_text(TEXT.replace("get a refund", "get my money back"))
    diff = suite("diff", "support", "next.yaml").stdout
    assert "changed  sample refund prompt: How do I get [-a refund-]{+my money back+}?" in diff
    second = suite("save", "next.yaml", "--by", "bob")
    assert ("Saved support@2" in second.stdout, "version '1' is also that of support@1" in second.stderr) == (
        True,
        True,
    )
    rows = json.loads(suite("diff", "support@1", "support@2", "--json").stdout)
    assert [(row["change"], row["field"]) for row in rows] == [("changed", "prompt")]
    listed = json.loads(suite("list", "--json").stdout)
    assert [(row["version_index"], row["created_by"], row["change_note"]) for row in listed] == [
        (1, "ada", "first"), (2, "bob", None),
    ]  # fmt: skip
    assert "support@2" in suite("archive", "support@2", "--reason", "typo").stdout
    assert "support@2" not in suite("list").stdout
    shown = suite("show", "support@2").stdout
    assert ("by ada: typo" in shown, "refund" in shown) == (True, True)
    assert "Nothing changed" in suite("archive", "support@2").stdout
    assert "support@2" in suite("restore", "support@2").stdout
    assert json.loads(suite("show", "support", "--json").stdout)["prompts"][0]["sample_id"] == "refund"
    assert suite("export", "support@1").stdout == TEXT
    assert suite("export", "support@1", "-o", "copy.yaml").returncode == 0
    assert (tmp_path / "copy.yaml").read_text() == TEXT


@pytest.mark.parametrize(
    ("words", "hint"),
    [
        (["show", "suport"], "Did you mean support"),
        (["save", "none.yaml"], "none.yaml"),
        (["diff", "support", "none.yaml"], "none.yaml"),
        (["export", "support", "-o", "support.yaml"], "is not overwritten"),
        (["archive", "support@9"], "support@1"),
        (["list", "suport"], "Did you mean support"),
    ],
)
def test_bad_usage_says_what_was_wrong_and_exits_with_3(suite, tmp_path, words, hint) -> None:
    suite("save", "support.yaml")
    result = suite(*words)
    assert (result.returncode, hint in result.stderr, "Traceback" in result.stderr) == (3, True, False), result.stderr


def test_one_bad_file_keeps_the_others_from_being_saved(suite, tmp_path) -> None:
    (tmp_path / "bad.yaml").write_text("name: bad\n")
    assert suite("save", "support.yaml", "bad.yaml").returncode == 3
    assert json.loads(suite("list", "--json").stdout) == []
    assert "benchlake suite save" in suite("list").stdout
