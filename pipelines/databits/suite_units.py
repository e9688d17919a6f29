"""Saved suites and the outputs that got them wrong as DataBits: prompts, references, outputs, corrections.

What belongs here: which unit is made of which row, and the step that follows the feeds of prompts and outputs. A
prompt is a unit; its reference, a wrong output and the pair of that output with what is right (a correction, in the
shape that preference training takes) are units derived from it, so that everything that a suite gave rise to is found
by its lineage.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

import polars as pl

from lake.identity import text_digest
from lake.store import Lake
from pipelines.databits.reading import read_newest
from pipelines.databits.units import DatabitKey, Draft, unit_id
from pipelines.databits.writing import EnsureResult, ensure_databits
from pipelines.evidence.correctness import RIGHT_AT

PROMPTS, SUITES, OUTPUTS, RUNS = "silver.prompts", "silver.suites", "silver.outputs", "silver.runs"
CONSUMER = "suite_databits"
AUTHOR = "benchlake"
# An output is wrong when every scorer gave it less than this, or less than what the scorer calls right.
WRONG_BELOW = 0.5
# Commits of outputs that are read at a time.
WINDOW_VERSIONS = 8
_OUTPUT_COLUMNS = ("run_id", "sample_id", "prompt", "output", "output_digest", "reference", "status", "scores")
Role = Literal["prompt", "reference", "output", "correction"]


@dataclass(frozen=True, kw_only=True)
class SuiteUnitsResult:
    """Units that are new or got a further version, by role."""

    written_by_role: Mapping[Role, int]

    @property
    def written_count(self) -> int:
        """Versions written in all."""
        return sum(self.written_by_role.values())


def suite_unit_id(suite: str, sample_id: str, role: Role, *, output: str | None = None) -> str:
    """The id of a suite's unit; of an output or its correction also by the output's text."""
    return unit_id(source=_source(suite, sample_id, role, output), content="")


def _source(suite: str, sample_id: str, role: Role, output: str | None = None) -> str:
    """Where the unit is from: suite, sample and role, and which output."""
    tail = "" if output is None else f"/{text_digest(output)}"
    return f"suite:{suite}/{sample_id}#{role}{tail}"


def update_suite_units(lake: Lake, *, now: dt.datetime, licenses: Mapping[str, str]) -> SuiteUnitsResult:
    """Bring the units of saved suites up to date with prompts and outputs that are new since the last time.

    `licenses` are SPDX expressions by suite; a suite that is not named has an unknown licence. Of a suite the newest
    version counts. What somebody edited stays until its source changes (see `ensure_databits`).
    """
    written: dict[Role, int] = dict.fromkeys(("prompt", "reference", "output", "correction"), 0)
    for part in (_take_in_prompts(lake, now, licenses), _take_in_outputs(lake, now)):
        for role, count in part.items():
            written[role] += count
    return SuiteUnitsResult(written_by_role=written)


def _take_in_prompts(lake: Lake, now: dt.datetime, licenses: Mapping[str, str]) -> dict[Role, int]:
    newest = lake.version(PROMPTS)
    since = lake.cursor(CONSUMER, PROMPTS)
    if since >= newest:
        return {}
    touched = lake.changes(PROMPTS, since, until=newest, columns=["suite"])["suite"].unique().sort().to_list()
    suites = lake.read(
        SUITES, columns=["suite", "suite_digest", "version_index", "created_by"], where={"suite": touched}
    )
    latest = suites.sort("version_index").unique("suite", keep="last")
    prompts = lake.read(PROMPTS, where={"suite_digest": latest["suite_digest"].to_list()})
    rows = prompts.join(latest.select("suite", "created_by"), on="suite").sort("suite", "sample_index").to_dicts()
    asked = ensure_databits(lake, [prompt_unit(row, licenses) for row in rows], now=now, author=AUTHOR)
    answered = [row for row in rows if row["reference"] is not None]
    drafts = [reference_unit(row, asked.key(_unit_of(row, "prompt"))) for row in answered]
    known = ensure_databits(lake, drafts, now=now, author=AUTHOR)
    # A suite whose prompts stand before its row does is seen again when the next one is saved.
    if latest.height == len(touched):
        lake.move_cursor(CONSUMER, {PROMPTS: newest})
    return {"prompt": _written(asked), "reference": _written(known)}


def prompt_unit(row: Mapping[str, Any], licenses: Mapping[str, str]) -> Draft:
    """The unit of a prompt; `row` is one of silver.prompts with `created_by`, who saved the suite. Pure."""
    return Draft(
        content=row["prompt"],
        source=_source(row["suite"], row["sample_id"], "prompt"),
        creator=row["created_by"],
        license=licenses.get(row["suite"]),
        search_keys=[*_keys(row["suite"], row["sample_id"], "prompt"), *row["tags"]],
    )


def reference_unit(row: Mapping[str, Any], prompt: DatabitKey) -> Draft:
    """The unit of a prompt with its reference, made from the prompt's unit. Pure."""
    return Draft(
        content={"prompt": row["prompt"], "reference": row["reference"]},
        source=_source(row["suite"], row["sample_id"], "reference"),
        creator=row["created_by"],
        derived_from=[prompt],
        search_keys=[*_keys(row["suite"], row["sample_id"], "reference"), *row["tags"]],
    )


def _take_in_outputs(lake: Lake, now: dt.datetime) -> dict[Role, int]:
    newest = lake.version(OUTPUTS)
    since = lake.cursor(CONSUMER, OUTPUTS)
    written: dict[Role, int] = {"output": 0, "correction": 0}
    while since < newest:
        until = min(since + WINDOW_VERSIONS, newest)
        feed = lake.changes(OUTPUTS, since, until=until, columns=_OUTPUT_COLUMNS)
        rows = _of_saved_suites(lake, wrong_outputs(feed.filter(pl.col("_change_type") != "delete")))
        for role, count in _write_corrections(lake, rows, now).items():
            written[role] += count
        lake.move_cursor(CONSUMER, {OUTPUTS: until})
        since = until
    return written


def wrong_outputs(outputs: pl.DataFrame) -> pl.DataFrame:
    """The outputs that every scorer calls wrong and whose reference is known. Pure; rows of silver.outputs."""
    score = pl.element().struct
    right_at = score.field("scorer").replace_strict(dict(RIGHT_AT), default=WRONG_BELOW, return_dtype=pl.Float64)
    is_wrong = pl.col("scores").list.eval(score.field("value") < right_at).list.all()
    return outputs.filter(
        (pl.col("status") != "error")
        & pl.col("output").is_not_null()
        & pl.col("reference").is_not_null()
        & (pl.col("scores").list.len() > 0)
        & is_wrong
    )


def _of_saved_suites(lake: Lake, outputs: pl.DataFrame) -> pl.DataFrame:
    """Those outputs whose run asked a suite that is in the lake, with `suite` and `model`; each text once."""
    if outputs.is_empty():
        return outputs
    runs = lake.read(
        RUNS,
        columns=["run_id", "suite", "model", "fingerprint"],
        where={"run_id": outputs["run_id"].unique().to_list()},
    ).with_columns(suite_digest=pl.col("fingerprint").struct.field("suite_digest"))
    saved = lake.read(SUITES, columns=["suite_digest"])
    known = runs.join(saved, on="suite_digest", how="semi").select("run_id", "suite", "model")
    return outputs.join(known, on="run_id").unique(["suite", "sample_id", "output"], keep="first", maintain_order=True)


def _write_corrections(lake: Lake, rows: pl.DataFrame, now: dt.datetime) -> dict[Role, int]:
    if rows.is_empty():
        return {}
    found = rows.to_dicts()
    parents = read_newest(
        lake,
        {_unit_of(row, role) for row in found for role in ("prompt", "reference")},
        columns=["databit_id", "version"],
    )
    keys = {databit_id: DatabitKey(databit_id, version) for databit_id, version in parents.iter_rows()}
    known = [row for row in found if _unit_of(row, "prompt") in keys and _unit_of(row, "reference") in keys]
    drafts = [output_unit(row, keys[_unit_of(row, "prompt")]) for row in known]
    answers = ensure_databits(lake, drafts, now=now, author=AUTHOR)
    pairs = [
        correction_unit(row, answers.key(draft.key_id()), keys[_unit_of(row, "reference")])
        for row, draft in zip(known, drafts, strict=True)
    ]
    return {"output": _written(answers), "correction": _written(ensure_databits(lake, pairs, now=now, author=AUTHOR))}


def output_unit(row: Mapping[str, Any], prompt: DatabitKey) -> Draft:
    """The unit of a wrong output, made from its prompt's unit. Pure."""
    return Draft(
        content={"prompt": row["prompt"], "output": row["output"]},
        source=_source(row["suite"], row["sample_id"], "output", row["output"]),
        creator=row["model"],
        derived_from=[prompt],
        search_keys=_keys(row["suite"], row["sample_id"], "output"),
        quality_scores={score["scorer"]: score["value"] for score in row["scores"]},
    )


def correction_unit(row: Mapping[str, Any], output: DatabitKey, reference: DatabitKey) -> Draft:
    """A wrong output beside what is right, made from both. Pure."""
    return Draft(
        content={"prompt": row["prompt"], "chosen": row["reference"], "rejected": row["output"]},
        source=_source(row["suite"], row["sample_id"], "correction", row["output"]),
        creator=AUTHOR,
        derived_from=[output, reference],
        search_keys=_keys(row["suite"], row["sample_id"], "correction"),
    )


def _unit_of(row: Mapping[str, Any], role: Role) -> str:
    return suite_unit_id(row["suite"], row["sample_id"], role)


def _keys(suite: str, sample_id: str, role: Role) -> list[str]:
    return [f"suite={suite}", f"sample={sample_id}", f"role={role}"]


def _written(result: EnsureResult) -> int:
    return result.created_count + result.revised_count
