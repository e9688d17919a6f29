"""Items of an optimisation run, read back: which were asked in a split, with what is expected of them.

A trial keeps ids and scores; the texts are those of the example store as it stands now.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import polars as pl

from lake.errors import UserError
from lake.store import Lake
from pipelines.optimization.items import EXAMPLES, Item, item_of
from pipelines.optimization.recording import TRIALS
from pipelines.optimization.templates import Template

HeldSplit = Literal["test", "validation"]


@dataclass(frozen=True, kw_only=True)
class AskedItems:
    """Items of a split in the order of the trial, what examples they are of, and when one was changed last."""

    items: tuple[Item, ...]
    function_name: str | None
    changed_at: dt.datetime


def read_asked(
    lake: Lake, run: Mapping[str, Any], template: Template, *, split: HeldSplit, max_items: int | None = None
) -> AskedItems:
    """The items that the run's start was asked in a split; raises `UserError` when it never came to that."""
    run_id = str(run["optimization_run_id"])
    trials = lake.read(
        TRIALS,
        columns=["trial_index", "item_ids", "item_count"],
        where={"optimization_run_id": run_id, "split": split},
    )
    if trials.is_empty():
        other: HeldSplit = "validation" if split == "test" else "test"
        raise UserError(
            f"The optimisation run {run_id[:8]} asked no {split} items (it is {run['state']}). Take it up again with "
            f"benchlake dspy optimize, or use its {other} items: --split {other}"
        )
    order = trials.sort(["item_count", "trial_index"], descending=[True, False])["item_ids"][0].to_list()
    rows = {row["example_id"]: row for row in _read_examples(lake, order).iter_rows(named=True)}
    kept = [rows[example_id] for example_id in order if example_id in rows][:max_items]
    if not kept:
        raise UserError(f"None of the {split} items of optimisation run {run_id[:8]} is an example of the store now.")
    return AskedItems(
        items=tuple(item_of(row, template) for row in kept),
        function_name=kept[0]["function_name"],
        changed_at=max(row["updated_at"] for row in kept),
    )


def held_ids(lake: Lake, run: Mapping[str, Any]) -> set[str]:
    """Examples that no program of the run may be shown: validation and test items, and what was left out."""
    import orjson

    trials = lake.read(
        TRIALS,
        columns=["item_ids"],
        where={"optimization_run_id": run["optimization_run_id"], "split": ["validation", "test"]},
    )
    left_out = orjson.loads(run["left_out"])
    return {*trials["item_ids"].explode().drop_nulls(), *(one for ids in left_out.values() for one in ids)}


def _read_examples(lake: Lake, ids: Sequence[str]) -> pl.DataFrame:
    return lake.read(EXAMPLES, where={"example_id": list(ids)}).filter(~pl.col("is_deleted"))
