"""Looking for secrets ahead of the reading, in a thread of its own.

What belongs here: the order of the work. What a secret looks like is `redaction.py`.
"""

from __future__ import annotations

from concurrent.futures import Future, ThreadPoolExecutor
from typing import TYPE_CHECKING, TypeVar

from pipelines.runs.redaction import are_suspect
from pipelines.runs.sources import SourceError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

_Block = TypeVar("_Block")
# The thread is given so much at once: each time that it begins or ends it has to wait for Python.
_STRETCH_BYTES = 4 << 20
# What lies across two pieces is known to be clean if it is within so much of where they meet.
_SEAM_BYTES = 32 << 10


def scan_ahead(blocks: Iterator[_Block], *, text: Callable[[_Block], bytes]) -> Iterator[tuple[_Block, bool]]:
    """Each block with whether its `text` may hold a secret, while the next blocks are being looked at.

    Reads up to 8 MiB ahead. A `SourceError` of `blocks` is raised after all that came before it was given.
    """
    with ThreadPoolExecutor(max_workers=1, thread_name_prefix="scan") as thread:
        waiting: tuple[list[_Block], Future[list[bool]]] | None = None
        try:
            for stretch, texts in _stretches(blocks, text):
                job = thread.submit(are_suspect, texts)
                if waiting is not None:
                    yield from zip(waiting[0], waiting[1].result(), strict=True)
                waiting = stretch, job
        except SourceError:
            if waiting is not None:
                yield from zip(waiting[0], waiting[1].result(), strict=True)
            raise
        if waiting is not None:
            yield from zip(waiting[0], waiting[1].result(), strict=True)


def _stretches(blocks: Iterator[_Block], text: Callable[[_Block], bytes]) -> Iterator[tuple[list[_Block], list[bytes]]]:
    stretch: list[_Block] = []
    texts: list[bytes] = []
    size = 0
    try:
        for block in blocks:
            stretch.append(block)
            texts.append(text(block))
            size += len(texts[-1])
            if size >= _STRETCH_BYTES:
                yield stretch, texts
                stretch, texts, size = [], [], 0
    except SourceError:
        yield stretch, texts
        raise
    yield stretch, texts


class ScannedPieces:
    """Pieces of a text, of which it is known where they hold no secret."""

    def __init__(self, pieces: Iterator[bytes]) -> None:
        self._scanned = scan_ahead(_with_seams(pieces), text=bytes)
        self._is_suspect = self._is_seam_suspect = True

    def __iter__(self) -> Iterator[bytes]:
        return self

    def __next__(self) -> bytes:
        _, self._is_seam_suspect = next(self._scanned)
        piece, self._is_suspect = next(self._scanned)
        return piece

    def is_clean(self, start: int, end: int) -> bool:
        """Whether it is known of a stretch that it holds no secret; counted from the start of the last piece given."""
        if start >= 0:
            return not self._is_suspect
        return start >= -_SEAM_BYTES and end <= _SEAM_BYTES and not self._is_seam_suspect


def _with_seams(pieces: Iterator[bytes]) -> Iterator[bytes]:
    """Before each piece what is around its beginning, because a secret may lie across two pieces."""
    before = b""
    for piece in pieces:
        yield before + piece[:_SEAM_BYTES]
        yield piece
        before = piece[-_SEAM_BYTES:]
