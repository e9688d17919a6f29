"""The formats under test: how a good file is made, what must land, and how it is spoiled.

`test_importers.py` runs one suite on all of them. A format is declared in `tests/runs/declared/<kind>.py` as FORMATS.
"""

from __future__ import annotations

import importlib
import os
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import polars as pl
import pytest
import zstandard

from lake.tables import CONTRACTS
from lake.validation import validate
from pipelines.runs.bundles import bind_parts
from pipelines.runs.importers import SourceGroup, detect_importer, importer_of
from pipelines.runs.sources import Limits, identify, read_head

SHARED = Path(os.environ.get("BENCHLAKE_SHARED_DATA", Path(__file__).parents[2] / "../shared/data"))
TABLES = {
    "silver.runs": "runs",
    "silver.outputs": "outputs",
    "silver.output_tokens": "output_tokens",
    "silver.run_metrics": "run_metrics",
    "silver.run_params": "run_params",
    "silver.spans": "spans",
    "bronze.raw_records": "raw_records",
    "bronze.rejects": "rejects",
}
Tables = dict[str, pl.DataFrame]
Record = dict[str, Any]


def shared(name: str) -> Path:
    """A folder of real files; the test is skipped where it is absent."""
    path = SHARED / name
    if not path.exists():
        pytest.skip(f"real files are not at {path}: set BENCHLAKE_SHARED_DATA")
    return path


def group_of(*paths: Path, kind: str | None = None, limits: Limits | None = None) -> SourceGroup:
    """The group that an import of these files reads, with what lies beside them where a run is a folder."""
    limits = limits or Limits()
    files = [identify(path, root=path.parent.resolve(), limits=limits) for path in paths]
    importer = importer_of(kind) if kind else detect_importer(read_head(files[0], limits=limits))
    assert importer is not None, "no importer knows the file"
    if any(importer.claims(file.path) == "part" for file in files):
        beside = [found for path in paths for found in importer.companions(path)]
        files += [identify(found, root=found.parent.resolve(), limits=limits) for found in beside]
        files = [file for file in bind_parts(files, source_kind=importer.source_kind) if file.parts]
    return SourceGroup(source_kind=importer.source_kind, importer_version=importer.version, files=tuple(files))


def read(*paths: Path, kind: str | None = None, limits: Limits | None = None) -> Tables:
    """Rows of all tables from one group of files; every batch must keep its contracts."""
    limits = limits or Limits()
    group = group_of(*paths, kind=kind, limits=limits)
    batches = list(importer_of(group.source_kind).read(group, limits=limits))
    tables = {}
    for table, attribute in TABLES.items():
        rows = pl.concat([getattr(batch, attribute) for batch in batches])
        assert validate(CONTRACTS[table], rows).rejects.is_empty(), validate(CONTRACTS[table], rows).rejects
        tables[table] = rows
    return tables


def read_bytes(folder: Path, name: str, content: bytes, **options: Any) -> Tables:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / name).write_bytes(content)
    return read(folder / name, **options)


def sample_ids(tables: Tables) -> list[str]:
    return sorted(tables["silver.outputs"]["sample_id"])


def rules(tables: Tables) -> list[str]:
    return tables["bronze.rejects"]["rule"].to_list()


def raw_text(tables: Tables) -> str:
    unpacker = zstandard.ZstdDecompressor()
    return "\n".join(unpacker.decompress(raw).decode() for raw in tables["bronze.raw_records"]["raw"])


def everything(tables: Tables) -> str:
    written = (tables[table].drop("raw", strict=False) for table in TABLES if table != "bronze.rejects")
    return "\n".join(
        [*(str(frame.to_dicts()) for frame in written), str(tables["bronze.rejects"].to_dicts()), raw_text(tables)]
    )


def _nothing(_record: Record) -> None:
    """For a format that has no such field."""


@dataclass(frozen=True, kw_only=True)
class Format:
    """A format under test.

    `record(i)` is the i-th good record, a JSON object with its own identity, and `pack` makes the bytes of one file of
    records. `landed` gives what records became (sample ids, metric names, ...) sorted, and `identity(i)` what it must
    hold for `record(i)`. `write` puts the files of one run into a folder and returns the one that holds the records.

    What may differ between formats: `is_lines` (a record is a line: bad lines are refused one by one, gzip and a BOM
    do not matter), `header_lines` before the first record, `is_streamed` (batches are bounded), `cut_before` (where in
    the bytes record 3 begins: a file that breaks off there gives the records before it), `has_duplicates` (a record
    with the same identity again is refused as `duplicate`). `nan` and `surrogate` put NaN, or half a surrogate pair
    between a and b, into a field of a record; NaN must become a reject whose rule ends with `finite` while the record
    lands, and the text must land with U+FFFD in its place. None where the format has no such field. `secret` plants
    secrets where the tool could write some. `good_tables` checks more of three good records.
    """

    source_kind: str
    name: str
    record: Callable[[int], Record]
    pack: Callable[[list[Record]], bytes]
    is_lines: bool = False
    header_lines: int = 0
    is_streamed: bool = True
    has_duplicates: bool = True
    landed: Callable[[Tables], list[str]] = sample_ids
    identity: Callable[[int], str] = str
    cut_before: Callable[[bytes], int] | None = None
    nan: Callable[[Record], Record] | None = None
    surrogate: Callable[[Record], Record] | None = None
    secret: Callable[[Record], Record] = field(default=lambda record: record | PLANTED)
    good_tables: Callable[[Tables], None] = _nothing

    def write(self, folder: Path, records: list[Record]) -> Path:
        folder.mkdir(parents=True, exist_ok=True)
        path = folder / self.name
        path.write_bytes(self.pack(records))
        return path

    def good(self, count: int = 3) -> list[Record]:
        return [self.record(index) for index in range(count)]

    def identities(self, *indexes: int) -> list[str]:
        return sorted(self.identity(index) for index in indexes)

    def __str__(self) -> str:
        return f"{self.source_kind}-{self.name}"


# Every secret has the word hunter2 in it, which must be nowhere in the lake.
PLANTED: Record = {
    "model_base_url": "https://user:hunter2secret@example.org/v1",
    "request_headers": {"Authorization": "Bearer hunter2secret", "x-api-key": "hunter2secret"},
    "note": "401 for https://example.org/?api_key=hunter2secret",
}


def declared_formats() -> tuple[Format, ...]:
    names = sorted(path.stem for path in (Path(__file__).parent / "declared").glob("*.py"))
    modules = [importlib.import_module(f"tests.runs.declared.{name}") for name in names]
    return tuple(form for module in modules for form in module.FORMATS)
