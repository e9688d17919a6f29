"""A result of promptfoo as an output: one test answered by one provider with one prompt.

Which run and sample it is are `promptfoo_runs.py` and `promptfoo_tests.py`; tables of version 2 become such results in
`promptfoo_tables.py`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from pipelines.runs.importers.code_keys import lift_code_version
from pipelines.runs.importers.openai_tokens import read_tokens
from pipelines.runs.records import (
    Fault,
    JsonObject,
    RecordError,
    as_count,
    as_list,
    as_number,
    as_object,
    as_text,
    parse_json,
)

if TYPE_CHECKING:
    from collections.abc import Iterator

    from pipelines.runs.importers.frames import TokenRow

_ASSERT_FAILED, _ERRED = 1, 2
_TIMEOUT_SIGNS = ("timed out", "timeout", "exceeded max duration")
_ABORTED = "Aborted: "
# Assertions whose value is the answer that was hoped for, rather than a part or a property of it.
_EXPECTING = frozenset(
    {"equals", "similar", "factuality", "model-graded-factuality", "levenshtein", "rouge-n", "bleu", "gleu", "meteor"}
)
_FAILURES = frozenset({"error", "timeout", "cancelled"})
_LONGEST_TAG = 64


@dataclass(frozen=True, kw_only=True)
class Result:
    """What a result says, but for its run and sample."""

    prompt: str | None
    output: str | None
    reference: str | None
    status: str
    finish_reason: str | None
    input_token_count: int | None
    output_token_count: int | None
    latency_ms: float | None
    cost_usd: float | None
    scores: list[tuple[str, float]]
    tags: list[str]
    tokens: list[TokenRow]
    error_message: str | None


def read_result(value: JsonObject, faults: list[Fault], *, shared_metadata: JsonObject) -> Result:
    """One result; `shared_metadata` is the whole evaluation's, which promptfoo copies into every test."""
    response = as_object(value.get("response"))
    status = _status(value, response)
    is_cached = response.get("cached") is True
    usage = _usage(value, response)
    counts = [as_count(usage.get(key), f"tokenUsage.{key}", faults) for key in ("prompt", "completion")]
    # Neither is known of a cached answer, or of a provider that does not count.
    input_count, output_count = counts if any(counts) else (None, None)
    return Result(
        prompt=as_text(as_object(value.get("prompt")).get("raw")),
        output=as_text(response.get("output")),
        reference=_reference(as_object(value.get("testCase"))),
        status=status,
        finish_reason=as_text(response.get("finishReason")),
        input_token_count=input_count,
        output_token_count=output_count,
        # A cached answer came in no time, a failure took as long as it took.
        latency_ms=None if is_cached or status in _FAILURES else _latency_ms(value, faults),
        cost_usd=as_number(value.get("cost"), "cost", faults, minimum=0),
        scores=[] if status in _FAILURES else list(_scores(value, faults)),
        tags=_tags(value, response, shared_metadata, is_cached=is_cached),
        tokens=_tokens(response, faults),
        error_message=None if status == "ok" else as_text(value.get("error") or response.get("error") or None),
    )


def _status(value: JsonObject, response: JsonObject) -> str:
    """The failure reason decides: `success` alone mixes failed assertions with errors."""
    success, reason = value.get("success"), value.get("failureReason")
    grading = as_object(value.get("gradingResult"))
    if success is True and reason != _ERRED:
        return "ok"
    is_error = reason == _ERRED or bool(response.get("error")) or not isinstance(success, bool)
    # Versions without a reason: what was never graded did not fail an assertion.
    if is_error or (reason != _ASSERT_FAILED and not grading and value.get("error")):
        return _error_status(as_text(value.get("error") or response.get("error") or None) or "")
    return "assert_fail"


def _error_status(message: str) -> str:
    if message.startswith(_ABORTED):
        return "cancelled"
    lowered = message.lower()
    return "timeout" if any(sign in lowered for sign in _TIMEOUT_SIGNS) else "error"


def _usage(value: JsonObject, response: JsonObject) -> JsonObject:
    return as_object(response.get("tokenUsage")) or as_object(value.get("tokenUsage"))


def _latency_ms(value: JsonObject, faults: list[Fault]) -> float | None:
    return as_number(value.get("latencyMs"), "latencyMs", faults, minimum=0)


def _reference(test: JsonObject) -> str | None:
    """The value of the first assertion that states an answer."""
    for item in as_list(test.get("assert")):
        assertion = as_object(item)
        if assertion.get("type") in _EXPECTING and isinstance(assertion.get("type"), str):
            return as_text(assertion.get("value"))
    return None


def _scores(value: JsonObject, faults: list[Fault]) -> Iterator[tuple[str, float]]:
    """The score, then the named ones, then each assertion's as `assert.<type>`, numbered from the second of a type."""
    score = as_number(value.get("score"), "score", faults)
    if score is not None:
        yield "score", score
    grading = as_object(value.get("gradingResult"))
    for name, item in (as_object(value.get("namedScores")) or as_object(grading.get("namedScores"))).items():
        number = as_number(item, f"namedScores.{name}", faults)
        if number is not None and name != "score":
            yield name, number
    used: dict[str, int] = {}
    for index, item in enumerate(as_list(grading.get("componentResults"))):
        component = as_object(item)
        kind = as_text(as_object(component.get("assertion")).get("type")) or "assertion"
        used[kind] = used.get(kind, 0) + 1
        number = as_number(component.get("score"), f"componentResults[{index}].score", faults)
        if number is not None:
            yield f"assert.{kind}" if used[kind] == 1 else f"assert.{kind}.{used[kind]}", number


def _tags(value: JsonObject, response: JsonObject, shared: JsonObject, *, is_cached: bool) -> list[str]:
    """What to slice by: cached, refusals, and the test's own metadata as `key=value`."""
    metadata = as_object(as_object(value.get("testCase")).get("metadata"))
    own = {
        key: item for key, item in metadata.items() if item != shared.get(key) and isinstance(item, str | int | float)
    }
    lifted = lift_code_version(own)[1]
    named = {f"{key}={as_text(item)}" for key, item in own.items() if key not in lifted}
    flags = {"cached": is_cached, "refusal": response.get("isRefusal") is True}
    return sorted({tag for tag in named if len(tag) <= _LONGEST_TAG} | {tag for tag, is_set in flags.items() if is_set})


def _tokens(response: JsonObject, faults: list[Fault]) -> list[TokenRow]:
    """Tokens of the provider's own response, where promptfoo kept it; its `logProbs` are numbers without tokens."""
    raw = response.get("raw")
    if isinstance(raw, str) and '"logprobs"' in raw:
        try:
            raw, _ = parse_json(raw.encode("utf-8", "replace"))
        except RecordError:
            return []
    choice = as_object(next(iter(as_list(as_object(raw).get("choices"))), None))
    return read_tokens(choice, faults, generated_count=None)
