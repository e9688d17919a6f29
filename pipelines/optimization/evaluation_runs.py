"""Start and best of an optimisation run as two runs over the test items, for gates, diffs and trends to look at.

Their suite is the test split of this optimisation run, so each pair stands for itself: the start of a later one is no
regression against the best of this.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable, Mapping
from importlib.metadata import version
from pathlib import Path
from typing import Any

import orjson
import polars as pl

from lake.identity import derived_id
from lake.store import Lake
from pipelines.optimization.items import as_text, read_outputs
from pipelines.optimization.templates import Template
from pipelines.runs.run_lines import Line, instant
from pipelines.runs.run_log import RunLog
from pipelines.runs.run_writer import start_run

TAG = "optimization"
_KINDS = ("start", "best")


def evaluation_run_id(optimization_run_id: str, kind: str) -> str:
    """Id of the run that holds the answers of the start or the best program."""
    return derived_id("optimization_evaluation", optimization_run_id, kind)


def write_evaluation_runs(
    lake: Lake,
    run: Mapping[str, Any],
    template: Template,
    trials: pl.DataFrame,
    *,
    landing: Path,
    clock: Callable[[], dt.datetime],
) -> tuple[str, ...]:
    """Write and import both runs, the start first so that the best has it as its baseline; gives their ids."""
    written = []
    for kind in _KINDS:
        trial = trials.filter(split="test", trial_kind=kind).row(-1, named=True)
        run_id = evaluation_run_id(run["optimization_run_id"], kind)
        written.append(run_id)
        if lake.read("silver.runs", columns=["run_id"], where={"run_id": run_id}).is_empty():
            examples = _examples(lake, trial["item_ids"])
            with start_run(lake, landing, _header(run, trial, run_id), clock=clock) as writer:
                _log_items(writer, template, trial, examples)
    return tuple(written)


def _log_items(writer: RunLog, template: Template, trial: Mapping[str, Any], examples: Mapping[str, Any]) -> None:
    name, scorer = template.scored_field, template.metric.scorer.name
    for item_id, score, given in zip(trial["item_ids"], trial["item_scores"], trial["item_outputs"], strict=True):
        outputs = orjson.loads(given)
        if writer.has_output(item_id):
            continue
        example = examples.get(item_id)
        writer.log_output(
            item_id,
            prompt=example["inputs"] if example else None,
            output=as_text(outputs[name]) if outputs.get(name) is not None else None,
            reference=as_text(read_outputs(example["expected_output"], template).get(name)) if example else None,
            scores={scorer: score},
            error_message=None if outputs else "The program gave no output.",
        )


def _header(run: Mapping[str, Any], trial: Mapping[str, Any], run_id: str) -> Line:
    digest = derived_id("optimization_test", run["dataset_digest"])
    return {
        "type": "run",
        "schema_version": 1,
        "run_id": run_id,
        "suite": f"{run['template']} test {run['optimization_run_id'][:8]}",
        "backend": run["language_model"],
        "model": run["model"],
        "engine": "dspy",
        "engine_version": version("dspy"),
        "started_at": instant(trial["recorded_at"]),
        "parameters": {
            "optimization_run_id": run["optimization_run_id"],
            "program_id": trial["program_id"],
            "program": trial["trial_kind"],
            "optimizer": run["optimizer"],
            "demo_count": trial["demo_count"],
        },
        "environment": {},
        "fingerprint": {"suite_digest": digest, "prompt_digest": digest},
        "code_version": {},
        "tags": [TAG, trial["trial_kind"]],
        "expected_sample_count": trial["item_count"],
    }


def _examples(lake: Lake, item_ids: list[str]) -> dict[str, Mapping[str, Any]]:
    rows = lake.read(
        "silver.examples", columns=["example_id", "inputs", "expected_output"], where={"example_id": item_ids}
    )
    return {row["example_id"]: row for row in rows.iter_rows(named=True)}
