"""Verdicts as people and CI look for them."""

from __future__ import annotations

import datetime as dt
from collections.abc import Sequence

import polars as pl

from lake.store import Lake

GATES = "gold.gate_results"
# What `exit_code_of` gives when nothing failed but not everything passed.
UNDECIDED = 2


def list_verdicts(lake: Lake, *, dates: Sequence[dt.date] | None = None) -> pl.DataFrame:
    """Verdicts of some run dates, of the newest run date there is when `dates` is None; failures first.

    Never of an older date instead: a newest date without verdicts gives no rows, which is no evidence and no pass.
    Rows of `gold.gate_results` with the backends' names as `candidate` and `baseline`.
    """
    if dates is None:
        newest = newest_run_date(lake)
        dates = [] if newest is None else [newest]
    names = lake.read("silver.runs", columns=["run_id", "backend"])
    return readable_verdicts(lake.read(GATES, where={"run_date": list(dates)}), names)


def newest_run_date(lake: Lake) -> dt.date | None:
    """The latest date on which anything ran; None in an empty lake."""
    found = lake.read("silver.runs", columns=["run_date"])["run_date"].max()
    return found if isinstance(found, dt.date) else None


def exit_code_of(verdicts: pl.DataFrame) -> int:
    """0 when every blocking gate passed, 1 when one failed, 2 when none failed but one is undecided or none exists."""
    blocking = verdicts.filter(pl.col("severity") == "block")["verdict"].to_list()
    if "fail" in blocking:
        return 1
    return 0 if blocking and set(blocking) == {"pass"} else UNDECIDED


def list_verdicts_of(lake: Lake, run_id: str) -> pl.DataFrame:
    """Verdicts in which a run is the candidate, as `list_verdicts` gives them."""
    names = lake.read("silver.runs", columns=["run_id", "backend"])
    return readable_verdicts(lake.read(GATES, where={"candidate_run_id": run_id}), names)


def readable_verdicts(gates: pl.DataFrame, names: pl.DataFrame) -> pl.DataFrame:
    """Rows of `gold.gate_results` with the backends of `names` (run_id, backend), what a reader wants first."""
    order = {"fail": 0, "incomparable": 1, "inconclusive": 2, "pass": 3}
    return (
        gates.join(
            names.rename({"run_id": "candidate_run_id", "backend": "candidate"}), on="candidate_run_id", how="left"
        )
        .join(names.rename({"run_id": "baseline_run_id", "backend": "baseline"}), on="baseline_run_id", how="left")
        .sort(pl.col("verdict").replace_strict(order, return_dtype=pl.Int8), "gate", "comparison_id")
        .select(
            "verdict",
            "gate",
            "severity",
            "suite",
            "candidate",
            "baseline",
            "candidate_value",
            "baseline_value",
            "effect",
            "interval_low",
            "interval_high",
            "margin",
            "unit",
            "sample_count",
            "minimum_detectable_effect",
            "p_value",
            "q_value",
            "reasons",
            "run_date",
            "candidate_run_id",
            "baseline_run_id",
            "comparison_id",
        )
    )
