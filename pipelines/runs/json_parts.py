"""A large JSON object, part by part: each member, or each element of an array in it, as its own bytes.

What belongs here: finding where a value ends, nothing about what it means. A streaming parser such as ijson gives
values, but no bytes as received, stops for good at NaN, and cannot step over one bad element; an import needs all
three, and finding the end of a value takes two regular expressions.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any, NamedTuple

import orjson

from pipelines.runs.scanning import ScannedPieces
from pipelines.runs.sources import SourceError

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator

# Everything up to the next bracket that is not inside a string. Possessive, so it can neither backtrack nor overflow.
_TO_BRACKET = re.compile(rb'(?:[^"{}\[\]]++|"(?:[^"\\]++|\\.)*+")*+', re.DOTALL)
_TEXT = re.compile(rb'"(?:[^"\\]++|\\.)*+"', re.DOTALL)
_SCALAR = re.compile(rb"[^,\]}\s]++")
_BLANK = re.compile(rb"[\s]*+")
_OPENING, _CLOSING = b"{[", b"}]"
# Nobody indents the elements of an array by more than this.
_MAX_INDENT = 64
_NEVER = re.compile(rb"(?!)")


class Part(NamedTuple):
    """A member of the object (`index` None), or element `index` of the array that was asked to be opened.

    `raw` is None for a part over the limit. `value` is what an element says, where it was parsed to find its end.
    `is_clean` tells that it lies in bytes that were found to hold no secret.
    """

    key: str
    index: int | None  # type: ignore[assignment]  # the method of tuples, which nobody calls on a part
    raw: bytes | None
    value: Any = None
    is_clean: bool = False


def split_object(pieces: Iterator[bytes] | ScannedPieces, *, opened: str, part_bytes: int) -> Iterator[Part]:
    """Parts of the one JSON object in `pieces`, in order; the array under the key `opened` element by element.

    Raises `SourceError` where the text ends early or is not an object; the parts before that have been given.
    """
    cursor = JsonCursor(pieces, part_bytes)
    cursor.expect(b"{")
    while cursor.peek() != b"}":
        key = key_text(cursor.take_value())
        cursor.expect(b":")
        if key == opened and cursor.peek() == b"[":
            yield from _elements(cursor, key)
        else:
            yield Part(key, None, cursor.take_value())
        if cursor.peek() != b",":
            break
        cursor.expect(b",")
    cursor.expect(b"}")


def split_nested(pieces: Iterator[bytes], *, opened: Collection[str], part_bytes: int) -> Iterator[Part]:
    """Like `split_object` for what lies deeper: `opened` are paths such as `results` and `results.rows`.

    An object at such a path is given member by member and an array element by element; a part's key is its path.
    """
    cursor = JsonCursor(pieces, part_bytes)
    yield from _members(cursor, "", opened)


def _members(cursor: JsonCursor, prefix: str, opened: Collection[str]) -> Iterator[Part]:
    cursor.expect(b"{")
    while cursor.peek() != b"}":
        key = key_text(cursor.take_value())
        path = f"{prefix}.{key}" if prefix else key
        cursor.expect(b":")
        sign = cursor.peek()
        if path in opened and sign == b"{":
            yield from _members(cursor, path, opened)
        elif path in opened and sign == b"[":
            yield from _elements(cursor, path)
        else:
            yield Part(path, None, cursor.take_value())
        if cursor.peek() != b",":
            break
        cursor.expect(b",")
    cursor.expect(b"}")


def _elements(cursor: JsonCursor, key: str) -> Iterator[Part]:
    cursor.expect(b"[")
    index = 0
    while cursor.peek() != b"]":
        found = cursor.take_indented()
        yield Part(key, index, cursor.take_value()) if found is None else Part(key, index, *found)
        index += 1
        if not cursor.accept(b","):
            break
    cursor.expect(b"]")


def key_text(raw: bytes | None) -> str:
    """The name of a member; raises `SourceError` for what is no text."""
    if raw is None or not raw.startswith(b'"'):
        raise SourceError("json", "The file is not a JSON object: a member has no name.")
    return raw[1:-1].decode("utf-8", "replace")


class JsonCursor:
    """A place in a stream of bytes that only moves forward; bytes behind it are forgotten."""

    def __init__(self, pieces: Iterator[bytes] | ScannedPieces, part_bytes: int) -> None:
        self._pieces = pieces
        self._held_back: SourceError | None = None
        self._indent, self._ending = b"", _NEVER
        self._limit = part_bytes
        self._buffer = b""
        self._at = 0
        # Where the piece begins that was fetched last.
        self._piece_at = 0
        self._has_begun = False

    def peek(self) -> bytes:
        """The next byte that is not blank; raises `SourceError` at the end of the text."""
        while True:
            sign = self._buffer[self._at : self._at + 1]
            if sign and not sign.isspace():
                return sign
            blank = _BLANK.match(self._buffer, self._at)
            self._at = blank.end() if blank else self._at
            if self._at == len(self._buffer):
                self._fill()

    def accept(self, sign: bytes) -> bool:
        """Step over `sign` if it stands here."""
        is_here = self.peek() == sign
        self._at += is_here
        return is_here

    def expect(self, sign: bytes) -> None:
        """Step over `sign`; raises `SourceError` if something else stands there."""
        found = self.peek()
        if found != sign:
            raise SourceError(
                "json", f"The JSON is broken: {found.decode('latin-1')!r} where {sign.decode()!r} must be."
            )
        self._at += 1

    def take_value(self) -> bytes | None:
        """The bytes of the value that starts here, None if they exceed the limit."""
        first = self.peek()
        if first == b'"':
            return self._take_match(_TEXT)
        return self._take_nested() if first in (b"{", b"[") else self._take_scalar()

    def take_indented(self) -> tuple[bytes, Any, bool] | None:
        """An object that ends on a line of its own, as indented as the line on which it began.

        With its bytes come what it says and whether it was found to hold no secret. Going from bracket to bracket costs
        twice as much as parsing. So the end is guessed, and proved by parsing up to it: an object does not go on after
        its end. None, with nothing taken, where that fails.
        """
        if self.peek() != b"{":
            return None
        line = self._buffer.rfind(b"\n", max(0, self._at - _MAX_INDENT), self._at)
        indent = self._buffer[line : self._at]
        if line >= 0 and indent.isspace() and indent != self._indent:
            self._indent, self._ending = indent, re.compile(re.escape(indent) + rb"\}")
        guess = self._ending.search(self._buffer, self._at)
        while guess is None and len(self._buffer) - self._at <= self._limit and self._can_fill():
            guess = self._ending.search(self._buffer, self._at)
        if guess is None or guess.end() - self._at > self._limit:
            return None
        raw = self._buffer[self._at : guess.end()]
        try:
            value = orjson.loads(raw)
        except orjson.JSONDecodeError:
            return None
        scanned = self._pieces
        is_clean = isinstance(scanned, ScannedPieces) and scanned.is_clean(
            self._at - self._piece_at, guess.end() - self._piece_at
        )
        self._at = guess.end()
        return raw, value, is_clean

    def _take_match(self, pattern: re.Pattern[bytes]) -> bytes | None:
        while (match := pattern.match(self._buffer, self._at)) is None:
            self._fill()
        return self._cut(match.end())

    def _take_scalar(self) -> bytes | None:
        while True:
            match = _SCALAR.match(self._buffer, self._at)
            if match is None:
                raise SourceError("json", "The JSON is broken: a value is missing.")
            if match.end() < len(self._buffer):
                return self._cut(match.end())
            self._fill()

    def _take_nested(self) -> bytes | None:
        scan, depth, is_oversize = self._at, 0, False
        while True:
            match = _TO_BRACKET.match(self._buffer, scan)
            scan = match.end() if match else scan
            sign = self._buffer[scan : scan + 1]
            if sign and sign in _OPENING:
                depth, scan = depth + 1, scan + 1
            elif sign and sign in _CLOSING:
                depth, scan = depth - 1, scan + 1
                if depth == 0:
                    raw = self._cut(scan)
                    return None if is_oversize else raw
            else:
                # The end of the buffer, or a text whose end is not in it yet.
                if scan - self._at > self._limit:
                    is_oversize, self._at = True, scan
                scan -= self._fill()

    def _cut(self, end: int) -> bytes | None:
        raw = self._buffer[self._at : end]
        self._at = end
        return raw if len(raw) <= self._limit else None

    def _can_fill(self) -> bool:
        """Read on, for a look ahead: why that cannot be is told when the bytes are needed."""
        try:
            self._fill()
        except SourceError as error:
            self._held_back = error
            return False
        return True

    def _fill(self) -> int:
        """Read on; returns how far the kept bytes moved. A text longer than the limit ends the reading."""
        if self._held_back is not None:
            raise self._held_back
        piece = next(self._pieces, None)
        if piece is None:
            raise SourceError("truncated", "The JSON ends in the middle; what came before was imported.")
        if len(self._buffer) - self._at > 2 * self._limit:
            raise SourceError("text_bytes", f"A text is longer than {2 * self._limit:,} bytes; reading stopped there.")
        if not self._has_begun:
            piece, self._has_begun = piece.removeprefix(b"\xef\xbb\xbf"), True
        moved = self._at
        rest = self._buffer[moved:]
        self._buffer, self._at, self._piece_at = rest + piece, 0, len(rest)
        return moved
