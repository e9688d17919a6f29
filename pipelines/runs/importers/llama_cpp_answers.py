"""Answers of llama.cpp's server to `/completion`, bare or beside their requests, one a line.

The answers of one model in one file are a run. What belongs here: what an answer says and reading a file of them. Their
tokens are `llama_cpp_tokens.py`, the run is `llama_cpp_runs.py`. Clocks of the client beside an answer are read as
`openai_samples.py` reads them.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from lake.identity import text_digest
from pipelines.runs.importers.frames import BatchBuilder, ImportBatch, OutputRow
from pipelines.runs.importers.lines import LineRecord
from pipelines.runs.importers.llama_cpp_files import head_records, model_name, read_list_or_lines
from pipelines.runs.importers.llama_cpp_runs import UNKNOWN, AnswerRun
from pipelines.runs.importers.llama_cpp_tokens import read_tokens
from pipelines.runs.importers.openai_exchange import Exchange, error_text
from pipelines.runs.importers.openai_samples import read_times
from pipelines.runs.records import (
    SHAPE_ERRORS,
    Fault,
    JsonObject,
    as_count,
    as_flag,
    as_list,
    as_number,
    as_object,
    as_tags,
    as_text,
    canonical_json,
)

if TYPE_CHECKING:
    from pipelines.runs.importers.protocol import SourceGroup
    from pipelines.runs.sources import Limits

# Fields of an answer that only this server writes, and settings of a request that only it takes.
_ANSWER_KEYS = frozenset({"stop_type", "generation_settings", "tokens_evaluated", "tokens_predicted", "tokens_cached"})
_REQUEST_KEYS = frozenset({"n_predict", "cache_prompt", "n_probs", "return_tokens", "post_sampling_probs", "id_slot"})
# OpenAI's interface, which the same server has too.
_OTHER_KEYS = frozenset({"choices", "object", "messages"})
_SAMPLE_KEYS = ("sample_id", "custom_id", "id")
_FINISH_REASONS = {"eos": "stop", "word": "stop", "limit": "length", "none": None}
_OLD_REASONS = {"stopped_eos": "stop", "stopped_word": "stop", "stopped_limit": "length"}
_TIMEOUT_CODES = frozenset({408, 504})


def is_answer_record(record: JsonObject) -> bool:
    """Whether a record is an answer of the server, or holds a request to it with its answer or error."""
    if _is_answer(record):
        return True
    response, request = record.get("response"), as_object(record.get("request"))
    if _is_answer(response) or (isinstance(response, list) and bool(response) and _is_answer(response[0])):
        return True
    is_asked = "prompt" in request and bool(_REQUEST_KEYS & request.keys()) and not _OTHER_KEYS & request.keys()
    return is_asked and "error" in (as_object(response) or record)


def read_answers(builder: BatchBuilder, group: SourceGroup, start: bytes, *, limits: Limits) -> Iterator[ImportBatch]:
    """Batches of the file; the runs' rows come to the builder with the last."""
    reading = _Reading(group=group, builder=builder, model=_first_model(start))
    for record in read_list_or_lines(builder, start, limits=limits):
        reading.take(record)
        if builder.is_full:
            yield builder.flush()
    is_cut = any(reject.rule == "truncated" for reject in builder.rejects)
    for run in reading.runs.values():
        builder.runs.append(run.row(is_cut=is_cut))
        builder.metrics.extend(run.metrics())


@dataclass(kw_only=True)
class _Reading:
    """The runs of a file, and what must be known of its earlier records."""

    group: SourceGroup
    builder: BatchBuilder
    model: str
    runs: dict[str, AnswerRun] = field(default_factory=dict)
    repeats: dict[tuple[str, str], int] = field(default_factory=dict)
    seen: set[str] = field(default_factory=set)

    def take(self, record: LineRecord) -> None:
        """One record: kept as received, then as one output an answer."""
        where = f"Record {record.record_index + 1}"
        run_id, sample_id = None, None
        try:
            run_id, sample_id = self._take(record)
        except SHAPE_ERRORS as error:
            record.faults.append(Fault("shape", f"The record has an unexpected shape ({type(error).__name__})."))
        self.builder.keep(record.raw, record_index=record.record_index, run_id=run_id, sample_id=sample_id)
        self.builder.note(record.faults, record_index=record.record_index, where=where)

    def _take(self, record: LineRecord) -> tuple[str | None, str | None]:
        exchanges = list(_exchanges(record.value))
        if not exchanges:
            record.faults.append(Fault("answer", "Neither an answer of llama.cpp's server nor an error; left out."))
            return None, None
        run_id, sample_id = None, None
        for exchange in exchanges:
            if not self._is_new(exchange, record.faults):
                continue
            run = self._run_of(exchange, record.faults)
            row = self._row(exchange, run, record)
            run.add(exchange, row)
            self.builder.outputs.append(row)
            tokens = read_tokens(exchange.response, record.faults) if row.status == "ok" else []
            if tokens:
                self.builder.tokens.append((row, tokens))
            run_id, sample_id = row.run_id, row.sample_id
        return run_id, sample_id

    def _is_new(self, exchange: Exchange, faults: list[Fault]) -> bool:
        """An answer has no id, but its timings are as good as one."""
        identity = text_digest(canonical_json([exchange.envelope, exchange.request, exchange.response]))
        is_new = identity not in self.seen
        self.seen.add(identity)
        if not is_new:
            faults.append(Fault("duplicate", "This very answer came before; the first one counts."))
        return is_new

    def _run_of(self, exchange: Exchange, faults: list[Fault]) -> AnswerRun:
        """The run of the model; errors do not name theirs and belong to the one before."""
        given = (exchange.response.get("model"), exchange.request.get("model"), exchange.envelope.get("model"))
        self.model = next((name for item in given if (name := model_name(item))), self.model)
        run = self.runs.get(self.model)
        if run is None:
            started_at = read_times(exchange, faults).started_at
            run = self.runs[self.model] = AnswerRun.begin(self.model, started_at, group=self.group)
        return run

    def _row(self, exchange: Exchange, run: AnswerRun, record: LineRecord) -> OutputRow:
        answer, faults = exchange.response, record.faults
        prompt = _prompt(exchange)
        sample_id = _sample_id(exchange, prompt) or f"record-{record.record_index}"
        repeat_index = self.repeats.get((run.run_id, sample_id), 0)
        self.repeats[run.run_id, sample_id] = repeat_index + 1
        times, timings = read_times(exchange, faults), as_object(answer.get("timings"))
        status, message = _outcome(exchange, faults)
        is_ok = status == "ok"
        cached = as_count(timings.get("cache_n"), "timings.cache_n", faults)
        return OutputRow(
            run_id=run.run_id,
            sample_id=sample_id,
            repeat_index=repeat_index,
            run_date=run.run_date,
            prompt=prompt,
            output=as_text(answer.get("content")),
            reference=as_text(exchange.envelope.get("reference")),
            status=status,
            finish_reason=_finish_reason(answer),
            input_token_count=_count(answer.get("tokens_evaluated"), timings, ("prompt_n", "cache_n"), faults),
            output_token_count=_count(answer.get("tokens_predicted"), timings, ("predicted_n",), faults),
            latency_ms=times.latency_ms if is_ok else None,
            time_to_first_token_ms=times.time_to_first_token_ms if is_ok else None,
            scores=_scores(exchange.envelope.get("scores"), faults) if is_ok else (),
            tags=as_tags([*as_list(exchange.envelope.get("tags")), *(["cached_prompt"] if cached else [])]),
            error_message=message,
            started_at=times.started_at,
        )


def _exchanges(record: JsonObject) -> Iterator[Exchange]:
    """The answers in a record: one, or one a prompt where several were sent at once."""
    if "response" not in record and "request" not in record:
        if "content" in record or "error" in record:
            yield Exchange(envelope={}, head={}, request={}, response=record, error=record.get("error"))
        return
    request, given = as_object(record.get("request")), record.get("response")
    for response in given if isinstance(given, list) else [given]:
        answer = as_object(response)
        error = record.get("error") or answer.get("error") or (response if isinstance(response, str) else None)
        envelope = {key: value for key, value in record.items() if key not in ("request", "response")}
        yield Exchange(envelope=envelope, head={}, request=request, response=answer, error=error)


def _is_answer(value: object) -> bool:
    answer = as_object(value)
    is_native = isinstance(answer.get("content"), str) and bool(_ANSWER_KEYS & answer.keys())
    return is_native and not _OTHER_KEYS & answer.keys()


def _first_model(start: bytes) -> str:
    for record in head_records(start):
        for exchange in _exchanges(record):
            name = model_name(exchange.response.get("model"))
            if name is not None:
                return name
    return UNKNOWN


def _prompt(exchange: Exchange) -> str | None:
    """The text that was sent; of several prompts, or of token ids, what the server says of this one."""
    asked = exchange.request.get("prompt")
    if isinstance(asked, str):
        return asked
    if isinstance(asked, dict) and isinstance(asked.get("prompt_string"), str):
        return str(asked["prompt_string"])
    return as_text(exchange.response.get("prompt", asked))


def _sample_id(exchange: Exchange, prompt: str | None) -> str | None:
    places = (exchange.envelope, as_object(exchange.envelope.get("metadata")))
    named = (as_text(place.get(key)) for place in places for key in _SAMPLE_KEYS)
    name = next((text for text in named if text), None)
    return name or (f"prompt-{text_digest(prompt)[:16]}" if prompt is not None else None)


def _outcome(exchange: Exchange, faults: list[Fault]) -> tuple[str, str | None]:
    """Status and why; an answer without content is none, and the part of a stream is not the whole."""
    if exchange.error is not None:
        code = as_object(exchange.error).get("code")
        message = error_text(exchange.error) or "The server answered with an error."
        return ("timeout" if isinstance(code, int) and code in _TIMEOUT_CODES else "error"), message
    if not isinstance(exchange.response.get("content"), str):
        return "error", "The server answered without content."
    if as_flag(exchange.response.get("stop")) is False:
        faults.append(Fault("stream", "The answer is one piece of a stream; keep answers whole (stream: false)."))
        return "cancelled", "One piece of a streamed answer."
    return "ok", None


def _finish_reason(answer: JsonObject) -> str | None:
    given = as_text(answer.get("stop_type"))
    if given is not None:
        return _FINISH_REASONS.get(given, given)
    return next((reason for key, reason in _OLD_REASONS.items() if as_flag(answer.get(key))), None)


def _count(given: object, timings: JsonObject, keys: tuple[str, ...], faults: list[Fault]) -> int | None:
    if given is not None:
        return as_count(given, "tokens", faults)
    parts = [as_count(timings.get(key), f"timings.{key}", faults) for key in keys]
    return None if parts[0] is None else sum(part or 0 for part in parts)


def _scores(given: object, faults: list[Fault]) -> list[tuple[str, float]]:
    numbers = ((name, as_number(value, f"scores.{name}", faults)) for name, value in as_object(given).items())
    return [(name, number) for name, number in numbers if number is not None]
