"""Answers of language models on disk, by digest of everything that decides them.

SQLite and JSON, so that reading a file somebody else made runs no code; DSPy's own cache unpickles what it finds, and
its key leaves out which server answered.
"""

from __future__ import annotations

import json
import sqlite3
import threading
from pathlib import Path
from typing import Any

# Another process of the same installation may be writing.
_BUSY_SECONDS = 30.0


class CompletionCache:
    """Answers by key; safe to share between threads and processes."""

    def __init__(self, path: Path) -> None:
        self._lock = threading.Lock()
        self._connection = sqlite3.connect(path, timeout=_BUSY_SECONDS, check_same_thread=False, isolation_level=None)
        # A kill of the machine may lose the last answers, never the file.
        self._connection.execute("pragma journal_mode = wal")
        self._connection.execute("pragma synchronous = normal")
        self._connection.execute("create table if not exists completions (key text primary key, answer text not null)")

    def get(self, key: str) -> dict[str, Any] | None:
        """The answer kept under a key; None if there is none."""
        with self._lock:
            found = self._connection.execute("select answer from completions where key = ?", (key,)).fetchone()
        if found is None:
            return None
        answer: dict[str, Any] = json.loads(found[0])
        return answer

    def put(self, key: str, answer: dict[str, Any]) -> None:
        """Keep an answer; one that stands is left as it is."""
        with self._lock:
            self._connection.execute("insert or ignore into completions values (?, ?)", (key, json.dumps(answer)))

    def close(self) -> None:
        """Let go of the file."""
        with self._lock:
            self._connection.close()
