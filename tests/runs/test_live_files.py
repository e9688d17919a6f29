"""The lock on a run file that grows: who holds it, who sees it, and what is never mistaken for one."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from lake.errors import UserError
from pipelines.runs import live_files
from pipelines.runs.live_files import LiveFile, is_being_written
from pipelines.runs.partial_runs import RunBusyError
from pipelines.runs.sources import walk_files


def test_a_file_is_left_alone_while_it_is_open_and_read_afterwards(tmp_path: Path) -> None:
    path = tmp_path / "runs" / "a.jsonl"
    file = LiveFile.open(path)
    file.append(b"{}\n")
    assert is_being_written(path)
    assert list(walk_files(tmp_path)) == []
    file.close(is_complete=True)
    assert not is_being_written(path)
    assert list(walk_files(tmp_path)) == [path]
    assert path.read_bytes() == b"{}\n"


def test_one_writer_at_a_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(live_files, "_PATIENCE_SECONDS", 0.05)
    first = LiveFile.open(tmp_path / "a.jsonl")
    with pytest.raises(RunBusyError, match="The run a is being written"):
        LiveFile.open(tmp_path / "a.jsonl")
    first.close()
    first.close()  # twice is once
    LiveFile.open(tmp_path / "a.jsonl").close()


def test_a_writer_that_is_forgotten_lets_go(tmp_path: Path) -> None:
    file = LiveFile.open(tmp_path / "a.jsonl")
    assert is_being_written(file.path)
    del file
    assert not is_being_written(tmp_path / "a.jsonl")


def test_looking_waits_for_nothing_and_minds_only_run_files(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.jsonl")
    (tmp_path / "folder.jsonl").mkdir()
    (tmp_path / "plain.jsonl").write_bytes(b"")
    for name in ("pipe.jsonl", "folder.jsonl", "plain.jsonl", "missing.jsonl"):
        assert not is_being_written(tmp_path / name)
    other = LiveFile.open(tmp_path / "live.json")
    assert not is_being_written(other.path)


@pytest.mark.parametrize(
    ("content", "whole"),
    [(b"", 0), (b'{"a": 1}\n', 1), (b'{"a": 1}\n{"b"', 1), (b'{"a": 1}\n\x00\x00\n{"b": 2}\n', 3), (b"torn", 0)],
)
def test_whole_lines_stand_and_a_torn_one_is_cut(tmp_path: Path, content: bytes, whole: int) -> None:
    path = tmp_path / "a.jsonl"
    path.write_bytes(content)
    file = LiveFile.open(path)
    lines = list(file.standing_lines())
    assert len(lines) == whole
    assert [content[line.offset :][:1] for line in lines] == [b"{", b"\x00", b"{"][:whole]
    # What is no object keeps its place, and is nothing.
    assert [line.value is None for line in lines] == [False, True, False][:whole]
    file.append(b"{}\n")
    file.close()
    assert path.read_bytes() == content[: content.rfind(b"\n") + 1] + b"{}\n"


def test_a_folder_that_cannot_be_written_is_told(tmp_path: Path) -> None:
    (tmp_path / "a.jsonl").mkdir()
    with pytest.raises(UserError, match="cannot be written"):
        LiveFile.open(tmp_path / "a.jsonl")
