"""The unfinished file of a suite run: appended line by line, resumed after a kill, moved to its place when done.

Here: bytes on disk and the lock that keeps two processes from answering the same run. What the lines say is
`run_lines.py`.
"""

from __future__ import annotations

import errno
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO, Self

import filelock
import orjson

from lake.errors import BenchlakeError
from pipelines.runs.run_lines import Line, encode_line, header_digest

_TAIL_BYTES = 1 << 16


class RunBusyError(BenchlakeError):
    """Another process is answering the same run."""


class PartialRun:
    """A run file that still grows; `answered` are the (sample_id, repeat_index) that it holds.

    Every line is handed to the operating system before the next sample is asked, so a killed process loses at most
    the samples that were under way. `discarded_count` is how many outputs of an earlier attempt could not be kept
    because the backend, the suite or the code was not the same any more.
    """

    def __init__(
        self, stream: BinaryIO, path: Path, *, answered: frozenset[tuple[str, int]], discarded_count: int
    ) -> None:
        self._stream = stream
        self._path = path
        self.answered = answered
        self.discarded_count = discarded_count

    @classmethod
    def open(cls, path: Path, header: Line) -> Self:
        """Resume `path` if its first line is `header` (its start apart), else begin it anew."""
        path.parent.mkdir(parents=True, exist_ok=True)
        lines, kept_bytes = _whole_lines(path)
        is_same = bool(lines) and lines[0].get("type") == "run" and header_digest(lines[0]) == header_digest(header)
        outputs = frozenset((line["sample_id"], line["repeat_index"]) for line in lines[1:])
        stream = path.open("r+b" if is_same else "wb")
        partial = cls(
            stream, path, answered=outputs if is_same else frozenset(), discarded_count=0 if is_same else len(outputs)
        )
        if is_same:
            stream.truncate(kept_bytes)
            stream.seek(kept_bytes)
        else:
            partial.append(header)
        return partial

    def append(self, line: Line) -> None:
        """Add a line, whole."""
        self._stream.write(encode_line(line))
        self._stream.flush()

    def land(self, target: Path) -> None:
        """Move the finished file to `target` in one act, so that nobody ever sees half of it."""
        os.fsync(self._stream.fileno())
        self._stream.close()
        target.parent.mkdir(parents=True, exist_ok=True)
        try:
            self._path.replace(target)
        except OSError as error:
            if error.errno != errno.EXDEV:
                raise
            _copy_and_rename(self._path, target)

    def close(self) -> None:
        """Stop writing; what is there can be resumed."""
        self._stream.close()


def partial_path(work: Path, run_id: str) -> Path:
    """Where the unfinished file of a run is kept."""
    return work / f"{run_id}.partial.jsonl"


def count_answered(path: Path) -> int:
    """Outputs that an unfinished run file holds whole; 0 if there is no such file."""
    lines, _ = _whole_lines(path)
    return max(0, len(lines) - 1)


@contextmanager
def sole_writer(path: Path) -> Iterator[None]:
    """Hold the lock beside `path`; raises `RunBusyError` if another process holds it. A killed holder frees it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    lock = filelock.FileLock(f"{path}.lock", timeout=0)
    try:
        lock.acquire()
    except filelock.Timeout:
        raise RunBusyError(
            f"The run {path.stem} is being answered by another process, which holds {path}.lock. "
            f"Wait for it, or end it; what it has answered is kept."
        ) from None
    try:
        yield
    finally:
        lock.release()


def landed_status(path: Path) -> str | None:
    """Status on the end line of a finished run file, or None if there is no such file or line."""
    if not path.is_file():
        return None
    with path.open("rb") as stream:
        stream.seek(max(0, path.stat().st_size - _TAIL_BYTES))
        last = stream.read().splitlines()[-1:]
    try:
        line = orjson.loads(last[0]) if last else None
    except orjson.JSONDecodeError:
        return None
    return line.get("status") if isinstance(line, dict) and line.get("type") == "end" else None


def _whole_lines(path: Path) -> tuple[list[dict[str, Any]], int]:
    """The run line and the output lines before the first that is torn or of another type, and their length in bytes.

    A kill tears the last line only. After a power cut blocks of zeros may stand anywhere: everything from the first
    of them on is asked again.
    """
    lines: list[dict[str, Any]] = []
    size = 0
    if not path.exists():
        return lines, size
    with path.open("rb") as stream:
        for raw in stream:
            line = _parsed(raw)
            if line is None or line.get("type") != ("output" if lines else "run"):
                break
            lines.append(line)
            size += len(raw)
    return lines, size


def _parsed(raw: bytes) -> dict[str, Any] | None:
    try:
        line = orjson.loads(raw) if raw.endswith(b"\n") else None
    except orjson.JSONDecodeError:
        return None
    return line if isinstance(line, dict) else None


def _copy_and_rename(source: Path, target: Path) -> None:
    # Between file systems nothing can be renamed; the name with a dot and no .jsonl is not imported.
    hidden = target.with_name(f".{target.name}.part")
    shutil.copyfile(source, hidden)
    hidden.replace(target)
    source.unlink()
