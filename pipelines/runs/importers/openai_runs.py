"""The run that exchanges with one model add up to: what all requests have in common, and where they differ.

What belongs here: settings, fingerprint, engine and code version, gathered request by request in bounded memory.
What a single exchange says is `openai_samples.py`.
"""

from __future__ import annotations

import datetime as dt
import re
from dataclasses import dataclass, field
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from lake.identity import derived_id, text_digest
from pipelines.runs.importers.code_keys import lift_code_version
from pipelines.runs.records import Fault, JsonObject, as_count, as_list, as_object, as_tags, canonical_json

if TYPE_CHECKING:
    from pipelines.runs.importers.openai_exchange import Exchange
    from pipelines.runs.importers.openai_samples import Times
    from pipelines.runs.importers.protocol import SourceGroup
    from pipelines.runs.sources import SourceFile

# What differs with every sample, or says nothing about how the model answers.
_NO_SETTING = frozenset(
    {"messages", "prompt", "input", "instructions", "model", "stream", "stream_options", "user", "metadata", "suffix",
     "request_id", "store", "safety_identifier", "prompt_cache_key"}
)  # fmt: skip
_SAMPLING_KEYS = frozenset(
    {"temperature", "top_p", "top_k", "min_p", "typical_p", "max_tokens", "max_completion_tokens", "max_output_tokens",
     "seed", "stop", "n", "best_of", "frequency_penalty", "presence_penalty", "repetition_penalty", "repeat_penalty",
     "logit_bias", "response_format", "reasoning_effort", "reasoning", "echo", "min_tokens", "ignore_eos",
     "guided_json", "guided_regex", "guided_choice", "guided_grammar", "structured_outputs", "grammar"}
)  # fmt: skip
# A seed differs by design; as a tag it would make every sample a slice of its own.
_NO_TAG = frozenset({"seed"})
_LONGEST_SETTING = 4096
_LONGEST_TAG = 64
# So many different values are remembered; beyond that a run is not described by them.
_MOST_VALUES = 10_000
_MOST_NAMES = 20
_LLAMA_FINGERPRINT = re.compile(r"^b\d+-[0-9a-f]+$")
_VLLM_FINGERPRINT = re.compile(r"^vllm-(\d[\w.+]*)")
_VLLM_KEYS = frozenset({"kv_transfer_params", "prompt_logprobs", "prompt_token_ids"})
_VLLM_CHOICE_KEYS = frozenset({"stop_reason", "token_ids", "prompt_token_ids"})


@dataclass(kw_only=True)
class ModelRun:
    """A run that is being gathered; `suite` and the like are the first that a record names."""

    run_id: str
    model: str
    run_date: dt.date
    started_at: dt.datetime
    ended_at: dt.datetime | None = None
    named: JsonObject = field(default_factory=dict)
    settings: JsonObject | None = None
    varying: set[str] = field(default_factory=set)
    sampling_digests: set[str] = field(default_factory=set)
    fingerprints: set[str] = field(default_factory=set)
    response_models: set[str] = field(default_factory=set)
    code_version: JsonObject = field(default_factory=dict)
    tags: set[str] = field(default_factory=set)

    def add(self, exchange: Exchange, times: Times) -> list[str]:
        """Take up one exchange; returns the tags that tell where its settings differ from the run's first."""
        if times.started_at is not None:
            end = _later(times.started_at, times.latency_ms)
            self.ended_at = end if self.ended_at is None else max(self.ended_at, end)
        self._name(exchange)
        return self._compare_settings(exchange.request)

    def _name(self, exchange: Exchange) -> None:
        for key, value in _names(exchange).items():
            if value is not None:
                self.named.setdefault(key, value)
        for names, value in (
            (self.fingerprints, exchange.response.get("system_fingerprint")),
            (self.response_models, exchange.response.get("model")),
        ):
            if isinstance(value, str) and value and len(names) < _MOST_NAMES:
                names.add(value)
        for metadata in (exchange.envelope.get("metadata"), exchange.request.get("metadata")):
            for key, value in lift_code_version(as_object(metadata))[0].items():
                self.code_version.setdefault(key, value)
        self.tags.update(as_tags(exchange.envelope.get("run_tags"))[:_MOST_NAMES])

    def _compare_settings(self, request: JsonObject) -> list[str]:
        if not request:
            return []
        settings = {
            key: _short(value) for key, value in request.items() if key not in _NO_SETTING and value is not None
        }
        sampling = {key: value for key, value in settings.items() if key in _SAMPLING_KEYS}
        if len(self.sampling_digests) <= _MOST_VALUES:
            self.sampling_digests.add(text_digest(canonical_json(sampling)))
        if self.settings is None:
            self.settings = settings
            return []
        if settings == self.settings:
            return []
        differing = {key for key in settings | self.settings if settings.get(key) != self.settings.get(key)}
        if len(self.varying) < _MOST_NAMES:
            self.varying |= differing
        tags = (f"{key}={canonical_json(settings[key])}" for key in sorted(differing - _NO_TAG) if key in settings)
        return [tag for tag in tags if len(tag) <= _LONGEST_TAG][:_MOST_NAMES]

    def row(self, file: SourceFile, group: SourceGroup, *, status: str, expected: int | None) -> JsonObject:
        """The row of silver.runs."""
        engine, version = self._engine()
        return {
            "run_id": self.run_id,
            "run_date": self.run_date,
            "source_kind": "openai",
            "file_sha256": file.sha256,
            "content_digest": group.content_digest,
            "suite": self.named.get("suite") or "unknown",
            "backend": self.named.get("backend") or self.named.get("host") or engine or "unknown",
            "model": self.model,
            "engine": engine,
            "engine_version": version,
            "parameters": self._parameters(),
            "environment": self._environment(),
            "fingerprint": {
                "chat_template_digest": self.named.get("chat_template"),
                "sampling_digest": self._sampling_digest(),
                "logprobs_mode": self.named.get("logprobs_mode"),
                "concurrency": self.named.get("concurrency"),
                "hardware": self.named.get("hardware"),
                "tokenizer": self.named.get("tokenizer"),
            },
            "code_version": self.code_version,
            "tags": sorted(self.tags),
            "started_at": self.started_at,
            "ended_at": self.ended_at,
            "status": status,
            "expected_sample_count": expected,
        }

    def _engine(self) -> tuple[str | None, str | None]:
        named = self.named.get("engine"), self.named.get("engine_version")
        if named[0]:
            return named
        for fingerprint in sorted(self.fingerprints):
            if _LLAMA_FINGERPRINT.match(fingerprint):
                return "llama.cpp", named[1] or fingerprint
            if match := _VLLM_FINGERPRINT.match(fingerprint):
                return "vllm", named[1] or match[1]
        return self.named.get("likely_engine"), named[1]

    def _parameters(self) -> str | None:
        """What all requests have in common, and the names of what they do not."""
        settings = {key: value for key, value in (self.settings or {}).items() if key not in self.varying}
        if self.varying:
            settings["varying"] = sorted(self.varying)
        return canonical_json(settings) if settings else None

    def _environment(self) -> str | None:
        known = {"response_models": self.response_models - {self.model}, "system_fingerprints": self.fingerprints}
        listed = {key: sorted(values) for key, values in known.items() if values}
        return canonical_json(listed) if listed else None

    def _sampling_digest(self) -> str | None:
        """One digest for all requests, whatever their order; unknown without requests, or with too many kinds."""
        if not 0 < len(self.sampling_digests) <= _MOST_VALUES:
            return None
        digests = sorted(self.sampling_digests)
        return digests[0] if len(digests) == 1 else text_digest("\n".join(digests))


def begin_run(model: str, times: Times, *, file: SourceFile) -> ModelRun:
    """The run of a model in a file, from the time of its first exchange, or the file's own where that has none."""
    started_at = times.started_at or file.modified_at
    run_id = derived_id("run", "openai", file.sha256, model)
    return ModelRun(run_id=run_id, model=model, run_date=started_at.date(), started_at=started_at)


def _later(instant: dt.datetime, latency_ms: float | None) -> dt.datetime:
    try:
        return instant + dt.timedelta(milliseconds=latency_ms or 0.0)
    except OverflowError:
        return instant


def _names(exchange: Exchange) -> JsonObject:
    """What a record says about the run that it is part of."""
    envelope, metadata = exchange.envelope, as_object(exchange.envelope.get("metadata"))
    ignored: list[Fault] = []

    def said(*keys: str) -> str | None:
        values = (place.get(key) for key in keys for place in (envelope, metadata))
        return next((value for value in values if isinstance(value, str) and value), None)

    template = exchange.request.get("chat_template")
    return {
        "suite": said("suite", "task", "dataset"),
        "backend": said("backend", "provider"),
        "host": _host(exchange),
        "engine": said("engine"),
        "engine_version": said("engine_version"),
        "likely_engine": _likely_engine(exchange.response),
        "logprobs_mode": said("logprobs_mode"),
        "hardware": said("hardware", "gpu"),
        "tokenizer": said("tokenizer"),
        "concurrency": as_count(envelope.get("concurrency", metadata.get("concurrency")), "concurrency", ignored),
        "chat_template": text_digest(template) if isinstance(template, str) else None,
    }


def _host(exchange: Exchange) -> str | None:
    """Host and port of the server, from the first address in the record."""
    for place in (exchange.envelope, as_object(exchange.envelope.get("request"))):
        for key in ("base_url", "url", "endpoint"):
            given = place.get(key)
            if isinstance(given, str) and "://" in given:
                try:
                    return urlsplit(given).netloc.rpartition("@")[2] or None
                except ValueError:
                    return None
    return None


def _likely_engine(response: JsonObject) -> str | None:
    """The engine by what it alone adds to a response."""
    if isinstance(response.get("timings"), dict):
        return "llama.cpp"
    choice = as_object(next(iter(as_list(response.get("choices"))), None))
    if "matched_stop" in choice:
        return "sglang"
    return "vllm" if _VLLM_KEYS & response.keys() or _VLLM_CHOICE_KEYS & choice.keys() else None


def _short(value: object) -> object:
    """A setting as it is; a long one, such as the tools on offer, by its digest."""
    if isinstance(value, dict | list | str):
        text = canonical_json(value)
        if len(text) > _LONGEST_SETTING:
            return f"sha256:{text_digest(text)}"
    return value
