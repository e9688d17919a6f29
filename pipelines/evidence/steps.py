"""Steps of the evidence room: read from the lake, call pure functions, write, say what was done.

What belongs here: the order of reading and writing, and nothing else. Assets, the command line and benchmarks call
`diff_outputs`, `compare_runs`, `judge_gates` and `promote_runs` in this order for some run dates. Which dates need it
is `staleness.py`.

Each step computes what has no standing result of the same input digest (or everything, in mode "all") and removes
results whose comparison is planned no more. `gold.output_diffs` is written first and the row of `gold.run_comparisons`
is the mark that its diffs are complete, so a step that was killed is simply run again. Outputs are read for the runs
at hand alone; of earlier runs only the rows of `silver.runs` are looked at.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import polars as pl

from lake.store import Lake, WriteResult
from lake.tables import contract_of
from pipelines.evidence.comparisons import COUNTED_COLUMNS, DIFFED_COLUMNS, diff_comparisons, sum_up
from pipelines.evidence.policy import Policy
from pipelines.evidence.reading import (
    COMPARISONS,
    DIFFS,
    GATES,
    OUTPUTS,
    PROMOTED,
    RUNS,
    differing_rows,
    read_plan,
    read_promotable,
    read_runs,
)
from pipelines.evidence.slices import comparison_chunks, dates_slice, runs_slice
from pipelines.evidence.staleness import settle, stale_run_dates
from pipelines.evidence.verdicts import JUDGED_COLUMNS, expected_verdicts, judge_comparisons

__all__ = [
    "EvidenceResult",
    "Mode",
    "NightSummary",
    "compare_runs",
    "diff_outputs",
    "judge_gates",
    "judge_what_is_new",
    "most_different_pairs",
    "night_summary",
    "promote_runs",
    "stale_run_dates",
]

Mode = Literal["changed", "all"]
Versions = list[dict[str, object]]


@dataclass(frozen=True, kw_only=True)
class EvidenceResult:
    """What a step did: comparisons (runs, for promotion) computed, left as they were, and removed; rows; version."""

    table: str
    version: int
    computed_count: int
    skipped_count: int
    removed_count: int
    rows_read: int
    rows_written: int
    rows_rejected: int


@dataclass(frozen=True, kw_only=True)
class NightSummary:
    """What the evidence of some run dates says, for the last lines of a night. `gates` are `gold.gate_results` rows."""

    run_count: int
    sample_count: int
    pair_count: int
    differing_count: int
    gates: pl.DataFrame


def diff_outputs(lake: Lake, policy: Policy, run_dates: Sequence[dt.date], *, mode: Mode = "changed") -> EvidenceResult:
    """Diff the outputs of every planned comparison of these run dates into `gold.output_diffs`."""
    versions = lake.versions([RUNS, OUTPUTS])
    plan, runs = read_plan(lake, policy, run_dates, version=versions[RUNS])
    where = dates_slice(run_dates)
    standing = lake.read(DIFFS, columns=["comparison_id", "run_date"], where=where).unique()
    todo = _unmarked(lake, plan, run_dates, mode=mode)

    def compute(chunk: pl.DataFrame) -> tuple[pl.DataFrame, int]:
        outputs = lake.read(OUTPUTS, columns=DIFFED_COLUMNS, where=runs_slice(chunk), at=versions[OUTPUTS])
        return diff_comparisons(chunk, runs, outputs), outputs.height

    return _rewrite(lake, DIFFS, todo=todo, standing=standing, planned=plan, runs=runs, compute=compute)


def compare_runs(lake: Lake, policy: Policy, run_dates: Sequence[dt.date], *, mode: Mode = "changed") -> EvidenceResult:
    """Sum up every planned comparison of these run dates into `gold.run_comparisons`; needs their diffs."""
    versions = lake.versions([RUNS, OUTPUTS, DIFFS])
    plan, runs = read_plan(lake, policy, run_dates, version=versions[RUNS])
    standing = lake.read(COMPARISONS, columns=["comparison_id", "run_date"], where=dates_slice(run_dates))
    todo = _unmarked(lake, plan, run_dates, mode=mode)

    def compute(chunk: pl.DataFrame) -> tuple[pl.DataFrame, int]:
        outputs = lake.read(OUTPUTS, columns=COUNTED_COLUMNS, where=runs_slice(chunk), at=versions[OUTPUTS])
        diffs = lake.read(
            DIFFS,
            columns=["comparison_id", "change_kind", "similarity_ratio"],
            where=_comparisons_slice(chunk),
            at=versions[DIFFS],
        )
        rows = sum_up(chunk, runs, outputs, diffs)
        return rows.with_columns(input_versions=_literal(_listed(versions))), outputs.height + diffs.height

    return _rewrite(lake, COMPARISONS, todo=todo, standing=standing, planned=plan, runs=runs, compute=compute)


def judge_gates(lake: Lake, policy: Policy, run_dates: Sequence[dt.date], *, mode: Mode = "changed") -> EvidenceResult:
    """Judge every standing comparison of these run dates by the policy's gates into `gold.gate_results`."""
    versions = lake.versions([RUNS, OUTPUTS, COMPARISONS])
    where = dates_slice(run_dates)
    comparisons = lake.read(COMPARISONS, where=where, at=versions[COMPARISONS])
    standing = lake.read(GATES, columns=["comparison_id", "run_date", "gate", "input_digest"], where=where)
    expected = expected_verdicts(comparisons, policy)
    stale = expected if mode == "all" else differing_rows(expected, standing)
    todo = comparisons.join(stale, on=["comparison_id", "run_date"], how="semi")
    runs = read_runs(lake, todo, version=versions[RUNS])
    todo = todo.with_columns(
        baseline_run_date=pl.Series([runs[run_id]["run_date"] for run_id in todo["baseline_run_id"]], dtype=pl.Date)
    )

    def compute(chunk: pl.DataFrame) -> tuple[pl.DataFrame, int]:
        outputs = lake.read(OUTPUTS, columns=JUDGED_COLUMNS, where=runs_slice(chunk), at=versions[OUTPUTS])
        return judge_comparisons(chunk, policy, runs, outputs, versions=_listed(versions)), outputs.height

    judged = expected.select("comparison_id", "run_date").unique()
    return _rewrite(lake, GATES, todo=todo, standing=standing, planned=judged, runs=runs, compute=compute)


def promote_runs(lake: Lake, policy: Policy, run_dates: Sequence[dt.date]) -> EvidenceResult:
    """Make `gold.promoted_runs` hold exactly the runs of these dates that pass (see `promotion.promote`).

    Promotions of these dates under another policy go: a reader must never find a run that today's gates hold back.
    """
    where = dates_slice(run_dates)
    standing = lake.read(PROMOTED, columns=["run_id", "policy_digest"], where=where)
    promoted, rows_read = read_promotable(lake, policy, run_dates)
    written = lake.replace(PROMOTED, promoted, where=where)
    kept = promoted.join(standing, on=["run_id", "policy_digest"], how="semi")
    settle(lake, policy, run_dates)
    return EvidenceResult(
        table=PROMOTED,
        version=written.version,
        computed_count=promoted.height,
        skipped_count=0,
        removed_count=standing.height - kept.height,
        rows_read=rows_read,
        rows_written=written.rows_written,
        rows_rejected=written.rows_rejected,
    )


def judge_what_is_new(lake: Lake, policy: Policy) -> list[dt.date]:
    """Bring the evidence of every run date up to date with runs and policy, and give the dates that needed it."""
    dates = stale_run_dates(lake, policy)
    if dates:
        diff_outputs(lake, policy, dates)
        compare_runs(lake, policy, dates)
        judge_gates(lake, policy, dates)
        promote_runs(lake, policy, dates)
    return dates


def most_different_pairs(lake: Lake, run_dates: Sequence[dt.date], *, limit: int = 10) -> pl.DataFrame:
    """The pairs of these dates with the least in common, most different first, with both texts, for `side_by_side`.

    Columns: comparison_id, suite, sample_id, repeat_index, similarity_ratio, candidate_run_id, baseline_run_id,
    candidate_backend, baseline_backend, candidate_output, baseline_output.
    """
    keys = ["comparison_id", "sample_id", "repeat_index"]
    columns = [*keys, "candidate_run_id", "baseline_run_id", "change_kind", "similarity_ratio"]
    diffs = lake.read(DIFFS, columns=columns, where=dates_slice(run_dates))
    differing = diffs.filter(pl.col("change_kind").is_in(["changed", "empty"])).drop("change_kind")
    pairs = differing.sort("similarity_ratio", *keys).head(limit)
    ids = sorted({*pairs["candidate_run_id"], *pairs["baseline_run_id"]})
    runs = lake.read(RUNS, columns=["run_id", "run_date", "suite", "backend"], where={"run_id": ids})
    outputs = lake.read(
        OUTPUTS,
        columns=["run_id", "sample_id", "repeat_index", "output"],
        where={"run_date": runs["run_date"].unique().to_list(), "run_id": ids},
    )
    for side in ("candidate", "baseline"):
        named = runs.select(pl.col("run_id").alias(f"{side}_run_id"), pl.col("backend").alias(f"{side}_backend"))
        texts = outputs.rename({"run_id": f"{side}_run_id", "output": f"{side}_output"})
        pairs = pairs.join(named, on=f"{side}_run_id", how="left", maintain_order="left").join(
            texts, on=[f"{side}_run_id", "sample_id", "repeat_index"], how="left", maintain_order="left"
        )
    suites = runs.select(pl.col("run_id").alias("candidate_run_id"), "suite")
    return pairs.join(suites, on="candidate_run_id", how="left", maintain_order="left")


def night_summary(lake: Lake, run_dates: Sequence[dt.date], policy: Policy) -> NightSummary:
    """What came out for these run dates, under the policy that is in force."""
    where = dates_slice(run_dates)
    comparisons = lake.read(COMPARISONS, columns=["comparison_id", "paired_sample_count", "changed_count"], where=where)
    gates = lake.read(GATES, where=where).filter(policy_digest=policy.digest)
    return NightSummary(
        run_count=lake.read(RUNS, columns=["run_id"], where=where).height,
        sample_count=lake.read(OUTPUTS, columns=["run_id"], where=where).height,
        pair_count=int(comparisons["paired_sample_count"].sum()),
        differing_count=int(comparisons["changed_count"].sum()),
        gates=gates.sort("run_date", "gate", "comparison_id"),
    )


def _unmarked(lake: Lake, plan: pl.DataFrame, run_dates: Sequence[dt.date], *, mode: Mode) -> pl.DataFrame:
    """Planned comparisons without a row of `gold.run_comparisons` that was computed from the same inputs."""
    if mode == "all":
        return plan
    mark = ["comparison_id", "run_date", "input_digest"]
    marks = lake.read(COMPARISONS, columns=mark, where=dates_slice(run_dates))
    return plan.join(marks, on=mark, how="anti")


def _rewrite(
    lake: Lake,
    table: str,
    *,
    todo: pl.DataFrame,
    standing: pl.DataFrame,
    planned: pl.DataFrame,
    runs: Mapping[str, Mapping[str, Any]],
    compute: Callable[[pl.DataFrame], tuple[pl.DataFrame, int]],
) -> EvidenceResult:
    """Put the computed rows of `todo` in place and take away what stands for comparisons that are not `planned`.

    Works through chunks of bounded size, each one commit, so that a range of years fits in memory and a kill loses
    one chunk.
    """
    keys = ["comparison_id", "run_date"]
    gone = standing.select(keys).unique().join(planned, on=keys, how="anti")
    results: list[WriteResult] = []
    rows_read = 0
    for chunk in comparison_chunks(todo, runs):
        rows, count = compute(chunk)
        results.append(lake.replace(table, rows, where=_comparisons_slice(chunk)))
        rows_read += count
    for chunk in comparison_chunks(gone, {}):
        results.append(lake.replace(table, contract_of(table).empty(), where=_comparisons_slice(chunk)))  # noqa: PERF401  # a commit each
    return EvidenceResult(
        table=table,
        version=results[-1].version if results else lake.version(table),
        computed_count=todo.height,
        skipped_count=planned.join(todo, on=keys, how="anti").height,
        removed_count=gone.height,
        rows_read=rows_read,
        rows_written=sum(result.rows_written for result in results),
        rows_rejected=sum(result.rows_rejected for result in results),
    )


def _comparisons_slice(chunk: pl.DataFrame) -> dict[str, list[Any]]:
    return {
        "run_date": chunk["run_date"].unique().sort().to_list(),
        "comparison_id": chunk["comparison_id"].unique().sort().to_list(),
    }


def _listed(versions: Mapping[str, int]) -> Versions:
    return [{"table": table, "version": version} for table, version in versions.items()]


def _literal(versions: Versions) -> pl.Expr:
    return pl.lit(pl.Series([versions], dtype=contract_of(COMPARISONS).dtypes["input_versions"])).first()
