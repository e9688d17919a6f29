"""Files of an export: rows written piece by piece as JSON lines, CSV or Parquet, with count, size and digest.

A file is written under another name and renamed when it is whole, so that a killed export leaves nothing that looks
like one.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, Literal, Protocol

import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq

from lake.contracts import TableContract
from lake.identity import file_digest
from pipelines.plain_texts import as_csv, json_text

Form = Literal["json", "csv", "parquet"]
ENDINGS: dict[Form, str] = {"json": "jsonl", "csv": "csv", "parquet": "parquet"}


@dataclass(frozen=True, kw_only=True)
class WrittenFile:
    """A file as the manifest tells of it; `sha256` in hex."""

    name: str
    row_count: int
    size_bytes: int
    sha256: str


class RowWriter(Protocol):
    """Takes rows in the order of the file."""

    row_count: int

    def add(self, rows: pl.DataFrame) -> None:
        """Write these rows behind those before."""


class _Lines:
    def __init__(self, stream: BinaryIO) -> None:
        self.stream, self.row_count = stream, 0

    def add(self, rows: pl.DataFrame) -> None:
        for row in rows.iter_rows(named=True):
            self.stream.write((json_text(row) or "null").encode() + b"\n")
        self.row_count += rows.height


class _Cells:
    def __init__(self, stream: BinaryIO, contract: TableContract) -> None:
        self.stream, self.row_count = stream, 0
        stream.write(as_csv(contract.empty()).encode())

    def add(self, rows: pl.DataFrame) -> None:
        self.stream.write(as_csv(rows, include_header=False).encode())
        self.row_count += rows.height


class _Columns:
    def __init__(self, stream: BinaryIO, contract: TableContract) -> None:
        self.schema, self.row_count = contract.arrow_schema, 0
        self.writer = pq.ParquetWriter(stream, self.schema, compression="zstd")

    def add(self, rows: pl.DataFrame) -> None:
        table = rows.to_arrow(compat_level=pl.CompatLevel.oldest())
        self.writer.write_table(pa.table(table).cast(self.schema))
        self.row_count += rows.height


@contextmanager
def writing(folder: Path, stem: str, contract: TableContract, *, form: Form) -> Iterator[RowWriter]:
    """A writer of `<stem>.<ending>` in `folder`; the file is there under its name when the block is left unharmed."""
    target = folder / f"{stem}.{ENDINGS[form]}"
    partial = target.with_name(f".{target.name}.partial")
    with partial.open("wb") as stream:
        if form == "parquet":
            columns = _Columns(stream, contract)
            with columns.writer:
                yield columns
        else:
            yield _Cells(stream, contract) if form == "csv" else _Lines(stream)
    partial.replace(target)


def described(path: Path, *, row_count: int) -> WrittenFile:
    """What the manifest says of a finished file."""
    return WrittenFile(name=path.name, row_count=row_count, size_bytes=path.stat().st_size, sha256=file_digest(path))
