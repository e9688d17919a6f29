"""Tables that are open for reading, each kept until its next commit.

What belongs here: knowing without opening it whether a table is still what it was. Opening reads the whole log, 7 ms
for a small table and more for one of many files, while looking at the name and time of the newest commit takes a
fraction of one. Tables in an object store are opened each time: there a look costs as much.
"""

from __future__ import annotations

import re
from collections import OrderedDict
from collections.abc import Callable
from pathlib import Path
from threading import Lock
from typing import NamedTuple

from deltalake import DeltaTable

_COMMIT = re.compile(r"\d{20}\.json")
# So many tables are kept; what a handle takes grows with the files of its table, a few kilobytes each.
_KEPT = 24


class Commit(NamedTuple):
    """The newest commit of a table: its version, and which file it is, since a table may be deleted and made anew."""

    version: int
    file_number: int
    modified_ns: int


def newest_commit(table: Path) -> Commit | None:
    """The newest commit of a local table by its log's file names alone; None if they tell none.

    A commit is one file that appears whole under its number, and log entries are never expired here.
    """
    log = table / "_delta_log"
    try:
        newest = max((entry.name for entry in log.iterdir() if _COMMIT.fullmatch(entry.name)), default=None)
        if newest is None:
            return None
        status = (log / newest).stat()
    except OSError:
        return None
    return Commit(int(newest[:20]), status.st_ino, status.st_mtime_ns)


class ReadHandles:
    """Handles at the newest version, shared by threads: whoever gets one reads with it and never moves it."""

    def __init__(self) -> None:
        self._kept: OrderedDict[Path, tuple[Commit, DeltaTable]] = OrderedDict()
        self._lock = Lock()

    def get(self, table: Path, opened: Callable[[], DeltaTable | None]) -> DeltaTable | None:
        """The handle of a local table, made by `opened` if there was a commit since; None if there is no table."""
        newest = newest_commit(table)
        with self._lock:
            commit, handle = self._kept.get(table, (None, None))
            if handle is not None and commit == newest:
                self._kept.move_to_end(table)
                return handle
        handle = opened()
        if handle is not None:
            self._keep(table, newest, handle)
        return handle

    def keep(self, table: Path, handle: DeltaTable) -> None:
        """Take a handle over from whoever has just committed with it and will not use it again."""
        self._keep(table, newest_commit(table), handle)

    def _keep(self, table: Path, newest: Commit | None, handle: DeltaTable) -> None:
        # Another commit may have come between the look and the opening; then the handle is newer than its mark.
        if newest is None or handle.version() != newest.version:
            return
        with self._lock:
            self._kept[table] = (newest, handle)
            self._kept.move_to_end(table)
            while len(self._kept) > _KEPT:
                self._kept.popitem(last=False)
