"""Results of llama-bench: a test a record, as JSON, JSON lines or CSV.

The tests of one model, build and setting are a run; a test is the variant of its metrics (`pp512`, `tg128`,
`pp512+tg128`, `tg32@d4096`). What belongs here: reading them. The columns are whatever the tool's version writes, so
all that is not known is kept as a parameter.
"""

from __future__ import annotations

import csv
import datetime as dt
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import orjson

from lake.identity import derived_id, text_digest
from pipelines.runs.importers.frames import BatchBuilder, ImportBatch, MetricRow
from pipelines.runs.importers.lines import LineRecord
from pipelines.runs.importers.llama_cpp_files import model_name, read_list_or_lines
from pipelines.runs.metric_names import metric_row
from pipelines.runs.parameters import as_parameters
from pipelines.runs.records import (
    SHAPE_ERRORS,
    Fault,
    JsonObject,
    as_count,
    as_instant,
    as_list,
    as_number,
    as_scaled,
    as_text,
    canonical_json,
)
from pipelines.runs.redaction import redact_lines
from pipelines.runs.sources import SourceError, read_head, read_lines, read_pieces

if TYPE_CHECKING:
    from pipelines.runs.importers.protocol import SourceGroup
    from pipelines.runs.sources import Limits

SUITE = "llama-bench"
_MARKS = frozenset({"n_prompt", "n_gen", "avg_ts"})
_TEST = ("n_prompt", "n_gen", "n_depth")
_RESULTS = frozenset({"test_time", "avg_ns", "stddev_ns", "avg_ts", "stddev_ts", "samples_ns", "samples_ts"})
_MACHINE = ("cpu_info", "gpu_info", "backends", "devices")
_BUILD = ("build_commit", "build_number")
_MODEL = ("model_filename", "model_type", "model_size", "model_n_params")
_NO_SETTING = frozenset({*_TEST, *_RESULTS, *_MACHINE, *_BUILD, *_MODEL})
# A history of nights that were appended to one file has a run a night.
_MOST_RUNS = 10_000
_MOST_SAMPLES = 1_000


def is_bench_record(record: JsonObject) -> bool:
    """Whether a record is a test's result."""
    return record.keys() >= _MARKS and ("build_commit" in record or "model_filename" in record)


def is_bench_header(start: bytes) -> bool:
    """Whether a file begins with the header of the CSV form."""
    line = start.split(b"\n", 1)[0]
    is_table = not line.lstrip().startswith((b"{", b"["))
    return is_table and b"avg_ts" in line and is_bench_record(dict.fromkeys(_split(line) or ()))


def has_bench_words(start: bytes) -> bool:
    """Whether JSON that begins with a broken record still is the benchmark's."""
    return b'"avg_ts"' in start and b'"n_prompt"' in start


def read_bench(builder: BatchBuilder, group: SourceGroup, *, limits: Limits) -> Iterator[ImportBatch]:
    """Batches of a file of JSON; the runs' rows come to the builder with the last."""
    start = read_head(builder.file, limits=limits).start
    yield from _read(builder, group, read_list_or_lines(builder, start, limits=limits))


def read_bench_table(builder: BatchBuilder, group: SourceGroup, *, limits: Limits) -> Iterator[ImportBatch]:
    """Batches of a file of CSV; the runs' rows come to the builder with the last."""
    yield from _read(builder, group, _read_table(builder, limits))


def _read(builder: BatchBuilder, group: SourceGroup, records: Iterator[LineRecord]) -> Iterator[ImportBatch]:
    runs = _Runs(group=group)
    for record in records:
        run_id = None
        try:
            run_id = runs.take(record, builder)
        except SHAPE_ERRORS as error:
            record.faults.append(Fault("shape", f"The record has an unexpected shape ({type(error).__name__})."))
        builder.keep(record.raw, record_index=record.record_index, run_id=run_id)
        builder.note(record.faults, record_index=record.record_index, where=f"Record {record.record_index + 1}")
        if builder.is_full:
            yield builder.flush()
    builder.runs.extend(runs.rows())


@dataclass(kw_only=True)
class _BenchRun:
    """Tests that share all but what they test."""

    run_id: str
    first: JsonObject
    settings: JsonObject
    started_at: dt.datetime
    run_date: dt.date
    ended_at: dt.datetime
    tests: dict[str, object] = field(default_factory=dict)


@dataclass(kw_only=True)
class _Runs:
    """The runs of a file; of each setting the newest is open."""

    group: SourceGroup
    open: dict[str, _BenchRun] = field(default_factory=dict)
    all: list[_BenchRun] = field(default_factory=list)

    def take(self, record: LineRecord, builder: BatchBuilder) -> str | None:
        """A test's metrics; returns its run, None if it is no test."""
        value, faults = record.value, record.faults
        test = _test_name(value, faults)
        if test is None:
            faults.append(Fault("test", "The record tells no test (n_prompt, n_gen) with a result; it was left out."))
            return None
        run = self._run_of(value, test)
        if test in run.tests and run.tests[test] == value.get("test_time"):
            faults.append(Fault("duplicate", f"Test {test} of the same time and settings came before; it counts once."))
            return run.run_id
        run.tests[test] = value.get("test_time")
        moment = as_instant(value.get("test_time"), "test_time", faults)
        run.ended_at = max(run.ended_at, moment or run.ended_at)
        builder.metrics.extend(_metrics(value, test, run, moment, faults))
        return run.run_id

    def rows(self) -> Iterator[JsonObject]:
        """Rows of silver.runs; where a file has several settings of a model, a suite each, named by what differs."""
        for run in self.all:
            yield _row(run, self.group, differing=self._differing(run.first.get("model_filename")))

    def _run_of(self, value: JsonObject, test: str) -> _BenchRun:
        shared = {key: item for key, item in value.items() if key not in _RESULTS and key not in _TEST}
        key = text_digest(canonical_json(shared))
        run = self.open.get(key)
        is_again = run is not None and test in run.tests and run.tests[test] != value.get("test_time")
        if run is not None and (not is_again or len(self.all) >= _MOST_RUNS):
            return run
        started_at = as_instant(value.get("test_time"), "test_time", []) or self.group.files[0].modified_at
        # The same run in a file that has grown meanwhile has the same id.
        known = value.get("test_time") or self.group.files[0].sha256
        run = _BenchRun(
            run_id=derived_id("run", self.group.source_kind, "bench", key, as_text(known)),
            first=value,
            settings={name: item for name, item in shared.items() if name not in _NO_SETTING},
            started_at=started_at,
            run_date=started_at.date(),
            ended_at=started_at,
        )
        self.open[key] = run
        self.all.append(run)
        return run

    def _differing(self, model: object) -> list[str]:
        settings = [run.settings for run in self.all if run.first.get("model_filename") == model]
        names = sorted({name for one in settings for name in one})
        return [name for name in names if len({canonical_json(one.get(name)) for one in settings}) > 1]


def _test_name(value: JsonObject, faults: list[Fault]) -> str | None:
    """llama-bench's own name of a test; None where nothing was measured."""
    prompt, generated, depth = (as_count(value.get(name), name, faults) or 0 for name in _TEST)
    if not (prompt or generated) or "avg_ts" not in value:
        return None
    parts = [f"pp{prompt}"] if prompt else []
    parts += [f"tg{generated}"] if generated else []
    return "+".join(parts) + (f"@d{depth}" if depth else "")


def _metrics(
    value: JsonObject, test: str, run: _BenchRun, moment: dt.datetime | None, faults: list[Fault]
) -> Iterator[MetricRow]:
    is_both = bool(value.get("n_prompt")) and bool(value.get("n_gen"))
    name = "total_tokens_per_s" if is_both else "input_tokens_per_s" if value.get("n_prompt") else "output_tokens_per_s"
    samples = as_list(value.get("samples_ts"))
    rate = as_number(value.get("avg_ts"), "avg_ts", faults, minimum=0)
    if rate is not None:
        yield metric_row(run.run_id, run.run_date, name, rate, variant=test)._replace(
            standard_deviation=as_number(value.get("stddev_ts"), "stddev_ts", faults, minimum=0),
            sample_count=len(samples) or None,
            recorded_at=moment,
        )
    for index, sample in enumerate(samples[:_MOST_SAMPLES]):
        number = as_number(sample, f"samples_ts[{index}]", faults, minimum=0)
        if number is not None:
            row = metric_row(run.run_id, run.run_date, name, number, variant=f"{test} sample")
            yield row._replace(repeat_index=index, recorded_at=moment)
    duration = as_scaled(value.get("avg_ns"), "avg_ns", faults, by=1e-6)
    if duration is not None:
        yield metric_row(run.run_id, run.run_date, "wall_time_ms", duration, variant=test)._replace(
            standard_deviation=as_scaled(value.get("stddev_ns"), "stddev_ns", faults, by=1e-6),
            sample_count=len(samples) or None,
            recorded_at=moment,
        )
    if len(run.tests) == 1:
        for metric, key in (("model_size_bytes", "model_size"), ("parameter_count", "model_n_params")):
            count = as_count(value.get(key), key, faults)
            if count is not None:
                yield metric_row(run.run_id, run.run_date, metric, count)


def _row(run: _BenchRun, group: SourceGroup, *, differing: list[str]) -> JsonObject:
    value = run.first
    machine = {name: value[name] for name in _MACHINE if value.get(name)}
    named = " ".join(f"{name}={as_text(run.settings.get(name))}" for name in differing)
    commit, number = as_text(value.get("build_commit")), as_text(value.get("build_number"))
    is_known = commit not in (None, "", "unknown")
    hardware = ", ".join(text for name in ("cpu_info", "gpu_info") if (text := as_text(value.get(name))))
    parameters = run.settings | {name: value[name] for name in ("model_type",) if name in value}
    return {
        "run_id": run.run_id,
        "run_date": run.run_date,
        "source_kind": group.source_kind,
        "file_sha256": group.files[0].sha256,
        "content_digest": group.content_digest,
        "suite": f"{SUITE} {named}".strip(),
        "backend": "llama.cpp",
        "model": model_name(value.get("model_filename")) or "unknown",
        "engine": "llama.cpp",
        "engine_version": f"b{number}-{commit}" if is_known and number else commit,
        "parameters": as_parameters(parameters),
        "environment": as_parameters(machine),
        "fingerprint": {
            "suite_digest": text_digest(canonical_json(run.settings)),
            "hardware": hardware or None,
        },
        "code_version": {"commit": commit} if is_known else {},
        "started_at": run.started_at,
        "ended_at": run.ended_at,
        "status": "success",
    }


def _read_table(builder: BatchBuilder, limits: Limits) -> Iterator[LineRecord]:
    """Rows of the CSV form as the records that the JSON form would have, without samples."""
    header: list[str] = []
    try:
        for block in read_lines(read_pieces(builder.file, limits=limits), line_bytes=limits.line_bytes):
            for offset, raw in enumerate(redact_lines(block.lines)):
                index = block.first_index + offset
                is_cut = block.is_cut and offset == len(block.lines) - 1
                cells = _cells(raw, index, builder, limits, is_cut=is_cut)
                if cells and not header:
                    header = cells
                    builder.keep(raw or b"", record_index=index)
                elif cells and len(cells) != len(header):
                    message = f"Line {index + 1} has {len(cells)} columns, the header {len(header)}."
                    builder.reject("truncated" if is_cut else "columns", message, record_index=index, raw=raw)
                elif cells:
                    record, faults = _typed_row(header, cells)
                    yield LineRecord(index, raw or b"", record, faults)
    except SourceError as error:
        builder.reject(error.rule, str(error))


def _cells(raw: bytes | None, index: int, builder: BatchBuilder, limits: Limits, *, is_cut: bool) -> list[str] | None:
    if raw is None:
        message = f"Line {index + 1} is longer than {limits.line_bytes:,} bytes and was left out."
        builder.reject("line_bytes", message, record_index=index)
        return None
    cells = _split(raw)
    if cells is None:
        rule, problem = ("truncated", "ends in the middle") if is_cut else ("csv", "is no line of a table")
        builder.reject(rule, f"Line {index + 1} {problem}.", record_index=index, raw=raw)
    return cells


def _split(line: bytes) -> list[str] | None:
    """The cells of a line, None if its quotes do not fit together."""
    try:
        return next(csv.reader([line.decode("utf-8", "replace").rstrip("\r")], strict=True), [])
    except csv.Error:
        return None


def _typed_row(header: list[str], cells: list[str]) -> tuple[JsonObject, list[Fault]]:
    """Cells as numbers where they are; a column that comes twice counts once."""
    counts = Counter(header)
    faults = [Fault("columns", f"Column {name} comes more than once.") for name, count in counts.items() if count > 1]
    return {name: _typed(name, cell) for name, cell in zip(header[::-1], cells[::-1], strict=True)}, faults


def _typed(name: str, cell: str) -> object:
    # A commit such as 123e4567 is no number.
    if name in ("build_commit", "test_time", *_MACHINE, "model_filename", "model_type"):
        return cell
    try:
        value = orjson.loads(cell)
    except orjson.JSONDecodeError:
        return cell
    return value if isinstance(value, int | float) else cell
