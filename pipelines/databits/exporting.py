"""DataBits as files: JSON lines or Parquet, streamed, with their lineage and licences, and with what may not go out.

What belongs here: choosing versions, looking at their licences, writing, and keeping a record of the act. The way back
is `importing.py`.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

import orjson
import polars as pl

from lake.errors import UserError
from lake.identity import derived_id
from lake.predicates import KeyRange
from lake.store import Lake
from lake.tables import contract_of
from pipelines.databits.import_files import CONTENT_FORM_KEY, JSON_ENDINGS
from pipelines.databits.lineage_steps import LICENSES, update_lineage
from pipelines.databits.reading import newest_of
from pipelines.databits.search_keys import tell_no_key
from pipelines.databits.units import DATABITS

EXPORTS = "silver.databit_exports"
BATCH_ROWS = 50_000
# Lines that are handed to the file at a time.
WRITTEN_ROWS = 1_000
SHOWN_DOUBTS = 5
_HIGHEST = "\U0010ffff"
Progress = Callable[[int, int, str], None]
# What may not go out unless somebody says why; a licence that nobody stated is told, not refused.
REFUSED_STATUSES = ("incompatible", "unrecognised")


@dataclass(frozen=True, kw_only=True)
class Selection:
    """Which versions: of units with all these search keys, the newest alone or the whole `history`.

    Retracted units are left out, unless the history is wanted, of which the retraction is a part.
    """

    search_keys: Sequence[str] = ()
    has_history: bool = False


@dataclass(frozen=True, kw_only=True)
class UnitExportResult:
    """Versions written, how many of them are of unknown licence, and how many went out against their licence."""

    row_count: int
    unknown_license_count: int
    overridden_count: int


class LicenseRefusalError(UserError):
    """Versions may not be passed on under what they stem from."""

    def __init__(self, doubtful: pl.DataFrame) -> None:
        shown = "; ".join(
            f"{row['databit_id']}@{row['version']} is {row['status']} ({'; '.join(row['findings'])})"
            for row in doubtful.head(SHOWN_DOUBTS).iter_rows(named=True)
        )
        more = f"; and {doubtful.height - SHOWN_DOUBTS} more" if doubtful.height > SHOWN_DOUBTS else ""
        super().__init__(
            f"{doubtful.height} of the chosen DataBits may not be passed on: {shown}{more}. Leave them out, put their "
            "licences right (benchlake databits revise ID --license SPDX), or export them all the same with "
            '--override-licenses "the reason", which is recorded.'
        )


def export_databits(
    lake: Lake,
    path: Path,
    selection: Selection,
    *,
    now: dt.datetime,
    author: str,
    override_reason: str | None = None,
    on_progress: Progress | None = None,
) -> UnitExportResult:
    """Write the chosen versions to a .jsonl (.gz, .zst) or .parquet file, which appears whole or not at all.

    Lineage and licences are brought up to date first. Raises `LicenseRefusalError` when a licence stands against it and
    no `override_reason` is given, and `UserError` for another kind of file or where nothing is chosen.
    """
    if not path.name.endswith((*JSON_ENDINGS, ".parquet")):
        raise UserError(f"{path.name} must end in .parquet or one of {', '.join(JSON_ENDINGS)}.")
    update_lineage(lake)
    version = lake.version(DATABITS)
    keys = chosen_keys(lake, selection)
    if keys.is_empty():
        raise UserError(_nothing_chosen(lake, path, selection))
    licenses = keys.join(lake.read(LICENSES), on=["databit_id", "version"], how="left", maintain_order="left")
    doubtful = licenses.filter(pl.col("status").is_in(REFUSED_STATUSES))
    if doubtful.height and override_reason is None:
        raise LicenseRefusalError(doubtful)
    with _written_whole(path) as place, _writer(path, place) as write:
        done = 0
        for rows in _batches(lake, licenses, version):
            write(rows)
            done += rows.height
            if on_progress is not None:
                on_progress(done, keys.height, path.name)
    result = UnitExportResult(
        row_count=keys.height,
        unknown_license_count=licenses.filter(pl.col("status") == "unknown").height,
        overridden_count=doubtful.height,
    )
    _record(lake, path, result, version, override_reason=override_reason, now=now, author=author)
    return result


def _nothing_chosen(lake: Lake, path: Path, selection: Selection) -> str:
    if not selection.search_keys:
        return f"There is no DataBit, so {path} is not written. Take some in:  benchlake databits import FILE.jsonl"
    return f"{path} is not written. {tell_no_key(lake, selection.search_keys)}"


def chosen_keys(lake: Lake, selection: Selection) -> pl.DataFrame:
    """databit_id and version of what is meant, by id and version."""
    rows = lake.read(DATABITS, columns=["databit_id", "version", "search_keys", "is_deleted"])
    newest = newest_of(rows)
    has_keys = pl.all_horizontal(
        pl.lit(value=True), *(pl.col("search_keys").list.contains(key) for key in selection.search_keys)
    )
    meant = newest.filter(has_keys & (pl.lit(selection.has_history) | ~pl.col("is_deleted")))
    chosen = rows.join(meant, on="databit_id", how="semi") if selection.has_history else meant
    return chosen.select("databit_id", "version").sort("databit_id", "version")


def _batches(lake: Lake, licenses: pl.DataFrame, version: int) -> Iterator[pl.DataFrame]:
    """Whole rows of the chosen versions with their effective licence, part by part in the order of their ids."""
    for keys in licenses.iter_slices(BATCH_ROWS):
        where = {"databit_id": KeyRange(start=keys["databit_id"][0], stop=f"{keys['databit_id'][-1]}{_HIGHEST}")}
        rows = lake.read(DATABITS, where=where, at=version)
        yield (
            keys.select("databit_id", "version", "effective_license", "status")
            .join(rows, on=["databit_id", "version"], how="inner", maintain_order="left")
            .rename({"status": "license_status"})
        )


@contextmanager
def _written_whole(path: Path) -> Iterator[Path]:
    """A place to write to, which takes the path's place when all is written."""
    place = path.with_name(f".{path.name}.part")
    try:
        yield place
        place.replace(path)
    finally:
        place.unlink(missing_ok=True)


@contextmanager
def _writer(path: Path, place: Path) -> Iterator[Callable[[pl.DataFrame], None]]:
    if path.suffix == ".parquet":
        with _parquet_writer(place) as write:
            yield write
        return
    with _text_stream(path, place) as stream:
        yield lambda rows: _write_lines(stream, rows)


@contextmanager
def _parquet_writer(place: Path) -> Iterator[Callable[[pl.DataFrame], None]]:
    import pyarrow as pa
    import pyarrow.parquet as pq

    # Content is a JSON value in text; the mark lets an import tell it from a text that looks like one.
    extra = [pa.field("effective_license", pa.string()), pa.field("license_status", pa.string())]
    schema = pa.schema([*contract_of(DATABITS).arrow_schema, *extra], metadata={CONTENT_FORM_KEY: b"json"})
    with pq.ParquetWriter(place, schema, compression="zstd") as writer:
        yield lambda rows: writer.write_table(rows.select(schema.names).to_arrow().cast(schema))


@contextmanager
def _text_stream(path: Path, place: Path) -> Iterator[IO[bytes]]:
    if path.suffix == ".gz":
        import gzip

        with gzip.open(place, "wb") as packed:
            yield packed  # type: ignore[misc]  # a GzipFile takes bytes as any binary stream does
    elif path.suffix == ".zst":
        import zstandard

        with place.open("wb") as file, zstandard.ZstdCompressor().stream_writer(file) as stream:
            yield stream
    else:
        with place.open("wb") as file:
            yield file


def _write_lines(stream: IO[bytes], rows: pl.DataFrame) -> None:
    for part in rows.iter_slices(WRITTEN_ROWS):
        lines = (orjson.dumps(_line(row), option=orjson.OPT_APPEND_NEWLINE) for row in part.iter_rows(named=True))
        stream.write(b"".join(lines))


def _line(row: dict[str, Any]) -> dict[str, Any]:
    return {
        "databit_id": row["databit_id"],
        "version": row["version"],
        "content": orjson.Fragment(row["content"]),
        "modality": row["modality"],
        "attribution": row["attribution"],
        "effective_license": row["effective_license"],
        "license_status": row["license_status"],
        "quality_scores": {score["scorer"]: score["value"] for score in row["quality_scores"]},
        "search_keys": row["search_keys"],
        "created_at": row["created_at"],
        "created_by": row["created_by"],
        "change_note": row["change_note"],
        "is_deleted": row["is_deleted"],
    }


def _record(
    lake: Lake,
    path: Path,
    result: UnitExportResult,
    version: int,
    *,
    override_reason: str | None,
    now: dt.datetime,
    author: str,
) -> None:
    export_id = derived_id("databit_export", str(path), version, now.isoformat(), author)
    row = {
        "export_id": export_id,
        "path": str(path),
        "row_count": result.row_count,
        "databits_version": max(version, 0),
        "overridden_count": result.overridden_count,
        "override_reason": override_reason,
        "exported_at": now,
        "exported_by": author,
    }
    lake.append(EXPORTS, pl.DataFrame([row], schema=contract_of(EXPORTS).dtypes), token=export_id)
