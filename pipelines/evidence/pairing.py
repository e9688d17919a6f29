"""Which runs are compared with which: planned comparisons from runs and a policy.

Pure: rows of `silver.runs` in, planned comparisons out. Whether the two runs may be compared is `comparability.py`.
"""

from __future__ import annotations

import datetime as dt
from bisect import bisect_left
from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import Any

import polars as pl

from lake.identity import derived_id, json_digest
from pipelines.evidence.contingencies import CONTINGENCY_VERSION
from pipelines.evidence.designations import Designation, designated_run_id
from pipelines.evidence.diff import DIFF_VERSION
from pipelines.evidence.policy import ComparisonRule, Policy, RunFilter
from pipelines.evidence.token_divergence import DIVERGENCE_VERSION

# Part of every comparison's input digest: raise it when pairing or comparability would decide otherwise.
COMPARISON_VERSION = 1
EVIDENCE_VERSIONS = (DIFF_VERSION, CONTINGENCY_VERSION, DIVERGENCE_VERSION, COMPARISON_VERSION)

RUN_COLUMNS = (
    "run_id", "run_date", "content_digest", "suite", "backend", "model", "engine", "engine_version", "source_kind",
    "fingerprint", "code_version", "tags", "started_at", "status",
)  # fmt: skip

_PLAN = {
    "comparison_id": pl.String(),
    "pairing": pl.String(),
    "suite": pl.String(),
    "run_date": pl.Date(),
    "candidate_run_id": pl.String(),
    "baseline_run_id": pl.String(),
    "baseline_run_date": pl.Date(),
    "input_digest": pl.String(),
}

Run = Mapping[str, Any]


def plan_comparisons(
    runs: pl.DataFrame, policy: Policy, run_dates: Collection[dt.date], designations: Sequence[Designation] = ()
) -> pl.DataFrame:
    """One row per comparison rule and candidate run of `run_dates` that has a baseline, sorted by comparison id.

    `runs` has `RUN_COLUMNS` and must hold every run of the candidates' suites up to those dates. A run that is still
    `started` is no candidate; a baseline must have ended in `success`, since a broken yardstick hides regressions.
    `input_digest` covers everything a comparison is computed from, so an equal digest means nothing is to be done.
    """
    rows = runs.select(RUN_COLUMNS).sort("started_at", "run_id").to_dicts()
    candidates = [run for run in rows if run["run_date"] in run_dates and run["status"] != "started"]
    planned = [
        _planned(rule, candidate, baseline)
        for rule in policy.comparisons
        for candidate, baseline in (
            _pair_designated(rule, candidates, rows, designations)
            if rule.baseline == "designated"
            else _pair(rule, candidates, rows)
        )
    ]
    return pl.DataFrame(planned, schema=_PLAN).sort("comparison_id")


def _pair(rule: ComparisonRule, candidates: Sequence[Run], runs: Iterable[Run]) -> list[tuple[Run, Run]]:
    """Each admitted candidate with its baseline; `runs` in order of their start."""
    # A nightly's predecessor is a nightly: the previous run is one that the rule would judge as well.
    baseline_filter = rule.baseline if isinstance(rule.baseline, RunFilter) else rule.candidate
    pools: dict[tuple[object, ...], list[Run]] = {}
    for run in runs:
        if run["status"] == "success" and baseline_filter.admits(run):
            pools.setdefault(_key(rule, run), []).append(run)
    choose = _latest_before if rule.baseline == "previous" else _nearest
    pairs = []
    for candidate in candidates:
        if rule.candidate.admits(candidate):
            baseline = choose(candidate, pools.get(_key(rule, candidate), []))
            if baseline is not None:
                pairs.append((candidate, baseline))
    return pairs


def _pair_designated(
    rule: ComparisonRule, candidates: Sequence[Run], runs: Iterable[Run], designations: Sequence[Designation]
) -> list[tuple[Run, Run]]:
    """Each admitted candidate with the run that somebody designated for runs like it."""
    if not designations:
        return []
    by_id = {run["run_id"]: run for run in runs}
    pairs = []
    for candidate in filter(rule.candidate.admits, candidates):
        baseline = by_id.get(designated_run_id(candidate, designations) or "")
        if baseline and baseline is not candidate and _key(rule, baseline) == _key(rule, candidate):
            pairs.append((candidate, baseline))
    return pairs


def _latest_before(candidate: Run, pool: Sequence[Run]) -> Run | None:
    """The latest run that started strictly before the candidate; of several at one instant, the last by id."""
    place = bisect_left(pool, candidate["started_at"], key=lambda run: run["started_at"])
    return pool[place - 1] if place else None


def _nearest(candidate: Run, pool: Sequence[Run]) -> Run | None:
    """The run of the candidate's own date that started nearest to it, else the latest of an earlier date.

    Backends of one night are asked one after the other, so the baseline may well start after the candidate; what
    started on a later date never is its baseline, so that a date once judged is not judged again by what follows.
    """
    first = bisect_left(pool, candidate["run_date"], key=lambda run: run["run_date"])
    last = bisect_left(pool, candidate["run_date"] + dt.timedelta(days=1), key=lambda run: run["run_date"])
    same_date = [run for run in pool[first:last] if run["run_id"] != candidate["run_id"]]
    if same_date:
        return min(
            same_date,
            key=lambda run: (abs(run["started_at"] - candidate["started_at"]), run["started_at"], run["run_id"]),
        )
    return pool[first - 1] if first else None


def _key(rule: ComparisonRule, run: Run) -> tuple[object, ...]:
    return tuple(run[column] for column in rule.matched_columns)


def _planned(rule: ComparisonRule, candidate: Run, baseline: Run) -> dict[str, object]:
    ids = (candidate["run_id"], baseline["run_id"])
    digests = [candidate["content_digest"], baseline["content_digest"]]
    return {
        "comparison_id": derived_id("comparison", *ids, rule.name),
        "pairing": rule.name,
        "suite": candidate["suite"],
        "run_date": candidate["run_date"],
        "candidate_run_id": ids[0],
        "baseline_run_id": ids[1],
        "baseline_run_date": baseline["run_date"],
        "input_digest": json_digest([*EVIDENCE_VERSIONS, rule.name, *ids, *digests]),
    }
