"""Requests and responses of OpenAI-compatible servers: pairs, batches, bare responses and streams, one a line.

The answers of one model in one file are a run. Finding the bodies in a record is `openai_exchange.py`, what they say
`openai_samples.py`, tokens `openai_tokens.py`, streams `openai_stream.py`, the run `openai_runs.py`; here is reading.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from pipelines.runs.importers.frames import BatchBuilder, ImportBatch, OutputRow
from pipelines.runs.importers.openai_exchange import (
    Exchange,
    chunked_exchange,
    is_batch_request,
    is_exchange,
    read_exchange,
)
from pipelines.runs.importers.openai_files import (
    RequestStore,
    batch_mark,
    find_batch_parts,
    is_batch_file,
    name_without_mark,
    read_file_records,
)
from pipelines.runs.importers.openai_runs import ModelRun, begin_run
from pipelines.runs.importers.openai_samples import Answer, Times, read_answers, read_times
from pipelines.runs.importers.openai_stream import is_chunk
from pipelines.runs.records import (
    SHAPE_ERRORS,
    Fault,
    JsonObject,
    as_number,
    as_object,
    as_tags,
    as_text,
)
from pipelines.runs.sources import FileHead, Limits, SourceFile

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from pipelines.runs.importers.guide import FormatGuide
    from pipelines.runs.importers.lines import LineRecord
    from pipelines.runs.importers.protocol import SourceGroup

# Beginnings of a pretty printed response, of an event stream, and of a record whose first line is longer than a head.
_FIRST_KEY = re.compile(
    rb'^\s*(?:\[\s*)?\{\s*"(?:id|object|created|model|choices|request|response|custom_id|timestamp)"\s*:'
)
_ANSWER = re.compile(rb'"object"\s*:\s*"(?:chat\.completion|text_completion)')
_EVENT = re.compile(rb"^(?:\s|event:[^\n]*\n|:[^\n]*\n)*data:\s*\{")
_UNKNOWN = "unknown"
# So many streams are held open side by side, where their chunks come mixed.
_MOST_STREAMS = 256


class OpenAiImporter:
    """Reads pairs, batches, bare responses and streams; the files of one batch together."""

    source_kind = "openai"
    version = 1

    @property
    def guide(self) -> FormatGuide:
        """What the docs say about the format."""
        from pipelines.runs.importers.guides.openai import GUIDE

        return GUIDE

    def detects(self, head: FileHead) -> bool:
        """A record with an answer or with a request, or the beginning of one too long to be seen whole."""
        if head.packing == "zip" or head.tables:
            return False
        if head.record is not None and is_exchange(head.record):
            return True
        if _EVENT.match(head.start):
            return _ANSWER.search(head.start) is not None
        # An empty object on a line of its own passes for the first record of a pretty printed file.
        return not head.record and _FIRST_KEY.match(head.start) is not None and bool(_ANSWER.search(head.start))

    def claims(self, _path: Path, /) -> None:
        """Nothing: a file speaks for itself."""

    def group_key(self, file: SourceFile) -> str:
        """The files of one batch: the folder and the name without input, output or errors; else a file alone."""
        bare = name_without_mark(file.path.name)
        is_alone = bare is None or not is_batch_file(file.path)
        return file.sha256 if is_alone else f"{file.path.parent}\x1f{bare}"

    def companions(self, path: Path, /) -> list[Path]:
        """The other files of the same batch beside `path`."""
        return find_batch_parts(path)

    def read(self, group: SourceGroup, *, limits: Limits) -> Iterator[ImportBatch]:
        """Batches of each file; the runs' own rows come with the last."""
        builders = [BatchBuilder(file=file) for file in group.files]
        with RequestStore() as requests:
            reading = _Reading(group=group, requests=requests)
            if any(is_batch_file(file.path) for file in group.files):
                reading.learn(limits)
            for builder in builders:
                yield from _read_file(builder, reading, limits)
                if builder is builders[-1]:
                    reading.finish(builder)
                yield builder.flush()


@dataclass(kw_only=True)
class _Reading:
    """The runs of a group, and what must be known of its earlier records."""

    group: SourceGroup
    requests: RequestStore
    runs: dict[str, ModelRun] = field(default_factory=dict)
    repeats: dict[tuple[str, str], int] = field(default_factory=dict)
    seen: set[tuple[str, str, str]] = field(default_factory=set)
    last_model: str = _UNKNOWN
    is_cut: bool = False

    @property
    def main_file(self) -> SourceFile:
        """The file whose content names the runs: where a batch was answered, whatever else lies beside it."""
        rank = {"output": 0, None: 1, "errors": 2, "input": 3}
        return min(self.group.files, key=lambda file: rank[batch_mark(file.path.name)])

    def learn(self, limits: Limits) -> None:
        """Remember the requests of a batch, which may stand after their answers, and the model they ask."""
        for file in self.group.files:
            for record in read_file_records(BatchBuilder(file=file), limits=limits):
                if is_batch_request(record.value):
                    self.requests.add(as_text(record.value["custom_id"]) or "", record.value["body"])
                model = as_object(record.value.get("body")).get("model")
                if self.last_model == _UNKNOWN and isinstance(model, str):
                    self.last_model = model

    def run_of(self, exchange: Exchange, times: Times) -> ModelRun:
        """The run of the model that was asked; an answer without either, as errors are, belongs to the one before."""
        asked, answered = exchange.request.get("model"), exchange.response.get("model")
        model = next((name for name in (asked, answered) if isinstance(name, str) and name), self.last_model)
        self.last_model = model
        run = self.runs.get(model)
        if run is None:
            run = self.runs[model] = begin_run(model, times, file=self.main_file)
        return run

    def repeat_of(self, sample_id: str, exchange: Exchange, run: ModelRun, *, is_named: bool) -> int | None:
        """The first free repeat of the sample; None for a response that came before, to it or without any name."""
        response_id = as_text(exchange.response.get("id")) or as_text(exchange.envelope.get("id"))
        if response_id is not None:
            identity = (run.run_id, sample_id if is_named else "", response_id)
            if identity in self.seen:
                return None
            self.seen.add(identity)
        return self.repeats.get((run.run_id, sample_id), 0)

    def use_repeat(self, sample_id: str, run: ModelRun, repeat_index: int) -> None:
        """Take a repeat, so that the sample's next answer is another."""
        self.repeats[run.run_id, sample_id] = repeat_index + 1

    def finish(self, builder: BatchBuilder) -> None:
        """Hand in the runs; a file of requests alone makes none and says so."""
        status = "started" if self.is_cut else "success"
        for model, run in self.runs.items():
            expected = self.requests.count_of(model)
            builder.runs.append(run.row(self.main_file, self.group, status=status, expected=expected))
        if not self.runs and self.requests.count_of(None):
            builder.reject(
                "answers", "There are requests of a batch but no answers; import them together with its output file."
            )


def _read_file(builder: BatchBuilder, reading: _Reading, limits: Limits) -> Iterator[ImportBatch]:
    streams: dict[str, tuple[LineRecord, list[JsonObject]]] = {}
    for record in read_file_records(builder, limits=limits):
        if is_chunk(record.value):
            key = as_text(record.value.get("id")) or ""
            builder.keep(record.raw, record_index=record.record_index)
            streams.setdefault(key, (record, []))[1].append(record.value)
            if len(streams) > _MOST_STREAMS:
                _take_stream(*streams.pop(next(iter(streams))), reading, builder)
        else:
            _take_record(record, reading, builder)
        if builder.is_full:
            yield builder.flush()
    for first, chunks in streams.values():
        _take_stream(first, chunks, reading, builder)
    reading.is_cut |= any(reject.rule == "truncated" for reject in builder.rejects)


def _take_record(record: LineRecord, reading: _Reading, builder: BatchBuilder) -> None:
    """One record: kept as received, then as outputs unless it is a request that is answered elsewhere."""
    custom_id = as_text(record.value.get("custom_id"))
    run_id, sample_id = None, custom_id
    if not is_batch_request(record.value):
        asked = reading.requests.find(custom_id) if custom_id is not None else None
        run_id, sample_id = _take(record, read_exchange(record.value, request=asked), reading, builder)
    builder.keep(record.raw, record_index=record.record_index, run_id=run_id, sample_id=sample_id)
    builder.note(record.faults, record_index=record.record_index, where=f"Record {record.record_index + 1}")


def _take_stream(first: LineRecord, chunks: list[JsonObject], reading: _Reading, builder: BatchBuilder) -> None:
    """A stream whose chunks, kept already, were records of their own."""
    _take(first, chunked_exchange(chunks), reading, builder)
    builder.note(first.faults, record_index=first.record_index, where=f"Stream from record {first.record_index + 1}")


def _take(
    record: LineRecord, exchange: Exchange | None, reading: _Reading, builder: BatchBuilder
) -> tuple[str | None, str | None]:
    """The outputs of an exchange; returns the run and the sample that it belongs to."""
    run_id, sample_id = None, None
    if exchange is None:
        record.faults.append(Fault("exchange", "neither a response nor a request; it was left out."))
        return run_id, sample_id
    try:
        times = read_times(exchange, record.faults)
        run = reading.run_of(exchange, times)
        run_id = run.run_id
        tags = (*run.add(exchange, times), *as_tags(exchange.envelope.get("tags")))
        known: str | None = None
        for answer in list(read_answers(exchange, record.faults)):
            sample_id = answer.sample_id or f"record-{record.record_index}"
            repeat = (
                reading.repeats.get((run_id, sample_id), 0)
                if sample_id == known
                else reading.repeat_of(sample_id, exchange, run, is_named=answer.sample_id is not None)
            )
            if repeat is None:
                record.faults.append(Fault("duplicate", f"sample {sample_id} came before with this very response."))
                break
            known = sample_id
            reading.use_repeat(sample_id, run, repeat)
            _add(answer, _row(answer, sample_id, repeat, exchange, run, times, tags, record.faults), builder)
    except SHAPE_ERRORS as error:
        record.faults.append(Fault("shape", f"the record has an unexpected shape ({type(error).__name__})."))
    return run_id, sample_id


def _row(
    answer: Answer,
    sample_id: str,
    repeat_index: int,
    exchange: Exchange,
    run: ModelRun,
    times: Times,
    tags: tuple[str, ...],
    faults: list[Fault],
) -> OutputRow:
    is_ok = answer.status == "ok"
    return OutputRow(
        run_id=run.run_id,
        sample_id=sample_id,
        repeat_index=repeat_index,
        run_date=run.run_date,
        prompt=answer.prompt,
        output=answer.output,
        reference=as_text(exchange.envelope.get("reference")),
        status=answer.status,
        finish_reason=answer.finish_reason,
        input_token_count=answer.input_token_count,
        output_token_count=answer.output_token_count,
        # How long it took to fail is no latency.
        latency_ms=times.latency_ms if is_ok else None,
        time_to_first_token_ms=times.time_to_first_token_ms if is_ok else None,
        scores=_scores(exchange.envelope.get("scores"), faults) if is_ok else (),
        tags=sorted(set(tags)),
        error_message=answer.error_message,
        started_at=times.started_at,
    )


def _scores(given: object, faults: list[Fault]) -> list[tuple[str, float]]:
    numbers = ((name, as_number(value, f"scores.{name}", faults)) for name, value in as_object(given).items())
    return [(name, number) for name, number in numbers if number is not None]


def _add(answer: Answer, row: OutputRow, builder: BatchBuilder) -> None:
    builder.outputs.append(row)
    if answer.tokens:
        builder.tokens.append((row, answer.tokens))
