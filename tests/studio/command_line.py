"""The command line in this process, whole: words in; exit code, standard output and standard error out."""

from __future__ import annotations

import sys
from typing import NamedTuple

import pytest

from studio.cli import main


class Answer(NamedTuple):
    """What a command printed and how it ended."""

    returncode: int
    stdout: str
    stderr: str


def type_words(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], *words: str) -> Answer:
    """Run `benchlake` with these words in the current folder."""
    monkeypatch.setattr(sys, "argv", ["benchlake", *words])
    capsys.readouterr()
    with pytest.raises(SystemExit) as ended:
        main()
    said = capsys.readouterr()
    return Answer(int(ended.value.code or 0), said.out, said.err)
