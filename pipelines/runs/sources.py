"""Files that somebody else wrote, read so that none of them can hurt.

What belongs here: which files a path stands for, what identifies a file, and its bytes in pieces and lines under
fixed limits. Zip members are `archives.py`, JSON is `records.py`, formats are `importers/`.
"""

from __future__ import annotations

import datetime as dt
import hashlib
import os
import sqlite3
import stat
import zlib
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Literal
from urllib.parse import quote

from pipelines.runs.live_files import is_being_written
from pipelines.runs.records import JsonObject, RecordError, parse_object

Packing = Literal["plain", "gzip", "zip"]

_PIECE_BYTES = 1 << 20
_HEAD_BYTES = 1 << 16
_GZIP_MAGIC = b"\x1f\x8b"
_ZIP_MAGIC = b"PK\x03\x04"
_SQLITE_MAGIC = b"SQLite format 3\0"
_BOM = b"\xef\xbb\xbf"
# Window bits of zlib that mean "a gzip member".
_GZIP_WINDOW = 31


class SourceError(RecordError):
    """A file that must not or cannot be read further; `rule` names why."""


@dataclass(frozen=True, kw_only=True)
class Limits:
    """What a file may cost. The defaults admit every real log we know and stop what was made to exhaust a machine.

    `line_bytes` is for one line, `member_bytes` for one zip member or one sample of a JSON log. `expansion` is how
    many bytes may come out of one packed byte once more than `expansion_floor_bytes` came out: deflate reaches 1,032
    on zeros, evaluation logs stay under 100.
    """

    file_bytes: int = 16 << 30
    line_bytes: int = 16 << 20
    member_bytes: int = 256 << 20
    unpacked_bytes: int = 64 << 30
    expansion: int = 200
    expansion_floor_bytes: int = 32 << 20


@dataclass(frozen=True, kw_only=True)
class SourceFile:
    """A file as it was when it was hashed; `path` is resolved and lies inside `root`.

    A folder that a format reads as one is a file too, with those in it as `parts` (see `bundles.py`).
    """

    path: Path
    root: Path
    sha256: str
    size_bytes: int
    modified_ns: int
    parts: tuple[SourceFile, ...] = ()

    @property
    def uri(self) -> str:
        """Where the file was read from."""
        return str(self.path)

    @property
    def modified_at(self) -> dt.datetime:
        """When the file was last written: the best guess for a run that does not say when it started."""
        return dt.datetime.fromtimestamp(self.modified_ns // 1_000_000_000, tz=dt.UTC)

    @property
    def file_count(self) -> int:
        """How many files on disk it stands for."""
        return len(self.parts) or 1

    def is_unchanged(self) -> bool:
        """Whether the file still is the one that was hashed, as far as its size and time tell."""
        if self.parts:
            return all(part.is_unchanged() for part in self.parts)
        try:
            now = self.path.stat()
        except OSError:
            return False
        return (now.st_size, now.st_mtime_ns) == (self.size_bytes, self.modified_ns)


@dataclass(frozen=True, kw_only=True)
class FileHead:
    """What a format may be recognised by: content only, never the name.

    `start` is the first 64 KiB after unpacking, `record` the first line of it that is a JSON object, `members` the
    names in a zip, `tables` the names in an SQLite database.
    """

    packing: Packing
    start: bytes = b""
    record: JsonObject | None = None
    members: frozenset[str] = frozenset()
    tables: frozenset[str] = frozenset()


@dataclass(frozen=True)
class LineBlock:
    """Neighbouring lines; None stands for a line over the limit. `is_cut` tells that the last one has no newline."""

    first_index: int
    lines: list[bytes | None]
    is_cut: bool = False


def resolve_inside(path: Path, root: Path) -> Path:
    """The real file behind `path`; raises `SourceError` if that is not a regular file inside `root`."""
    try:
        real = path.resolve(strict=True)
        mode = real.stat().st_mode
    except (OSError, RuntimeError) as error:
        raise SourceError("readable", f"{path} cannot be read: {_reason(error)}.") from None
    if not real.is_relative_to(root):
        raise SourceError(
            "inside_root", f"{path} leads outside {root} and was not read. Copy the file there if it is meant."
        )
    if not stat.S_ISREG(mode):
        raise SourceError("regular_file", f"{path} is not a regular file.")
    return real


def walk_files(folder: Path) -> Iterator[Path]:
    """Files below `folder` in stable order, without work in progress: hidden and `*.partial*` names, live run files."""
    for parent, folders, files in os.walk(folder):
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        paths = (Path(parent, name) for name in sorted(files) if not is_skipped(name))
        yield from (path for path in paths if not is_being_written(path))


def is_skipped(name: str) -> bool:
    """Whether a file of this name is left alone when a folder is read."""
    return name.startswith(".") or ".partial" in name


def identify(path: Path, *, root: Path, limits: Limits) -> SourceFile:
    """Check and hash a file. Raises `SourceError` when it is outside `root`, unreadable or too large."""
    real = resolve_inside(path, root)
    try:
        with real.open("rb") as stream:
            facts = os.fstat(stream.fileno())
            if facts.st_size > limits.file_bytes:
                raise SourceError(
                    "file_bytes", f"{path} has {facts.st_size:,} bytes; the limit is {limits.file_bytes:,}."
                )
            digest = hashlib.file_digest(stream, "sha256").hexdigest()
    except OSError as error:
        raise SourceError("readable", f"{path} cannot be read: {_reason(error)}.") from None
    return SourceFile(path=real, root=root, sha256=digest, size_bytes=facts.st_size, modified_ns=facts.st_mtime_ns)


def read_head(source: SourceFile, *, limits: Limits) -> FileHead:
    """What can be told from the beginning of a file. Raises `SourceError` for a broken or dangerous archive."""
    from pipelines.runs.archives import open_archive

    packing = packing_of(source)
    if packing == "zip":
        with open_archive(source, limits=limits) as archive:
            return FileHead(packing=packing, members=frozenset(member.name for member in archive.members))
    start = b""
    try:
        for piece in read_pieces(source, limits=limits):
            start += piece
            if len(start) >= _HEAD_BYTES:
                break
    except SourceError:
        if not start:
            raise
    start = start[:_HEAD_BYTES].removeprefix(_BOM)
    if start.startswith(_SQLITE_MAGIC):
        return FileHead(packing=packing, start=start, tables=_table_names(source.path))
    return FileHead(packing=packing, start=start, record=_first_record(start))


def packing_of(source: SourceFile) -> Packing:
    """How the bytes are packed, by their first ones."""
    with source.path.open("rb") as stream:
        magic = stream.read(4)
    if magic == _ZIP_MAGIC:
        return "zip"
    return "gzip" if magic.startswith(_GZIP_MAGIC) else "plain"


def read_pieces(source: SourceFile, *, limits: Limits) -> Iterator[bytes]:
    """The file's bytes, unpacked if gzip, in pieces of about 1 MiB.

    Raises `SourceError` where a gzip stream is truncated, broken or expands beyond the limits; all pieces before that
    have been given.
    """
    try:
        with source.path.open("rb") as stream:
            packed = iter(lambda: stream.read(_PIECE_BYTES), b"")
            yield from (_gunzip(packed, limits) if packing_of(source) == "gzip" else packed)
    except OSError as error:
        raise SourceError("readable", f"{source.path} cannot be read: {_reason(error)}.") from None


def read_lines(pieces: Iterator[bytes], *, line_bytes: int) -> Iterator[LineBlock]:
    """Lines of `pieces`, a block a piece, without their newline; memory stays below `line_bytes` plus a piece.

    Lines before an error in `pieces` are given before it is raised.
    """
    lines = _LineCutter(line_bytes)
    try:
        for piece in pieces:
            yield from lines.cut(piece)
    except SourceError:
        yield from lines.end()
        raise
    yield from lines.end()


class _LineCutter:
    """The line that is not whole yet, between two pieces."""

    def __init__(self, line_bytes: int) -> None:
        self._line_bytes = line_bytes
        self._rest = bytearray()
        self._index = 0
        self._is_skipping = False

    def cut(self, piece: bytes) -> Iterator[LineBlock]:
        """The lines that end in `piece`."""
        if self._is_skipping:
            _, newline, piece = piece.partition(b"\n")
            if not newline:
                return
            yield self._block([None])
            self._is_skipping = False
        first, *others = piece.split(b"\n")
        # A bytearray grows in place; a line of many pieces would else be copied with each of them.
        self._rest += first
        if others:
            whole = [bytes(self._rest), *others[:-1]]
            self._rest = bytearray(others[-1])
            yield self._block([line if len(line) <= self._line_bytes else None for line in whole])
        if len(self._rest) > self._line_bytes:
            self._rest, self._is_skipping = bytearray(), True

    def end(self) -> Iterator[LineBlock]:
        """The last line, if the text does not end with a newline."""
        # A file that is a mark of its encoding and nothing else has no line.
        if self._is_skipping or (self._rest and not (self._index == 0 and self._rest == _BOM)):
            yield self._block([None if self._is_skipping else bytes(self._rest)], is_cut=True)

    def _block(self, lines: list[bytes | None], *, is_cut: bool = False) -> LineBlock:
        if self._index == 0 and lines[0] is not None:
            lines[0] = lines[0].removeprefix(_BOM)
        block = LineBlock(self._index, lines, is_cut)
        self._index += len(lines)
        return block


@contextmanager
def open_database(path: Path) -> Iterator[sqlite3.Connection]:
    """An SQLite file that somebody else wrote, for reading alone: nothing in it can run, and nothing is written.

    A database in use is read with what its log holds; where that cannot be (a read-only folder), as it is on disk.
    Raises `sqlite3.Error` for a broken file.
    """
    quoted = quote(str(path))
    for mode in ("mode=ro", "mode=ro&immutable=1"):
        database = sqlite3.connect(f"file:{quoted}?{mode}", uri=True, isolation_level=None)
        try:
            database.execute("pragma trusted_schema = off")
            database.execute("pragma query_only = on")
            database.execute("select count(*) from sqlite_master").fetchone()
        except sqlite3.OperationalError:
            database.close()
            if mode != "mode=ro":
                raise
            continue
        except UnicodeDecodeError:
            # What SQLite says of a broken schema quotes from it, and is not always text.
            database.close()
            raise sqlite3.DatabaseError("its schema is broken and not even text") from None
        except sqlite3.Error:
            database.close()
            raise
        with closing(database):
            yield database
        return


def _table_names(path: Path) -> frozenset[str]:
    try:
        with open_database(path) as database:
            return frozenset(
                name for (name,) in database.execute("select name from sqlite_master where type = 'table'")
            )
    except (sqlite3.Error, UnicodeDecodeError):
        return frozenset()


def check_expansion(packed: int, unpacked: int, *, limits: Limits, what: str) -> None:
    """Raise `SourceError` if `unpacked` bytes out of `packed` ones are a bomb rather than a log."""
    is_inflated = unpacked > limits.expansion_floor_bytes and unpacked > limits.expansion * packed
    if is_inflated or unpacked > limits.unpacked_bytes:
        raise SourceError(
            "expansion",
            f"{what} would unpack {packed:,} bytes to {unpacked:,} or more, beyond the limits of {limits.expansion} "
            f"times and {limits.unpacked_bytes:,} bytes. If it is genuine, unpack it and import the files.",
        )


def _gunzip(packed: Iterator[bytes], limits: Limits) -> Iterator[bytes]:
    unpacker, taken, given = zlib.decompressobj(_GZIP_WINDOW), 0, 0
    for data in packed:
        taken += len(data)
        left = data
        while left:
            if unpacker.eof:
                unpacker = zlib.decompressobj(_GZIP_WINDOW)
            try:
                piece = unpacker.decompress(left, _PIECE_BYTES)
            except zlib.error as error:
                raise SourceError("gzip", f"The gzip stream is broken: {error}.") from None
            given += len(piece)
            check_expansion(taken, given, limits=limits, what="The gzip file")
            if piece:
                yield piece
            left = unpacker.unused_data.lstrip(b"\0") if unpacker.eof else unpacker.unconsumed_tail
    if not unpacker.eof:
        yield unpacker.flush()
        raise SourceError("truncated", "The gzip file ends in the middle; what came before was imported.")


def _first_record(start: bytes) -> JsonObject | None:
    for line in start.split(b"\n"):
        try:
            return parse_object(line)[0]
        except RecordError:
            continue
    return None


def _reason(error: Exception) -> str:
    return (error.strerror if isinstance(error, OSError) else None) or str(error)
