"""`benchlake index` as a user meets it: words in, words and exit codes out."""

import json

import pytest

from lake.store import Lake
from tests.embeddings.rows import prompt_rows
from tests.studio.command_line import Answer, type_words


@pytest.fixture
def index(tmp_path, monkeypatch, capsys):
    """Run `benchlake index …` in a folder whose embeddings need no model."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("BENCHLAKE_HOME", str(tmp_path / "state"))
    monkeypatch.delenv("BENCHLAKE_LAKE", raising=False)
    (tmp_path / "benchlake.toml").write_text('[embeddings]\nmodel = "hashing"\n')

    def run(*words: str) -> Answer:
        return type_words(monkeypatch, capsys, "index", *words)

    return run


@pytest.fixture
def lake(tmp_path) -> Lake:
    return Lake.open(tmp_path / "state" / "lake")


def test_texts_are_embedded_found_and_followed(index, lake) -> None:
    assert "benchlake index sync" in index("search", "parcel").stdout
    lake.upsert("silver.prompts", prompt_rows(["refund of a parcel", "opening\nhours\x1b[31m"]))
    status = json.loads(index("status", "--json").stdout)
    assert {row["stage"]: row["lag_versions"] for row in status}["prompts"] == lake.version("silver.prompts") + 1
    assert "Bring it up to date:  benchlake index sync" in index("status").stdout
    synced = index("sync").stdout
    assert ("Texts: 2 new" in synced, "2 embedded" in synced, "2 vectors" in synced) == (True, True, True)
    assert "Everything is up to date." in index("status").stdout
    shown = index("search", "parcel").stdout
    assert ("refund of a parcel" in shown, "\x1b" in shown) == (True, False)
    (best,) = json.loads(index("search", "hours", "--limit", "1", "--source", "prompts", "--json").stdout)
    assert (best["rank"], best["text_source"], best["text"]) == (1, "prompts", "opening\nhours\x1b[31m")

    lake.remove("silver.embeddings", lake.read("silver.embeddings").head(1))
    assert "benchlake index sync" in index("search", "parcel").stderr
    assert json.loads(index("rebuild", "--json").stdout)["index"]["mode"] == "rebuilt"
    assert json.loads(index("sync", "--json").stdout)["index"]["mode"] == "unchanged"


def test_a_wrong_source_or_model_is_explained(index, tmp_path) -> None:
    wrong = index("search", "x", "--source", "promts")
    assert (wrong.returncode, "Did you mean prompts" in wrong.stderr) == (3, True)
    (tmp_path / "benchlake.toml").write_text('[embeddings]\nmodel = "hashing"\nthreads = 0\n')
    wrong = index("status")
    assert (wrong.returncode, "embeddings.threads" in wrong.stderr) == (3, True)
