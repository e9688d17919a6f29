"""An export read back into a lake: the same rows, each once, whatever is there already.

A file whose bytes are not those of the manifest is refused with a reject row and the others still land. Only JSON and
Parquet can be read back: a CSV is for people, and cannot tell an empty text from none.
"""

from __future__ import annotations

import base64
import datetime as dt
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

import orjson
import polars as pl
import pyarrow as pa

from lake.contracts import TableContract
from lake.errors import UserError
from lake.identity import file_digest
from lake.store import REJECTS, Lake
from lake.tables import contract_of
from lake.validation import Reject, reject_rows
from pipelines.experiments.exports import EXPORT_KIND, EXPORT_VERSION, EXPORTED_TABLES, MANIFEST

STEP = "import_export"
_BATCH_ROWS = 20_000
_MAX_MANIFEST_BYTES = 1 << 20
# What parsers raise for content that is not what a file of ours holds.
_UNREADABLE = (ValueError, TypeError, AttributeError, pl.exceptions.PolarsError, pa.ArrowException)


@dataclass(frozen=True, kw_only=True)
class ExportImportResult:
    """Files read, rows by table, rows that were new or changed, rows and files refused, and what to tell of them."""

    file_count: int
    rows: Mapping[str, int]
    written_count: int
    reject_count: int
    messages: tuple[str, ...]


def is_export(path: Path) -> bool:
    """Whether a folder is an export of ours, by its manifest."""
    manifest = path / MANIFEST
    try:
        if not manifest.is_file() or manifest.stat().st_size > _MAX_MANIFEST_BYTES:
            return False
        content = orjson.loads(manifest.read_bytes())
    except (OSError, orjson.JSONDecodeError):
        return False
    return isinstance(content, dict) and content.get("kind") == EXPORT_KIND


def import_export(lake: Lake, folder: Path) -> ExportImportResult:
    """Bring every row of an export into the lake; doing it again changes nothing.

    Raises `UserError` for a manifest of a newer schema, of CSV files, or that is not whole.
    """
    manifest = _manifest(folder)
    rows: Counter[str] = Counter()
    written = refused = files = 0
    messages = []
    for entry in manifest["files"]:
        fault = _fault(folder, entry)
        if fault is not None:
            messages.append(f"{folder / str(entry.get('name'))}: {fault}")
            _reject(lake, folder, entry, fault)
            refused += 1
            continue
        files += 1
        contract = contract_of(entry["table"])
        try:
            for place, batch in enumerate(_batches(folder / entry["name"], contract)):
                token = f"export:{entry['sha256']}:{place}"
                landed, rejected = _land(lake, contract, batch, token=token, source=str(folder / entry["name"]))
                rows[contract.address] += batch.height
                written, refused = written + landed, refused + rejected
        except _UNREADABLE as error:
            fault = f"its rows cannot be read: {error}"
            messages.append(f"{folder / entry['name']}: {fault}")
            _reject(lake, folder, entry, fault)
            refused += 1
    return ExportImportResult(
        file_count=files, rows=rows, written_count=written, reject_count=refused, messages=tuple(messages)
    )


def _manifest(folder: Path) -> dict[str, Any]:
    content: dict[str, Any] = orjson.loads((folder / MANIFEST).read_bytes())
    version = content.get("schema_version")
    if version != EXPORT_VERSION:
        raise UserError(f"{folder / MANIFEST} has schema_version {version!r}; this Benchlake reads {EXPORT_VERSION}.")
    if content.get("format") not in {"json", "parquet"}:
        raise UserError(
            f"{folder} is an export as {content.get('format')}, which cannot be read back without loss. "
            "Export as json or parquet."
        )
    if not isinstance(content.get("files"), list):
        raise UserError(f"{folder / MANIFEST} names no files.")
    return content


def _fault(folder: Path, entry: object) -> str | None:
    """Why a file of the manifest cannot be read, or None."""
    if not isinstance(entry, dict) or entry.get("table") not in EXPORTED_TABLES:
        return "it is not a table that Benchlake exports."
    name = entry.get("name")
    # The manifest may come from anywhere: nothing outside its own folder is opened.
    if not isinstance(name, str) or name != Path(name).name or name in {"", ".", ".."}:
        return "its name leads out of the export's folder."
    path = folder / name
    if path.is_symlink() or not path.is_file():
        return "it is not there."
    if file_digest(path) != entry.get("sha256"):
        return "its bytes are not those that were exported (sha256 differs)."
    return None


def _reject(lake: Lake, folder: Path, entry: object, fault: str) -> None:
    name = str(entry.get("name")) if isinstance(entry, dict) else str(entry)
    reject = Reject(record_index=None, rule="export_file", message=fault, raw=name[:4_096])
    rows = reject_rows(table=STEP, source_uri=str(folder / MANIFEST), source_sha256=None, entries=[reject])
    lake.upsert(REJECTS, rows)


def _batches(path: Path, contract: TableContract) -> Iterator[pl.DataFrame]:
    if path.suffix == ".parquet":
        import pyarrow.parquet as pq

        for batch in pq.ParquetFile(path).iter_batches(_BATCH_ROWS):
            yield pl.DataFrame(pl.from_arrow(batch))
        return
    decoders = {name: decoder for name, dtype in contract.dtypes.items() if (decoder := _decoder(dtype))}
    with path.open("rb") as stream:
        while lines := list(islice(stream, _BATCH_ROWS)):
            rows = [orjson.loads(line) for line in lines]
            for row in rows:
                for name, decode in decoders.items():
                    row[name] = decode(row.get(name))
            yield pl.DataFrame(rows, schema=contract.dtypes)


_Decoder = Callable[[Any], Any]


def _decoder(dtype: Any) -> _Decoder | None:  # noqa: ANN401 - Polars gives a class or an instance of it
    """How JSON becomes a value of this type again; None where it is one already."""
    if isinstance(dtype, pl.List):
        inner = _decoder(dtype.inner)
        return inner and (lambda value: value and [inner(item) for item in value])
    if isinstance(dtype, pl.Struct):
        members = {field.name: decoder for field in dtype.fields if (decoder := _decoder(field.dtype))}
        if not members:
            return None
        return lambda value: value and {k: members[k](v) if k in members else v for k, v in value.items()}
    plain: dict[Any, _Decoder] = {
        pl.Binary: base64.b64decode,
        pl.Date: dt.date.fromisoformat,
        pl.Datetime: dt.datetime.fromisoformat,
    }
    kind = dtype if isinstance(dtype, type) else type(dtype)
    read = plain.get(kind)
    return read and (lambda value: None if value is None else read(value))


def _land(lake: Lake, contract: TableContract, rows: pl.DataFrame, *, token: str, source: str) -> tuple[int, int]:
    """Rows written and rows refused. An append-only table takes the rows whose key it has not."""
    if not contract.is_append_only:
        result = lake.upsert(contract.address, rows, source_uri=source)
        return result.rows_written, result.rows_rejected
    standing = lake.read(contract.address, columns=list(contract.key))
    new = rows.join(standing, on=list(contract.key), how="anti")
    result = lake.append(contract.address, new, token=token, source_uri=source)
    return result.rows_written, result.rows_rejected
