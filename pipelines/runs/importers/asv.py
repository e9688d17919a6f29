"""asv (airspeed velocity): `results/<machine>/<commit>-<environment>.json`, a run a file (measured with 0.6).

Here is reading the file in pieces: first when it ran and with what, then its benchmarks. What a run is called is
`asv_runs.py`, what a benchmark says `asv_results.py`.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from pipelines.runs.importers.asv_results import (
    RESULT_COLUMNS,
    benchmark_rows,
    count_failed,
    duration_rows,
    read_benchmark,
)
from pipelines.runs.importers.asv_runs import KIND, AsvRun, ResultTimes, is_companion, read_run, units_of
from pipelines.runs.importers.frames import BatchBuilder, ImportBatch
from pipelines.runs.importers.guides.asv import GUIDE
from pipelines.runs.importers.protocol import FileImporter
from pipelines.runs.json_parts import Part, split_nested
from pipelines.runs.records import (
    SHAPE_ERRORS,
    Fault,
    JsonObject,
    RecordError,
    as_list,
    as_object,
    as_text,
    parse_json,
    parse_object,
)
from pipelines.runs.redaction import redact
from pipelines.runs.sources import FileHead, Limits, SourceError, SourceFile, read_pieces

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from pipelines.runs.importers.guide import FormatGuide
    from pipelines.runs.importers.protocol import Claim, SourceGroup

_SIGNS = (b'"commit_hash"', b'"env_name"', b'"results"')
_RESULTS, _PREFIX = "results", "results."
# Where NaN or infinity says that there is nothing, besides the columns of statistics.
_OFTEN_NAN = frozenset({"result", "samples"})
_MOST_NAMED = 5


class AsvImporter(FileImporter):
    """Reads result files one by one; what asv keeps beside them is no reject."""

    source_kind = KIND
    version = 1

    @property
    def guide(self) -> FormatGuide:
        """What the docs say about the format."""
        return GUIDE

    def detects(self, head: FileHead) -> bool:
        """An object with a commit, an environment and results in it, whatever its order."""
        return head.start.lstrip().startswith(b"{") and all(sign in head.start for sign in _SIGNS)

    def claims(self, path: Path, /) -> Claim | None:
        """The lists of machines and benchmarks, and the configuration."""
        return "attachment" if is_companion(path) else None

    def read(self, group: SourceGroup, *, limits: Limits) -> Iterator[ImportBatch]:
        """Batches of the benchmarks in the order of the file; the run's row comes with the last."""
        (file,) = group.files
        builder = BatchBuilder(file=file)
        reading = _Reading(builder=builder)
        faults: list[Fault] = []
        header = _read_header(reading, limits)
        run = read_run(header, reading.times, group, faults)
        run.units = units_of(file)
        builder.note(faults, record_index=0, where="The file")
        for index, name, raw in _results(reading, limits):
            if builder.is_full:
                yield builder.flush()
            _take(reading, run, index, name, raw)
        for variant, seconds in as_object(header.get("durations")).items():
            builder.metrics.extend(duration_rows(run, variant, seconds, []))
        if header or reading.seen:
            _finish(reading, run)
        yield builder.flush()


@dataclass(kw_only=True)
class _Reading:
    """What must be known of the whole file, or of the benchmarks before."""

    builder: BatchBuilder
    columns: tuple[str, ...] = RESULT_COLUMNS
    times: ResultTimes = field(default_factory=ResultTimes)
    seen: set[str] = field(default_factory=set)
    failed: list[str] = field(default_factory=list)
    has_values: bool = False


def _read_header(reading: _Reading, limits: Limits) -> JsonObject:
    """Everything but the results, kept as the first record; of the results only when they were measured."""
    header: JsonObject = {}
    members: list[bytes] = []
    try:
        for part in _parts(reading.builder.file, limits):
            if part.raw is None or part.index is not None or part.key == _RESULTS:
                continue
            if part.key.startswith(_PREFIX):
                _take_times(reading, part.raw)
                continue
            members.append(b'"%s": %s' % (part.key.encode(), part.raw))
            if part.key == "result_columns":
                reading.columns = _columns(part.raw)
    except SourceError:
        # Told when the results are read, which ends at the same place.
        pass
    raw = redact(b"{%s}" % b", ".join(members))
    try:
        header, faults = parse_object(raw)
        reading.builder.note(faults, record_index=0, where="The file")
    except RecordError as error:
        reading.builder.reject(error.rule, f"What the file says of the run: {error}", record_index=0, raw=raw)
    reading.builder.keep(raw, record_index=0)
    return header


def _take_times(reading: _Reading, raw: bytes) -> None:
    try:
        benchmark = read_benchmark("", parse_json(raw)[0], reading.columns, [])
    except (RecordError, *SHAPE_ERRORS):
        return
    reading.times.add(benchmark.columns.get("started_at"), benchmark.columns.get("duration"))


def _columns(raw: bytes) -> tuple[str, ...]:
    try:
        named = tuple(as_text(name) or "" for name in as_list(parse_json(raw)[0]))
    except RecordError:
        return RESULT_COLUMNS
    return named or RESULT_COLUMNS


def _results(reading: _Reading, limits: Limits) -> Iterator[tuple[int, str, bytes]]:
    """Number, name and value of each benchmark; what is none becomes a reject, and so does a file that breaks off."""
    builder, index = reading.builder, 0
    try:
        for part in _parts(builder.file, limits):
            if part.key == _RESULTS:
                builder.reject("results", "The results are no object of benchmarks.", record_index=part.index)
            if not part.key.startswith(_PREFIX) or part.index is not None:
                continue
            index += 1
            name = part.key.removeprefix(_PREFIX)
            if part.raw is None:
                builder.reject("member_bytes", f"Benchmark {name} is too long and was left out.", record_index=index)
            elif name in reading.seen:
                builder.reject("duplicate", f"Benchmark {name} came before; the first counts.", record_index=index)
            else:
                reading.seen.add(name)
                yield index, name, part.raw
    except SourceError as error:
        builder.reject(error.rule, str(error))


def _take(reading: _Reading, run: AsvRun, index: int, key: str, raw: bytes) -> None:
    """Keep one benchmark and add its values; NaN is how asv says that a combination was skipped."""
    builder = reading.builder
    clean = redact(b'{"%s": %s}' % (key.encode(), raw))
    try:
        value, parse_faults = parse_object(clean)
        ((name, content),) = value.items()
    except (RecordError, ValueError) as error:
        rule = error.rule if isinstance(error, RecordError) else "json"
        builder.reject(rule, f"Benchmark {key}: {error}", record_index=index, raw=clean)
        return
    builder.keep(clean, record_index=index, run_id=run.run_id)
    faults: list[Fault] = []
    try:
        benchmark = read_benchmark(name, content, reading.columns, faults)
        skipped = _skipped(name, reading.columns, content, parse_faults)
        faults += _unusable(name, reading.columns, content, parse_faults)
        rows = benchmark_rows(run, benchmark, skipped, faults)
    except SHAPE_ERRORS as error:
        faults.append(Fault("shape", f"It has an unexpected shape ({type(error).__name__})."))
    else:
        builder.metrics.extend(rows)
        reading.has_values |= bool(rows)
        reading.failed += [name] if count_failed(benchmark, skipped) else []
    builder.note(faults, record_index=index, where=f"Benchmark {name}")


def _skipped(name: str, columns: tuple[str, ...], content: object, faults: list[Fault]) -> frozenset[int]:
    """Places of the result that are NaN, by what the parser said of them."""
    start = _result_path(name, columns, content)
    found = (
        fault.rule.removeprefix(start).removesuffix(": finite") for fault in faults if fault.rule.startswith(start)
    )
    return frozenset(int(place[1:-1]) for place in found if place[1:-1].isdecimal())


def _unusable(name: str, columns: tuple[str, ...], content: object, faults: list[Fault]) -> list[Fault]:
    """Faults of the parser that are none of asv's own ways to say that there is nothing: results and statistics."""
    if not isinstance(content, list):
        return []
    own = tuple(
        f"{name}[{place}]"
        for place, column in enumerate(columns)
        if column.startswith("stats_") or column in _OFTEN_NAN
    )
    return [fault for fault in faults if not fault.rule.startswith(own)]


def _result_path(name: str, columns: tuple[str, ...], content: object) -> str:
    """How the parser calls the list of values in what it says of NaN."""
    if isinstance(content, dict):
        return f"{name}.result"
    return f"{name}[{columns.index('result')}]" if "result" in columns else name


def _finish(reading: _Reading, run: AsvRun) -> None:
    """Hand in the run; benchmarks that failed are named in it, and have no value."""
    failed = reading.failed
    if failed:
        more = f" and {len(failed) - _MOST_NAMED} more" if len(failed) > _MOST_NAMED else ""
        run.row["error_message"] = (
            f"{len(failed)} of {len(reading.seen)} benchmarks failed: {', '.join(failed[:_MOST_NAMED])}{more}."
        )
    if failed and not reading.has_values:
        run.row["status"] = "error"
    reading.builder.runs.append(run.row)


def _parts(file: SourceFile, limits: Limits) -> Iterator[Part]:
    return split_nested(read_pieces(file, limits=limits), opened={_RESULTS}, part_bytes=limits.member_bytes)
