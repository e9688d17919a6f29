"""Python itself, set up for a long loop that makes very many short-lived objects beside threads that need it seldom.

What belongs here: what concerns the whole process, for as long as an import takes, and is put back afterwards.
"""

from __future__ import annotations

import gc
import sys
from contextlib import contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

# A thread that has compressed, searched or written something has to wait so long until Python lets it go on. Commits
# ask some hundred times; at Python's own 5 ms they took longer than reading what they commit.
_SWITCH_SECONDS = 0.001


@contextmanager
def tuned_interpreter() -> Iterator[None]:
    """Within it threads take turns more often, and the collector passes over all objects that existed before.

    Reading a file of records sets off a full collection every few thousand records, and each looks at hundreds of
    thousands of objects that live as long as the process: a fifth of the time of an import. Nothing is kept alive
    longer than the block; collection of what is made inside it goes on as ever. Does nothing inside itself, nor where
    somebody else has frozen the heap for reasons of their own.
    """
    if gc.get_freeze_count():
        yield
        return
    interval = sys.getswitchinterval()
    gc.freeze()
    sys.setswitchinterval(min(interval, _SWITCH_SECONDS))
    try:
        yield
    finally:
        sys.setswitchinterval(interval)
        gc.unfreeze()
