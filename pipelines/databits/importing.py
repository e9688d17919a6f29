"""DataBits from files, in bulk: streamed, each line once, parents before children.

What belongs here: how lines become versions. What a file and a line look like is `import_files.py` and
`import_lines.py`. The files that `exporting.py` writes come back as they were, history and lineage included.

Nothing is dropped in silence: a line that cannot be a version becomes a row of bronze.rejects with file, line, rule and
reason, and the lines beside it land. A line whose parent comes later in the file waits for it.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import polars as pl

from lake.errors import ConflictError
from lake.identity import file_digest, json_digest
from lake.store import MAX_TRIES, Lake
from lake.tables import contract_of
from pipelines.databits.import_files import BATCH_ROWS, read_batches
from pipelines.databits.import_lines import LINE_SCHEMA, ImportOptions, Refusal, parse_lines
from pipelines.databits.import_plan import cyclic_lines, late_lines, plan_lines
from pipelines.databits.reading import read_versions
from pipelines.databits.units import DATABITS
from pipelines.databits.writing import COMPARED_COLUMNS, missing_parents

__all__ = ["ImportOptions", "UnitImportResult", "import_databits"]

REJECTS = "bronze.rejects"
RAW_CHARACTERS = 4_096
SHOWN_MESSAGES = 5
_TYPES = contract_of(DATABITS).dtypes
# How far it is: bytes done, bytes in all, what is being done.
Progress = Callable[[int, int, str], None]


@dataclass(kw_only=True)
class UnitImportResult:
    """What became of a file's lines: versions written, lines that stand already, lines refused and why."""

    line_count: int = 0
    written_count: int = 0
    unchanged_count: int = 0
    rejected_count: int = 0
    messages: list[str] = field(default_factory=list)


def import_databits(
    lake: Lake,
    path: Path,
    options: ImportOptions,
    *,
    now: dt.datetime,
    author: str,
    on_progress: Progress | None = None,
    batch_rows: int = BATCH_ROWS,
) -> UnitImportResult:
    """Take in a file of JSON lines or Parquet; importing it again changes nothing.

    A batch is one commit, so a kill loses at most the batch under way, which the next import writes. Raises `UserError`
    for a file that is not there or of another kind.
    """
    work = _Import(lake, path, now=now, author=author)
    waiting = [pl.DataFrame(schema=LINE_SCHEMA)]
    for lines, done_bytes in read_batches(path, batch_rows=batch_rows):
        work.result.line_count += len(lines)
        rows, refusals = parse_lines(lines, options)
        work.reject(refusals)
        waiting.append(work.take_in(rows))
        if on_progress is not None:
            on_progress(done_bytes, path.stat().st_size, f"{work.result.line_count:,} lines of {path.name}")
    work.take_in_waiting(pl.concat(waiting))
    return work.result


class _Import:
    """One file on its way in: where to, on whose behalf, and what came of it so far."""

    def __init__(self, lake: Lake, path: Path, *, now: dt.datetime, author: str) -> None:
        self.lake = lake
        self.path = path
        self.now = now
        self.author = author
        self.result = UnitImportResult()
        self._digest: str | None = None

    def take_in(self, rows: pl.DataFrame) -> pl.DataFrame:
        """Write the rows whose parents stand or come with them; the rows that must wait for a later line."""
        return pl.concat([rows.clear(), *(self._write_turn(turn) for turn in _turns(rows))])

    def take_in_waiting(self, waiting: pl.DataFrame) -> None:
        """Write what waited, as long as that brings anything further; refuse the rest by its missing parents."""
        while waiting.height:
            still = self.take_in(waiting.sort("line_index"))
            if still.height == waiting.height:
                break
            waiting = still
        self.reject(self._orphans(waiting))

    def _write_turn(self, rows: pl.DataFrame) -> pl.DataFrame:
        for _ in range(MAX_TRIES):
            plan = plan_lines(rows, self._standing(rows["databit_id"]))
            ready, late, circles = self._parted(plan.new)
            written = self._insert(ready)
            if written is None:
                continue
            self.result.written_count += written
            self.result.unchanged_count += plan.unchanged_count
            self.reject([*plan.refusals, *circles])
            waiting = pl.concat([late.select("line_index"), plan.early.select("line_index")])
            return rows.join(waiting, on="line_index", how="semi", maintain_order="left")
        raise ConflictError(f"Others wrote the same units {MAX_TRIES} times meanwhile; import {self.path} again.")

    def _standing(self, databit_ids: pl.Series) -> pl.DataFrame:
        columns = ["databit_id", "version", "is_deleted", *COMPARED_COLUMNS]
        known = read_versions(self.lake, databit_ids.to_list(), columns=["databit_id"])["databit_id"].unique()
        return read_versions(self.lake, known.to_list(), columns=columns)

    def _parted(self, new: pl.DataFrame) -> tuple[pl.DataFrame, pl.DataFrame, list[Refusal]]:
        """New rows that can be written now, that must wait, and refusals of those that stem from themselves."""
        circles = cyclic_lines(new)
        sound = new.filter(~pl.col("line_index").is_in([circle.line_index for circle in circles]))
        late = late_lines(sound, missing_parents(self.lake, sound))
        return sound.join(late, on="line_index", how="anti", maintain_order="left"), late, circles

    def _insert(self, ready: pl.DataFrame) -> int | None:
        """Versions written, or None when another writer took one of the numbers: then plan again."""
        if ready.is_empty():
            return 0
        rows = ready.with_columns(
            pl.col("created_at").fill_null(pl.lit(self.now, dtype=_TYPES["created_at"])),
            pl.col("created_by").fill_null(self.author),
        ).select(list(_TYPES))
        outcome = self.lake.insert(DATABITS, rows, source_uri=str(self.path))
        if outcome.rows_written + outcome.rows_rejected < rows.height:
            return None
        self.result.rejected_count += outcome.rows_rejected
        return outcome.rows_written

    def _orphans(self, rows: pl.DataFrame) -> Iterable[Refusal]:
        """Why the last rows cannot be written: they stem from themselves, or something before them is nowhere."""
        yield from (circles := cyclic_lines(rows.with_columns(pl.col("version").fill_null(1))))
        rest = rows.filter(~pl.col("line_index").is_in([circle.line_index for circle in circles]))
        late = late_lines(rest, missing := missing_parents(self.lake, rest))["line_index"]
        shown = ", ".join(f"{databit_id}@{version}" for databit_id, version in missing.head(3).iter_rows())
        for index, databit_id, version in rest.select("line_index", "databit_id", "version").iter_rows():
            if index in late:
                message = f"a version that it was made from is neither in the lake nor in the file: {shown}"
                yield Refusal(index, "derived_from", message)
            else:
                message = f"version {version} of DataBit {databit_id} comes without the versions before it"
                yield Refusal(index, "version_gap", message)

    def reject(self, refusals: Iterable[Refusal]) -> None:
        """Keep refused lines with their reasons."""
        found = list(refusals)
        if not found:
            return
        self.result.rejected_count += len(found)
        room = max(SHOWN_MESSAGES - len(self.result.messages), 0)
        self.result.messages += [
            f"{self.path.name}, line {refusal.line_index + 1}: {refusal.message}" for refusal in found[:room]
        ]
        rows = [self._reject_row(refusal) for refusal in found]
        self.lake.upsert(REJECTS, pl.DataFrame(rows, schema=contract_of(REJECTS).dtypes).unique("reject_id"))

    def _reject_row(self, refusal: Refusal) -> dict[str, object]:
        if self._digest is None:
            self._digest = file_digest(self.path)
        return {
            "reject_id": json_digest([self._digest, refusal.line_index, refusal.rule, refusal.message]),
            "table": DATABITS,
            "source_uri": str(self.path),
            "source_sha256": self._digest,
            "record_index": refusal.line_index,
            "rule": refusal.rule,
            "message": refusal.message,
            "raw": None if refusal.raw is None else refusal.raw[:RAW_CHARACTERS],
        }


def _turns(rows: pl.DataFrame) -> Iterator[pl.DataFrame]:
    """Rows part by part, of each unit at most one a part: its first line, its second, and so on."""
    numbered = rows.with_columns(__turn=pl.int_range(pl.len()).over("databit_id"))
    for turn in sorted(numbered["__turn"].unique()):
        yield numbered.filter(pl.col("__turn") == turn).drop("__turn")
