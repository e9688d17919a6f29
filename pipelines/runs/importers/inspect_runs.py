"""The header of an Inspect log as a run: identity, settings, fingerprint, code version, aggregate metrics.

Samples are `inspect_samples.py`.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from lake.identity import derived_id, text_digest
from pipelines.runs.importers.frames import MetricRow
from pipelines.runs.records import (
    Fault,
    JsonObject,
    as_count,
    as_flag,
    as_instant,
    as_list,
    as_number,
    as_object,
    as_tags,
    as_text,
    canonical_json,
)

if TYPE_CHECKING:
    import datetime as dt

    from pipelines.runs.importers.protocol import SourceGroup

_STATUSES = {"started": "started", "success": "success", "cancelled": "cancelled", "error": "error"}
_SAMPLING_KEYS = (
    "temperature",
    "top_p",
    "top_k",
    "max_tokens",
    "seed",
    "stop_seqs",
    "frequency_penalty",
    "presence_penalty",
    "best_of",
    "num_choices",
    "reasoning_effort",
    "reasoning_tokens",
    "response_schema",
)
_STANDARD_ERRORS = ("stderr", "bootstrap_stderr")
_MEANS = ("accuracy", "mean")


@dataclass(kw_only=True)
class LogRun:
    """The run that a log tells of."""

    run_id: str
    run_date: dt.date
    model: str
    row: JsonObject
    metrics: list[MetricRow] = field(default_factory=list)


def read_run(header: JsonObject, group: SourceGroup, faults: list[Fault]) -> LogRun:
    """The run from whatever parts of a header there are."""
    (file,) = group.files
    evaluation, stats = as_object(header.get("eval")), as_object(header.get("stats"))
    started_at = (
        as_instant(evaluation.get("created"), "eval.created", faults)
        or as_instant(stats.get("started_at") or None, "stats.started_at", faults)
        or file.modified_at
    )
    run_id = _run_id(evaluation, file.sha256)
    model = as_text(evaluation.get("model")) or "unknown"
    run = LogRun(run_id=run_id, run_date=started_at.date(), model=model, row={})
    run.row = _row(header, evaluation, run, started_at, group, faults)
    run.row["ended_at"] = as_instant(stats.get("completed_at") or None, "stats.completed_at", faults)
    run.metrics = _metrics(as_object(header.get("results")), run, faults)
    return run


def tells_identity(header: JsonObject) -> bool:
    """Whether a part of a header already says what samples are read by: run, date and model."""
    evaluation = as_object(header.get("eval"))
    return as_instant(evaluation.get("created"), "eval.created", []) is not None


def _run_id(evaluation: JsonObject, sha256: str) -> str:
    """`eval_id` is one per log; `run_id` is shared by the tasks that were started together, so it needs the task."""
    if eval_id := as_text(evaluation.get("eval_id")):
        return eval_id
    parts = [as_text(evaluation.get(key)) for key in ("run_id", "task_id", "created")]
    return derived_id("run", "inspect", *parts) if any(parts) else derived_id("run", "inspect", sha256)


def _row(
    header: JsonObject,
    evaluation: JsonObject,
    run: LogRun,
    started_at: dt.datetime,
    group: SourceGroup,
    faults: list[Fault],
) -> JsonObject:
    plan, error = as_object(header.get("plan")), as_object(header.get("error"))
    provider, _, rest = run.model.partition("/")
    status = header.get("status")
    return {
        "run_id": run.run_id,
        "run_date": run.run_date,
        "source_kind": "inspect",
        "source_run_id": as_text(evaluation.get("run_id")),
        "file_sha256": group.files[0].sha256,
        "content_digest": group.content_digest,
        "suite": as_text(evaluation.get("task")) or "unknown",
        "backend": provider if rest else run.model,
        "model": run.model,
        "engine": provider if rest else None,
        "parameters": canonical_json(
            {
                "generate": _sampling(evaluation, plan),
                "model_args": as_object(evaluation.get("model_args")),
                "model_base_url": evaluation.get("model_base_url"),
                "model_roles": evaluation.get("model_roles"),
                "task_args": as_object(evaluation.get("task_args")),
                "config": as_object(evaluation.get("config")),
            }
        ),
        "environment": canonical_json(
            {"packages": as_object(evaluation.get("packages")), "sandbox": evaluation.get("sandbox")}
        ),
        "fingerprint": _fingerprint(evaluation, plan),
        "code_version": _code_version(as_object(evaluation.get("revision"))),
        "tags": _tags(header, evaluation),
        "started_at": started_at,
        "status": _STATUSES.get(status, "started") if isinstance(status, str) else "started",
        "error_message": as_text(error.get("message")),
        "expected_sample_count": _expected_samples(header, evaluation, faults),
    }


def _sampling(evaluation: JsonObject, plan: JsonObject) -> JsonObject:
    """The plan's configuration is what was in force; the evaluation's is what the model was set up with."""
    return as_object(evaluation.get("model_generate_config")) | as_object(plan.get("config"))


def _fingerprint(evaluation: JsonObject, plan: JsonObject) -> JsonObject:
    """Which samples of the dataset were taken is no part: pairs are made of samples that both runs have."""
    if not evaluation:
        return {}
    sampling = _sampling(evaluation, plan)
    dataset = as_object(evaluation.get("dataset"))
    suite = {
        "task": evaluation.get("task"),
        "task_version": evaluation.get("task_version"),
        "task_args": evaluation.get("task_args"),
        "dataset": dataset.get("name"),
        "scorers": [as_object(scorer).get("name") for scorer in as_list(evaluation.get("scorers"))],
    }
    return {
        "suite_digest": _digest(suite),
        "prompt_digest": _digest(plan.get("steps")) if plan.get("steps") is not None else None,
        "sampling_digest": _digest({key: sampling[key] for key in _SAMPLING_KEYS if sampling.get(key) is not None}),
        "concurrency": as_count(sampling.get("max_connections"), "max_connections", []),
    }


def _digest(value: object) -> str:
    return text_digest(canonical_json(value))


def _code_version(revision: JsonObject) -> JsonObject:
    return {
        "commit": as_text(revision.get("commit")),
        "is_dirty": as_flag(revision.get("dirty")),
        "repository_url": as_text(revision.get("origin")),
    }


def _tags(header: JsonObject, evaluation: JsonObject) -> list[str]:
    """Tags of the log as people have edited them since."""
    tags = set(as_tags(evaluation.get("tags"))) | set(as_tags(header.get("tags")))
    for update in as_list(header.get("log_updates")):
        for edit in as_list(as_object(update).get("edits")):
            tags |= set(as_tags(as_object(edit).get("tags_add")))
            tags -= set(as_tags(as_object(edit).get("tags_remove")))
    return sorted(tags)


def _expected_samples(header: JsonObject, evaluation: JsonObject, faults: list[Fault]) -> int | None:
    """Samples times epochs: as the results count them, else as the dataset and the limit promise."""
    total = as_count(as_object(header.get("results")).get("total_samples"), "results.total_samples", faults)
    if total is not None:
        return total
    dataset, config = as_object(evaluation.get("dataset")), as_object(evaluation.get("config"))
    epochs = as_count(config.get("epochs"), "config.epochs", faults) or 1
    if ids := as_list(dataset.get("sample_ids")):
        return len(ids) * epochs
    samples = as_count(dataset.get("samples"), "dataset.samples", faults)
    limit = config.get("limit")
    if samples is not None and isinstance(limit, int) and not isinstance(limit, bool) and limit >= 0:
        samples = min(samples, limit)
    return None if samples is None else samples * epochs


def _metrics(results: JsonObject, run: LogRun, faults: list[Fault]) -> list[MetricRow]:
    rows: dict[tuple[str, str], MetricRow] = {}
    for entry in as_list(results.get("scores")):
        score = as_object(entry)
        variant = ",".join(text for key in ("name", "reducer") if (text := as_text(score.get(key))))
        values = _metric_values(as_object(score.get("metrics")), variant, faults)
        error = next((values[name] for name in _STANDARD_ERRORS if name in values), None)
        for name, value in values.items():
            standard_error = error if name in _MEANS and error is not None and error >= 0 else None
            row = MetricRow(run.run_id, name, variant, 0, run.run_date, value, "1", standard_error, None)
            rows.setdefault((name, variant), row)
    return list(rows.values())


def _metric_values(metrics: JsonObject, variant: str, faults: list[Fault]) -> dict[str, float]:
    values = {}
    for name, metric in metrics.items():
        number = as_number(as_object(metric).get("value"), f"results.{variant}.{name}", faults)
        if number is not None:
            values[name] = number
    return values
