"""The step that counts which side of each pair is right into `gold.contingencies`.

What belongs here: the order of reading and writing, and nothing else; the counting is `contingencies.py`.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Sequence

import polars as pl

from lake.predicates import Slice
from lake.store import Lake
from pipelines.evidence.contingencies import SCORED_COLUMNS, count_right
from pipelines.evidence.policy import Policy
from pipelines.evidence.reading import CONTINGENCIES, OUTPUTS, RUNS, read_plan
from pipelines.evidence.rewriting import EvidenceResult, Mode, rewrite, unmarked
from pipelines.evidence.slices import dates_slice, runs_slice


def count_contingencies(
    lake: Lake, policy: Policy, run_dates: Sequence[dt.date], *, mode: Mode = "changed"
) -> EvidenceResult:
    """Count right and wrong of every planned comparison of these run dates; before `compare_runs`, which marks it."""
    versions = lake.versions([RUNS, OUTPUTS])
    plan, runs = read_plan(lake, policy, run_dates, version=versions[RUNS])
    standing = lake.read(CONTINGENCIES, columns=["comparison_id", "run_date"], where=dates_slice(run_dates)).unique()
    todo = unmarked(lake, plan, run_dates, mode=mode)

    def compute(chunk: pl.DataFrame, _: Slice) -> tuple[pl.DataFrame, int]:
        outputs = lake.read(OUTPUTS, columns=SCORED_COLUMNS, where=runs_slice(chunk), at=versions[OUTPUTS])
        return count_right(chunk, runs, outputs), outputs.height

    return rewrite(lake, CONTINGENCIES, todo=todo, standing=standing, planned=plan, runs=runs, compute=compute)
