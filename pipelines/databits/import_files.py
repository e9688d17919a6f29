"""Files of units, read batch by batch: JSON lines (plain, gzip or zstd) and Parquet.

What belongs here: bytes and batches. What a line means is `import_lines.py`.
"""

from __future__ import annotations

import gzip
import io
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import islice
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple

from lake.errors import UserError
from pipelines.databits.units import parse_json

BATCH_ROWS = 50_000
# A Parquet file with this key in its metadata holds content as JSON text, as this package writes it.
CONTENT_FORM_KEY = b"benchlake.databits.content"
JSON_ENDINGS = (".jsonl", ".ndjson", ".jsonl.gz", ".jsonl.zst", ".ndjson.gz", ".ndjson.zst")


class Line(NamedTuple):
    """One line or row of a file: its number from 0, what it says, or why that cannot be read.

    `raw` is the text of a line that could not be read. With `is_json_text` the content is JSON text.
    """

    number: int
    value: Any
    problem: str | None = None
    raw: str | None = None
    is_json_text: bool = False


def read_batches(path: Path, *, batch_rows: int = BATCH_ROWS) -> Iterator[tuple[list[Line], int]]:
    """Lines in batches, each with the bytes of the file that were read so far.

    Raises `UserError` for a file that is not there, or of a kind that is not read.
    """
    if not path.is_file():
        raise UserError(f"There is no file {path}.")
    if path.name.endswith(".parquet"):
        yield from _read_parquet(path, batch_rows)
    elif path.name.endswith(JSON_ENDINGS):
        yield from _read_json_lines(path, batch_rows)
    else:
        raise UserError(f"{path.name} is neither JSON lines ({', '.join(JSON_ENDINGS)}) nor .parquet.")


def _read_json_lines(path: Path, batch_rows: int) -> Iterator[tuple[list[Line], int]]:
    with path.open("rb") as file, _unpacked(file, path) as stream:
        numbered = enumerate(stream)
        while batch := list(islice(numbered, batch_rows)):
            yield [_parse_line(index, raw) for index, raw in batch if raw.strip()], file.tell()


@contextmanager
def _unpacked(file: BinaryIO, path: Path) -> Iterator[BinaryIO]:
    if path.suffix == ".gz":
        with gzip.open(file) as stream:
            yield stream  # type: ignore[misc]  # a GzipFile reads bytes as any binary stream does
    elif path.suffix == ".zst":
        import zstandard

        with zstandard.ZstdDecompressor().stream_reader(file) as reader:
            yield io.BufferedReader(reader)
    else:
        yield file


def _parse_line(index: int, raw: bytes) -> Line:
    try:
        return Line(index, parse_json(raw))
    except ValueError as error:
        return Line(index, None, f"it is no JSON: {error}", raw.decode("utf-8", "replace"))


def _read_parquet(path: Path, batch_rows: int) -> Iterator[tuple[list[Line], int]]:
    import pyarrow as pa
    import pyarrow.parquet as pq

    size = path.stat().st_size
    try:
        with pq.ParquetFile(path) as file:
            is_json_text = CONTENT_FORM_KEY in (file.schema_arrow.metadata or {})
            index = 0
            for batch in file.iter_batches(batch_size=batch_rows):
                rows = batch.to_pylist()
                lines = [Line(index + place, row, is_json_text=is_json_text) for place, row in enumerate(rows)]
                index += len(rows)
                yield lines, size * index // max(file.metadata.num_rows, 1)
    except pa.ArrowInvalid as error:
        raise UserError(f"{path} is no Parquet file that can be read: {error}") from error
