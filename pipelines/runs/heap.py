"""Keeping the garbage collector away from what it could not free anyway.

What belongs here: this one measure for long loops that make very many short-lived objects.
"""

from __future__ import annotations

import gc
from contextlib import contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator


@contextmanager
def settled_heap() -> Iterator[None]:
    """Within it the collector passes over all objects that existed before: modules, classes, configuration.

    Reading a file of records sets off a full collection every few thousand records, and each looks at hundreds of
    thousands of objects that live as long as the process: a fifth of the time of an import. Nothing is kept alive
    longer than the block; collection of what is made inside it goes on as ever.
    """
    if gc.get_freeze_count():
        # Somebody has done the same for reasons of their own, and to undo it is theirs.
        yield
        return
    gc.freeze()
    try:
        yield
    finally:
        gc.unfreeze()
