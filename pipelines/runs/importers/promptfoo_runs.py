"""An evaluation of promptfoo as runs: one for each provider and prompt, which is a column of its table.

What belongs here: identity, settings, fingerprint, code version and aggregates. Single results are
`promptfoo_results.py`.
"""

from __future__ import annotations

import datetime as dt
from collections import Counter
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from lake.identity import derived_id, text_digest
from pipelines.runs.importers.code_keys import lift_code_version
from pipelines.runs.importers.promptfoo_providers import ENGINES, find_provider, model_of, vendor_of
from pipelines.runs.records import (
    Fault,
    JsonObject,
    as_count,
    as_instant,
    as_list,
    as_number,
    as_object,
    as_tags,
    as_text,
    canonical_json,
)

if TYPE_CHECKING:
    from pipelines.runs.importers.promptfoo_results import Result
    from pipelines.runs.importers.protocol import SourceGroup
    from pipelines.runs.sources import SourceFile

_SAMPLING_KEYS = (
    "temperature",
    "top_p",
    "top_k",
    "max_tokens",
    "max_completion_tokens",
    "max_output_tokens",
    "seed",
    "stop",
    "frequency_penalty",
    "presence_penalty",
    "reasoning_effort",
    "response_format",
)
_SUITE_KEYS = ("description", "tests", "scenarios", "defaultTest", "assertionTemplates")
_UNTOLD_OPTIONS = frozenset({"eventSource", "showProgressBar"})
_ENVIRONMENT_KEYS = ("promptfooVersion", "nodeVersion", "platform", "arch")
# Beyond a year a duration is a mistake.
_LONGEST_MS = 366 * 86_400_000


@dataclass(kw_only=True)
class PromptRun:
    """One column: a provider with a prompt, and what its results add up to."""

    run_id: str
    run_date: dt.date
    row: JsonObject
    aggregates: JsonObject
    statuses: Counter[str] = field(default_factory=Counter)
    cost_usd: float | None = None
    span_count: int = 0

    @property
    def landed(self) -> int:
        """Results that landed."""
        return sum(self.statuses.values())

    def add(self, result: Result) -> None:
        """Count a result."""
        self.statuses[result.status] += 1
        if result.cost_usd is not None:
            self.cost_usd = (self.cost_usd or 0.0) + result.cost_usd


@dataclass(kw_only=True)
class Evaluation:
    """The runs of a file by the index of their prompt; `header` is everything but the results."""

    group: SourceGroup
    file: SourceFile
    header: JsonObject
    started_at: dt.datetime
    faults: list[Fault]
    status: str = "success"
    runs: dict[int, PromptRun] = field(default_factory=dict)

    @property
    def config(self) -> JsonObject:
        """The configuration as promptfoo wrote it into the file."""
        return as_object(self.header.get("config"))

    @property
    def prompts(self) -> list[Any]:
        """The columns of the table with their aggregates, wherever the version keeps them."""
        results = as_object(self.header.get("results"))
        head = as_object(as_object(results.get("table")).get("head"))
        return as_list(results.get("prompts")) or as_list(self.header.get("prompts")) or as_list(head.get("prompts"))

    def begin_promised(self) -> None:
        """Make a run for every column that the header names, so that one without results is known too."""
        for index, item in enumerate(self.prompts):
            provider = as_object(item).get("provider")
            name = as_text(as_object(provider).get("label") or as_object(provider).get("id") or provider)
            self.run_of(index, {"provider": {"id": name}} if name is not None else {})

    def run_of(self, prompt_index: int, result: JsonObject) -> PromptRun:
        """The run of a column, made from the first result that needs it."""
        run = self.runs.get(prompt_index)
        if run is None:
            run = self.runs[prompt_index] = self._begin(prompt_index, result)
        return run

    def find_column(self, result: JsonObject) -> int:
        """The column of a result that does not say its index: by provider and prompt, else the provider's first."""
        provider = as_object(result.get("provider"))
        names = {text for key in ("label", "id") if (text := as_text(provider.get(key)))}
        label = as_object(result.get("prompt")).get("label", as_object(result.get("prompt")).get("display"))
        columns = [(index, as_object(item)) for index, item in enumerate(self.prompts)]
        mine = [(index, item) for index, item in columns if item.get("provider") in names]
        same = [index for index, item in mine if label is not None and label in (item.get("label"), item.get("raw"))]
        return next(iter(same or [index for index, _ in mine]), 0)

    def _begin(self, prompt_index: int, result: JsonObject) -> PromptRun:
        prompt = as_object(self.prompts[prompt_index]) if prompt_index < len(self.prompts) else {}
        eval_id = as_text(self.header.get("evalId") or self.header.get("id"))
        run_id = derived_id("run", "promptfoo", eval_id or self.file.sha256, str(prompt_index))
        run_date = self.started_at.date()
        row = {
            "run_id": run_id,
            "run_date": run_date,
            "source_kind": "promptfoo",
            "source_run_id": eval_id,
            "file_sha256": self.file.sha256,
            "content_digest": self.group.content_digest,
            "started_at": self.started_at,
            **self._settings(prompt, result),
        }
        return PromptRun(run_id=run_id, run_date=run_date, row=row, aggregates=as_object(prompt.get("metrics")))

    def _settings(self, prompt: JsonObject, result: JsonObject) -> JsonObject:
        """What the column was made with."""
        given = as_object(result.get("provider"))
        name = as_text(given.get("label")) or as_text(given.get("id")) or "unknown"
        provider = find_provider(self.config.get("providers"), name) | {
            key: value for key, value in given.items() if value and value != name
        }
        identity = as_text(provider.get("id")) or name
        settings = as_object(provider.get("config"))
        options = self._options()
        template = as_text(prompt.get("raw"))
        sampling = {key: settings[key] for key in _SAMPLING_KEYS if settings.get(key) is not None}
        tested = {key: self.config[key] for key in _SUITE_KEYS if self.config.get(key)}
        return {
            "suite": as_text(self.config.get("description")) or "unknown",
            "backend": name,
            "model": as_text(settings.get("model")) or model_of(identity),
            "engine": ENGINES.get(vendor_of(identity) or ""),
            "parameters": _json(
                {"provider": settings, "prompt": as_text(prompt.get("label")) or template, "options": options}
            ),
            "environment": _json(_picked(as_object(self.header.get("metadata")), _ENVIRONMENT_KEYS)),
            "fingerprint": {
                "suite_digest": text_digest(canonical_json(tested)) if "tests" in tested else None,
                "prompt_digest": None if template is None else text_digest(template),
                "sampling_digest": text_digest(canonical_json(sampling)) if settings else None,
                "concurrency": as_count(options.get("maxConcurrency"), "maxConcurrency", []),
            },
            "code_version": self._code_version(result),
            "tags": _tags(self.config.get("tags")),
        }

    def _options(self) -> JsonObject:
        given = as_object(self.config.get("evaluateOptions")) | as_object(self.header.get("runtimeOptions"))
        return {key: value for key, value in given.items() if key not in _UNTOLD_OPTIONS}

    def _code_version(self, result: JsonObject) -> JsonObject:
        """What people put into the configuration's metadata or tags; promptfoo copies metadata into every test."""
        test = as_object(result.get("testCase"))
        found: JsonObject = {}
        for place in (self.config.get("metadata"), self.config.get("tags"), test.get("metadata")):
            found = lift_code_version(as_object(place))[0] | found
        return found

    def finished_row(self, run: PromptRun) -> JsonObject:
        """The row of silver.runs once every result was read."""
        stats = as_object(as_object(self.header.get("results")).get("stats"))
        duration = as_number(stats.get("durationMs"), "stats.durationMs", [], minimum=0)
        is_usable = duration is not None and duration < _LONGEST_MS
        ended_at = self.started_at + dt.timedelta(milliseconds=duration or 0) if is_usable else None
        return run.row | {
            "status": self.status,
            "ended_at": ended_at,
            "expected_sample_count": promised_count(run.aggregates),
        }


def read_evaluation(header: JsonObject, group: SourceGroup, file: SourceFile) -> Evaluation:
    """The evaluation that a header tells of; an empty header is that of a file that holds results alone."""
    faults: list[Fault] = []
    return Evaluation(
        group=group, file=file, header=header, started_at=_started_at(header, file, faults), faults=faults
    )


def _started_at(header: JsonObject, file: SourceFile, faults: list[Fault]) -> dt.datetime:
    created = header.get("createdAt")
    is_milliseconds = isinstance(created, int | float) and not isinstance(created, bool)
    candidates = (
        ("metadata.evaluationCreatedAt", as_object(header.get("metadata")).get("evaluationCreatedAt")),
        ("results.timestamp", as_object(header.get("results")).get("timestamp")),
        ("createdAt", created / 1000 if is_milliseconds else created),  # type: ignore[operator]  # then it is a number
    )
    for name, given in candidates:
        if given is not None and (instant := as_instant(given, name, faults)) is not None:
            return instant
    return file.modified_at


def promised_count(aggregates: JsonObject) -> int | None:
    """How many tests the aggregates of a column sum up; None without aggregates."""
    ignored: list[Fault] = []
    keys = ("testPassCount", "testFailCount", "testErrorCount")
    counts = [as_count(aggregates.get(key), key, ignored) for key in keys]
    known = [count for count in counts if count is not None]
    return min(sum(known), 2**63 - 1) if known else None


def _tags(given: object) -> list[str]:
    """Tags of this tool are names with values; one without a value is its name."""
    if isinstance(given, dict):
        return sorted(
            f"{key}={as_text(value)}" if value not in ("", None, True) else key for key, value in given.items()
        )
    return as_tags(given)


def _picked(value: JsonObject, keys: tuple[str, ...]) -> JsonObject:
    return {key: value[key] for key in keys if value.get(key) is not None}


def _json(value: JsonObject) -> str | None:
    known = {key: item for key, item in value.items() if item not in (None, {}, [])}
    return canonical_json(known) if known else None
