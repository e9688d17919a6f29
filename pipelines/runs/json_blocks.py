"""A JSON array of very many small elements, block by block: neighbours are cut off and parsed together.

What belongs here: finding places where a stretch of elements may end, and proving it. Going from bracket to bracket
(`json_parts.py`) costs several times as much as parsing; a text that repeats between neighbours is found at once, and
that it really stood between two elements is proved by the parser, which must read everything before it as whole
elements. Where that fails, the elements are taken one by one.
"""

from __future__ import annotations

import gc
import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import orjson

from pipelines.runs.json_parts import JsonCursor, Part, key_text
from pipelines.runs.sources import SourceError

# The objects of a block this long are made, used and freed within the processor's cache: that is three times as fast
# as parsing a whole trace at once.
BLOCK_BYTES = 1 << 20
_BETWEEN = re.compile(rb'\}\s*,\s*\{\s*(?:"[^"\\]*")?')
_ROUGHLY_BETWEEN = re.compile(rb"\}\s*,\s*\{")

Clean = Callable[[bytes], bytes]


@dataclass(frozen=True)
class Block:
    """Neighbouring elements from number `first_index` on.

    `raw` is their text with commas between, `values` what it says. Where it cannot be parsed as a whole, `values` is
    None; `parts` then has the text of each element, None for one over the limit.
    """

    first_index: int
    raw: bytes
    values: list[Any] | None
    parts: tuple[bytes | None, ...] = ()

    @property
    def end_index(self) -> int:
        """Number of the element after the last."""
        return self.first_index + (len(self.parts) if self.values is None else len(self.values))


def split_blocks(
    pieces: Iterator[bytes], *, opened: str, part_bytes: int, clean: Clean, block_bytes: int = BLOCK_BYTES
) -> Iterator[Part | Block]:
    """The array under the key `opened` of the one JSON object in `pieces` as blocks, other members as parts.

    A text that is an array itself is given as blocks too, and needs no closing bracket. `clean` is applied to what is
    handed out, before it is parsed. Raises `SourceError` where the text ends early or breaks; what came before has
    been given.
    """
    cursor = _BlockCursor(pieces, part_bytes)
    if cursor.peek() == b"[":
        yield from _blocks(cursor, clean, block_bytes, is_end_needed=False)
        return
    cursor.expect(b"{")
    while cursor.peek() != b"}":
        key = key_text(cursor.take_value())
        cursor.expect(b":")
        if key == opened and cursor.peek() == b"[":
            yield from _blocks(cursor, clean, block_bytes, is_end_needed=True)
        else:
            raw = cursor.take_value()
            yield Part(key, None, None if raw is None else clean(raw))
        if cursor.peek() != b",":
            break
        cursor.expect(b",")
    cursor.expect(b"}")


@contextmanager
def collection_paused() -> Iterator[None]:
    """Hold back the collector of cycles while a block is read, used and dropped.

    Its thousands of new objects would set the collector off again and again, over all that the process holds, though
    they are in no cycle: three quarters of the time of parsing.
    """
    was_enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_enabled:
            gc.enable()


class _BlockCursor(JsonCursor):
    """A cursor that can look ahead without moving, and knows an end from a failure to read on."""

    def __init__(self, pieces: Iterator[bytes], part_bytes: int) -> None:
        super().__init__(self._until_failure(pieces), part_bytes)
        self._failure: SourceError | None = None
        # What stood between the two elements that were looked at last.
        self.between: bytes | None = None

    def _until_failure(self, pieces: Iterator[bytes]) -> Iterator[bytes]:
        try:
            yield from pieces
        except SourceError as error:
            self._failure = error

    def _fill(self) -> int:
        try:
            return super()._fill()
        except SourceError as error:
            raise (self._failure or error) from None

    def look(self, size: int) -> bytes:
        """The next `size` bytes, or what is left."""
        while len(self._buffer) - self._at < size and (piece := next(self._pieces, None)) is not None:
            self._buffer, self._at = self._buffer[self._at :] + piece, 0
        return self._buffer[self._at : self._at + size]

    @property
    def limit(self) -> int:
        """How long an element may be."""
        return self._limit

    def skip(self, size: int) -> None:
        """Step over bytes that were looked at, or back over such as were taken just now."""
        self._at += size

    def is_at_end(self) -> bool:
        """Whether the text has ended, rather than that reading it failed."""
        try:
            self.peek()
        except SourceError as error:
            return error.rule == "truncated" and self._failure is None
        return False


def _blocks(cursor: _BlockCursor, clean: Clean, block_bytes: int, *, is_end_needed: bool) -> Iterator[Block]:
    cursor.expect(b"[")
    index = 0
    while is_end_needed or not cursor.is_at_end():
        if cursor.peek() == b"]":
            cursor.expect(b"]")
            return
        block, failure = _cut_block(cursor, index, clean, block_bytes)
        if block is not None:
            index = block.end_index
            # Handed over rather than lent: what is not held here is freed before the next block is parsed.
            given, block = [block], None
            yield given.pop()
        if failure is not None:
            raise failure
        if (is_end_needed or not cursor.is_at_end()) and cursor.peek() != b"]":
            cursor.expect(b",")


def _cut_block(
    cursor: _BlockCursor, index: int, clean: Clean, block_bytes: int
) -> tuple[Block | None, SourceError | None]:
    text = cursor.look(block_bytes)
    cursor.between = _between_first(text, _BETWEEN) or cursor.between
    # What is left at the end of a file is not worth a cut.
    for place in _likely_cuts(text) if len(text) > block_bytes // 16 else ():
        raw = text[:place]
        values = _parse(raw)
        cleaned = raw if values is None else clean(raw)
        if cleaned is not raw:
            values = _parse(cleaned)
        if values is not None:
            cursor.skip(place)
            return Block(index, cleaned, values), None
    return _walk_block(cursor, index, clean, block_bytes)


def _likely_cuts(text: bytes) -> Iterator[int]:
    """Places where a block may end: where the text stands that stands between its first two elements."""
    for pattern in (_BETWEEN, _ROUGHLY_BETWEEN):
        between = _between_first(text, pattern)
        place = text.rfind(between) if between else -1
        # Less than half is a text that happens to be rare, for instance the names of processes before all events.
        if place + 1 >= len(text) // 2:
            yield place + 1
            return


def _between_first(text: bytes, pattern: re.Pattern[bytes]) -> bytes | None:
    """What stands between the first two elements, if they are objects and in `text`."""
    try:
        first = JsonCursor(iter((text,)), len(text)).take_value()
    except SourceError:
        return None
    between = pattern.match(text, len(first) - 1) if first else None
    return between[0] if between else None


def _parse(raw: bytes) -> list[Any] | None:
    try:
        values = orjson.loads(b"[" + raw + b"]")
    except orjson.JSONDecodeError:
        return None
    assert isinstance(values, list)
    return values


def _walk_block(
    cursor: _BlockCursor, index: int, clean: Clean, block_bytes: int
) -> tuple[Block | None, SourceError | None]:
    """Elements one by one up to the size of a block, and what ended them if it was a failure."""
    parts: list[bytes | None] = []
    size = 0
    failure = None
    try:
        while True:
            parts.append(_take_element(cursor))
            size += len(parts[-1] or b"")
            if size >= block_bytes or cursor.is_at_end() or cursor.peek() != b",":
                break
            cursor.expect(b",")
            if cursor.is_at_end() or cursor.peek() == b"]":
                break
    except SourceError as error:
        failure = error
    return (_walked(index, parts, clean) if parts else None), failure


def _take_element(cursor: _BlockCursor) -> bytes | None:
    """The next element, None if it is over the limit.

    A quote or bracket too few or too many would take all that follows with it. So a text that is no JSON ends where
    the next element seems to begin.
    """
    try:
        raw = cursor.take_value()
    except SourceError:
        seen, length = cursor.look(cursor.limit), 0
        place = seen.find(cursor.between) if cursor.between else -1
        if place < 0:
            raise
    else:
        if raw is None or cursor.between is None or cursor.between not in raw or _parse(raw) is not None:
            return raw
        seen, length = raw, len(raw)
        place = raw.find(cursor.between)
    cursor.skip(place + 1 - length)
    return seen[: place + 1]


def _walked(index: int, parts: list[bytes | None], clean: Clean) -> Block:
    cleaned = tuple(None if part is None else clean(part) for part in parts)
    raw = b",\n".join(part for part in cleaned if part is not None)
    values = None if None in cleaned else _parse(raw)
    return Block(index, raw, values if values is not None and len(values) == len(cleaned) else None, cleaned)
