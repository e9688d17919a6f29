"""`benchlake score-tokens` as a user meets it, against a server on loopback."""

import json
from collections.abc import Callable, Iterator
from pathlib import Path

import polars as pl
import pytest

from resources.installation import Installation
from tests.evidence.rows import run
from tests.evidence.test_scoring_steps import land
from tests.resources.scoring_server import scoring_server
from tests.studio.command_line import Answer, type_words

Typed = Callable[..., Answer]


@pytest.fixture
def benchlake(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Iterator[Typed]:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("BENCHLAKE_HOME", str(tmp_path / "state"))
    with scoring_server("vllm") as url:
        (tmp_path / "benchlake.toml").write_text(
            f'[backends.staging]\nengine = "openai"\nbase_url = "{url}"\nmodel = "tiny"\n', encoding="utf-8"
        )
        lake = Installation(folder=tmp_path).lake
        land(lake, run("b1", "gone"))
        # The server knows the tokens 1, 2 and 3.
        rows = lake.read("silver.output_tokens")
        lake.upsert("silver.output_tokens", rows.with_columns(token_ids=rows["token_ids"].list.eval(1 + pl.element())))
        yield lambda *words: type_words(monkeypatch, capsys, *words)


def test_a_run_is_scored_and_told_of(benchlake: Typed) -> None:
    answer = benchlake("score-tokens", "b1", "--backend", "staging")
    assert answer.returncode == 0
    assert "staging scored 49 tokens of 25 outputs of run b1; the reference is what the run recorded." in answer.stdout
    assert "Given the same tokens:" in answer.stdout
    assert "The reference is what the run recorded, so there are wide bounds alone." in answer.stderr
    again = json.loads(benchlake("score-tokens", "b1", "--backend", "staging", "--recorded", "--json").stdout)
    assert (again["reused_count"], again["scored_count"], again["is_exact"]) == (25, 25, False)


def test_bad_use_is_told(benchlake: Typed) -> None:
    answer = benchlake("score-tokens", "b1", "--backend", "staging", "--vocabulary", "--top-k", "5")
    assert answer.returncode == 3
    assert "leave --top-k out" in answer.stderr
    answer = benchlake("score-tokens", "b1", "--backend", "absent")
    assert answer.returncode == 3
    assert "absent" in answer.stderr
