"""The run that answers of llama.cpp's server add up to: settings in common, and how fast the server was.

What belongs here: what is gathered answer by answer in bounded memory. What one answer says is `llama_cpp_answers.py`.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Self

from lake.identity import derived_id
from pipelines.runs.importers.code_keys import lift_code_version
from pipelines.runs.importers.frames import MetricRow, OutputRow
from pipelines.runs.importers.llama_cpp_tokens import is_post_sampling
from pipelines.runs.importers.openai_exchange import Exchange
from pipelines.runs.importers.settings import SharedSettings
from pipelines.runs.metric_names import metric_row
from pipelines.runs.parameters import as_parameters
from pipelines.runs.records import JsonObject, as_object, as_tags

if TYPE_CHECKING:
    from pipelines.runs.importers.protocol import SourceGroup

UNKNOWN = "unknown"
# What differs with every request, or says nothing about how the model answers.
_NO_SETTING = frozenset({"prompt", "stream", "timings_per_token", "id_slot", "model", "t_max_predict_ms"})
# Ways of asking and measuring that settings of the answer do not repeat.
_REQUEST_SETTINGS = ("cache_prompt",)
_NO_SAMPLING = frozenset({"cache_prompt", "n_probs", "post_sampling_probs"})
_MOST_TAGS = 100
# Sums of a run by name: tokens, and the milliseconds they took.
_TIMED = {"input_tokens_per_s": ("prompt_n", "prompt_ms"), "output_tokens_per_s": ("predicted_n", "predicted_ms")}


@dataclass(kw_only=True)
class AnswerRun:
    """A run that is being gathered; `named` holds what a record says first of the run as a whole."""

    run_id: str
    model: str
    group: SourceGroup
    run_date: dt.date
    started_at: dt.datetime
    ended_at: dt.datetime | None = None
    named: JsonObject = field(default_factory=dict)
    settings: SharedSettings = field(default_factory=lambda: SharedSettings(no_sampling=_NO_SAMPLING))
    logprobs_modes: set[str] = field(default_factory=set)
    code_version: JsonObject = field(default_factory=dict)
    tags: set[str] = field(default_factory=set)
    sums: dict[str, float] = field(default_factory=dict)
    timed_count: int = 0

    @classmethod
    def begin(cls, model: str, started_at: dt.datetime | None, *, group: SourceGroup) -> Self:
        """The run of a model in a file, from the time of its first answer, or the file's own where that has none."""
        moment = started_at or group.files[0].modified_at
        run_id = derived_id("run", group.source_kind, group.files[0].sha256, model)
        return cls(run_id=run_id, model=model, group=group, run_date=moment.date(), started_at=moment)

    def add(self, exchange: Exchange, output: OutputRow) -> None:
        """Take up an answer."""
        self._name(exchange)
        if output.started_at is not None:
            self.ended_at = max(self.ended_at or output.started_at, _later(output.started_at, output.latency_ms))
        if output.status != "ok":
            return
        self._add_settings(exchange)
        mode = is_post_sampling(exchange.response)
        if mode is not None:
            self.logprobs_modes.add("processed" if mode else "raw")
        timings = as_object(exchange.response.get("timings"))
        for name in (name for pair in _TIMED.values() for name in pair):
            value = timings.get(name)
            if isinstance(value, int | float) and 0 <= value < 1e15:  # noqa: PLR2004  # nothing that was measured
                self.sums[name] = self.sums.get(name, 0.0) + value
        self.timed_count += bool(timings)

    def row(self, *, is_cut: bool) -> JsonObject:
        """The row of silver.runs."""
        mode = next(iter(self.logprobs_modes)) if len(self.logprobs_modes) == 1 else None
        return {
            "run_id": self.run_id,
            "run_date": self.run_date,
            "source_kind": self.group.source_kind,
            "file_sha256": self.group.files[0].sha256,
            "content_digest": self.group.content_digest,
            "suite": self.named.get("suite") or UNKNOWN,
            "backend": self.named.get("backend") or "llama.cpp",
            "model": self.model,
            "engine": "llama.cpp",
            "engine_version": self.named.get("engine_version"),
            "parameters": as_parameters(self.settings.shared),
            "fingerprint": {
                "sampling_digest": self.settings.sampling_digest,
                "logprobs_mode": mode,
                "hardware": self.named.get("hardware"),
            },
            "code_version": self.code_version,
            "tags": sorted(self.tags),
            "started_at": self.started_at,
            "ended_at": self.ended_at,
            "status": "started" if is_cut else "success",
        }

    def metrics(self) -> Iterator[MetricRow]:
        """Tokens a second over all answers, as the server measured them."""
        for name, (tokens, milliseconds) in _TIMED.items():
            if self.sums.get(milliseconds) and self.sums.get(tokens):
                value = self.sums[tokens] / self.sums[milliseconds] * 1000
                row = metric_row(self.run_id, self.run_date, name, value)
                yield row._replace(sample_count=self.timed_count)

    def _name(self, exchange: Exchange) -> None:
        places = (exchange.envelope, as_object(exchange.envelope.get("metadata")))
        for name, keys in (
            ("suite", ("suite", "task", "dataset")),
            ("backend", ("backend",)),
            ("engine_version", ("engine_version", "build_info", "build")),
            ("hardware", ("hardware", "gpu", "device")),
        ):
            given = (place.get(key) for key in keys for place in places)
            said = next((value for value in given if isinstance(value, str) and value), None)
            if said is not None:
                self.named.setdefault(name, said)
        for key, value in lift_code_version(places[1])[0].items():
            self.code_version.setdefault(key, value)
        self.tags.update(as_tags(exchange.envelope.get("run_tags"))[:_MOST_TAGS])

    def _add_settings(self, exchange: Exchange) -> None:
        """The server tells all its settings; where it does not, those of the request are known."""
        given = as_object(exchange.response.get("generation_settings")) or exchange.request
        asked = {key: exchange.request[key] for key in _REQUEST_SETTINGS if key in exchange.request}
        settings = {key: value for key, value in (given | asked).items() if key not in _NO_SETTING}
        self.settings.add(settings)


def _later(instant: dt.datetime, latency_ms: float | None) -> dt.datetime:
    try:
        return instant + dt.timedelta(milliseconds=latency_ms or 0.0)
    except OverflowError:
        return instant
