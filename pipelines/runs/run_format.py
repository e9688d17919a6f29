"""Benchlake's own run file, declared once: every line, every field, what it may hold and in which unit.

What belongs here: the declaration, and the check by it that the writer and the importer share. The JSON Schema and the
docs that are made from it are `run_schema.py`; making lines is `run_lines.py` and `run_log.py`, turning them into
tables is `importers/benchlake.py`, which stays tolerant: it reads what it can and names what departs.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, Any, Literal, get_args

from pydantic import BaseModel, ConfigDict, Field, ValidationError, WithJsonSchema
from pydantic.config import JsonDict

from lake.tables.runs import OUTPUT_STATUSES, RUN_STATUSES, SPAN_STATUSES

SCHEMA_VERSION = 1

_MAX_SHOWN = 80
_INT64_MAX = 2**63 - 1
_INT32_MAX = 2**31 - 1
_INSTANT = (
    r"^[0-9]{4}-[0-9]{2}-[0-9]{2}([T ][0-9]{2}:[0-9]{2}(:[0-9]{2}([.,][0-9]+)?)?"
    r"(Z|[+-][0-9]{2}(:?[0-9]{2})?)?)?$"
)

# JSON knows one kind of number: 3.0 is as whole as 3, true is none. Pydantic's int would refuse the one or take both.
Whole = Annotated[
    float,
    Field(multiple_of=1, ge=-(2**63), le=_INT64_MAX, allow_inf_nan=False),
    WithJsonSchema({"type": "integer", "minimum": -(2**63), "maximum": _INT64_MAX}),
]
Count = Annotated[
    float,
    Field(multiple_of=1, ge=0, le=_INT64_MAX, allow_inf_nan=False),
    WithJsonSchema({"type": "integer", "minimum": 0, "maximum": _INT64_MAX}),
]
Index = Annotated[
    float,
    Field(multiple_of=1, ge=0, le=_INT32_MAX, allow_inf_nan=False),
    WithJsonSchema({"type": "integer", "minimum": 0, "maximum": _INT32_MAX}),
]
Number = Annotated[float, Field(allow_inf_nan=False)]
Size = Annotated[float, Field(ge=0, allow_inf_nan=False)]
Byte = Annotated[int, Field(ge=0, le=255)]
Id = str | Whole
Instant = Annotated[str, Field(pattern=_INSTANT)] | Number
OutputStatus = Literal["ok", "assert_fail", "error", "timeout", "cancelled"]
RunStatus = Literal["success", "error", "cancelled", "started"]
SpanStatus = Literal["ok", "error"]
assert (get_args(OutputStatus), get_args(RunStatus), get_args(SpanStatus)) == (
    OUTPUT_STATUSES,
    RUN_STATUSES,
    SPAN_STATUSES,
), "the statuses of the lines are those of the tables"

# What a field may hold, in the words of messages and docs.
_TEXT = "text"
_NUMBER = "a finite number"
_SIZE = "a finite number from 0"
_COUNT = "a whole number from 0"
_OBJECT = "an object"
_FLAG = "true or false"
_INSTANT_WORDS = "an ISO 8601 instant (UTC unless it says), or seconds since 1970"
_JSON_TEXT = "text; any other JSON is kept as JSON text"


def _field(allowed: str, description: str, *, unit: str = "", needed: bool = False, default: object = None) -> Any:  # noqa: ANN401 - what pydantic's own Field returns
    """A field of a line; `allowed` and `unit` are in the words of messages and docs."""
    words: JsonDict = {"allowed": allowed, "unit": unit}
    return Field(default=... if needed else default, description=description, json_schema_extra=words)


class _Part(BaseModel):
    """Anything with fields; keys that are not declared are allowed and stay in the raw record."""

    model_config = ConfigDict(strict=True, extra="ignore", frozen=True)


class Fingerprint(_Part):
    """What must agree before two runs may be compared; leave out what is unknown."""

    suite_digest: str | None = _field(_TEXT, "Digest of the suite: its prompts, references and scorers.")
    prompt_digest: str | None = _field(_TEXT, "Digest of ids and prompts alone.")
    chat_template_digest: str | None = _field(_TEXT, "Digest of the chat template.")
    tokenizer: str | None = _field(_TEXT, "Name or digest of the tokenizer.")
    sampling_digest: str | None = _field(_TEXT, "Digest of the sampling parameters.")
    logprobs_mode: str | None = _field(_TEXT, "raw before temperature and other sampling steps, processed after.")
    concurrency: Count | None = _field(_COUNT, "Requests under way at a time.", unit="requests")
    hardware: str | None = _field(_TEXT, "Processor or accelerator.")


class CodeVersionPart(_Part):
    """The code that produced the run."""

    commit: str | None = _field(_TEXT, "Commit.")
    branch: str | None = _field(_TEXT, "Branch.")
    pull_request: str | None = _field(_TEXT, "Pull or merge request, by its number.")
    is_dirty: bool | None = _field(_FLAG, "Whether tracked files differed from the commit.")
    repository_url: str | None = _field(_TEXT, "Repository, without credentials.")


class TopToken(_Part):
    """A token that could have stood at a position."""

    token_id: Count | None = _field(_COUNT, "Id in the tokenizer.")
    token: str = _field(_TEXT, "The token as text.", needed=True)
    logprob: Number = _field(_NUMBER, "Natural-log probability.", unit="nats", needed=True)


class Token(_Part):
    """A generated token."""

    token_id: Count | None = _field(_COUNT, "Id in the tokenizer.")
    token: str = _field(_TEXT, "The token as text.", needed=True)
    bytes: list[Byte] | None = _field(
        "a list of whole numbers from 0 to 255", "What it adds to the output, which may be part of a character."
    )
    logprob: Number | None = _field(_NUMBER, "Natural-log probability.", unit="nats")
    top_k: list[TopToken] | None = _field("a list of objects", "The likeliest tokens at this place, likeliest first.")


class Phase(_Part):
    """A stretch of the work on one sample; it becomes a span."""

    phase: str = _field(
        _TEXT, "What was done: queue, tokenise, prefill, decode, detokenise, or your word.", needed=True
    )
    start_ms: Size = _field(_SIZE, "Begin, from `started_at` of the output.", unit="ms", needed=True)
    duration_ms: Size = _field(_SIZE, "How long it took.", unit="ms", needed=True)


class RunLine(_Part):
    """The first line: what is run, and everything that decides whether runs may be compared."""

    type: Literal["run"] = _field('"run"', "Kind of line.", needed=True)
    schema_version: Literal[1] = _field("1", "Version of this format.", default=SCHEMA_VERSION)
    run_id: Id | None = _field("text or a whole number", "Stable id; derived from the file's content when absent.")
    suite: str = _field(_TEXT, "Prompt suite or task.", needed=True)
    backend: str = _field(_TEXT, "Name of the configured thing that answers.", needed=True)
    model: str = _field(_TEXT, "Model.", needed=True)
    engine: str | None = _field(_TEXT, "Inference software, for instance llama.cpp.")
    engine_version: str | None = _field(_TEXT, "Its version.")
    started_at: Instant | None = _field(_INSTANT_WORDS, "When the run started; the file's own time when absent.")
    parameters: dict[str, Any] | None = _field(
        _OBJECT, "Settings: sampling, model, training. Each member becomes a row of silver.run_params."
    )
    environment: dict[str, Any] | None = _field(_OBJECT, "Hardware, operating system, packages.")
    fingerprint: Fingerprint | None = _field(_OBJECT, "What must agree before two runs may be compared.")
    code_version: CodeVersionPart | None = _field(_OBJECT, "The code that produced the run.")
    tags: list[str] | None = _field("a list of texts", "Labels of the run.")
    expected_sample_count: Count | None = _field(_COUNT, "Outputs that should follow.", unit="outputs")


class OutputLine(_Part):
    """What came back for one sample and repeat."""

    type: Literal["output"] = _field('"output"', "Kind of line.", needed=True)
    sample_id: Id = _field("text or a whole number", "Sample; pairs are made by it and the repeat.", needed=True)
    repeat_index: Index = _field(_COUNT, "Repeat of the same sample, from 0.", default=0)
    prompt: Any = _field(_JSON_TEXT, "Prompt as sent, before the chat template.")
    output: Any = _field(_JSON_TEXT, "What the model answered; null when nothing came back.")
    reference: Any = _field(_JSON_TEXT, "Expected answer.")
    status: OutputStatus | None = _field(
        f"one of {', '.join(OUTPUT_STATUSES)}",
        "What became of the sample; absent: error if there is an error_message, else ok.",
    )
    finish_reason: str | None = _field(_TEXT, "Why generation stopped: stop, length, or your word.")
    input_token_count: Count | None = _field(_COUNT, "Tokens of the prompt.", unit="tokens")
    output_token_count: Count | None = _field(_COUNT, "Tokens generated.", unit="tokens")
    latency_ms: Size | None = _field(_SIZE, "From request to last token.", unit="ms")
    time_to_first_token_ms: Size | None = _field(_SIZE, "From request to first token.", unit="ms")
    scores: dict[str, Number | None] | None = _field(
        "an object of scorer to a finite number", "One value per scorer; null where the scorer gave none."
    )
    scorer_errors: dict[str, str] | None = _field(
        "an object of scorer to text", "Why a scorer gave none; kept in the raw record."
    )
    tags: list[str] | None = _field("a list of texts", "Labels of the sample, for slices.")
    error_message: str | None = _field(_TEXT, "Why the sample failed.")
    started_at: Instant | None = _field(_INSTANT_WORDS, "When the request was sent.")
    tokens: list[Token] | None = _field("a list of objects", "Generated tokens in order.")
    phases: list[Phase] | None = _field("a list of objects", "Where the latency went; needs `started_at`.")


class MetricLine(_Part):
    """A number about the run as a whole, or about one step of it."""

    type: Literal["metric"] = _field('"metric"', "Kind of line.", needed=True)
    metric: str = _field(_TEXT, "Name; [metrics](../metrics.md) lists those that are normalised.", needed=True)
    value: Number = _field(_NUMBER, "Value.", unit="as in `unit`", needed=True)
    unit: str | None = _field(_TEXT, "Unit: ms, bytes, tokens/s, ratio; 1, or absent, for a plain number.")
    variant: str | None = _field(_TEXT, "What tells values of one metric apart: statistic, operator, data set.")
    step: Count = _field(_COUNT, "Step of what is logged over time.", default=0)
    repeat_index: Count = _field(_COUNT, "Measurement of the same metric and step again, from 0.", default=0)
    standard_error: Size | None = _field(_SIZE, "Standard error of the value.", unit="as in `unit`")
    standard_deviation: Size | None = _field(_SIZE, "Spread of what the value sums up.", unit="as in `unit`")
    sample_count: Count | None = _field(_COUNT, "How many measurements the value sums up.", unit="measurements")
    is_higher_better: bool | None = _field(_FLAG, "Direction of improvement; absent when neither is one.")
    recorded_at: Instant | None = _field(_INSTANT_WORDS, "When it was logged.")


class ParamLine(_Part):
    """A setting that became known after the first line; it joins the run's `parameters`."""

    type: Literal["param"] = _field('"param"', "Kind of line.", needed=True)
    parameter: str = _field(_TEXT, "Name; members of an object get its name and a dot before theirs.", needed=True)
    value: Any = _field("any JSON", "Value.", needed=True)
    unit: str | None = _field(_TEXT, "Unit of a number.")


class SpanLine(_Part):
    """What the run spent its time on: one interval of it."""

    type: Literal["span"] = _field('"span"', "Kind of line.", needed=True)
    name: str = _field(_TEXT, "Operator, phase, operation: what is compared between runs.", needed=True)
    start_ns: Whole = _field("a whole number", "Start, on one clock for all spans of the run.", unit="ns", needed=True)
    duration_ns: Count = _field(_COUNT, "From its start to its end.", unit="ns", needed=True)
    span_id: Id | None = _field("text or a whole number", "Id of the span, unique in the run.")
    parent_span_id: Id | None = _field("text or a whole number", "Id of the span that encloses it.")
    trace_id: Id | None = _field("text or a whole number", "Trace it belongs to.")
    sample_id: Id | None = _field("text or a whole number", "Sample whose output it is about.")
    category: str | None = _field(_TEXT, "Kind of span, for instance cpu_op, kernel, phase.")
    process: Id | None = _field("text or a whole number", "Process or service it ran in.")
    thread: Id | None = _field("text or a whole number", "Thread, stream or lane it ran in.")
    started_at: Instant | None = _field(_INSTANT_WORDS, "Start as wall-clock time.")
    status: SpanStatus | None = _field("one of ok, error", "Whether the span itself failed; ok when absent.")
    attributes: dict[str, Any] | None = _field(_OBJECT, "Everything else that is known of it.")


class EndLine(_Part):
    """The last line; a file without it is of a run that is still going on or was killed (status `started`)."""

    type: Literal["end"] = _field('"end"', "Kind of line.", needed=True)
    status: RunStatus = _field(f"one of {', '.join(RUN_STATUSES)}", "How the run ended.", needed=True)
    ended_at: Instant | None = _field(_INSTANT_WORDS, "When the run ended.")
    error_message: str | None = _field(_TEXT, "Why the run as a whole failed.")


LINES: dict[str, type[_Part]] = {
    "run": RunLine,
    "output": OutputLine,
    "metric": MetricLine,
    "param": ParamLine,
    "span": SpanLine,
    "end": EndLine,
}
# Objects inside lines, by the heading that the docs give them.
PARTS: dict[str, type[_Part]] = {
    "fingerprint": Fingerprint,
    "code_version": CodeVersionPart,
    "tokens[]": Token,
    "tokens[].top_k[]": TopToken,
    "phases[]": Phase,
}
_TYPES_WORDS = f"one of {', '.join(LINES)}"


@dataclass(frozen=True)
class Departure:
    """A field of a line that is not what the declaration says; `given` is the value, `...` where it is missing."""

    path: str
    allowed: str
    given: object

    @property
    def message(self) -> str:
        """What stands there and what is allowed, in a sentence."""
        if self.given is ...:
            return f"{self.path} is missing; it must be {self.allowed}."
        return f"{self.path} is {_shown(self.given)}; allowed: {self.allowed}."


def find_departures(line: Mapping[str, Any]) -> list[Departure]:
    """Where a line departs from the declaration; none when it is good. Takes a few microseconds without tokens."""
    kind = line.get("type", ...)
    model = LINES.get(kind) if isinstance(kind, str) else None
    if model is None:
        return [Departure("type", _TYPES_WORDS, kind)]
    try:
        model.model_validate(line)
    except ValidationError as error:
        departures: dict[str, Departure] = {}
        for detail in error.errors(include_url=False, include_context=False):
            departure = _departure(model, detail["loc"], line)
            # The alternatives of one field are errors of their own, and are one to the reader.
            departures.setdefault(departure.path, departure)
        return list(departures.values())
    return []


def _departure(model: type[_Part], place: tuple[int | str, ...], line: object) -> Departure:
    """The deepest declared field on the way to `place`, with the value that stands there."""
    path, value, owner, allowed = "", line, model, ""
    for step in place:
        if isinstance(step, int):
            if not isinstance(value, list):
                break
            path, value = f"{path}[{step}]", value[step]
            allowed = _OBJECT if owner in _ITEMS else allowed
            continue
        known = owner.model_fields.get(step) if owner is not _NOWHERE else None
        if isinstance(value, dict) and (known is not None or step in value):
            path, value = f"{path}.{step}" if path else step, value.get(step, ...)
        if known is not None:
            allowed = words_of(known)[0]
            owner = _INSIDE.get((owner, step), _NOWHERE)
    return Departure(path, allowed, value)


class _Nowhere(_Part):
    """Stands for values that have no declared fields."""


_NOWHERE: type[_Part] = _Nowhere
_INSIDE: dict[tuple[type[_Part], str], type[_Part]] = {
    (RunLine, "fingerprint"): Fingerprint,
    (RunLine, "code_version"): CodeVersionPart,
    (OutputLine, "tokens"): Token,
    (Token, "top_k"): TopToken,
    (OutputLine, "phases"): Phase,
}
_ITEMS = frozenset({Token, TopToken, Phase})


def words_of(info: Any) -> tuple[str, str]:  # noqa: ANN401 - pydantic's FieldInfo
    """What a field may hold, and its unit, in words."""
    extra = info.json_schema_extra
    return str(extra["allowed"]), str(extra["unit"])


def _shown(value: object) -> str:
    """A value in a message: what is plain as it is, anything else by its type."""
    if not (value is None or isinstance(value, bool | int | float | str | list | dict | tuple)):
        return f"a {type(value).__module__}.{type(value).__qualname__}"
    try:
        shown = "null" if value is None else str(value).lower() if isinstance(value, bool) else repr(value)
    except RecursionError:
        return "nested too deeply to be shown"
    return shown if len(shown) <= _MAX_SHOWN else f"{shown[:_MAX_SHOWN]}..."
