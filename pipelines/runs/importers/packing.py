"""Raw records, each as a zstd frame of its own, compressed beside the reading.

What belongs here: compression of bronze.raw_records. What is kept of a record is the format's module, what the table
looks like is `frames.py`.
"""

from __future__ import annotations

from concurrent.futures import Future, ThreadPoolExecutor
from typing import TYPE_CHECKING

import zstandard

if TYPE_CHECKING:
    from collections.abc import Sequence

# Negative levels leave the letters uncoded, so they are twice as fast as level 1, and Parquet's own compression still
# finds what records have in common: 1.6 kB samples end a third smaller on disk than at level 1.
_LEVEL = -3
# So much is compressed by one call, during which Python goes on reading.
_BLOCK_BYTES = 1 << 20


class RecordPacker:
    """Takes records and gives their zstd frames back, in order; a thread of its own from the first MiB on."""

    def __init__(self) -> None:
        self._waiting: list[bytes] = []
        self._waiting_bytes = 0
        self._packed: list[Future[list[bytes]]] = []
        self._thread: ThreadPoolExecutor | None = None
        self.count = 0
        self.byte_count = 0

    def add(self, raw: bytes) -> None:
        """Take a record."""
        self._waiting.append(raw)
        self._waiting_bytes += len(raw)
        self.count += 1
        self.byte_count += len(raw)
        if self._waiting_bytes >= _BLOCK_BYTES:
            self._send()

    def take(self) -> list[bytes]:
        """The frames of all records since the last call."""
        frames = [frame for block in self._packed for frame in block.result()]
        frames.extend(compress_records(self._waiting))
        self._waiting, self._packed = [], []
        self._waiting_bytes = self.count = self.byte_count = 0
        return frames

    def _send(self) -> None:
        if self._thread is None:
            self._thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix="pack")
        self._packed.append(self._thread.submit(compress_records, self._waiting))
        self._waiting, self._waiting_bytes = [], 0


def compress_records(records: Sequence[bytes]) -> list[bytes]:
    """Each record as a zstd frame of its own."""
    packer = zstandard.ZstdCompressor(level=_LEVEL)
    if not any(records):
        # The call below refuses to compress nothing.
        return [packer.compress(record) for record in records]
    # One call for all lets go of the interpreter once instead of for every record, which would wait each time for
    # the thread that reads.
    packed = packer.multi_compress_to_buffer(list(records))
    return [packed[index].tobytes() for index in range(len(packed))]
