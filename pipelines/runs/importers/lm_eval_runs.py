"""What an lm-evaluation-harness invocation says about its runs: one run a task, from the results file.

What belongs here: identity, settings, fingerprint, code version and aggregate metrics. Sample rows are `lm_eval.py`.
"""

from __future__ import annotations

import datetime as dt
import re
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from lake.identity import derived_id, json_digest, text_digest
from pipelines.runs.importers.frames import MetricRow
from pipelines.runs.records import (
    Fault,
    JsonObject,
    as_count,
    as_instant,
    as_number,
    as_object,
    as_text,
    canonical_json,
)

if TYPE_CHECKING:
    from pipelines.runs.importers.protocol import SourceGroup
    from pipelines.runs.sources import SourceFile

_DATE_ID = r"\d{4}-\d{2}-\d{2}T\d{2}-\d{2}-\d{2}(?:\.\d+)?"
_NAME = re.compile(rf"^(?:samples_(?P<task>.+)|results|.+)_(?P<date_id>{_DATE_ID})\.jsonl?(?:\.gz)?$")
# The name that lm-eval invents when model_args name no model: eight random characters, another each time.
_RANDOM_NAME = re.compile(r"^[0-9a-z]{8}$")
_MODEL_KEYS = ("pretrained", "model", "path", "engine", "peft", "delta")
_GPU = re.compile(r"GPU \d+: ([^\n]+)")
_ENGINES = {
    "hf": "transformers",
    "hf-auto": "transformers",
    "hf-multimodal": "transformers",
    "vllm": "vllm",
    "vllm-vlm": "vllm",
    "sglang": "sglang",
    "gguf": "llama.cpp",
    "ggml": "llama.cpp",
    "openvino": "openvino",
}
# Beyond thirty years a duration is a mistake, and beyond the calendar it cannot be added.
_LONGEST_SECONDS = 1e9
_PROMPT_KEYS = (
    "description",
    "doc_to_text",
    "doc_to_choice",
    "fewshot_config",
    "fewshot_delimiter",
    "gen_prefix",
    "num_fewshot",
    "target_delimiter",
    "use_prompt",
)
_SUITE_KEYS = (
    "dataset_name",
    "dataset_path",
    "doc_to_target",
    "fewshot_split",
    "metric_list",
    "output_type",
    "process_docs",
    "task",
    "test_split",
    "validation_split",
)
_ENVIRONMENT_KEYS = ("pretty_env_info", "transformers_version", "lm_eval_version", "upper_git_hash")


@dataclass(frozen=True)
class FileNames:
    """What a file's name says; None where it says nothing."""

    task: str | None
    date_id: str | None


@dataclass(kw_only=True)
class TaskRun:
    """One task of an invocation; `filters` are those that the results name."""

    suite: str
    run_id: str
    run_date: dt.date
    row: JsonObject
    filters: frozenset[str] = frozenset()
    metrics: list[MetricRow] = field(default_factory=list)
    faults: list[Fault] = field(default_factory=list)


@dataclass(kw_only=True)
class Invocation:
    """Tasks that nothing has been read for yet, and how to make one that the results do not name."""

    group: SourceGroup
    header: JsonObject
    header_file: SourceFile | None
    tasks: list[TaskRun] = field(default_factory=list)

    def task_of(self, file: SourceFile) -> TaskRun:
        """The run of a samples file, taken out of the waiting ones."""
        suite = file_names(file.path.name).task or _stem(file)
        for task in self.tasks:
            if task.suite == suite:
                self.tasks.remove(task)
                return task
        return _task_run(self, suite, file)

    def take_waiting(self) -> list[TaskRun]:
        """The tasks that have no samples file, taken out."""
        waiting, self.tasks = self.tasks, []
        return waiting


def file_names(name: str) -> FileNames:
    """Task and date id in a file's name; the rows themselves hold neither."""
    match = _NAME.match(name)
    return FileNames(match["task"], match["date_id"]) if match else FileNames(None, None)


def read_invocation(group: SourceGroup, files: list[SourceFile], headers: list[JsonObject]) -> Invocation:
    """The invocation with a waiting run for every task that the results name, groups of tasks included."""
    header = headers[0] if headers else {}
    invocation = Invocation(group=group, header=header, header_file=files[0] if files else None)
    for suite in as_object(header.get("results")):
        invocation.tasks.append(_task_run(invocation, suite, None))
    return invocation


def _task_run(invocation: Invocation, suite: str, samples: SourceFile | None) -> TaskRun:
    header, faults = invocation.header, list[Fault]()
    file = invocation.header_file or samples
    assert file is not None
    date_id = file_names(file.path.name).date_id
    started_at = as_instant(header.get("date"), "date", faults) or _date_id_instant(date_id) or file.modified_at
    # The folder is the model's name, or at least the same for all files of an invocation.
    identity = (file.path.parent.name, date_id, suite) if date_id else (file.sha256, suite)
    run_id = derived_id("run", "lm_eval", *identity)
    run = TaskRun(suite=suite, run_id=run_id, run_date=started_at.date(), row={}, faults=faults)
    run.row = _row(invocation, run, started_at, file, date_id)
    results = as_object(as_object(header.get("results")).get(suite))
    directions = as_object(as_object(header.get("higher_is_better")).get(suite))
    run.metrics, run.filters = _metrics(run, results, directions)
    return run


def _row(
    invocation: Invocation, run: TaskRun, started_at: dt.datetime, file: SourceFile, date_id: str | None
) -> JsonObject:
    header = invocation.header
    config = as_object(header.get("config"))
    task = as_object(as_object(header.get("configs")).get(run.suite))
    source = as_text(header.get("model_source") or config.get("model"))
    engine = _ENGINES.get(source or "", source)
    seconds = as_number(header.get("total_evaluation_time_seconds"), "total_evaluation_time_seconds", run.faults)
    effective = as_object(as_object(header.get("n-samples")).get(run.suite)).get("effective")
    return {
        "run_id": run.run_id,
        "run_date": run.run_date,
        "source_kind": "lm_eval",
        "source_run_id": date_id,
        "file_sha256": file.sha256,
        "content_digest": invocation.group.content_digest,
        "suite": run.suite,
        "backend": source or "unknown",
        "model": _model(header, config, file),
        "engine": engine,
        "engine_version": _version(header, engine),
        "parameters": canonical_json(
            {"config": config, "task": _picked(task, ("generation_kwargs", "num_fewshot", "repeats"))}
        )
        if header
        else None,
        "environment": canonical_json(_picked(header, _ENVIRONMENT_KEYS)) if header else None,
        "fingerprint": _fingerprint(header, config, task, run),
        "code_version": {"commit": as_text(header.get("git_hash"))},
        "started_at": started_at,
        "ended_at": started_at + dt.timedelta(seconds=seconds)
        if seconds is not None and 0 <= seconds < _LONGEST_SECONDS
        else None,
        "status": "success" if header else "started",
        "expected_sample_count": as_count(effective, "n-samples.effective", run.faults),
    }


def _model(header: JsonObject, config: JsonObject, file: SourceFile) -> str:
    """The model as it was asked for: lm-eval's own name for it is random when it cannot read the arguments."""
    arguments = _arguments(config.get("model_args"))
    named = next((as_text(arguments[key]) for key in _MODEL_KEYS if arguments.get(key)), None)
    name = as_text(header.get("model_name"))
    is_random = name is not None and bool(_RANDOM_NAME.match(name)) and named is None
    fallback = as_text(config.get("model")) if is_random else name
    return named or fallback or name or file.path.parent.name or "unknown"


def _arguments(value: object) -> JsonObject:
    """`a=1,b=2` or an object."""
    if isinstance(value, str):
        return dict(part.split("=", 1) for part in value.split(",") if "=" in part)
    return as_object(value)


def _version(header: JsonObject, engine: str | None) -> str | None:
    version = as_text(header.get("transformers_version"))
    return version if engine == "transformers" and version != "N/A" else None


def _fingerprint(header: JsonObject, config: JsonObject, task: JsonObject, run: TaskRun) -> JsonObject:
    """What must agree between two runs. Local paths (dataset_kwargs) and limits are no part of it."""
    if not header:
        return {}
    arguments = _arguments(config.get("model_args"))
    version = as_object(header.get("versions")).get(run.suite)
    prompt = _picked(task, _PROMPT_KEYS) | _picked(header, ("system_instruction", "fewshot_as_multiturn"))
    template = as_text(header.get("chat_template_sha")) or as_text(header.get("chat_template"))
    environment = as_text(header.get("pretty_env_info")) or ""
    gpu = _GPU.search(environment)
    return {
        "suite_digest": _digest(_picked(task, _SUITE_KEYS) | {"task": run.suite, "version": version}),
        "prompt_digest": _digest(prompt | {"shots": as_object(header.get("n-shot")).get(run.suite)}) if task else None,
        # The key is there with null when no template was applied, which is known and not the same as any template.
        "chat_template_digest": template or (text_digest("") if "chat_template" in header else None),
        "tokenizer": as_text(arguments.get("tokenizer")),
        "sampling_digest": _digest(
            {
                "generation_kwargs": task.get("generation_kwargs"),
                "gen_kwargs": config.get("gen_kwargs"),
                "repeats": task.get("repeats"),
            }
        )
        if task
        else None,
        "concurrency": as_count(arguments.get("num_concurrent"), "num_concurrent", []),
        "hardware": gpu[1].strip() if gpu else as_text(config.get("device")),
    }


def _metrics(run: TaskRun, results: JsonObject, directions: JsonObject) -> tuple[list[MetricRow], frozenset[str]]:
    """Aggregates, keyed `metric,filter` with `metric_stderr,filter` beside them, and the filters that they name."""
    rows, filters = [], set()
    for key, value in results.items():
        metric, comma, variant = key.partition(",")
        if not comma or metric.endswith("_stderr"):
            continue
        filters.add(variant)
        number = as_number(value, key, run.faults)
        if number is None:
            continue
        error = results.get(f"{metric}_stderr,{variant}")
        rows.append(
            MetricRow(
                run_id=run.run_id,
                metric=metric,
                variant="" if variant == "none" else variant,
                step=0,
                run_date=run.run_date,
                value=number,
                unit="1",
                standard_error=None if error == "N/A" else as_number(error, f"{metric}_stderr", run.faults, minimum=0),
                is_higher_better=directions.get(metric) if isinstance(directions.get(metric), bool) else None,
            )
        )
    return rows, frozenset(filters)


def _picked(value: JsonObject, keys: tuple[str, ...]) -> JsonObject:
    return {key: value[key] for key in keys if key in value}


def _digest(value: JsonObject) -> str:
    """Like `json_digest`, for values that may hold integers beyond 64 bits."""
    try:
        return json_digest(value)
    except TypeError:
        return text_digest(canonical_json(value))


def _date_id_instant(date_id: str | None) -> dt.datetime | None:
    """The date id is an ISO instant in local time with dashes for colons; without the zone it is taken as UTC."""
    if date_id is None:
        return None
    day, _, clock = date_id.partition("T")
    return as_instant(f"{day}T{clock.replace('-', ':')}", "date_id", [])


def _stem(file: SourceFile) -> str:
    return file.path.name.split(".", 1)[0].removeprefix("samples_") or "unknown"
