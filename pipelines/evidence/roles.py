"""Whether two runs that somebody named stand in the roles that the lake knows them in.

What belongs here: a doubt to tell the person who named them. Which runs are compared by themselves is `pairing.py`.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from lake.store import Lake
from pipelines.runs.remarks import list_baselines

COMPARISONS = "gold.run_comparisons"


def doubt_roles(lake: Lake, *, baseline: Mapping[str, Any], candidate: Mapping[str, Any]) -> str | None:
    """A sentence where two rows of `silver.runs` look exchanged, else None.

    They do where the policy has compared them the other way round, where the candidate alone is a designated
    baseline, and where the baseline ran on a later date though nobody designated it.
    """
    first, second = str(baseline["run_id"]), str(candidate["run_id"])
    if _are_compared(lake, baseline=candidate, candidate=baseline) and not _are_compared(
        lake, baseline=baseline, candidate=candidate
    ):
        return f"The policy compares them the other way round, with {second[:8]} as the baseline."
    designated = set(list_baselines(lake)["run_id"].drop_nulls()) & {first, second}
    if designated == {second}:
        return f"{second[:8]} is a designated baseline, and stands here as the candidate."
    if not designated and baseline["run_date"] > candidate["run_date"]:
        return f"The baseline {first[:8]} ran later ({baseline['run_date']}) than the candidate."
    return None


def _are_compared(lake: Lake, *, baseline: Mapping[str, Any], candidate: Mapping[str, Any]) -> bool:
    where = {
        "run_date": candidate["run_date"],
        "candidate_run_id": candidate["run_id"],
        "baseline_run_id": baseline["run_id"],
    }
    return not lake.read(COMPARISONS, columns=["comparison_id"], where=where).is_empty()
