"""A sample of an Inspect log as an output with its scores and tokens.

Long texts stand in a log as `attachment://<hash>`; they are put back here, in the fields that are read.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any, NamedTuple

from pipelines.runs.importers.frames import OutputRow, TokenRow, TopToken
from pipelines.runs.importers.messages import content_text, prompt_text
from pipelines.runs.records import (
    Fault,
    JsonObject,
    as_bytes,
    as_count,
    as_index,
    as_instant,
    as_list,
    as_number,
    as_object,
    as_scaled,
    as_text,
    canonical_json,
)

if TYPE_CHECKING:
    from collections.abc import Iterator

    from pipelines.runs.importers.inspect_runs import LogRun

_ATTACHMENT = re.compile(r"attachment://([0-9a-f]{32})")
# Correct, incorrect, partial, no answer: the values that Inspect's own scorers write.
_GRADES = {"C": 1.0, "I": 0.0, "P": 0.5, "N": 0.0}
_UNCHANGED = "UNCHANGED"
_TIME_LIMITS = frozenset({"time", "working"})


class Sample(NamedTuple):
    """One sample in one epoch."""

    output: OutputRow
    tokens: list[TokenRow]


def read_sample(value: JsonObject, run: LogRun, faults: list[Fault]) -> Sample | None:
    """The sample's rows; None, with a fault, when it does not say which sample it is."""
    epoch = as_index(value.get("epoch", 1), "epoch", faults)
    sample_id = as_text(value.get("id"))
    if sample_id is None or not epoch:
        faults.append(Fault("id", "A sample needs an id and an epoch from 1; it was left out."))
        return None
    attachments = as_object(value.get("attachments"))
    output = as_object(value.get("output"))
    choice = as_object(next(iter(as_list(output.get("choices"))), None))
    error, limit = as_object(value.get("error")), as_object(value.get("limit"))
    usage = _usage(value, output, run.model)
    completion = output.get("completion")
    answer = completion if completion is not None else content_text(as_object(choice.get("message")).get("content"))
    row = OutputRow(
        run_id=run.run_id,
        sample_id=sample_id,
        repeat_index=epoch - 1,
        run_date=run.run_date,
        prompt=_resolved(prompt_text(value.get("input")), attachments),
        output=_resolved(as_text(answer), attachments),
        reference=_resolved(_reference(value.get("target")), attachments),
        status=_status(value, output, limit),
        finish_reason=as_text(limit.get("type")) or as_text(choice.get("stop_reason")),
        input_token_count=as_count(usage.get("input_tokens"), "usage.input_tokens", faults),
        output_token_count=as_count(usage.get("output_tokens"), "usage.output_tokens", faults),
        latency_ms=_latency_ms(value, output, faults),
        time_to_first_token_ms=None,
        scores=tuple(_scores(as_object(value.get("scores")), faults)),
        tags=(),
        error_message=as_text(error.get("message"))
        or as_text(output.get("error"))
        or as_text(value.get("error") or None),
        started_at=as_instant(value.get("started_at") or None, "started_at", faults),
    )
    return Sample(output=row, tokens=_tokens(as_object(choice.get("logprobs")), faults))


def _status(value: JsonObject, output: JsonObject, limit: JsonObject) -> str:
    if value.get("error"):
        return "error"
    if limit.get("type") in _TIME_LIMITS:
        return "timeout"
    return "error" if output.get("error") else "ok"


def _latency_ms(value: JsonObject, output: JsonObject, faults: list[Fault]) -> float | None:
    """The whole sample; logs before 0.3.60 know the model call alone."""
    name = "total_time" if value.get("total_time") is not None else "output.time"
    seconds = value.get("total_time") if name == "total_time" else output.get("time")
    return as_scaled(seconds, name, faults, by=1000)


def _usage(value: JsonObject, output: JsonObject, model: str) -> JsonObject:
    """Tokens of the judged model over all its calls, without those of models that graded."""
    used = as_object(value.get("model_usage"))
    return (
        as_object(used.get(model))
        or (as_object(next(iter(used.values()))) if len(used) == 1 else {})
        or as_object(output.get("usage"))
    )


def _reference(target: object) -> str | None:
    if isinstance(target, list):
        return as_text(target[0]) if len(target) == 1 else canonical_json(target)
    return as_text(target)


def _resolved(text: str | None, attachments: JsonObject) -> str | None:
    if text is None or not attachments or "attachment://" not in text:
        return text
    return _ATTACHMENT.sub(lambda match: as_text(attachments.get(match[1])) or match[0], text)


def _scores(scores: JsonObject, faults: list[Fault]) -> Iterator[tuple[str, float]]:
    for scorer, score in scores.items():
        yield from _flat(scorer, _current(as_object(score)), faults)


def _current(score: JsonObject) -> object:
    """The value after the last human edit that changed it."""
    value = score.get("value")
    for edit in as_list(score.get("history")):
        edited = as_object(edit).get("value", _UNCHANGED)
        value = value if edited in (None, _UNCHANGED) else edited
    return value


def _flat(name: str, value: object, faults: list[Fault]) -> Iterator[tuple[str, float]]:
    """A number, or one for each key or place of a composite value, named `scorer.key`."""
    if isinstance(value, dict):
        for key, item in value.items():
            yield from _flat(f"{name}.{key}", item, faults)
    elif isinstance(value, list):
        for index, item in enumerate(value):
            yield from _flat(f"{name}.{index}", item, faults)
    elif isinstance(value, str) and value in _GRADES:
        yield name, _GRADES[value]
    elif (number := _graded(name, value, faults)) is not None:
        yield name, number


def _graded(name: str, value: object, faults: list[Fault]) -> float | None:
    """A number; words that are none are labels, not measurements, and stay in the raw record."""
    if isinstance(value, str):
        ignored: list[Fault] = []
        return as_number(value, name, ignored)
    return as_number(value, f"scores.{name}", faults)


def _tokens(logprobs: JsonObject, faults: list[Fault]) -> list[TokenRow]:
    return [_token(as_object(item), index, faults) for index, item in enumerate(as_list(logprobs.get("content")))]


def _token(item: JsonObject, index: int, faults: list[Fault]) -> TokenRow:
    place = f"logprobs[{index}]"
    tops = item.get("top_logprobs")
    return TokenRow(
        token_id=None,
        token=as_text(item.get("token")) or "",
        bytes=as_bytes(item.get("bytes"), f"{place}.bytes", faults),
        logprob=as_number(item.get("logprob"), f"{place}.logprob", faults),
        top_k=None if tops is None else list(_tops(as_list(tops), place, faults)),
    )


def _tops(items: list[Any], place: str, faults: list[Fault]) -> Iterator[TopToken]:
    for item in items:
        top = as_object(item)
        logprob = as_number(top.get("logprob"), f"{place}.top_logprobs", faults)
        if logprob is not None:
            yield TopToken(None, as_text(top.get("token")) or "", logprob)
