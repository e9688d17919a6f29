"""What MLflow knows of a run, whichever store it comes from: the row of silver.runs and the names of its metrics.

What belongs here: the mapping that a folder and a database have in common. Reading a folder is `mlflow_files.py`,
a database `mlflow_database.py`; traces are `mlflow_traces.py`.
"""

from __future__ import annotations

import datetime as dt
import math
import re
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from lake.identity import derived_id, json_digest
from pipelines.runs.importers.code_keys import lift_code_version
from pipelines.runs.importers.frames import MetricRow
from pipelines.runs.metric_names import metric_row
from pipelines.runs.parameters import as_parameters
from pipelines.runs.records import Fault, JsonObject, as_instant, as_number, as_text, as_whole, canonical_json
from pipelines.runs.tracked_metrics import MetricNaming, TrackedMetric

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from pipelines.runs.importers.protocol import SourceGroup

KIND = "mlflow"
# The file store writes the number, a database the word.
_STATUSES = {
    **dict.fromkeys((1, "RUNNING"), "started"),
    **dict.fromkeys((2, "SCHEDULED"), "started"),
    **dict.fromkeys((3, "FINISHED"), "success"),
    **dict.fromkeys((4, "FAILED"), "error"),
    **dict.fromkeys((5, "KILLED"), "cancelled"),
}
_MODEL_KEYS = ("model", "model_name", "model_id", "model_name_or_path", "base_model", "pretrained")
_BACKEND_KEYS = ("backend", "provider")
_SAMPLING_KEYS = ("temperature", "top_p", "top_k", "max_tokens", "max_new_tokens", "seed")
_HEADER_KEYS = {
    "user_id": "user",
    "source_type": "source_type",
    "source_name": "source_name",
    "entry_point_name": "entry_point",
    "artifact_uri": "artifact_uri",
}
# System tags that say something about the run and have no column of their own.
_LIFTED = {
    "mlflow.runName": "run_name",
    "mlflow.note.content": "note",
    "mlflow.parentRunId": "parent_run_id",
    "mlflow.user": "user",
    "mlflow.source.name": "source_name",
    "mlflow.source.type": "source_type",
    "mlflow.runType": "run_type",
}
_COMPARISON = re.compile(r"^compare/(?P<baseline>[^/]+)/(?P<what>.+)$")
# A label that is longer is a text, which the raw record keeps.
_LONGEST_TAG = 200
# What a database writes for infinity.
_LARGEST = 1.7976931348623157e308


@dataclass(frozen=True, kw_only=True)
class RunFacts:
    """A run as read: `header` is meta.yaml or the row of the table runs."""

    run_id: str
    header: JsonObject
    experiment: JsonObject = field(default_factory=dict)
    params: Mapping[str, object] = field(default_factory=dict)
    tags: Mapping[str, object] = field(default_factory=dict)
    datasets: Sequence[JsonObject] = ()


@dataclass(kw_only=True)
class TrackedRun:
    """A run whose metrics are being read."""

    run_id: str
    run_date: dt.date
    row: JsonObject
    naming: MetricNaming = field(default_factory=MetricNaming)

    def learn_model(self, model: str | None) -> None:
        """Take the model from a trace, for a run that does not say it."""
        if model and self.row["model"] == "unknown":
            self.row["model"] = model


def read_run(facts: RunFacts, group: SourceGroup, faults: list[Fault]) -> TrackedRun:
    """The run's row from all that is known of it; `faults` get the fields that could not be used."""
    (file,) = group.files
    header, params = facts.header, facts.params
    started_at = read_time(header.get("start_time"), "start_time", faults) or file.modified_at
    run = TrackedRun(run_id=facts.run_id, run_date=started_at.date(), row={})
    status = header.get("status")
    run.row = {
        "run_id": facts.run_id,
        "run_date": run.run_date,
        "source_kind": KIND,
        "source_run_id": facts.run_id,
        "file_sha256": file.sha256,
        "content_digest": group.content_digest,
        "suite": suite_of(facts.experiment) or as_text(header.get("experiment_id")) or "unknown",
        "backend": _first(facts, _BACKEND_KEYS) or "unknown",
        "model": _first(facts, _MODEL_KEYS) or "unknown",
        "engine": _first(facts, ("engine",)),
        "engine_version": _first(facts, ("engine_version",)),
        "parameters": as_parameters(dict(params)),
        "environment": _environment(facts),
        "fingerprint": {
            "suite_digest": json_digest(sorted(map(canonical_json, facts.datasets))) if facts.datasets else None,
            "sampling_digest": _sampling_digest(params),
        },
        "code_version": _code_version(facts),
        "tags": _labels(facts),
        "started_at": started_at,
        "ended_at": read_time(header.get("end_time"), "end_time", faults),
        "status": _STATUSES.get(status, "started") if isinstance(status, str | int) else "started",
    }
    return run


def traces_run(experiment: JsonObject, day: dt.date, started_at: dt.datetime, group: SourceGroup) -> TrackedRun:
    """The run that traces of no run belong to: one an experiment and UTC day."""
    (file,) = group.files
    # Numbers of experiments start from 0 in every store; when and where one was made tells them apart.
    identity = [as_text(experiment.get(key)) for key in ("experiment_id", "creation_time", "artifact_location")]
    run_id = derived_id("run", KIND, "traces", *identity[: 2 if identity[1] else 3], day)
    return TrackedRun(
        run_id=run_id,
        run_date=day,
        row={
            "run_id": run_id,
            "run_date": day,
            "source_kind": KIND,
            "file_sha256": file.sha256,
            "content_digest": group.content_digest,
            "suite": suite_of(experiment) or as_text(experiment.get("experiment_id")) or "unknown",
            "backend": "unknown",
            "model": "unknown",
            "tags": ["traces"],
            "started_at": started_at,
            "status": "success",
        },
    )


def runtime_metric(run: TrackedRun) -> list[MetricRow]:
    """How long a run that has ended took."""
    ended_at, started_at = run.row.get("ended_at"), run.row["started_at"]
    if ended_at is None or ended_at < started_at:
        return []
    milliseconds = (ended_at - started_at) / dt.timedelta(milliseconds=1)
    name = run.naming.name("runtime_ms")
    return [metric_row(run.run_id, run.run_date, "runtime_ms", milliseconds)] if name.metric == "runtime_ms" else []


def suite_of(experiment: JsonObject) -> str | None:
    """The experiment's name."""
    return as_text(experiment.get("name")) or None


def read_time(value: object, where: str, faults: list[Fault]) -> dt.datetime | None:
    """A UTC instant from milliseconds since 1970, also as text."""
    number = as_number(value, where, faults)
    return None if number is None else as_instant(number / 1000, where, faults)


def name_metric(run: TrackedRun, key: str) -> TrackedMetric:
    """What a metric is called: numbers of a comparison go by scorer, with the baseline as variant."""
    match = _COMPARISON.match(key)
    if match is None:
        return run.naming.name(key)
    return TrackedMetric(f"compare/{match['what']}", match["baseline"], "1", 1.0, None)


def measured(
    run: TrackedRun, key: str, value: object, *, step: object, at: object, faults: list[Fault]
) -> MetricRow | None:
    """A logged value as a row, as if it were the only one of its step; None with a fault if it is not finite."""
    named = name_metric(run, key)
    number = as_number(value, f"metrics.{key}", faults)
    scaled = None if number is None else number * named.scale
    whole_step = as_whole(0 if step is None else step, f"metrics.{key}.step", faults)
    if number is None or scaled is None or whole_step is None:
        return None
    if not math.isfinite(scaled) or abs(number) == _LARGEST:
        faults.append(Fault(f"metrics.{key}: finite", f"metrics.{key} is infinite, which is not a measurement."))
        return None
    return MetricRow(
        run_id=run.run_id,
        metric=named.metric,
        variant=named.variant,
        step=whole_step,
        run_date=run.run_date,
        value=scaled,
        unit=named.unit,
        is_higher_better=named.is_higher_better,
        recorded_at=read_time(at, f"metrics.{key}.timestamp", faults),
    )


def _first(facts: RunFacts, keys: tuple[str, ...]) -> str | None:
    """The first of the keys that the parameters or the tags have."""
    values = (source.get(key) for key in keys for source in (facts.params, facts.tags))
    return next((text for value in values if (text := as_text(value))), None)


def _environment(facts: RunFacts) -> str | None:
    """Who ran it, from where, as what; the name of a source may hold an address and was redacted with the rest."""
    known = {name: facts.header[key] for key, name in _HEADER_KEYS.items() if facts.header.get(key) not in (None, "")}
    name = facts.header.get("run_name") or facts.header.get("name")
    known |= {"run_name": name} if name else {}
    known |= {name: facts.tags[tag] for tag, name in _LIFTED.items() if facts.tags.get(tag)}
    known |= {"experiment_id": facts.header["experiment_id"]} if "experiment_id" in facts.header else {}
    known |= {"datasets": list(facts.datasets)} if facts.datasets else {}
    return as_parameters(known)


def _sampling_digest(params: Mapping[str, object]) -> str | None:
    sampling = {key: as_text(params[key]) for key in _SAMPLING_KEYS if params.get(key) is not None}
    return json_digest(sampling) if sampling else None


def _code_version(facts: RunFacts) -> JsonObject:
    """From the git tags that MLflow sets, then from what people log under names such as git_branch."""
    found = {
        "commit": "mlflow.source.git.commit",
        "branch": "mlflow.source.git.branch",
        "pull_request": "mlflow.source.git.pullRequest",
        "repository_url": "mlflow.source.git.repoURL",
    }
    own, _ = lift_code_version({**facts.params, **facts.tags})
    version = own | {name: text for name, tag in found.items() if (text := as_text(facts.tags.get(tag)))}
    version.setdefault("commit", as_text(facts.header.get("source_version")) or None)
    dirty = (as_text(facts.tags.get("mlflow.source.git.dirty")) or "").lower()
    return version | ({"is_dirty": dirty == "true"} if dirty in ("true", "false") else {})


def _labels(facts: RunFacts) -> list[str]:
    """Tags that people set, as name=value; a deleted run is still there and says so."""
    own = {name: as_text(value) or "" for name, value in facts.tags.items() if not name.startswith("mlflow.")}
    labels = {name if text in ("", "true", "True") else f"{name}={text}" for name, text in own.items()}
    if facts.header.get("lifecycle_stage") == "deleted":
        labels.add("deleted")
    return sorted(label for label in labels if len(label) <= _LONGEST_TAG)
