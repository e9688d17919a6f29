"""The pairs that tell most, with both texts: what a reader is shown of the many that differ.

What belongs here: reading and ordering. How texts are shown is `render.py` and `studio/`, what is stored `steps.py`.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Sequence
from typing import Any

import polars as pl

from lake.store import Lake
from pipelines.evidence.change_kinds import DIFFED_KINDS, TELLING_ORDER
from pipelines.evidence.comparisons import comparable_pairs
from pipelines.evidence.contingencies import flips_of, judge_right
from pipelines.evidence.reading import COMPARISONS, DIFFS, OUTPUTS, RUNS, read_runs
from pipelines.evidence.slices import dates_slice

_KEY = ["comparison_id", "sample_id", "repeat_index"]
_SIDES = ("candidate", "baseline")


def in_telling_order(pairs: pl.DataFrame) -> pl.DataFrame:
    """Content before wording before formatting, and within a kind the least alike first.

    `pairs` has comparison_id, sample_id, repeat_index, change_kind and similarity_ratio.
    """
    rank = pl.col("change_kind").replace_strict({kind: place for place, kind in enumerate(TELLING_ORDER)})
    return pairs.sort(rank, "similarity_ratio", *_KEY, nulls_last=True)


def most_different_pairs(lake: Lake, run_dates: Sequence[dt.date], *, limit: int = 10) -> pl.DataFrame:
    """The pairs of these dates that differ most, with both texts, for `side_by_side`.

    Columns: comparison_id, suite, sample_id, repeat_index, change_kind, similarity_ratio, candidate_run_id,
    baseline_run_id, candidate_backend, baseline_backend, candidate_output, baseline_output.
    """
    columns = [*_KEY, "candidate_run_id", "baseline_run_id", "change_kind", "similarity_ratio"]
    diffs = lake.read(DIFFS, columns=columns, where=dates_slice(run_dates))
    differing = diffs.filter(pl.col("change_kind").is_in(DIFFED_KINDS))
    return with_texts(lake, in_telling_order(differing).head(limit))


def count_kinds(lake: Lake, run_dates: Sequence[dt.date]) -> dict[str, int]:
    """How many pairs of these dates there are of each kind of change, the most telling kind first."""
    kinds = lake.read(DIFFS, columns=["change_kind"], where=dates_slice(run_dates))["change_kind"]
    counts = dict(kinds.value_counts().iter_rows())
    return {kind: counts[kind] for kind in TELLING_ORDER if kind in counts}


def list_flips(lake: Lake, run_dates: Sequence[dt.date], *, limit: int = 10) -> pl.DataFrame:
    """Pairs of these dates of which one side alone is right, with both texts: lost ones first.

    The columns of `most_different_pairs`, and scorer, flip, candidate_score, baseline_score, right_score. The kind is
    null where the pair has no diff yet.
    """
    columns = ["comparison_id", "suite", "run_date", "candidate_run_id", "baseline_run_id"]
    plan = lake.read(COMPARISONS, columns=columns, where=dates_slice(run_dates))
    runs = read_runs(lake, plan, version=lake.version(RUNS))
    outputs = _read_outputs(lake, plan, ["prompt_digest", "scores"])
    judged = judge_right(comparable_pairs(plan, runs, outputs))
    flips = flips_of(judged).sort(pl.col("flip") == "gained", "scorer", *_KEY)
    shown = flips.head(limit)
    where = {**dates_slice(run_dates), "comparison_id": shown["comparison_id"].unique().sort().to_list()}
    kinds = lake.read(DIFFS, columns=[*_KEY, "change_kind", "similarity_ratio"], where=where)
    named = plan.select("comparison_id", "candidate_run_id", "baseline_run_id")
    known = shown.join(named, on="comparison_id", how="left", maintain_order="left")
    return with_texts(lake, known.join(kinds, on=_KEY, how="left", maintain_order="left"))


def with_texts(lake: Lake, pairs: pl.DataFrame) -> pl.DataFrame:
    """The pairs with suite, both backends and both outputs; rows keep their order."""
    ids = sorted({*pairs["candidate_run_id"], *pairs["baseline_run_id"]})
    runs = lake.read(RUNS, columns=["run_id", "suite", "backend"], where={"run_id": ids})
    outputs = _read_outputs(lake, pairs, ["output"], samples=pairs["sample_id"].unique().sort().to_list())
    for side in _SIDES:
        named = runs.select(pl.col("run_id").alias(f"{side}_run_id"), pl.col("backend").alias(f"{side}_backend"))
        texts = outputs.rename({"run_id": f"{side}_run_id", "output": f"{side}_output"})
        pairs = pairs.join(named, on=f"{side}_run_id", how="left", maintain_order="left").join(
            texts, on=[f"{side}_run_id", "sample_id", "repeat_index"], how="left", maintain_order="left"
        )
    suites = runs.select(pl.col("run_id").alias("candidate_run_id"), "suite")
    return pairs.join(suites, on="candidate_run_id", how="left", maintain_order="left")


def _read_outputs(
    lake: Lake, pairs: pl.DataFrame, columns: Sequence[str], *, samples: Sequence[str] | None = None
) -> pl.DataFrame:
    ids = sorted({*pairs["candidate_run_id"], *pairs["baseline_run_id"]})
    dates = lake.read(RUNS, columns=["run_date"], where={"run_id": ids})["run_date"]
    where: dict[str, Any] = {"run_date": dates.unique().sort().to_list(), "run_id": ids}
    if samples is not None:
        where["sample_id"] = samples
    return lake.read(OUTPUTS, columns=["run_id", "sample_id", "repeat_index", *columns], where=where)
