"""Spans on their way through an import: held back until all of a file are known, then given their places.

A trace is in no order of time, so no span can be placed before the last has been read. Until then whole rows wait in a
temporary file once they are many, and only a few numbers of each stay in memory: about 60 bytes a span. The file has no
name, so that the system takes it back however the process ends. What a place is, is `span_places.py`; what a kind is,
`span_kinds.py`.
"""

from __future__ import annotations

import io
import tempfile
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field, replace
from types import TracebackType
from typing import IO, Self

import numpy as np
import polars as pl

from lake.tables import contract_of
from pipelines.runs.importers.frames import BatchBuilder, ImportBatch
from pipelines.runs.span_kinds import correlation_expr, device_expr, kind_expr, step_expr
from pipelines.runs.span_places import NONE, OUTERMOST, SpanTimes, nearest_marked, place_spans

# So many rows wait in memory; more are written to disk.
HELD_ROWS = 100_000
# Rows that leave together.
CHUNK_ROWS = 100_000
# No number that a profiler gives.
_UNCORRELATED = -(2**63)
_DTYPES = contract_of("silver.spans").dtypes


def with_places(batches: Iterable[ImportBatch]) -> Iterator[ImportBatch]:
    """The batches of a file with every span placed.

    Batches without spans pass as they are. Spans leave after all others, and the rows of silver.runs after them, so
    that nobody who follows that table meets a run without its spans.
    """
    runs: list[pl.DataFrame] = []
    last: ImportBatch | None = None
    with SpanSpool() as spool:
        for batch in batches:
            last = batch
            if batch.spans.height or spool.row_count:
                spool.add(batch.spans)
                runs.append(batch.runs)
                yield replace(batch, spans=batch.spans.clear(), runs=batch.runs.clear())
            else:
                yield batch
        if last is None or not spool.row_count:
            return
        # Numbered on, since a batch's number is part of the token by which its records land once.
        chunk = last.chunk
        for spans in spool.placed():
            chunk += 1
            yield replace(BatchBuilder(file=last.file, chunk=chunk).flush(), spans=spans)
        yield replace(BatchBuilder(file=last.file, chunk=chunk + 1).flush(), runs=pl.concat(runs))


def place_frame(spans: pl.DataFrame) -> pl.DataFrame:
    """Rows of silver.spans with their places; those that an older release has imported have none."""
    with SpanSpool() as spool:
        spool.add(spans)
        return pl.concat(spool.placed()) if spans.height else spans


@dataclass(kw_only=True)
class SpanSpool:
    """Rows of silver.spans that wait for their places; use it in a `with` statement."""

    row_count: int = 0
    _held: list[pl.DataFrame] = field(default_factory=list)
    _held_rows: int = 0
    _slim: list[pl.DataFrame] = field(default_factory=list)
    _file: IO[bytes] | None = None
    _sizes: list[int] = field(default_factory=list)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._file is not None:
            self._file.close()

    def add(self, spans: pl.DataFrame) -> None:
        """Take rows in; what they are is decided now, where they stand when all are known."""
        if spans.is_empty():
            return
        for rows in spans.iter_slices(CHUNK_ROWS):
            self._add(rows)

    def _add(self, spans: pl.DataFrame) -> None:
        kinds = _with_kinds(spans)
        self._slim.append(_slim(kinds))
        self._held.append(kinds)
        self._held_rows += spans.height
        self.row_count += spans.height
        if self._held_rows >= HELD_ROWS:
            self._spill()

    def placed(self) -> Iterator[pl.DataFrame]:
        """All rows, in the order in which they came, with their places."""
        slim = pl.concat(self._slim, rechunk=True)
        self._slim.clear()
        places = _place_runs(slim)
        at = 0
        for waiting in self._waiting():
            for rows in waiting.iter_slices(CHUNK_ROWS):
                yield _complete(rows, places.slice(at, rows.height))
                at += rows.height

    def _spill(self) -> None:
        if self._file is None:
            self._file = tempfile.TemporaryFile(prefix="benchlake-spans-")  # noqa: SIM115  # closed by __exit__
        written = io.BytesIO()
        pl.concat(self._held).write_ipc(written, compression="lz4")
        self._sizes.append(self._file.write(written.getbuffer()))
        self._held, self._held_rows = [], 0

    def _waiting(self) -> Iterator[pl.DataFrame]:
        if self._file is not None:
            self._file.seek(0)
            for size in self._sizes:
                yield pl.read_ipc(self._file.read(size))
        if self._held:
            held, self._held = pl.concat(self._held), []
            yield held


def _with_kinds(spans: pl.DataFrame) -> pl.DataFrame:
    """Device, kind, step and lane, decided once for each name and each thread rather than for each span."""
    names = spans.select("category", "name").unique()
    told = names.with_columns(device=device_expr(), span_kind=kind_expr()).with_columns(step=step_expr())
    process, thread = pl.col("process").fill_null("-"), pl.col("thread").fill_null("-")
    lanes = spans.select("process", "thread").unique().with_columns(lane=pl.format("{}/{}", process, thread))
    bare = spans.drop("device", "span_kind", "step", "lane")
    return bare.join(told, on=["category", "name"], how="left", nulls_equal=True, maintain_order="left").join(
        lanes, on=["process", "thread"], how="left", nulls_equal=True, maintain_order="left"
    )


def _correlations(spans: pl.DataFrame) -> pl.Series:
    """What kernels and the calls that launched them share; looked for only where it can be."""
    numbers = np.full(spans.height, _UNCORRELATED, dtype=np.int64)
    can_have = (spans["span_kind"] == "runtime") | (spans["device"] == "gpu")
    found = spans.select("attributes").filter(can_have).select(correlation_expr().fill_null(_UNCORRELATED))
    numbers[can_have.to_numpy()] = found.to_series().to_numpy()
    return pl.Series("correlation", numbers).replace(_UNCORRELATED, None)


def _slim(spans: pl.DataFrame) -> pl.DataFrame:
    """The few numbers of each span that its place depends on."""
    is_phase = pl.col("span_kind") == "phase"
    has_parents = spans["parent_span_id"].null_count() < spans.height
    has_ids = spans["span_id"].null_count() < spans.height
    trace = pl.col("trace_id").fill_null("")
    return spans.select(
        pl.col("run_id").hash().alias("run"),
        pl.col("lane").hash(),
        "start_ns",
        "duration_ns",
        "span_index",
        pl.col("device").to_physical().cast(pl.UInt8),
        pl.col("span_kind").to_physical().cast(pl.UInt8),
        "step",
        correlation=_correlations(spans),
        phase=pl.when(is_phase).then("name").cast(pl.Categorical),
        id=pl.when(pl.col("span_id").is_not_null()).then(pl.struct(trace, "span_id").hash())
        if has_ids
        else pl.lit(None, dtype=pl.UInt64),
        parent_id=pl.when(pl.col("parent_span_id").is_not_null()).then(
            pl.struct(trace, pl.col("parent_span_id").alias("span_id")).hash()
        )
        if has_parents
        else pl.lit(None, dtype=pl.UInt64),
    )


def _place_runs(slim: pl.DataFrame) -> pl.DataFrame:
    """Places of all rows; each run by itself."""
    if slim["run"].n_unique() == 1:
        return _place_run(slim)
    numbered = slim.with_row_index("place")
    parts = [
        _place_run(run).with_columns(place=run["place"]) for _, run in numbered.group_by("run", maintain_order=True)
    ]
    return pl.concat(parts).sort("place").drop("place")


def _place_run(slim: pl.DataFrame) -> pl.DataFrame:
    is_gpu = slim["device"].to_numpy() == 1
    kinds = pl.Enum(_KINDS)
    kind = slim["span_kind"].cast(pl.UInt32).to_numpy()
    leaves = np.isin(kind, [kinds.categories.to_list().index(name) for name in ("kernel", "copy", "communication")])
    places = place_spans(
        SpanTimes(
            start=slim["start_ns"].to_numpy(),
            duration=slim["duration_ns"].to_numpy(),
            lane=(slim["lane"].rank("dense") - 1).cast(pl.Int32).to_numpy(),
            can_enclose=~(leaves & is_gpu),
            parent=_named_parents(slim),
        )
    )
    around = nearest_marked(places.parent, slim["phase"].is_not_null().to_numpy())
    return pl.DataFrame(
        {
            "row": places.row,
            "depth": places.depth,
            "parent_span_index": _gathered(slim["span_index"], places.parent),
            "self_ns": places.self_time,
            "phase": _gathered(slim["phase"], around),
            "step": _steps(slim, is_gpu=is_gpu),
        }
    )


_KINDS = contract_of("silver.spans").schema.columns()["span_kind"].metadata["vocabulary"]  # type: ignore[index]


def _named_parents(slim: pl.DataFrame) -> np.ndarray[tuple[int], np.dtype[np.int64]]:
    """The place of the parent that the source names; of two spans with one id the first counts.

    Where a source names parents at all, a span with an id and without a known parent has none.
    """
    if slim["parent_id"].null_count() == slim.height:
        return np.full(slim.height, NONE, dtype=np.int64)
    places = slim.select("id", "parent_id", place=pl.int_range(pl.len()))
    ids = places.select("id", parent="place").drop_nulls("id").unique("id", keep="first")
    joined = places.join(ids, left_on="parent_id", right_on="id", how="left", maintain_order="left")
    unknown = pl.when(pl.col("id").is_not_null()).then(OUTERMOST).otherwise(NONE)
    return joined.select(pl.coalesce("parent", unknown).cast(pl.Int64)).to_series().to_numpy()


def _steps(slim: pl.DataFrame, *, is_gpu: np.ndarray[tuple[int], np.dtype[np.bool_]]) -> pl.Series:
    """Steps of spans: on the CPU by when they begin, on the GPU by the call that launched them."""
    own = slim["step"]
    marks = slim.filter(pl.col("step").is_not_null() & (pl.col("device") == 0)).sort("start_ns")
    if marks.is_empty():
        return own
    begins = marks["start_ns"].to_numpy()
    at = np.searchsorted(begins, slim["start_ns"].to_numpy(), side="right") - 1
    ends = begins + marks["duration_ns"].to_numpy()
    is_inside = (at >= 0) & (slim["start_ns"].to_numpy() < ends[at]) & ~is_gpu
    steps = _gathered(marks["step"], np.where(is_inside, at, NONE))
    launched = slim.select("correlation", "device", step=steps)
    launches = launched.filter((pl.col("device") == 0) & pl.col("correlation").is_not_null())
    by_launch = launched.join(
        launches.select("correlation", launch_step="step").unique("correlation", keep="first"),
        on="correlation",
        how="left",
        maintain_order="left",
    )
    return by_launch.select(
        pl.when(pl.col("device") == 1).then(pl.coalesce(own, "launch_step")).otherwise("step").alias("step")
    ).to_series()


def _gathered(values: pl.Series, places: np.ndarray[tuple[int], np.dtype[np.int64]]) -> pl.Series:
    """`values` at these places, null at -1."""
    return values.gather(pl.Series(places).replace(NONE, None))


def _complete(rows: pl.DataFrame, places: pl.DataFrame) -> pl.DataFrame:
    placed = rows.with_columns(
        places["row"].alias("lane_row"),
        *(places[name] for name in ("step", "phase", "depth", "parent_span_index", "self_ns")),
    )
    if places["row"].max():
        numbered = pl.format("{} #{}", "lane", pl.col("lane_row") + 1)
        placed = placed.with_columns(lane=pl.when(pl.col("lane_row") == 0).then("lane").otherwise(numbered))
    return placed.select(pl.col(name).cast(dtype) for name, dtype in _DTYPES.items())
