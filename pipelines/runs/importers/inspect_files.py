"""The two containers of an Inspect log, record by record: a zip with a member a sample, and one large JSON object.

What belongs here: finding samples and header, and taking secrets out of them. What they mean is `inspect_runs.py` and
`inspect_samples.py`.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, NamedTuple

from pipelines.runs.json_parts import Part, split_object
from pipelines.runs.records import JsonObject, RecordError, parse_json, parse_object
from pipelines.runs.redaction import redact, redact_suspects
from pipelines.runs.scanning import ScannedPieces, scan_ahead
from pipelines.runs.sources import Limits, SourceError, SourceFile, read_pieces

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from pipelines.runs.archives import Archive
    from pipelines.runs.importers.frames import BatchBuilder
    from pipelines.runs.zip_directory import Member

_HEADER, _START = "header.json", "_journal/start.json"
_SAMPLES = "samples/"
# Kept as received; summaries repeat what the samples say.
_KEPT = frozenset({_HEADER, _START, "reductions.json"})
_CONFIG_UPDATES = "_journal/config_updates/"
# Records are searched for secrets together, so many bytes at a time.
_BLOCK_BYTES = 1 << 20


class LogRecord(NamedTuple):
    """A sample, or a member of the zip that is kept beside them; without secrets.

    `raw` is None, with `rule` and `message`, for what cannot be read. `value` is what the record says where that is
    known already. `place` is its number in the file. `is_clean` tells that it needs no second look for secrets.
    """

    place: int
    member: str
    raw: bytes | None
    value: Any = None
    rule: str = ""
    message: str = ""
    is_clean: bool = False

    @property
    def where(self) -> str:
        """What it is called in a message."""
        return f"Member {self.member}" if self.member else f"Sample {self.place}"

    @property
    def is_sample(self) -> bool:
        """Whether it is a sample; in a JSON log everything else belongs to the header."""
        return not self.member or _is_sample(self.member)


def is_log(members: frozenset[str]) -> bool:
    """Whether a zip with these members is a log."""
    return _HEADER in members or _START in members


def zip_header(archive: Archive, members: dict[str, Member], builder: BatchBuilder) -> JsonObject:
    """The header, or what the journal knew at the start when the log was not finished."""
    for name in (_HEADER, _START):
        member = members.get(name)
        if member is None:
            continue
        try:
            header, faults = parse_object(redact(archive.read(member)))
        except (RecordError, OSError) as error:
            builder.reject("header", f"Member {name} cannot be read: {error}", record_index=member.place)
            continue
        builder.note(faults, record_index=member.place, where=f"Member {name}")
        return header
    builder.reject("header", "The log has no readable header; its samples landed under a run of unknown task.")
    return {}


def zip_records(archive: Archive, members: Iterable[Member]) -> Iterator[LogRecord]:
    """Samples and what is kept beside them, in the order of `members`."""
    for block, may_hold_secrets in scan_ahead(_in_blocks(_unpacked(archive, members)), text=_text):
        yield from _redacted(block) if may_hold_secrets else block


def _unpacked(archive: Archive, members: Iterable[Member]) -> Iterator[LogRecord]:
    for member in members:
        if not _is_sample(member.name) and member.name not in _KEPT and not member.name.startswith(_CONFIG_UPDATES):
            continue
        try:
            yield LogRecord(member.place, member.name, archive.read(member))
        except (SourceError, OSError) as error:
            yield LogRecord(member.place, member.name, None, None, getattr(error, "rule", "readable"), str(error))


def _is_sample(member: str) -> bool:
    return member.startswith(_SAMPLES) and member.endswith(".json")


@dataclass(kw_only=True)
class JsonLog:
    """A log in one JSON object; `header` grows while `samples` are read, and is whole after the last of them."""

    builder: BatchBuilder
    limits: Limits
    header: JsonObject = field(default_factory=dict)
    _kept: list[bytes] = field(default_factory=list)
    _has_samples: bool = False

    @property
    def raw_header(self) -> bytes:
        """Everything but the samples, as one object."""
        return b"{" + b", ".join(self._kept) + b"}"

    def samples(self) -> Iterator[LogRecord]:
        """The samples in order. Raises `SourceError` where the file breaks off, after what came before."""
        doubtful: list[LogRecord] = []
        size = 0
        try:
            for record in self._sample_records():
                if not record.is_clean:
                    # Without what it says: that of many records would not stay in the processor's cache.
                    doubtful.append(record._replace(value=None))
                    size += len(record.raw or b"")
                if record.is_clean or size >= _BLOCK_BYTES:
                    yield from _redacted(doubtful)
                    doubtful, size = [], 0
                if record.is_clean:
                    yield record
        except SourceError:
            yield from _redacted(doubtful)
            raise
        yield from _redacted(doubtful)

    def header_alone(self) -> JsonObject:
        """The header by a pass of its own, for a log whose samples come before it."""
        from pipelines.runs.importers.frames import BatchBuilder

        ahead = JsonLog(builder=BatchBuilder(file=self.builder.file), limits=self.limits)
        try:
            for _ in ahead._sample_records():
                pass
        except SourceError:
            # Reading the samples will meet the same end and say so.
            pass
        return ahead.header

    def _sample_records(self) -> Iterator[LogRecord]:
        for part in _parts(self.builder.file, self.limits):
            if part.index is None:
                self._add_member(part)
                continue
            self._has_samples = True
            place = part.index + 1
            if part.raw is None:
                message = f"Sample {place} is longer than {self.limits.member_bytes:,} bytes and was left out."
                yield LogRecord(place, "", None, None, "member_bytes", message)
            else:
                yield LogRecord(place, "", part.raw, part.value, is_clean=part.is_clean)

    def _add_member(self, part: Part) -> None:
        if part.raw is None:
            self.builder.reject("member_bytes", f"Member {part.key} of the log is too long.", record_index=0)
            return
        raw = redact(b'"' + part.key.encode() + b'": ' + part.raw)
        self._kept.append(raw)
        # What the samples were read by stays true.
        if not self._has_samples or part.key not in self.header:
            self.header[part.key] = self._value(raw[len(part.key.encode()) + 4 :], part.key)

    def _value(self, raw: bytes, key: str) -> object:
        try:
            value, faults = parse_json(raw)
        except RecordError as error:
            self.builder.reject(error.rule, f"Member {key} of the log: {error}", record_index=0, raw=raw)
            return None
        self.builder.note(faults, record_index=0, where=f"Header {key}")
        return value


def _parts(file: SourceFile, limits: Limits) -> Iterator[Part]:
    pieces = ScannedPieces(read_pieces(file, limits=limits))
    return split_object(pieces, opened="samples", part_bytes=limits.member_bytes)


def _in_blocks(records: Iterator[LogRecord]) -> Iterator[list[LogRecord]]:
    """Neighbours of about 1 MiB; those before an error are given before it is raised."""
    block: list[LogRecord] = []
    size = 0
    try:
        for record in records:
            block.append(record)
            size += len(record.raw or b"")
            if size >= _BLOCK_BYTES:
                yield block
                block, size = [], 0
    except SourceError:
        yield block
        raise
    yield block


def _text(block: list[LogRecord]) -> bytes:
    return b"\n".join([record.raw for record in block if record.raw is not None])


def _redacted(block: list[LogRecord]) -> list[LogRecord]:
    """The same without secrets."""
    if not block:
        return []
    lines = [record.raw for record in block]
    redact_suspects(lines)
    return [record._replace(raw=raw) for record, raw in zip(block, lines, strict=True)]
