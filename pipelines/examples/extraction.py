"""Candidates for examples from runs: a run's best outputs, and corrections of its wrong ones, for people to decide on.

What belongs here: which outputs are candidates, and putting them into the curation queue. Accepting or editing one
there writes the data unit that an example is made of; the next time the units are followed the example stands.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

import polars as pl

from lake.errors import UserError
from lake.store import Lake
from pipelines.databits.curation import CurationDraft, enqueue_items
from pipelines.examples.catalogue import read_catalogue
from pipelines.examples.digests import derived_example_id, input_digest
from pipelines.examples.drafts import search_keys, unit_content, unit_id_of

RULE = "extract_examples"
Kind = Literal["best", "corrected", "both"]
# An output is among the best when every scorer gave it at least this, and corrected below it.
RIGHT_SCORE = 1.0
_COLUMNS = ("run_id", "sample_id", "repeat_index", "prompt", "output", "reference", "status", "scores", "tags")


@dataclass(frozen=True, kw_only=True)
class ExtractResult:
    """What became of a run's outputs: read, candidates of each kind, asked by an example already, new items."""

    output_count: int
    best_count: int
    corrected_count: int
    known_count: int
    enqueued_count: int


def extract_examples(
    lake: Lake,
    run_id: str,
    *,
    kind: Kind = "both",
    limit: int | None = None,
    license: str | None = None,  # noqa: A002  # the word that every table and option uses
    now: dt.datetime,
) -> ExtractResult:
    """Put candidates from a run into the curation queue, each once however often this is called.

    `best` are outputs to which every scorer gave full score; `corrected` are wrong ones with the reference in the
    output's place. Prompts that an example asks already are left out. Raises `UserError` for an unknown run.
    """
    run = lake.read("silver.runs", columns=["run_id", "suite", "run_date", "model"], where={"run_id": run_id})
    if run.is_empty():
        raise UserError(f"There is no run {run_id!r}. See them:  benchlake runs")
    where = {"run_date": run["run_date"][0], "run_id": run_id}
    outputs = lake.read("silver.outputs", columns=_COLUMNS, where=where)
    candidates = find_candidates(outputs)
    wanted = candidates if kind == "both" else candidates.filter(pl.col("kind") == kind)
    known = set(read_catalogue(lake).rows.filter(~pl.col("is_deleted"))["input_digest"])
    fresh = [row for row in wanted.iter_rows(named=True) if input_digest({"prompt": row["prompt"]}) not in known]
    items = [_item(row, run.row(0, named=True), license) for row in fresh[:limit]]
    counts = dict(candidates["kind"].value_counts().iter_rows())
    return ExtractResult(
        output_count=outputs.height,
        best_count=counts.get("best", 0),
        corrected_count=counts.get("corrected", 0),
        known_count=wanted.height - len(fresh),
        enqueued_count=enqueue_items(lake, items, now=now) if items else 0,
    )


def find_candidates(outputs: pl.DataFrame) -> pl.DataFrame:
    """The scored outputs of a run that could teach, with `kind`, `expected_output` and `mean_score`; one a prompt.

    Pure; rows of silver.outputs. The best come first; among equals the shorter, then the earlier sample.
    """
    values = pl.col("scores").list.eval(pl.element().struct.field("value"))
    scored = outputs.filter((pl.col("status") != "error") & pl.col("prompt").is_not_null() & (values.list.len() > 0))
    is_best = (values.list.min() >= RIGHT_SCORE) & (pl.col("output").str.strip_chars() != "")
    is_corrected = (values.list.max() < RIGHT_SCORE) & pl.col("reference").is_not_null()
    return (
        scored.with_columns(
            kind=pl.when(is_best).then(pl.lit("best")).when(is_corrected).then(pl.lit("corrected")),
            mean_score=values.list.mean(),
        )
        .drop_nulls("kind")
        .with_columns(expected_output=pl.when(pl.col("kind") == "best").then("output").otherwise("reference"))
        .sort(
            pl.col("mean_score"), pl.col("expected_output").str.len_chars(), "sample_id", "repeat_index",
            descending=[True, False, False, False],
        )
        .unique("prompt", keep="first", maintain_order=True)
    )  # fmt: skip


def _item(row: Mapping[str, Any], run: Mapping[str, Any], license: str | None) -> CurationDraft:  # noqa: A002
    inputs = {"prompt": row["prompt"]}
    example_id = derived_example_id(function_name=run["suite"], inputs=inputs, expected_output=row["expected_output"])
    reason = (
        f"{run['model']} got full score on it"
        if row["kind"] == "best"
        else f"{run['model']} scored {row['mean_score']:.2f}; proposed is the reference"
    )
    return CurationDraft(
        subject_kind="output",
        subject_id=f"{row['run_id']}/{row['sample_id']}/{row['repeat_index']}",
        rule=RULE,
        reason=reason,
        proposed_content=unit_content(inputs, row["expected_output"]),
        target_id=unit_id_of(example_id),
        license=license,
        search_keys=search_keys(example_id, function_name=run["suite"], domain=None, tags=row["tags"]),
        priority=float(row["mean_score"]),
    )
