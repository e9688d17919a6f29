"""Many examples at once: from files, idempotently, with what does not fit in quarantine; and back into files.

What belongs here: bulk. Which field of a record is what is `records.py`; single examples are `store.py`.
"""

from __future__ import annotations

import datetime as dt
import json
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any, Literal

import orjson
import polars as pl

from lake.errors import UserError
from lake.identity import file_digest
from lake.store import Lake
from lake.validation import RAW_CHARACTERS, Reject, reject_rows
from pipelines.databits.writing import ensure_databits
from pipelines.examples.drafts import ExampleDraft, unit_draft
from pipelines.examples.following import EXAMPLES, follow_units
from pipelines.examples.records import FieldMapping, draft_of_record, fields_of

REJECTS = "bronze.rejects"
FORMATS = {".jsonl": "jsonl", ".ndjson": "jsonl", ".csv": "csv", ".tsv": "tsv", ".parquet": "parquet"}
ExportFormat = Literal["jsonl", "csv", "parquet"]
# Examples that are written in one commit: enough to be quick, few enough that a kill costs little.
_BATCH = 20_000
Progress = Callable[[int, int, str], None]


@dataclass(frozen=True, kw_only=True)
class ImportResult:
    """What became of records: files read, examples that are new, changed, as they were, deleted before, refused."""

    file_count: int = 0
    record_count: int = 0
    created_count: int = 0
    revised_count: int = 0
    unchanged_count: int = 0
    deleted_count: int = 0
    rejected_count: int = 0

    def __add__(self, other: ImportResult) -> ImportResult:
        """Counts of both."""
        return ImportResult(**{name: value + getattr(other, name) for name, value in vars(self).items()})


def ensure_examples(
    lake: Lake, drafts: Iterable[ExampleDraft], *, now: dt.datetime, author: str, note: str | None = None
) -> ImportResult:
    """Make every example be as its draft says; a second call changes nothing.

    What somebody else edited since `author` wrote it stays, and so does a deletion (see `ensure_databits`).
    """
    units = [unit_draft(draft) for draft in drafts]
    if not units:
        return ImportResult()
    done = ensure_databits(lake, units, now=now, author=author, change_note=note)
    follow_units(lake, done.keys["databit_id"].to_list())
    return ImportResult(
        record_count=len(units),
        created_count=done.created_count,
        revised_count=done.revised_count,
        # Several records of one example are one example.
        unchanged_count=done.unchanged_count + len(units) - done.keys.height,
        deleted_count=done.retracted_count,
        rejected_count=done.rejected_count,
    )


def import_examples(
    lake: Lake,
    paths: Iterable[Path],
    *,
    mapping: FieldMapping,
    now: dt.datetime,
    author: str,
    progress: Progress | None = None,
) -> ImportResult:
    """Bring files of examples (JSONL, CSV, TSV, Parquet) into the store; importing them again changes nothing.

    A record that is no example becomes a row of bronze.rejects. Raises `UserError`, before anything is written, for a
    file that does not exist or is of another kind.
    """
    files = list(paths)
    for path in files:
        _format_of(path)
    total = ImportResult()
    for path in files:
        total += _import_file(lake, path, mapping, now=now, author=author, progress=progress)
    return total


def _import_file(
    lake: Lake, path: Path, mapping: FieldMapping, *, now: dt.datetime, author: str, progress: Progress | None
) -> ImportResult:
    sha256 = file_digest(path)
    total = ImportResult(file_count=1)
    records = enumerate(_records(path))
    while batch := list(islice(records, _BATCH)):
        drafts, refused = _parted(batch, mapping, path)
        if refused:
            rows = reject_rows(table=EXAMPLES, source_uri=str(path), source_sha256=sha256, entries=refused)
            lake.upsert(REJECTS, rows)
        part = ensure_examples(lake, drafts, now=now, author=author, note=f"imported from {path.name}")
        total += part + ImportResult(record_count=len(refused), rejected_count=len(refused))
        if progress is not None:
            progress(total.record_count, 0, path.name)
    return total


def _parted(
    records: Iterable[tuple[int, object]], mapping: FieldMapping, path: Path
) -> tuple[list[ExampleDraft], list[Reject]]:
    """Records as drafts, and a reject for each that is none."""
    drafts, refused = [], []
    for index, record in records:
        try:
            if isinstance(record, _Unreadable):
                raise UserError(record.message)  # noqa: TRY301  # one place where a reject is made
            draft = draft_of_record(record, mapping, source=f"file:{path.name}")
            unit_draft(draft)
            drafts.append(draft)
        except UserError as error:
            raw = record.text if isinstance(record, _Unreadable) else json.dumps(record, default=str)
            refused.append(Reject(record_index=index, rule="example", message=str(error), raw=raw[:RAW_CHARACTERS]))
    return drafts, refused


@dataclass(frozen=True)
class _Unreadable:
    """A line that is no JSON."""

    text: str
    message: str


def _records(path: Path) -> Iterator[object]:
    kind = _format_of(path)
    try:
        if kind == "jsonl":
            yield from _json_lines(path)
        elif kind == "parquet":
            yield from pl.read_parquet(path).iter_rows(named=True)
        else:
            frame = pl.read_csv(path, separator="\t" if kind == "tsv" else ",", infer_schema=False, encoding="utf8")
            yield from frame.iter_rows(named=True)
    except (pl.exceptions.PolarsError, OSError) as error:
        raise UserError(f"{path} cannot be read as {kind}: {error}") from error


def _json_lines(path: Path) -> Iterator[object]:
    with path.open("rb") as stream:
        for line in stream:
            text = line.removeprefix(b"\xef\xbb\xbf").strip()
            if text:
                yield _parsed(text)


def _parsed(text: bytes) -> object:
    try:
        return orjson.loads(text)
    except orjson.JSONDecodeError as error:
        shown = text.decode("utf-8", "replace")
        return _Unreadable(shown, f"The line is not valid JSON: {error}.")


def _format_of(path: Path) -> str:
    if not path.is_file():
        raise UserError(f"There is no file {path}.")
    kind = FORMATS.get(path.suffix.lower())
    if kind is None:
        raise UserError(f"{path} is not of a kind that is read: {', '.join(FORMATS)}.")
    return kind


def export_rows(rows: pl.DataFrame, path: Path) -> None:
    """Write rows of silver.examples to a new file, by its ending; importing it gives the same examples.

    Raises `UserError` if the file exists, or for another ending.
    """
    kind = FORMATS.get(path.suffix.lower())
    if kind not in {"jsonl", "csv", "parquet"}:
        raise UserError(f"{path} must end in .jsonl, .csv or .parquet.")
    if path.exists():
        raise UserError(f"{path} exists and is not overwritten; name another file or remove it.")
    if kind == "jsonl":
        path.write_bytes(b"".join(orjson.dumps(exported(row)) + b"\n" for row in rows.iter_rows(named=True)))
        return
    if kind == "parquet":
        rows.write_parquet(path)
        return
    rows.with_columns(pl.col("tags").list.join(",")).write_csv(path)


_EXPORTED = (
    "example_id", "function_name", "domain", "tags", "source", "license", "usage_count", "effectiveness_score",
    "effectiveness_low", "effectiveness_high",
)  # fmt: skip


def exported(row: dict[str, Any]) -> dict[str, Any]:
    """An example as a record of a JSONL file."""
    output = row["expected_output"]
    return {
        "inputs": fields_of(row["inputs"]),
        "expected_output": fields_of(output) or output,
        **{name: row[name] for name in _EXPORTED},
    }
