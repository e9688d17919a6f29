"""`benchlake batch` against a loopback server: launch, look, take up again, take back."""

import json
import signal
import subprocess
import sys
import time

import pytest

from tests.openai_server import openai_server
from tests.studio.command_line import Answer, type_words

SUITE = 'name: words\nversion: "1"\nsampling: {max_output_tokens: 8}\nscorers: [json_validity]\nsamples:\n'


@pytest.fixture(scope="module")
def base_url():
    with openai_server() as url:
        yield url


@pytest.fixture
def folder(tmp_path, monkeypatch, base_url):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("BENCHLAKE_HOME", str(tmp_path / "state"))
    monkeypatch.setenv("BENCHLAKE_AUTHOR", "ada")
    monkeypatch.delenv("BENCHLAKE_LAKE", raising=False)
    (tmp_path / "words.yaml").write_text(SUITE + "".join(f"  - {{id: s{n}, prompt: Say {n}}}\n" for n in range(5)))
    (tmp_path / "benchlake.toml").write_text(
        "".join(
            f'[backends.{name}]\nengine = "openai"\nbase_url = "{base_url}"\nmodel = "{name}"\nconcurrency = 2\n'
            for name in ("a", "b")
        )
    )
    return tmp_path


@pytest.fixture
def batch(folder, monkeypatch, capsys):
    """Run `benchlake batch …` in a folder with a suite and two backends that are really asked."""

    def run(*words: str) -> Answer:
        return type_words(monkeypatch, capsys, "batch", *words)

    return run


RUN = ("run", "--suite", "words.yaml", "--backend", "a", "--backend", "b", "--repeats", "2", "--name", "sweep")


def test_a_batch_is_launched_shown_and_not_asked_again(batch) -> None:
    first = batch(*RUN, "--tag", "exp-1", "--jobs", "2")
    assert first.returncode == 0, first.stderr
    assert ("10 of 10" in first.stdout, "words on a: 10 outputs" in first.stderr) == (True, True)
    again = batch(*RUN, "--json")
    assert "2 finished before" in again.stderr
    cells = json.loads(again.stdout)
    assert [(cell["backend"], cell["state"], cell["answered_count"]) for cell in cells] == [
        ("a", "finished", 10), ("b", "finished", 10),
    ]  # fmt: skip
    assert all(cell["median_latency_ms"] > 0 and cell["mean_score"] == 0 for cell in cells)
    (row,) = json.loads(batch("list", "--json").stdout)
    assert (row["batch"], row["state"], row["requested_by"], row["tags"][1:]) == ("sweep", "finished", "ada", ["exp-1"])
    assert json.loads(batch("show", row["batch_id"][:8], "--json").stdout) == cells
    assert "Nothing changed" in batch("cancel", "sweep").stdout


def test_a_cell_that_fails_is_shown_with_its_reason_and_the_exit_code_is_2(batch, folder) -> None:
    toml = (folder / "benchlake.toml").read_text()
    (folder / "benchlake.toml").write_text(toml + '[backends.keyless]\nengine = "openai"\nbase_url = "http://127.0.0.1:9/v1"\n'
        'model = "m"\napi_key_variable = "NO_SUCH_KEY"\n')  # fmt: skip
    result = batch("run", "--suite", "words.yaml", "--backend", "keyless", "--backend", "a", "--name", "mixed")
    assert result.returncode == 2
    assert "NO_SUCH_KEY" in result.stdout
    assert "benchlake batch resume mixed" in result.stdout
    states = {cell["backend"]: cell["state"] for cell in json.loads(batch("show", "mixed", "--json").stdout)}
    assert states == {"keyless": "failed", "a": "finished"}


@pytest.mark.parametrize(
    ("words", "hint"),
    [
        (["run", "--suite", "word.yaml"], "word.yaml"),
        (["run", "--suite", "words.yaml", "--backend", "c"], "backend named 'c'"),
        (["run", "--suite", "words.yaml", "--backend", "a", "--name", "a/b"], "no name for a batch"),
        (["resume", "none"], "no batch named"),
        (["show", "none"], "no batch named"),
        (["run", "--repeats", "0"], "repeats"),
    ],
)
def test_bad_usage_says_what_was_wrong_and_exits_with_3(batch, words, hint) -> None:
    result = batch(*words)
    assert (result.returncode, hint in result.stderr, "Traceback" in result.stderr) == (3, True, False), result.stderr


def test_ctrl_c_leaves_a_batch_that_is_resumed(batch, folder) -> None:
    many = SUITE + "".join(f"  - {{id: s{n}, prompt: Say {n}}}\n" for n in range(150))
    (folder / "words.yaml").write_text(many)
    child = subprocess.Popen(
        [sys.executable, "-m", "studio.cli", "batch", *RUN],
        cwd=folder,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    landed = folder / "state" / "work"
    deadline = time.monotonic() + 60
    while not any(path.stat().st_size > 20_000 for path in landed.glob("*.partial.jsonl")):
        assert child.poll() is None, child.stderr.read()
        assert time.monotonic() < deadline
        time.sleep(0.01)
    child.send_signal(signal.SIGINT)
    _, said = child.communicate(timeout=60)
    assert (child.returncode, "Stopping" in said, "Traceback" in said) == (130, True, False), said
    cells = json.loads(batch("show", "sweep", "--json").stdout)
    assert {cell["state"] for cell in cells} == {"planned"}
    stood = sum(cell["answered_count"] for cell in cells)
    assert 0 < stood < 600
    resumed = batch("resume", "sweep", "--json")
    assert resumed.returncode == 0
    assert f"{stood} of them answered before" in resumed.stderr
    assert [cell["answered_count"] for cell in json.loads(resumed.stdout)] == [300, 300]
