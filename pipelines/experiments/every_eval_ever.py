"""Runs in the exchange format Every Eval Ever 0.3.0: an aggregate file per run and a file of its samples.

What belongs here: pure functions from rows of the lake to the format's objects, and the step that writes them. The
format wants a score for every sample and bounds for every continuous metric, so outputs that nobody scored and metrics
without bounds stay behind; how many is said in the aggregate's `additional_details`.
"""

from __future__ import annotations

import datetime as dt
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import orjson
import polars as pl

from lake.identity import derived_id, file_digest, text_digest
from lake.store import Lake
from pipelines.evidence.correctness import RIGHT_AT, RIGHT_SCORE
from pipelines.runs.remarks import find_runs

SCHEMA_VERSION = "0.3.0"
_OUTPUT_COLUMNS = (
    "run_id", "sample_id", "repeat_index", "prompt", "output", "reference", "status", "input_token_count",
    "output_token_count", "latency_ms", "time_to_first_token_ms", "scores", "tags", "error_message",
)  # fmt: skip
_GENERATION = ("temperature", "top_p", "top_k")
Progress = Callable[[int, int, str], None]


@dataclass(frozen=True, kw_only=True)
class ExchangeResult:
    """Aggregate files written, rows in the files of samples, and runs that had no score to tell of."""

    run_count: int
    sample_row_count: int
    unscored_run_count: int


def export_runs(
    lake: Lake,
    folder: Path,
    words: Sequence[str],
    *,
    organization: str,
    library_version: str,
    now: dt.datetime,
    progress: Progress | None = None,
) -> ExchangeResult:
    """Write the runs that words mean into `folder`, two files each, named by an id that follows from the run.

    One run is in memory at a time. A run without any score is left out: the format has no place for it.
    """
    runs = find_runs(lake, words, now=now).sort("started_at", "run_id")
    folder.mkdir(parents=True, exist_ok=True)
    told = rows = silent = 0
    for place, run in enumerate(runs.iter_rows(named=True)):
        if progress:
            progress(place, runs.height, run["run_id"])
        where = {"run_date": run["run_date"], "run_id": run["run_id"]}
        outputs = lake.read("silver.outputs", columns=_OUTPUT_COLUMNS, where=where).sort("sample_id", "repeat_index")
        stem = derived_id("every_eval_ever", run["run_id"])
        count = _write_samples(folder / f"{stem}_samples.jsonl", run, outputs)
        if not count:
            (folder / f"{stem}_samples.jsonl").unlink()
            silent += 1
            continue
        aggregate = aggregate_of(run, outputs, organization=organization, library_version=library_version, now=now)
        aggregate["detailed_evaluation_results"] = {
            "format": "jsonl",
            "file_path": f"{stem}_samples.jsonl",
            "hash_algorithm": "sha256",
            "checksum": file_digest(folder / f"{stem}_samples.jsonl"),
            "total_rows": count,
        }
        (folder / f"{stem}.json").write_bytes(orjson.dumps(aggregate, option=orjson.OPT_INDENT_2) + b"\n")
        told, rows = told + 1, rows + count
    if progress:
        progress(runs.height, runs.height, "done")
    return ExchangeResult(run_count=told, sample_row_count=rows, unscored_run_count=silent)


def aggregate_of(
    run: Mapping[str, Any], outputs: pl.DataFrame, *, organization: str, library_version: str, now: dt.datetime
) -> dict[str, Any]:
    """The aggregate object of a run, without its reference to the file of samples."""
    engine = {"name": run["engine"] or run["backend"], "version": run["engine_version"] or "unknown"}
    unscored = outputs.filter(pl.col("scores").list.len().fill_null(0) == 0).height
    return {
        "schema_version": SCHEMA_VERSION,
        "evaluation_id": evaluation_id_of(run),
        "evaluation_timestamp": run["started_at"].isoformat(),
        "retrieved_timestamp": str(now.timestamp()),
        "source_metadata": {
            "source_name": f"Benchlake import of {run['source_kind']}",
            "source_type": "evaluation_run",
            "source_organization_name": organization,
            "evaluator_relationship": "other",
            "additional_details": _texts(
                run_id=run["run_id"],
                unscored_outputs=unscored,
                tags=",".join(run["tags"]),
                **(run["code_version"] or {}),
            ),
        },
        "eval_library": {"name": "benchlake", "version": library_version},
        "model_info": {
            "name": run["model"],
            "id": run["model"],
            "inference_engine": engine,
            "additional_details": _texts(backend=run["backend"]),
        },
        "evaluation_results": list(_results(run, outputs)),
    }


def evaluation_id_of(run: Mapping[str, Any]) -> str:
    """The id that joins a run's two files: suite, model and when it started."""
    return f"{run['suite']}/{run['model']}/{run['started_at'].timestamp():.0f}/{run['run_id']}"


def instances_of(
    run: Mapping[str, Any], output: Mapping[str, Any], rights: Mapping[str, float]
) -> Iterator[dict[str, Any]]:
    """One object per score of an output; `rights` has the score from which each scorer says right."""
    raw, references = output["prompt"] or "", [] if output["reference"] is None else [output["reference"]]
    counts = (output["input_token_count"], output["output_token_count"])
    for score in output["scores"] or ():
        if score["value"] is None or not math.isfinite(score["value"]):
            continue
        yield {
            "schema_version": SCHEMA_VERSION,
            "evaluation_id": evaluation_id_of(run),
            "model_id": run["model"],
            "evaluation_name": _name(run, score["scorer"]),
            "sample_id": output["sample_id"],
            "sample_hash": text_digest(raw + "".join(references)),
            "interaction_type": "single_turn",
            "input": {"raw": raw, "reference": references},
            "output": {"raw": [output["output"] or ""]},
            "messages": None,
            "answer_attribution": [],
            "evaluation": {
                "score": score["value"],
                "is_correct": score["value"] >= rights.get(score["scorer"], RIGHT_SCORE),
            },
            "token_usage": None
            if None in counts
            else {"input_tokens": counts[0], "output_tokens": counts[1], "total_tokens": sum(counts)},
            "performance": {name: output[name] for name in ("latency_ms", "time_to_first_token_ms")},
            "error": output["error_message"],
            "metadata": _texts(
                repeat_index=output["repeat_index"],
                status=output["status"],
                scorer=score["scorer"],
                tags=",".join(output["tags"] or ()),
            ),
        }


def _write_samples(path: Path, run: Mapping[str, Any], outputs: pl.DataFrame) -> int:
    count = 0
    with path.open("wb") as stream:
        for output in outputs.iter_rows(named=True):
            for instance in instances_of(run, output, RIGHT_AT):
                stream.write(orjson.dumps(instance) + b"\n")
                count += 1
    return count


def _results(run: Mapping[str, Any], outputs: pl.DataFrame) -> Iterator[dict[str, Any]]:
    scores = (
        outputs.select("sample_id", "scores")
        .explode("scores", empty_as_null=False)
        .drop_nulls("scores")
        .unnest("scores")
    )
    generation = _generation(run)
    for (scorer,), rows in scores.sort("scorer").group_by("scorer", maintain_order=True):
        values = rows.drop_nulls("value")
        if values.is_empty():
            continue
        by_sample = values.group_by("sample_id").agg(pl.col("value").mean()).sort("sample_id")["value"]
        yield {
            "evaluation_name": _name(run, str(scorer)),
            "source_data": {"dataset_name": run["suite"], "source_type": "other"},
            "evaluation_timestamp": run["started_at"].isoformat(),
            "metric_config": _metric_config(str(scorer), values["value"]),
            "score_details": {"score": by_sample.mean(), "uncertainty": _uncertainty(by_sample)},
            **({"generation_config": generation} if generation else {}),
        }


def _metric_config(scorer: str, values: pl.Series) -> dict[str, Any]:
    """Bounds are 0 and 1 for scores within them, else those that were seen, which is then said."""
    low, high = float(values.min()), float(values.max())  # type: ignore[arg-type]
    is_share = low >= 0 and high <= 1
    if is_share and values.is_in([0.0, 1.0]).all():
        return {"evaluation_description": scorer, "lower_is_better": False, "score_type": "binary"}
    bounds = (0.0, 1.0) if is_share else (low, high)
    return {
        "evaluation_description": scorer,
        "lower_is_better": False,
        "score_type": "continuous",
        "min_score": bounds[0],
        "max_score": bounds[1],
        **({} if is_share else {"additional_details": {"bounds": "lowest and highest that were seen"}}),
    }


def _uncertainty(by_sample: pl.Series) -> dict[str, Any]:
    found: dict[str, Any] = {"num_samples": len(by_sample)}
    if len(by_sample) > 1:
        deviation = float(by_sample.std())  # type: ignore[arg-type]
        found["standard_deviation"] = deviation
        found["standard_error"] = {"value": deviation / math.sqrt(len(by_sample)), "method": "analytic"}
    return found


def _generation(run: Mapping[str, Any]) -> dict[str, Any]:
    parameters = orjson.loads(run["parameters"]) if run["parameters"] else {}
    if not isinstance(parameters, dict):
        return {}
    known = {
        name: parameters[name]
        for name in _GENERATION
        if isinstance(parameters.get(name), int | float) and not isinstance(parameters[name], bool)
    }
    limit = parameters.get("max_output_tokens")
    if isinstance(limit, int) and limit > 0:
        known["max_tokens"] = limit
    rest = _texts(**{name: value for name, value in parameters.items() if name not in {*known, "max_output_tokens"}})
    return {
        **({"generation_args": known} if known else {}),
        **({"additional_details": rest} if rest else {}),
    }


def _name(run: Mapping[str, Any], scorer: str) -> str:
    return f"{run['suite']}/{scorer}"


def _texts(**values: object) -> dict[str, str]:
    """What the format keeps as text, without what is unknown."""
    return {
        name: value if isinstance(value, str) else orjson.dumps(value).decode()
        for name, value in values.items()
        if value not in (None, "")
    }
