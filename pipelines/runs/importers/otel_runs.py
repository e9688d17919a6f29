"""The runs in OpenTelemetry's files: one for each service and model that it asked.

What belongs here: which run a span is part of, known before any row is made, and the rows of silver.runs. What a span
says is `otel_operations.py` and `otel_spans.py`.
"""

from __future__ import annotations

import datetime as dt
import re
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from lake.identity import derived_id
from pipelines.runs.importers.frames import MetricRow
from pipelines.runs.importers.otel_operations import (
    UNKNOWN,
    is_inference,
    model_of,
    provider_of,
    settings_of,
    suite_of,
)
from pipelines.runs.importers.settings import SharedSettings
from pipelines.runs.metric_names import metric_row
from pipelines.runs.parameters import as_parameters
from pipelines.runs.records import JsonObject, as_text

if TYPE_CHECKING:
    from pipelines.runs.importers.protocol import SourceGroup
    from pipelines.runs.sources import SourceFile

_COMMIT = re.compile(r"^[0-9a-f]{7,40}$")
# Attributes of a resource by what they are here, present names first.
_CODE = {
    "commit": ("vcs.ref.head.revision", "vcs.repository.ref.revision"),
    "branch": ("vcs.ref.head.name", "vcs.repository.ref.name"),
    "pull_request": ("vcs.change.id", "vcs.repository.change.id"),
    "repository_url": ("vcs.repository.url.full",),
}
_ENVIRONMENT_NAMES = ("deployment.environment.name", "deployment.environment")
_HARDWARE = ("host.cpu.model.name", "host.type")
_TAKEN = frozenset({"service.name", *_ENVIRONMENT_NAMES, *(name for names in _CODE.values() for name in names)})
_LONGEST_ATTRIBUTE = 4_096
_MOST_RUNS = 10_000
_EPOCH = dt.datetime(1970, 1, 1, tzinfo=dt.UTC)

RunKey = tuple[str, str]


@dataclass(kw_only=True)
class OtelRun:
    """A run that is being gathered; times in nanoseconds since 1970."""

    key: RunKey
    run_id: str
    resource: JsonObject
    file: SourceFile
    start_ns: int | None = None
    end_ns: int | None = None
    provider: str | None = None
    suite: str | None = None
    settings: SharedSettings = field(default_factory=SharedSettings)
    span_counts: Counter[str] = field(default_factory=Counter)

    def extend(self, start_ns: int, end_ns: int | None = None) -> None:
        """Take up a time at which the run was going on."""
        self.start_ns = start_ns if self.start_ns is None else min(start_ns, self.start_ns)
        last_ns = start_ns if end_ns is None else end_ns
        self.end_ns = last_ns if self.end_ns is None else max(last_ns, self.end_ns)

    def add_operation(self, attributes: JsonObject) -> None:
        """Take up what an operation says of all of them."""
        self.provider = self.provider or provider_of(attributes)
        self.suite = self.suite or suite_of(attributes)
        if is_inference(attributes):
            self.settings.add(settings_of(attributes))

    @property
    def started_at(self) -> dt.datetime:
        """The earliest time in the run, else when the file was written."""
        return self.file.modified_at if self.start_ns is None else instant(self.start_ns)

    @property
    def run_date(self) -> dt.date:
        """UTC date of the start."""
        return self.started_at.date()

    def row(self, group: SourceGroup, *, is_cut: bool) -> JsonObject:
        """The row of silver.runs."""
        service, model = self.key
        code = {name: as_text(_first(self.resource, names)) for name, names in _CODE.items()}
        version = as_text(self.resource.get("service.version"))
        if code["commit"] is None and version and _COMMIT.match(version):
            code["commit"] = version
        environment = {
            name: value
            for name, value in self.resource.items()
            if name not in _TAKEN and len(as_text(value) or "") <= _LONGEST_ATTRIBUTE
        }
        deployment = as_text(_first(self.resource, _ENVIRONMENT_NAMES))
        return {
            "run_id": self.run_id,
            "run_date": self.run_date,
            "source_kind": group.source_kind,
            "file_sha256": self.file.sha256,
            "content_digest": group.content_digest,
            "suite": self.suite or service,
            "backend": self.provider or UNKNOWN,
            "model": model,
            "parameters": as_parameters(self.settings.shared),
            "environment": as_parameters({"service.name": service} | environment),
            "fingerprint": {
                "sampling_digest": self.settings.sampling_digest,
                "hardware": as_text(_first(self.resource, _HARDWARE)),
            },
            "code_version": code,
            "tags": [deployment] if deployment else [],
            "started_at": self.started_at,
            "ended_at": None if self.end_ns is None else instant(self.end_ns),
            "status": "started" if is_cut else "success",
        }

    def metrics(self) -> Iterator[MetricRow]:
        """How many spans there are, and from the first start to the last end."""
        run_date = self.run_date
        if self.span_counts:
            yield metric_row(self.run_id, run_date, "span_count", self.span_counts.total())
        if self.span_counts and self.start_ns is not None and self.end_ns is not None:
            wall_ms = (self.end_ns - self.start_ns) / 1_000_000
            yield metric_row(self.run_id, run_date, "wall_time_ms", wall_ms, variant="trace")


@dataclass(kw_only=True)
class Runs:
    """All runs of a group, found before rows are made: only then is it known to which one a plain span belongs.

    `file` is the one that the runs are said to come from.
    """

    group: SourceGroup
    file: SourceFile
    found: dict[RunKey, OtelRun] = field(default_factory=dict)
    first_ns: int | None = None
    _models: dict[str, list[str]] = field(default_factory=dict)

    def learn(self, resource: JsonObject, attributes: JsonObject, identity: str, start_ns: int, end_ns: int) -> None:
        """Take up a span."""
        self.first_ns = start_ns if self.first_ns is None else min(start_ns, self.first_ns)
        run = self.learn_operation(resource, attributes, identity)
        if run is not None:
            run.extend(start_ns, end_ns)

    def learn_operation(self, resource: JsonObject, attributes: JsonObject, identity: str) -> OtelRun | None:
        """Take up what names a run; the first thing in it gives the run its id, so that a file may grow."""
        service, model = service_of(resource), model_of(attributes)
        if model is not None and model not in self._models.setdefault(service, []):
            self._models[service].append(model)
        key = (service, model or UNKNOWN)
        run = self.found.get(key)
        if run is None and len(self.found) < _MOST_RUNS:
            run_id = derived_id("run", self.group.source_kind, *key, identity)
            run = self.found[key] = OtelRun(key=key, run_id=run_id, resource=resource, file=self.file)
        if run is not None and model is not None:
            run.add_operation(attributes)
        return run

    def settle(self) -> None:
        """Give spans without a model to the service's one model, if it has just one."""
        for service, models in self._models.items():
            plain = self.found.get((service, UNKNOWN))
            if plain is None or len(models) != 1 or models[0] == UNKNOWN:
                continue
            del self.found[service, UNKNOWN]
            run = self.found[service, models[0]]
            if plain.start_ns is not None:
                run.extend(plain.start_ns, plain.end_ns)

    def run_of(self, resource: JsonObject, attributes: JsonObject) -> OtelRun | None:
        """The run of a span, a log record or a metric; None where there are too many runs."""
        service, model = service_of(resource), model_of(attributes)
        models = self._models.get(service, [])
        if model is None and len(models) == 1:
            model = models[0]
        return self.found.get((service, model or UNKNOWN))

    def run_of_metric(self, resource: JsonObject, attributes: JsonObject) -> OtelRun | None:
        """The run of a metric's point, which may not say what model was asked, or only what the answer called it."""
        service, asked = service_of(resource), as_text(attributes.get("gen_ai.request.model"))
        known = [key for key in self.found if key[0] == service]
        if asked is None and len(known) == 1:
            return self.found[known[0]]
        return self.found.get((service, asked or model_of(attributes) or UNKNOWN))


def service_of(resource: JsonObject) -> str:
    """The service that a resource is."""
    return as_text(resource.get("service.name")) or UNKNOWN


def instant(nanoseconds: int) -> dt.datetime:
    """An instant from nanoseconds since 1970, to the microsecond."""
    return _EPOCH + dt.timedelta(microseconds=nanoseconds // 1000)


def _first(resource: JsonObject, names: tuple[str, ...]) -> object:
    return next((resource[name] for name in names if resource.get(name) not in (None, "")), None)
