"""A result of `vllm bench serve` as a run: identity, workload, settings, code version.

What was measured is `vllm_bench_metrics.py`, single requests are `vllm_bench_requests.py`.
"""

from __future__ import annotations

import datetime as dt
from dataclasses import dataclass
from typing import TYPE_CHECKING

from lake.identity import derived_id, text_digest
from pipelines.runs.importers.code_keys import lift_code_version
from pipelines.runs.importers.vllm_bench_metrics import is_metric
from pipelines.runs.importers.vllm_bench_requests import REQUEST_KEYS
from pipelines.runs.records import (
    Fault,
    JsonObject,
    as_count,
    as_number,
    as_object,
    as_tags,
    as_text,
    canonical_json,
)

if TYPE_CHECKING:
    from pipelines.runs.importers.protocol import SourceGroup
    from pipelines.runs.sources import SourceFile

# What makes one execution of the tool differ from every other: the duration has nanoseconds.
_IDENTITY_KEYS = ("date", "backend", "endpoint_type", "label", "model_id", "num_prompts", "request_rate", "duration")
# What was asked of the server. Its concurrency limit is a field of its own.
_WORKLOAD_KEYS = (
    "num_prompts",
    "request_rate",
    "burstiness",
    "ramp_up_strategy",
    "ramp_up_start_rps",
    "ramp_up_end_rps",
    "dataset_name",
    "dataset_path",
)
_SAMPLING_KEYS = ("temperature", "top_p", "top_k", "min_p", "seed", "ignore_eos", "max_tokens", "logprobs")
_HARDWARE_KEYS = ("hardware", "gpu", "gpu_name", "gpu_type", "device", "accelerator", "machine")
_VERSION_KEYS = ("engine_version", "vllm_version")
_TAG_KEYS = ("tags", "tag")
# Names of request functions that are an engine's own; the openai ones fit every server.
_ENGINES = {
    "vllm": "vllm",
    "vllm-chat": "vllm",
    "vllm-pooling": "vllm",
    "vllm-rerank": "vllm",
    "tgi": "tgi",
    "sglang": "sglang",
    "lmdeploy": "lmdeploy",
    "tensorrt-llm": "tensorrt-llm",
    "deepspeed-mii": "deepspeed-mii",
    "scalellm": "scalellm",
    "llama.cpp": "llama.cpp",
}
# Beyond thirty years a duration is a mistake, and beyond the calendar it cannot be subtracted.
_LONGEST_SECONDS = 1e9
_YEARS = range(1970, 2200)


@dataclass(frozen=True, kw_only=True)
class BenchRun:
    """The run that an object tells of; `row` is its row of silver.runs."""

    run_id: str
    run_date: dt.date
    started_at: dt.datetime
    row: JsonObject


def read_run(value: JsonObject, file: SourceFile, group: SourceGroup, faults: list[Fault]) -> BenchRun:
    """The run of one object; what it does not say is null or unknown."""
    run_id = derived_id("run", "vllm_bench", *(canonical_json(value.get(key)) for key in _IDENTITY_KEYS))
    started_at, ended_at = _times(value, file, faults)
    row = {
        "run_id": run_id,
        "run_date": started_at.date(),
        "source_kind": "vllm_bench",
        "source_run_id": as_text(value.get("date")),
        "file_sha256": file.sha256,
        "content_digest": group.content_digest,
        "started_at": started_at,
        "ended_at": ended_at,
        **_names(value),
        **_settings(value, faults),
        **_outcome(value),
    }
    return BenchRun(run_id=run_id, run_date=started_at.date(), started_at=started_at, row=row)


def _times(value: JsonObject, file: SourceFile, faults: list[Fault]) -> tuple[dt.datetime, dt.datetime | None]:
    """Start and end: `date` is local time without a zone, taken as UTC, written when the benchmark was over."""
    ended_at = _date_instant(value.get("date"), faults)
    ignored: list[Fault] = []
    seconds = as_number(value.get("duration"), "duration", ignored, minimum=0)
    if ended_at is None:
        return file.modified_at, None
    known = seconds if seconds is not None and seconds < _LONGEST_SECONDS else 0.0
    return ended_at - dt.timedelta(seconds=known), ended_at


def _date_instant(date: object, faults: list[Fault]) -> dt.datetime | None:
    if date is None:
        return None
    try:
        instant = dt.datetime.strptime(str(date), "%Y%m%d-%H%M%S").replace(tzinfo=dt.UTC)
        if instant.year in _YEARS:
            return instant
    except ValueError:
        pass
    shown = canonical_json(date)[:80]
    faults.append(Fault("date: instant", f"date must be like 20260131-235959, not {shown}.", shown))
    return None


def _names(value: JsonObject) -> JsonObject:
    """What was measured, through what, on which software."""
    backend = as_text(value.get("backend")) or as_text(value.get("endpoint_type"))
    return {
        "suite": as_text(value.get("label")) or as_text(value.get("dataset_name")) or "unknown",
        "backend": backend or "unknown",
        "model": as_text(value.get("model_id")) or "unknown",
        "engine": as_text(value.get("engine")) or _ENGINES.get(backend or ""),
        "engine_version": _first_text(value, _VERSION_KEYS),
    }


def _settings(value: JsonObject, faults: list[Fault]) -> JsonObject:
    """Parameters, fingerprint, code version and tags; what people passed as --metadata lies among the tool's own."""
    settings = {key: item for key, item in value.items() if _is_setting(key, item)}
    code_version, lifted = lift_code_version(settings)
    parameters = {key: item for key, item in settings.items() if key not in lifted and key not in _TAG_KEYS}
    sampling = {key: settings[key] for key in _SAMPLING_KEYS if settings.get(key) is not None}
    workload = {key: settings.get(key) for key in _WORKLOAD_KEYS if settings.get(key) is not None}
    return {
        "parameters": canonical_json(parameters) if parameters else None,
        "fingerprint": {
            "suite_digest": text_digest(canonical_json(workload)) if workload else None,
            "tokenizer": as_text(value.get("tokenizer_id")),
            "sampling_digest": text_digest(canonical_json(sampling)) if sampling else None,
            "logprobs_mode": as_text(value.get("logprobs_mode")),
            "concurrency": as_count(value.get("max_concurrency"), "max_concurrency", faults),
            "hardware": _first_text(value, _HARDWARE_KEYS),
        },
        "code_version": code_version,
        "tags": _tags(value),
    }


def _is_setting(key: str, item: object) -> bool:
    """A scalar that is no result, or the command's own arguments, which the PyTorch form has."""
    if key == "args":
        return isinstance(item, dict) and bool(item)
    is_scalar = item is not None and not isinstance(item, dict | list)
    return is_scalar and key not in REQUEST_KEYS and key != "date" and not is_metric(key)


def _outcome(value: JsonObject) -> JsonObject:
    """A benchmark whose every request failed is an error; of how many requests one must know when they are listed."""
    ignored: list[Fault] = []
    completed, failed = (as_count(value.get(key), key, ignored) for key in ("completed", "failed"))
    promised = completed + failed if completed is not None and failed is not None else None
    if promised is None:
        promised = as_count(value.get("num_prompts"), "num_prompts", ignored)
    is_detailed = any(isinstance(value.get(key), list) for key in REQUEST_KEYS)
    outcome = {"status": "success", "expected_sample_count": promised if is_detailed else None}
    if completed == 0 and failed:
        outcome |= {"status": "error", "error_message": f"All {failed} requests failed."}
    return outcome


def _tags(value: JsonObject) -> list[str]:
    given = next((value[key] for key in _TAG_KEYS if value.get(key)), None)
    return as_tags(given if isinstance(given, list) else [tag.strip() for tag in str(given or "").split(",") if tag])


def _first_text(value: JsonObject, keys: tuple[str, ...]) -> str | None:
    return next((text for key in keys if (text := as_text(value.get(key)))), None)


def merge_pytorch(records: list[object]) -> JsonObject:
    """The object that the records of a `.pytorch.json` file were made from: each holds one metric and all the rest."""
    merged: JsonObject = {}
    for item in records:
        record = as_object(item)
        metric = as_object(record.get("metric"))
        values = metric.get("benchmark_values")
        benchmark = as_object(record.get("benchmark"))
        merged = as_object(benchmark.get("extra_info")) | as_object(metric.get("extra_info")) | merged
        if isinstance(metric.get("name"), str) and isinstance(values, list) and values:
            merged[metric["name"]] = values[0]
        name = as_object(record.get("model")).get("name")
        if name is not None:
            merged.setdefault("model_id", name)
    return merged
