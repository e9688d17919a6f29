"""Inspect AI logs, `.eval` (a zip) and `.json` (one object), sample by sample (measured with 0.3.58 to 0.3.285).

A log is one run and its task the suite; epochs are repeats. What the header says is `inspect_runs.py`, what a sample
says is `inspect_samples.py`, where they are in the two containers `inspect_files.py`; here is what becomes of them.
A log that is still being written, was cancelled or was cut gives the samples that it holds.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from pipelines.runs.archives import open_archive
from pipelines.runs.importers.frames import BatchBuilder, ImportBatch
from pipelines.runs.importers.inspect_files import JsonLog, LogRecord, is_log, zip_header, zip_records
from pipelines.runs.importers.inspect_runs import LogRun, read_run, tells_identity
from pipelines.runs.importers.inspect_samples import Sample, read_sample
from pipelines.runs.importers.inspect_spans import read_spans
from pipelines.runs.importers.protocol import FileImporter
from pipelines.runs.records import SHAPE_ERRORS, Fault, JsonObject, RecordError, parse_object
from pipelines.runs.sources import FileHead, Limits, SourceError, packing_of

if TYPE_CHECKING:
    from collections.abc import Iterator

    from pipelines.runs.importers.guide import FormatGuide
    from pipelines.runs.importers.protocol import SourceGroup


class InspectImporter(FileImporter):
    """Reads one log a file, in either container."""

    source_kind = "inspect"
    version = 2

    @property
    def guide(self) -> FormatGuide:
        """What the docs say about the format."""
        from pipelines.runs.importers.guides.inspect import GUIDE

        return GUIDE

    def detects(self, head: FileHead) -> bool:
        """A zip with a header or a journal, or an object that begins with version, status and the evaluation."""
        if head.packing == "zip":
            return is_log(head.members)
        start = head.start.lstrip()
        record = head.record or {}
        if record:
            return "eval" in record and isinstance(record["eval"], dict) and "task" in record["eval"]
        return start.startswith(b"{") and b'"eval"' in start and b'"task"' in start and b'"task_id"' in start

    def read(self, group: SourceGroup, *, limits: Limits) -> Iterator[ImportBatch]:
        """Batches of the log; the run's own row comes with the last."""
        (file,) = group.files
        builder = BatchBuilder(file=file)
        reading = _Reading(group=group, builder=builder)
        try:
            if packing_of(file) == "zip":
                yield from _read_zip(reading, limits)
            else:
                yield from _read_json(reading, limits)
        except (SourceError, OSError) as error:
            builder.reject(getattr(error, "rule", "readable"), str(error))
        reading.finish()
        yield builder.flush()


@dataclass(kw_only=True)
class _Reading:
    """The run that is being read and what must be known of its earlier samples."""

    group: SourceGroup
    builder: BatchBuilder
    run: LogRun | None = None
    # Samples by id, those of later epochs with their epoch: texts alone cost the garbage collector nothing.
    seen: set[str | tuple[str, int]] = field(default_factory=set)
    span_count: int = 0

    def begin(self, header: JsonObject) -> None:
        """Take the run from the header."""
        faults: list[Fault] = []
        self.run = read_run(header, self.group, faults)
        self.builder.note(faults, record_index=0, where="Header")

    def foresee(self, header: JsonObject) -> None:
        """Take from a header that may not be whole what samples are read by."""
        self.run = read_run(header, self.group, [])

    def take(self, record: LogRecord) -> None:
        """One record: kept as received, and a sample also as rows if it can be read."""
        assert self.run is not None
        if record.raw is None:
            self.builder.reject(record.rule, record.message, record_index=record.place)
        elif record.is_sample:
            self._add(record, record.raw, self.run)
        else:
            self.builder.keep(record.raw, member=record.member, record_index=0, run_id=self.run.run_id)

    def _add(self, record: LogRecord, raw: bytes, run: LogRun) -> None:
        value, faults = record.value, list[Fault]()
        if value is None:
            try:
                value, faults = parse_object(raw)
            except RecordError as error:
                self.builder.reject(error.rule, f"{record.where}: {error}", record_index=record.place, raw=raw)
                return
        sample: Sample | None = None
        try:
            sample = read_sample(value, run, faults)
        except SHAPE_ERRORS as error:
            faults.append(Fault("shape", f"The sample has an unexpected shape ({type(error).__name__})."))
        sample_id = sample.output.sample_id if sample else None
        raw_index = 0 if record.member else record.place
        self.builder.keep(raw, member=record.member, record_index=raw_index, run_id=run.run_id, sample_id=sample_id)
        if sample is not None:
            self._take(sample, value, faults)
        if faults:
            self.builder.note(faults, record_index=record.place, where=record.where)

    def _take(self, sample: Sample, value: JsonObject, faults: list[Fault]) -> None:
        sample_id, epoch = sample.output.sample_id, sample.output.repeat_index + 1
        identity = sample_id if epoch == 1 else (sample_id, epoch)
        if identity in self.seen:
            faults.append(Fault("duplicate", f"Sample {sample_id}, epoch {epoch} came before."))
            return
        self.seen.add(identity)
        self.builder.outputs.append(sample.output)
        if sample.tokens:
            self.builder.tokens.append((sample.output, sample.tokens))
        spans = list(read_spans(value, sample.output, first_index=self.span_count))
        self.builder.spans.extend(spans)
        self.span_count += len(spans)

    def finish(self) -> None:
        """Hand in the run; a finished log that holds fewer samples than it promises says so."""
        if self.run is None:
            return
        self.builder.runs.append(self.run.row)
        self.builder.metrics.extend(self.run.metrics)
        promised = self.run.row["expected_sample_count"]
        if self.run.row["status"] == "success" and promised is not None and len(self.seen) < promised:
            self.builder.reject(
                "sample_count",
                f"The header promises {promised} samples, the log holds {len(self.seen)} that can be read.",
            )


def _read_zip(reading: _Reading, limits: Limits) -> Iterator[ImportBatch]:
    builder = reading.builder
    with open_archive(builder.file, limits=limits) as archive:
        if archive.is_truncated:
            builder.reject(
                "truncated",
                "The log has no directory of its members: it was cut or is still being written. "
                "The samples that are whole were imported.",
            )
        # A log that was appended to may hold a member twice; the later one is the newer.
        members = {member.name: member for member in archive.members}
        reading.begin(zip_header(archive, members, builder))
        for record in zip_records(archive, members.values()):
            reading.take(record)
            if builder.is_full:
                yield builder.flush()


def _read_json(reading: _Reading, limits: Limits) -> Iterator[ImportBatch]:
    """Once through the file: in every log that we know the evaluation comes before the samples, the rest after them."""
    builder = reading.builder
    log = JsonLog(builder=builder, limits=limits)
    failure: SourceError | None = None
    try:
        for record in log.samples():
            if reading.run is None:
                reading.foresee(log.header if tells_identity(log.header) else log.header_alone())
            reading.take(record)
            if builder.is_full:
                yield builder.flush()
    except SourceError as error:
        log.header["status"] = "started"
        failure = error
    builder.keep(log.raw_header, record_index=0)
    reading.begin(log.header)
    if failure is not None:
        raise failure
