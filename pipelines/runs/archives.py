"""Members of a zip, read in memory under fixed limits, in every compression that evaluation logs use.

What belongs here: unpacking members; finding them is `zip_directory.py`. Python's zipfile (before 3.14) refuses zstd,
method 93, which Inspect writes by default, and trusts the sizes that a file declares, so members are unpacked here from
their raw bytes. A member's name is only ever compared and shown, never used as a path.
"""

from __future__ import annotations

import zlib
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, BinaryIO, cast

import zstandard

from pipelines.runs.sources import Limits, SourceError, SourceFile, check_expansion
from pipelines.runs.zip_directory import LOCAL_HEADER, LOCAL_MAGIC, Member, read_directory

if TYPE_CHECKING:
    from collections.abc import Iterator

_STORED, _DEFLATED, _ZSTD = 0, 8, 93
_IS_ENCRYPTED = 0x1
_PIECE_BYTES = 1 << 20
# Frames that ask for more than this to be kept in memory are refused; zstd's own tools stop at the same size.
_ZSTD_WINDOW_BYTES = 128 << 20


@dataclass(frozen=True, kw_only=True)
class Archive:
    """An open zip. `is_truncated` tells that its directory was missing and members were found by walking."""

    stream: BinaryIO
    members: tuple[Member, ...]
    is_truncated: bool
    limits: Limits

    def read(self, member: Member) -> bytes:
        """The unpacked bytes; raises `SourceError` when they are broken or not what the zip declares."""
        if member.flags & _IS_ENCRYPTED:
            raise SourceError("encrypted", f"Member {member.name} is encrypted.")
        if member.unpacked_bytes > self.limits.member_bytes:
            raise SourceError(
                "member_bytes",
                f"Member {member.name} has {member.unpacked_bytes:,} bytes; the limit is {self.limits.member_bytes:,}.",
            )
        if member.packed_bytes <= _PIECE_BYTES and member.unpacked_bytes <= _PIECE_BYTES:
            whole = self._unpack_small(member)
            if whole is not None:
                return whole
        content = bytearray()
        try:
            for piece in _unpack(member.method, self._packed(member), member.name):
                content += piece
                if len(content) > member.unpacked_bytes:
                    raise SourceError("size", f"Member {member.name} unpacks to more than it declares.")
        except (zlib.error, zstandard.ZstdError) as error:
            raise SourceError("unpack", f"Member {member.name} is broken: {error}.") from None
        if len(content) != member.unpacked_bytes or zlib.crc32(content) != member.crc:
            raise SourceError("checksum", f"Member {member.name} is cut or damaged: its checksum does not match.")
        return bytes(content)

    def _unpack_small(self, member: Member) -> bytes | None:
        """A small member by one call; None where anything is amiss, which reading it in pieces will name."""
        packed = b"".join(self._packed(member))
        try:
            if member.method == _ZSTD:
                if zstandard.frame_content_size(packed) != member.unpacked_bytes:
                    return None
                content = self._unpacker.decompress(packed, allow_extra_data=False)
            elif member.method == _DEFLATED:
                content = zlib.decompressobj(-zlib.MAX_WBITS).decompress(packed, member.unpacked_bytes + 1)
            else:
                return None
        except (zlib.error, zstandard.ZstdError):
            return None
        is_whole = len(content) == member.unpacked_bytes and zlib.crc32(content) == member.crc
        return content if is_whole else None

    @cached_property
    def _unpacker(self) -> zstandard.ZstdDecompressor:
        return zstandard.ZstdDecompressor(max_window_size=_ZSTD_WINDOW_BYTES)

    def _packed(self, member: Member) -> Iterator[bytes]:
        self.stream.seek(member.offset)
        header = self.stream.read(LOCAL_HEADER.size)
        if len(header) < LOCAL_HEADER.size or not header.startswith(LOCAL_MAGIC):
            raise SourceError("zip", f"Member {member.name} is not where the zip says.")
        name_bytes, extra_bytes = LOCAL_HEADER.unpack(header)[-2:]
        self.stream.seek(name_bytes + extra_bytes, 1)
        left = member.packed_bytes
        while left and (piece := self.stream.read(min(_PIECE_BYTES, left))):
            left -= len(piece)
            yield piece


@contextmanager
def open_archive(source: SourceFile, *, limits: Limits) -> Iterator[Archive]:
    """Open a zip and check what it declares before anything is unpacked.

    A zip without its directory (a copy that was cut, a log still being written) is walked from the start, so that
    its whole members are still found. Raises `SourceError` for a bomb.
    """
    try:
        # Members lie side by side and are read in order, so a large buffer is filled once for hundreds of them.
        stream = source.path.open("rb", buffering=_PIECE_BYTES)
    except OSError as error:
        raise SourceError("readable", f"{source.path} cannot be read: {error.strerror}.") from None
    with stream:
        directory = read_directory(stream)
        _check_declared(directory.members, source, limits)
        yield Archive(stream=stream, members=directory.members, is_truncated=directory.is_truncated, limits=limits)


def _check_declared(members: tuple[Member, ...], source: SourceFile, limits: Limits) -> None:
    packed = sum(member.packed_bytes for member in members)
    # Members that share bytes are how the densest known bombs are built; a walked last member may be cut.
    if (
        len({member.offset for member in members}) < len(members)
        or sum(member.packed_bytes for member in members[:-1]) > source.size_bytes
    ):
        raise SourceError("expansion", "Members of the zip overlap, which only a zip bomb does. It was not read.")
    check_expansion(packed, sum(member.unpacked_bytes for member in members), limits=limits, what="The zip")
    # A member this small is no bomb, whatever it was packed to.
    small = min(limits.expansion_floor_bytes, limits.unpacked_bytes)
    for member in (member for member in members if member.unpacked_bytes > small):
        check_expansion(member.packed_bytes, member.unpacked_bytes, limits=limits, what=f"Member {member.name}")


def _unpack(method: int, packed: Iterator[bytes], name: str) -> Iterator[bytes]:
    """Pieces of bounded size, whatever the packed bytes say."""
    if method == _STORED:
        yield from packed
    elif method == _DEFLATED:
        inflater = zlib.decompressobj(-zlib.MAX_WBITS)
        for data in packed:
            left = data
            while left:
                yield inflater.decompress(left, _PIECE_BYTES)
                left = inflater.unconsumed_tail
        yield inflater.flush(_PIECE_BYTES)
    elif method == _ZSTD:
        unpacker = zstandard.ZstdDecompressor(max_window_size=_ZSTD_WINDOW_BYTES)
        with unpacker.stream_reader(cast("BinaryIO", _PieceReader(packed)), read_across_frames=True) as reader:
            while piece := reader.read(_PIECE_BYTES):
                yield piece
    else:
        raise SourceError("method", f"Member {name} is packed by method {method}, which is not known here.")


class _PieceReader:
    """The `read` of a file over an iterator of pieces; zstandard asks for no more."""

    def __init__(self, pieces: Iterator[bytes]) -> None:
        self._pieces = pieces
        self._rest = b""

    def read(self, size: int = -1) -> bytes:
        """Up to `size` bytes; nothing at the end."""
        if not self._rest:
            self._rest = next(self._pieces, b"")
        taken = self._rest if size < 0 else self._rest[:size]
        self._rest = self._rest[len(taken) :]
        return taken
