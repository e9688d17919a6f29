"""The tutorials, carried out as they stand: each command from an empty folder, and what the page says it prints.

A block that `<!-- not run by the tests: WHY -->` stands before is passed over, with the output shown after it.
"""

from __future__ import annotations

import re
import runpy
import shlex
import subprocess
import sys
from pathlib import Path
from typing import Literal, NamedTuple

import pytest

from studio.documentation import DOCS
from tests.studio.command_line import type_words

PAGES = sorted((DOCS / "tutorials").glob("*.md"))
LEFT_OUT = "..."
_BLOCK = re.compile(
    r"^(?P<skip><!-- not run by the tests: [^\n]+ -->\n)?```(?P<kind>sh|text)\n(?P<body>.*?)^```$",
    re.MULTILINE | re.DOTALL,
)
# One command a statement: continued lines and here-documents belong to it.
_STATEMENT = re.compile(r"[^\n]*<<'END'[^\n]*\n.*?^END$|(?:[^\n]*\\\n)*[^\n]+", re.MULTILINE | re.DOTALL)
_EXIT = '; echo "exit code $?"'


class Block(NamedTuple):
    """A fenced block of a page: commands, or what they print."""

    kind: Literal["sh", "text"]
    body: str
    is_skipped: bool


def blocks_of(page: str) -> list[Block]:
    """The blocks of a page in order; what a skipped block prints is skipped too."""
    blocks: list[Block] = []
    for found in _BLOCK.finditer(page):
        is_output = found["kind"] == "text"
        is_skipped = found["skip"] is not None or (is_output and bool(blocks) and blocks[-1].is_skipped)
        blocks.append(Block("text" if is_output else "sh", found["body"], is_skipped))
    return blocks


class Terminal:
    """Commands in an empty folder; Benchlake and Python programs in this process, which saves them their start."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
        self._monkeypatch, self._capsys = monkeypatch, capsys

    def run(self, block: str) -> str:
        """What the commands of a block print; each must end with 0, unless the page shows its exit code."""
        return "".join(map(self._statement, _STATEMENT.findall(block)))

    def _statement(self, statement: str) -> str:
        command, shown, _ = statement.partition(_EXIT)
        if command.startswith("benchlake "):
            code, printed = self._benchlake(command)
        elif command.startswith("python "):
            code, printed = 0, self._python(command)
        else:
            code, printed = _shell(command)
        if shown:
            return f"{printed}exit code {code}\n"
        assert code == 0, f"{command}\nended with {code}:\n{printed}"
        return printed

    def _benchlake(self, command: str) -> tuple[int, str]:
        words = shlex.split(command.replace("\\\n", " "), comments=True)[1:]
        target = words.pop() if len(words) > 1 and words[-2] == ">" else None
        answer = type_words(self._monkeypatch, self._capsys, *[word for word in words if word != ">"])
        if target is not None:
            Path(target).write_text(answer.stdout, "utf-8")
            return answer.returncode, answer.stderr
        return answer.returncode, answer.stdout + answer.stderr

    def _python(self, command: str) -> str:
        words = shlex.split(command)[1:]
        self._monkeypatch.setattr(sys, "argv", words)
        self._capsys.readouterr()
        runpy.run_path(words[0], run_name="__main__")
        return self._capsys.readouterr().out


def _shell(command: str) -> tuple[int, str]:
    done = subprocess.run(["bash", "-c", command], capture_output=True, text=True, check=False)
    return done.returncode, done.stdout + done.stderr


def lines_of(text: str) -> list[str]:
    """Lines without what depends on a terminal: spaces, and the rules of tables."""
    lines = (" ".join(line.replace("─", "").split()) for line in text.splitlines())
    return [line for line in lines if line]


def assert_printed(shown: str, printed: str) -> None:
    """Every line that a page shows was printed, in that order; `...` stands for what it leaves out."""
    rest = iter(lines_of(printed))
    for line in lines_of(shown):
        beginning = line.removesuffix(LEFT_OUT).rstrip()
        found = any(each == line or (line != beginning and each.startswith(beginning)) for each in rest)
        assert found or line == LEFT_OUT, f"{line!r} was not printed, or not there. What was printed:\n{printed}"


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_a_tutorial_does_what_it_says(page: Path, tmp_path, monkeypatch, capsys) -> None:
    monkeypatch.chdir(tmp_path)
    for name, value in {"COLUMNS": "110", "BENCHLAKE_AUTHOR": "you"}.items():
        monkeypatch.setenv(name, value)
    terminal, printed = Terminal(monkeypatch, capsys), ""
    for block in blocks_of(page.read_text("utf-8")):
        if block.is_skipped:
            continue
        if block.kind == "sh":
            printed = terminal.run(block.body)
        else:
            assert_printed(block.body, printed)


def test_there_is_a_tutorial_for_each_user() -> None:
    assert [page.stem for page in PAGES] == ["compare-experiments", "curate-and-optimize", "find-a-slowdown"]


def test_what_a_page_shows_must_have_been_printed_in_that_order() -> None:
    printed = " run   latency \n ─────────────\n one   12 \n two   13 \n"
    assert_printed("run latency\n...\ntwo 13", printed)
    assert_printed("one ...", printed)
    for shown in ("one 14", "two 13\none 12", "three ..."):
        with pytest.raises(AssertionError, match="was not printed"):
            assert_printed(shown, printed)
