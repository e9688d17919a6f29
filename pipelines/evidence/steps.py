"""Steps of the evidence room: read from the lake, call pure functions, write, say what was done.

What belongs here: the order of reading and writing, and nothing else. Assets, the command line and benchmarks call
`diff_outputs`, `count_contingencies`, `measure_token_divergence`, `measure_forced_divergence`, `compare_runs`,
`judge_gates` and `promote_runs` in this order for some run dates. Which dates need it is `staleness.py`, how rows are
put in place `rewriting.py`.

Each step computes what has no standing result of the same input digest (or everything, in mode "all") and removes
results whose comparison is planned no more. The row of `gold.run_comparisons` is written after all else that is told
of a comparison's outputs, and is the mark that it is complete, so a step that was killed is simply run again. Outputs
are read for the runs at hand alone; of earlier runs only the rows of `silver.runs` are looked at.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import polars as pl

from lake.predicates import Slice
from lake.store import Lake
from lake.tables import contract_of
from pipelines.evidence.comparisons import COUNTED_COLUMNS, DIFFED_COLUMNS, diff_comparisons, sum_up
from pipelines.evidence.contingency_steps import count_contingencies
from pipelines.evidence.divergence_steps import measure_token_divergence
from pipelines.evidence.forced_steps import measure_forced_divergence, read_token_evidence
from pipelines.evidence.parted_pairs import count_divergences
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
    read_supports,
)
from pipelines.evidence.rewriting import EvidenceResult, Mode, comparisons_slice, rewrite, unmarked
from pipelines.evidence.slices import dates_slice, runs_slice
from pipelines.evidence.staleness import settle, stale_run_dates
from pipelines.evidence.telling import most_different_pairs
from pipelines.evidence.verdicts import JUDGED_COLUMNS, POLICIES, expected_verdicts, judge_comparisons, policy_row

__all__ = [
    "EvidenceResult",
    "Mode",
    "NightSummary",
    "compare_runs",
    "count_contingencies",
    "diff_outputs",
    "judge_gates",
    "judge_what_is_new",
    "measure_forced_divergence",
    "measure_token_divergence",
    "most_different_pairs",
    "night_summary",
    "promote_runs",
    "stale_run_dates",
]

Versions = list[dict[str, object]]


@dataclass(frozen=True, kw_only=True)
class NightSummary:
    """What the evidence of some run dates says, for the last lines of a night. `gates` are `gold.gate_results` rows.

    `divergences` are counts as `parted_pairs.count_divergences` gives them.
    """

    run_count: int
    sample_count: int
    pair_count: int
    differing_count: int
    divergences: pl.DataFrame
    gates: pl.DataFrame


def diff_outputs(lake: Lake, policy: Policy, run_dates: Sequence[dt.date], *, mode: Mode = "changed") -> EvidenceResult:
    """Diff the outputs of every planned comparison of these run dates into `gold.output_diffs`."""
    versions = lake.versions([RUNS, OUTPUTS])
    plan, runs = read_plan(lake, policy, run_dates, version=versions[RUNS])
    where = dates_slice(run_dates)
    standing = lake.read(DIFFS, columns=["comparison_id", "run_date"], where=where).unique()
    todo = unmarked(lake, plan, run_dates, mode=mode)

    def compute(chunk: pl.DataFrame, part: Slice) -> tuple[pl.DataFrame, int]:
        where = {**runs_slice(chunk), **part}
        outputs = lake.read(OUTPUTS, columns=DIFFED_COLUMNS, where=where, at=versions[OUTPUTS])
        return diff_comparisons(chunk, runs, outputs), outputs.height

    return rewrite(
        lake,
        DIFFS,
        todo=todo,
        standing=standing,
        planned=plan,
        runs=runs,
        compute=compute,
        outputs_version=versions[OUTPUTS],
    )


def compare_runs(lake: Lake, policy: Policy, run_dates: Sequence[dt.date], *, mode: Mode = "changed") -> EvidenceResult:
    """Sum up every planned comparison of these run dates into `gold.run_comparisons`; needs their diffs."""
    versions = lake.versions([RUNS, OUTPUTS, DIFFS])
    plan, runs = read_plan(lake, policy, run_dates, version=versions[RUNS])
    standing = lake.read(COMPARISONS, columns=["comparison_id", "run_date"], where=dates_slice(run_dates))
    todo = unmarked(lake, plan, run_dates, mode=mode)

    def compute(chunk: pl.DataFrame, _: Slice) -> tuple[pl.DataFrame, int]:
        outputs = lake.read(OUTPUTS, columns=COUNTED_COLUMNS, where=runs_slice(chunk), at=versions[OUTPUTS])
        diffs = lake.read(
            DIFFS,
            columns=["comparison_id", "change_kind", "similarity_ratio"],
            where=comparisons_slice(chunk),
            at=versions[DIFFS],
        )
        rows = sum_up(chunk, runs, outputs, diffs)
        return rows.with_columns(input_versions=_literal(_listed(versions))), outputs.height + diffs.height

    return rewrite(lake, COMPARISONS, todo=todo, standing=standing, planned=plan, runs=runs, compute=compute)


def judge_gates(lake: Lake, policy: Policy, run_dates: Sequence[dt.date], *, mode: Mode = "changed") -> EvidenceResult:
    """Judge every standing comparison of these run dates by the policy's gates into `gold.gate_results`.

    The policy itself goes into `gold.policies` first, so that no verdict names a policy that nobody can read.
    """
    lake.upsert(POLICIES, policy_row(policy))
    versions = lake.versions([RUNS, OUTPUTS, COMPARISONS])
    where = dates_slice(run_dates)
    comparisons = lake.read(COMPARISONS, where=where, at=versions[COMPARISONS])
    standing = lake.read(GATES, columns=["comparison_id", "run_date", "gate", "input_digest"], where=where)
    supports = read_supports(lake, policy, comparisons, version=versions[RUNS])
    expected = expected_verdicts(comparisons, policy, supports)
    stale = expected if mode == "all" else differing_rows(expected, standing)
    todo = comparisons.join(stale, on=["comparison_id", "run_date"], how="semi")
    runs = read_runs(lake, todo, version=versions[RUNS])
    todo = todo.with_columns(
        baseline_run_date=pl.Series([runs[run_id]["run_date"] for run_id in todo["baseline_run_id"]], dtype=pl.Date)
    )

    run_dates_of = {run_id: date for support in supports.values() for run_id, date in support.run_dates.items()}

    def read_judged(run_id: str, run_date: dt.date) -> pl.DataFrame:
        where: Slice = {"run_date": run_date, "run_id": run_id}
        return lake.read(OUTPUTS, columns=JUDGED_COLUMNS, where=where, at=versions[OUTPUTS])

    def compute(chunk: pl.DataFrame, _: Slice) -> tuple[pl.DataFrame, int]:
        outputs = lake.read(OUTPUTS, columns=JUDGED_COLUMNS, where=runs_slice(chunk), at=versions[OUTPUTS])
        rows = judge_comparisons(
            chunk,
            policy,
            runs,
            outputs,
            versions=_listed(versions),
            supports=supports,
            read_outputs=lambda run_id: read_judged(run_id, run_dates_of[run_id]),
            tokens=read_token_evidence(lake, comparisons_slice(chunk)) if policy.asks_tokens else None,
        )
        return rows, outputs.height

    judged = expected.select("comparison_id", "run_date").unique()
    return rewrite(lake, GATES, todo=todo, standing=standing, planned=judged, runs=runs, compute=compute)


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
        count_contingencies(lake, policy, dates)
        measure_token_divergence(lake, policy, dates)
        measure_forced_divergence(lake, policy, dates)
        compare_runs(lake, policy, dates)
        judge_gates(lake, policy, dates)
        promote_runs(lake, policy, dates)
    return dates


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
        divergences=count_divergences(lake, run_dates),
        gates=gates.sort("run_date", "gate", "comparison_id"),
    )


def _listed(versions: Mapping[str, int]) -> Versions:
    return [{"table": table, "version": version} for table, version in versions.items()]


def _literal(versions: Versions) -> pl.Expr:
    return pl.lit(pl.Series([versions], dtype=contract_of(COMPARISONS).dtypes["input_versions"])).first()
