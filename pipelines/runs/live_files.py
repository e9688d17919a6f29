"""A run file that grows where it will be imported: locked by who writes it, whole lines only, kept by a kill.

What belongs here: bytes on disk and the lock. The file stands in the landing folder under its own name from its first
line on, so nothing has to be moved or found again after a kill: the operating system lets go of the lock, and the
next import reads what is there. Until then imports of the folder leave the file alone (`is_being_written`). What the
lines say is `run_lines.py`; a suite run, which is resumed from its own folder, has `partial_runs.py`.
"""

from __future__ import annotations

import errno
import fcntl
import os
import time
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple, Self

import orjson

from lake.errors import UserError
from pipelines.runs.records import JsonObject

SUFFIX = ".jsonl"
# An import looks whether the file is being written by holding the lock for an instant.
_PATIENCE_SECONDS = 1.0
_PAUSE_SECONDS = 0.02


class StandingLine(NamedTuple):
    """A line that is in the file already; `value` is None where it is no JSON object."""

    offset: int
    value: JsonObject | None


class LiveFile:
    """The file of one run, open for appending; nobody else can write it until it is closed or its process ends."""

    def __init__(self, handle: int, path: Path) -> None:
        self._handle = handle
        self.path = path

    @classmethod
    def open(cls, path: Path) -> Self:
        """Open or create `path` and lock it. Raises `RunBusyError` if another writer has it."""
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            handle = os.open(path, os.O_RDWR | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o644)
        except OSError as error:
            raise UserError(f"The run file {path} cannot be written: {error.strerror}.") from error
        try:
            _lock(handle, path)
        except BaseException:
            os.close(handle)
            raise
        return cls(handle, path)

    def standing_lines(self) -> Iterator[StandingLine]:
        """The whole lines of the file; one that a kill tore is cut off."""
        offset = 0
        with self.path.open("rb") as stream:
            for raw in stream:
                if not raw.endswith(b"\n"):
                    self.cut(offset)
                    return
                yield StandingLine(offset, _parsed(raw))
                offset += len(raw)

    def cut(self, offset: int) -> None:
        """Take away everything from `offset` on."""
        os.ftruncate(self._handle, offset)

    def append(self, line: bytes) -> None:
        """Hand a line to the operating system at once; a line that the disk does not take whole is taken back."""
        size = os.fstat(self._handle).st_size
        rest = memoryview(line)
        try:
            while rest:
                rest = rest[os.write(self._handle, rest) :]
        except OSError:
            self.cut(size)
            raise

    def close(self, *, is_complete: bool = False) -> None:
        """Let go of the file; a complete one is on the disk itself before that."""
        if self._handle < 0:
            return
        try:
            if is_complete:
                os.fsync(self._handle)
        finally:
            handle, self._handle = self._handle, -1
            os.close(handle)

    def __del__(self) -> None:
        self.close()


def is_being_written(path: Path) -> bool:
    """Whether a live writer on this machine holds the run file at `path`."""
    if path.suffix != SUFFIX:
        return False
    try:
        # Without O_NONBLOCK opening a named pipe would wait for its writer.
        handle = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError:
        return False
    try:
        fcntl.flock(handle, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except OSError as error:
        # A file system without locks has no live writers that we could know of.
        return error.errno in {errno.EWOULDBLOCK, errno.EACCES}
    else:
        return False
    finally:
        os.close(handle)


def _lock(handle: int, path: Path) -> None:
    give_up = time.monotonic() + _PATIENCE_SECONDS
    while True:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            if error.errno not in {errno.EWOULDBLOCK, errno.EACCES}:
                return
            if time.monotonic() > give_up:
                # Looking whether a file is being written must not load all that writes one.
                from pipelines.runs.partial_runs import RunBusyError

                raise RunBusyError(
                    f"The run {path.stem} is being written by another process or another `start_run` of this one, "
                    f"which holds {path}. End that one, or start a run with another run_id."
                ) from None
            time.sleep(_PAUSE_SECONDS)
        else:
            return


def _parsed(raw: bytes) -> JsonObject | None:
    try:
        value = orjson.loads(raw)
    except orjson.JSONDecodeError:
        return None
    return value if isinstance(value, dict) else None
