"""Operations of a model, out of the attributes of spans: by the names of the conventions, old and new.

What belongs here: which span is an operation, and what its attributes say of the model, the request and the answer.
Messages are `otel_messages.py`, rows are `otel_spans.py`.
"""

from __future__ import annotations

from typing import Any

from pipelines.runs.importers.otel_messages import is_message_key
from pipelines.runs.records import Fault, JsonObject, as_count, as_number, as_object, as_scaled, as_text

UNKNOWN = "unknown"
# Operations that answer a prompt; embeddings, tools and agents are spans alone.
_INFERENCE = frozenset({"chat", "text_completion", "generate_content"})
_OLD_TYPES = {"completion": "text_completion", "chat": "chat"}
_REQUEST = "gen_ai.request."
_NO_SETTING = frozenset({"model", "stream"})
# Each by its present name, then by those it had.
_MODEL = ("gen_ai.request.model", "llm.request.model", "gen_ai.response.model", "llm.response.model")
_PROVIDER = ("gen_ai.provider.name", "gen_ai.system", "llm.vendor", "llm.system")
_INPUT_TOKENS = ("gen_ai.usage.input_tokens", "gen_ai.usage.prompt_tokens", "llm.usage.prompt_tokens")
_OUTPUT_TOKENS = ("gen_ai.usage.output_tokens", "gen_ai.usage.completion_tokens", "llm.usage.completion_tokens")
_FIRST_S = ("gen_ai.response.time_to_first_chunk", "gen_ai.server.time_to_first_token")
_SAMPLE = ("sample_id", "sample.id", "benchlake.sample_id", "test.case.name")
_SUITE = ("gen_ai.workflow.name", "gen_ai.agent.name")
_TIMEOUT_SIGNS = ("timeout", "timed out", "deadline exceeded")
_TIMEOUT_CODES = frozenset({"408", "504"})
_CANCEL_SIGNS = ("cancel", "abort")


def first_of(attributes: JsonObject, names: tuple[str, ...]) -> Any:  # noqa: ANN401  # JSON
    """The first of several attributes that is there."""
    return next((attributes[name] for name in names if attributes.get(name) not in (None, "")), None)


def operation_of(attributes: JsonObject) -> str | None:
    """The operation's name; None for a span that has nothing to do with models."""
    name = as_text(attributes.get("gen_ai.operation.name"))
    old = as_text(attributes.get("llm.request.type"))
    if name or old:
        return name or _OLD_TYPES.get(old or "", old)
    has_messages = any(is_message_key(key) for key in attributes)
    return "chat" if has_messages and first_of(attributes, _MODEL) else None


def is_inference(attributes: JsonObject) -> bool:
    """Whether an operation answers a prompt."""
    return operation_of(attributes) in _INFERENCE


def model_of(attributes: JsonObject) -> str | None:
    """The model that was asked, else the one that answered."""
    return as_text(first_of(attributes, _MODEL))


def provider_of(attributes: JsonObject) -> str | None:
    """Who answered."""
    return as_text(first_of(attributes, _PROVIDER))


def suite_of(attributes: JsonObject) -> str | None:
    """The workflow or agent, where an operation names one."""
    return as_text(first_of(attributes, _SUITE))


def sample_of(attributes: JsonObject) -> str | None:
    """The sample, where a test names it."""
    return as_text(first_of(attributes, _SAMPLE))


def settings_of(attributes: JsonObject) -> JsonObject:
    """What the request set."""
    return {
        name: value
        for key, value in attributes.items()
        if key.startswith(_REQUEST) and (name := key.removeprefix(_REQUEST)) not in _NO_SETTING
    }


def usage_of(attributes: JsonObject, faults: list[Fault]) -> tuple[int | None, int | None]:
    """Tokens of the prompt and of the answer."""
    given = first_of(attributes, _INPUT_TOKENS), first_of(attributes, _OUTPUT_TOKENS)
    return as_count(given[0], _INPUT_TOKENS[0], faults), as_count(given[1], _OUTPUT_TOKENS[0], faults)


def first_chunk_ms(attributes: JsonObject, faults: list[Fault]) -> float | None:
    """From the request to the first piece of the answer; seconds in the source."""
    return as_scaled(first_of(attributes, _FIRST_S), _FIRST_S[0], faults, by=1000)


def finish_reasons_of(attributes: JsonObject) -> list[str | None]:
    """Why each answer ended."""
    given = attributes.get("gen_ai.response.finish_reasons")
    return [as_text(reason) for reason in (given if isinstance(given, list) else [] if given is None else [given])]


def outcome_of(span: JsonObject, attributes: JsonObject, events: list[JsonObject]) -> tuple[str, str | None]:
    """What became of an operation, in the words of silver.outputs, and why."""
    status, kind = as_object(span.get("status")), as_text(attributes.get("error.type"))
    if not is_failed(status) and not kind:
        return "ok", None
    raised = next((as_text(event.get("exception.message")) for event in events if "exception.message" in event), None)
    message = as_text(status.get("message")) or raised or kind or "The span reports an error."
    told = f"{kind or ''} {message}".lower()
    if kind in _TIMEOUT_CODES or any(sign in told for sign in _TIMEOUT_SIGNS):
        return "timeout", message
    return ("cancelled" if any(sign in told for sign in _CANCEL_SIGNS) else "error"), message


def is_failed(status: JsonObject) -> bool:
    """Whether a span's status is the error one, as a number or by its name."""
    code = status.get("code")
    return code == 2 or code == "STATUS_CODE_ERROR"  # noqa: PLR1714, PLR2004  # the number of the protocol


def scores_of(evaluations: list[JsonObject]) -> list[tuple[str, float]]:
    """Scores of evaluations that have a number; of two by one name the last counts."""
    scores: dict[str, float] = {}
    ignored: list[Fault] = []
    for item in evaluations:
        name = as_text(item.get("gen_ai.evaluation.name"))
        value = as_number(item.get("gen_ai.evaluation.score.value"), "score", ignored)
        if name and value is not None:
            scores[name] = value
    return list(scores.items())
