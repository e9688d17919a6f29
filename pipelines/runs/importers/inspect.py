"""Inspect AI logs, `.eval` (a zip) and `.json` (one object), sample by sample (measured with 0.3.58 to 0.3.285).

A log is one run and its task the suite; epochs are repeats. What the header says is `inspect_runs.py`, what a sample
says is `inspect_samples.py`; here is finding them in the two containers. A log that is still being written, was
cancelled or was cut gives the samples that it holds.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from pipelines.runs.archives import Archive, Member, open_archive
from pipelines.runs.importers.frames import BatchBuilder, ImportBatch
from pipelines.runs.importers.inspect_runs import LogRun, read_run
from pipelines.runs.importers.inspect_samples import Sample, read_sample
from pipelines.runs.importers.protocol import FileImporter
from pipelines.runs.json_parts import Part, split_object
from pipelines.runs.records import SHAPE_ERRORS, Fault, JsonObject, RecordError, parse_json, parse_object
from pipelines.runs.redaction import redact
from pipelines.runs.sources import FileHead, Limits, SourceError, SourceFile, packing_of, read_pieces

if TYPE_CHECKING:
    from collections.abc import Iterator

    from pipelines.runs.importers.protocol import SourceGroup

_HEADER, _START = "header.json", "_journal/start.json"
_SAMPLES = "samples/"
# Kept as received; summaries repeat what the samples say.
_KEPT = frozenset({_HEADER, _START, "reductions.json"})
_CONFIG_UPDATES = "_journal/config_updates/"


class InspectImporter(FileImporter):
    """Reads one log a file, in either container."""

    source_kind = "inspect"
    version = 1

    def detects(self, head: FileHead) -> bool:
        """A zip with a header or a journal, or an object that begins with version, status and the evaluation."""
        if head.packing == "zip":
            return _HEADER in head.members or _START in head.members
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
    seen: set[tuple[str, int]] = field(default_factory=set)

    def begin(self, header: JsonObject) -> None:
        """Take the run from the header."""
        faults: list[Fault] = []
        self.run = read_run(header, self.group, faults)
        self.builder.note(faults, record_index=0, where="Header")

    def add(self, raw: bytes, *, member: str, record_index: int, where: str) -> None:
        """One sample: kept as received, and as rows if it can be read."""
        assert self.run is not None
        raw = redact(raw)
        try:
            value, faults = parse_object(raw)
        except RecordError as error:
            self.builder.reject(error.rule, f"{where}: {error}", record_index=record_index, raw=raw)
            return
        sample: Sample | None = None
        try:
            sample = read_sample(value, self.run, faults)
        except SHAPE_ERRORS as error:
            faults.append(Fault("shape", f"The sample has an unexpected shape ({type(error).__name__})."))
        sample_id = sample.output.sample_id if sample else None
        raw_index = 0 if member else record_index
        self.builder.keep(raw, member=member, record_index=raw_index, run_id=self.run.run_id, sample_id=sample_id)
        if sample is not None:
            self._take(sample, faults)
        self.builder.note(faults, record_index=record_index, where=where)

    def _take(self, sample: Sample, faults: list[Fault]) -> None:
        identity = (sample.output.sample_id, sample.output.repeat_index)
        if identity in self.seen:
            faults.append(Fault("duplicate", f"Sample {identity[0]}, epoch {identity[1] + 1} came before."))
            return
        self.seen.add(identity)
        self.builder.outputs.append(sample.output)
        if sample.tokens:
            self.builder.tokens.append((sample.output, sample.tokens))

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
        reading.begin(_zip_header(archive, members, builder))
        run_id = reading.run.run_id if reading.run else None
        for member in members.values():
            is_sample = member.name.startswith(_SAMPLES) and member.name.endswith(".json")
            if not is_sample and member.name not in _KEPT and not member.name.startswith(_CONFIG_UPDATES):
                continue
            try:
                raw = archive.read(member)
            except (SourceError, OSError) as error:
                rule = getattr(error, "rule", "readable")
                builder.reject(rule, str(error), record_index=member.index)
                continue
            if is_sample:
                reading.add(raw, member=member.name, record_index=member.index, where=f"Member {member.name}")
            else:
                builder.keep(redact(raw), member=member.name, record_index=0, run_id=run_id)
            if builder.is_full:
                yield builder.flush()


def _zip_header(archive: Archive, members: dict[str, Member], builder: BatchBuilder) -> JsonObject:
    """The header, or what the journal knew at the start when the log was not finished."""
    for name in (_HEADER, _START):
        member = members.get(name)
        if member is None:
            continue
        try:
            header, faults = parse_object(redact(archive.read(member)))
        except (RecordError, OSError) as error:
            builder.reject("header", f"Member {name} cannot be read: {error}", record_index=member.index)
            continue
        builder.note(faults, record_index=member.index, where=f"Member {name}")
        return header
    builder.reject("header", "The log has no readable header; its samples landed under a run of unknown task.")
    return {}


def _read_json(reading: _Reading, limits: Limits) -> Iterator[ImportBatch]:
    """Twice through the file: the header is around the samples, and only together does it tell the run."""
    builder = reading.builder
    header = _json_header(builder, limits)
    reading.begin(header)
    for part in _parts(builder.file, limits):
        if part.index is None:
            continue
        where = f"Sample {part.index + 1}"
        if part.raw is None:
            message = f"{where} is longer than {limits.member_bytes:,} bytes and was left out."
            builder.reject("member_bytes", message, record_index=part.index + 1)
        else:
            reading.add(part.raw, member="", record_index=part.index + 1, where=where)
        if builder.is_full:
            yield builder.flush()


def _parts(file: SourceFile, limits: Limits) -> Iterator[Part]:
    return split_object(read_pieces(file, limits=limits), opened="samples", part_bytes=limits.member_bytes)


def _json_header(builder: BatchBuilder, limits: Limits) -> JsonObject:
    """Everything but the samples, kept as record 0; a file that breaks off gives what came before."""
    header: JsonObject = {}
    kept: list[bytes] = []
    is_cut = False
    try:
        for part in _parts(builder.file, limits):
            if part.index is not None:
                continue
            if part.raw is None:
                builder.reject("member_bytes", f"Member {part.key} of the log is too long.", record_index=0)
                continue
            raw = redact(b'"' + part.key.encode() + b'": ' + part.raw)
            header[part.key] = _header_value(raw[len(part.key.encode()) + 4 :], part.key, builder)
            kept.append(raw)
    except SourceError:
        # The second pass meets the same end and says so.
        is_cut = True
    builder.keep(b"{" + b", ".join(kept) + b"}", record_index=0)
    if is_cut:
        header["status"] = "started"
    return header


def _header_value(raw: bytes, key: str, builder: BatchBuilder) -> object:
    try:
        value, faults = parse_json(raw)
    except RecordError as error:
        builder.reject(error.rule, f"Member {key} of the log: {error}", record_index=0, raw=raw)
        return None
    builder.note(faults, record_index=0, where=f"Header {key}")
    return value
