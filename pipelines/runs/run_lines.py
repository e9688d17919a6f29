"""The lines of Benchlake's own run file, as the suite runner makes them (docs/formats/benchlake.md).

Here: objects to JSON lines, nothing else. What a line may hold is `run_format.py`, when lines are written is
`suite_runs.py` and `run_writer.py`, reading them into tables is `importers/benchlake.py`.
"""

from __future__ import annotations

import datetime as dt
import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Literal

import orjson

from lake.errors import UserError
from lake.identity import json_digest
from pipelines.runs.backends import BackendIdentity, Completion, OutputToken
from pipelines.runs.run_format import SCHEMA_VERSION
from pipelines.runs.suites import Sample, Suite

Line = Mapping[str, Any]

# A run id is a file name here.
_RUN_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,127}")


@dataclass(frozen=True, kw_only=True)
class CodeVersion:
    """The code that produces a run; a None is unknown. Credentials are never part of `repository_url`."""

    commit: str | None = None
    branch: str | None = None
    pull_request: str | None = None
    is_dirty: bool | None = None
    repository_url: str | None = None


@dataclass(frozen=True, kw_only=True)
class Asked:
    """A sample that was asked: which repeat, when, and what came of it."""

    sample: Sample
    repeat_index: int
    started_at: dt.datetime
    completion: Completion
    scores: Mapping[str, float]
    scorer_errors: Mapping[str, str]


def run_line(
    suite: Suite,
    identity: BackendIdentity,
    *,
    run_id: str,
    repeats: int,
    concurrency: int | None,
    code_version: CodeVersion,
    tags: Sequence[str],
    started_at: dt.datetime,
) -> Line:
    """The first line: what is asked, of what, and everything that decides whether runs may be compared."""
    return {
        "type": "run",
        "schema_version": SCHEMA_VERSION,
        "run_id": run_id,
        "suite": suite.name,
        "backend": identity.name,
        "model": identity.model,
        "engine": identity.engine,
        "engine_version": identity.engine_version,
        "started_at": instant(started_at),
        "parameters": {
            **suite.sampling.model_dump(mode="json"),
            "suite_version": suite.version,
            "repeats": repeats,
            "model_digest": identity.model_digest,
        },
        "environment": dict(identity.environment),
        "fingerprint": {
            "suite_digest": suite.digest,
            "prompt_digest": suite.prompt_digest,
            "chat_template_digest": identity.chat_template_digest,
            "tokenizer": identity.tokenizer,
            "sampling_digest": suite.sampling_digest,
            "logprobs_mode": identity.logprobs_mode,
            "concurrency": concurrency,
            "hardware": identity.hardware,
        },
        "code_version": asdict(code_version),
        "tags": sorted(set(tags)),
        "expected_sample_count": len(suite.samples) * repeats,
    }


def output_line(asked: Asked) -> Line:
    """The line of one finished sample."""
    completion, sample = asked.completion, asked.sample
    errors = {"scorer_errors": dict(asked.scorer_errors)} if asked.scorer_errors else {}
    phases = {"phases": [asdict(phase) for phase in completion.phases]} if completion.phases else {}
    return {
        "type": "output",
        "sample_id": sample.id,
        "repeat_index": asked.repeat_index,
        "prompt": sample.prompt,
        "output": completion.output,
        "reference": sample.reference,
        "status": completion.status,
        "finish_reason": completion.finish_reason,
        "input_token_count": completion.input_token_count,
        "output_token_count": completion.output_token_count,
        "latency_ms": completion.latency_ms,
        "time_to_first_token_ms": completion.time_to_first_token_ms,
        "scores": dict(asked.scores),
        "tags": sorted(set(sample.tags)),
        "error_message": completion.error_message,
        "started_at": instant(asked.started_at),
        "tokens": [_token(token) for token in completion.tokens],
        **phases,
        **errors,
    }


def end_line(
    *, status: Literal["success", "error", "cancelled"], ended_at: dt.datetime, error_message: str | None = None
) -> Line:
    """The last line; a file without it is of a run that is still going on or was killed."""
    return {"type": "end", "status": status, "ended_at": instant(ended_at), "error_message": error_message}


def check_run_id(run_id: str) -> None:
    """Raises `UserError` if `run_id` cannot name a file that is imported."""
    if not _RUN_ID.fullmatch(run_id) or ".partial" in run_id:
        raise UserError(
            f"The run id {run_id!r} cannot be a file name; use letters, digits, dots, - and _, at most 128, "
            "without '.partial'."
        )


def encode_line(line: Line) -> bytes:
    """One line of JSON in UTF-8 with its line feed; half surrogate pairs, which JSON cannot hold, become U+FFFD."""
    try:
        return orjson.dumps(line, option=orjson.OPT_APPEND_NEWLINE)
    except orjson.JSONEncodeError:
        return orjson.dumps(_storable(line), option=orjson.OPT_APPEND_NEWLINE)


def header_digest(line: Line) -> str:
    """Digest of a run line without its start: equal when a resumed run is the same as the one that was killed."""
    return json_digest({key: value for key, value in line.items() if key != "started_at"})


def instant(value: dt.datetime) -> str:
    """ISO 8601 in UTC, to the microsecond; raises `ValueError` for a time without zone."""
    if value.tzinfo is None:
        raise ValueError(f"The clock gave {value.isoformat()} without a time zone; use datetime.now(UTC).")
    return value.astimezone(dt.UTC).isoformat(timespec="microseconds").replace("+00:00", "Z")


def _token(token: OutputToken) -> Line:
    return {
        "token_id": token.token_id,
        "token": token.token,
        "bytes": list(token.bytes) if token.bytes is not None else None,
        "logprob": token.logprob if token.logprob is not None and math.isfinite(token.logprob) else None,
        # An alternative of probability 0 is no alternative, and its -inf is no JSON number.
        "top_k": [asdict(other) for other in token.top_k if math.isfinite(other.logprob)],
    }


def _storable(value: Any) -> Any:  # noqa: ANN401 - any JSON value
    if isinstance(value, str):
        return value.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
    if isinstance(value, dict):
        return {_storable(key): _storable(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_storable(item) for item in value]
    return value
