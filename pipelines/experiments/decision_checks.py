"""Whether decisions keep what they promised: each KPI is asked again when the tables it reads have changed."""

from __future__ import annotations

import datetime as dt
import math
import operator
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import polars as pl

from lake.errors import BenchlakeError
from lake.identity import json_digest
from lake.store import Lake
from lake.tables import CONTRACTS, contract_of
from pipelines.experiments.decisions import DECISIONS, KPI_PARTS, newest_revisions

DECISION_CHECKS = "gold.decision_checks"
_HOLDS: Mapping[str, Callable[[float, float], bool]] = {
    "<": operator.lt,
    "<=": operator.le,
    ">": operator.gt,
    ">=": operator.ge,
}


@dataclass(frozen=True, kw_only=True)
class DecisionCheckResult:
    """How many accepted decisions have a KPI, and how many of these were asked because something had changed."""

    decision_count: int
    asked_count: int


def check_decisions(lake: Lake, *, now: dt.datetime) -> DecisionCheckResult:
    """Ask the KPI of every accepted decision whose tables or KPI changed since it was asked last.

    A query that fails, gives nothing, or gives no single number is inconclusive: a promise that nobody measured is
    not kept. The rows of earlier states stay.
    """
    decisions = newest_revisions(lake.read(DECISIONS)).filter(
        (pl.col("status") == "accepted") & pl.col("kpi_name").is_not_null()
    )
    standing = set(lake.read(DECISION_CHECKS, columns=["decision_id", "input_digest"]).iter_rows())
    rows = []
    for decision in decisions.iter_rows(named=True):
        versions = lake.versions(tables_of(decision["kpi_query"]))
        parts = [decision[f"kpi_{part}"] for part in KPI_PARTS]
        digest = json_digest([parts, versions])
        if (decision["decision_id"], digest) not in standing:
            rows.append(_check(lake, decision, versions, digest, now=now))
    if rows:
        lake.upsert(DECISION_CHECKS, pl.DataFrame(rows, schema=contract_of(DECISION_CHECKS).dtypes))
    return DecisionCheckResult(decision_count=decisions.height, asked_count=len(rows))


def newest_checks(lake: Lake) -> pl.DataFrame:
    """The newest check of every decision that is still accepted, broken promises first.

    An answer to an older KPI of a decision that was revised since does not count.
    """
    accepted = newest_revisions(lake.read(DECISIONS)).filter(pl.col("status") == "accepted")
    current = accepted.select("decision_id", *(f"kpi_{part}" for part in ("name", "comparison", "threshold")))
    order = pl.col("verdict").replace_strict({"fail": 0, "inconclusive": 1, "pass": 2}, return_dtype=pl.Int8)
    checks = lake.read(DECISION_CHECKS)
    return (
        checks.join(
            current,
            left_on=["decision_id", "kpi_name", "comparison", "threshold"],
            right_on=["decision_id", "kpi_name", "kpi_comparison", "kpi_threshold"],
        )
        .sort("checked_at")
        .group_by("decision_id")
        .last()
        .sort(order, "title")
        .select(checks.columns)
    )


def tables_of(query: str) -> list[str]:
    """Tables of the lake that a query names, sorted; all of them when it names none that can be seen."""
    words = set(re.findall(r"\b(?:bronze|silver|gold)\s*\.\s*\"?(\w+)", query.lower().replace('"', "")))
    named = sorted(address for address in CONTRACTS if address.partition(".")[2] in words)
    return named or sorted(CONTRACTS)


def _check(
    lake: Lake, decision: Mapping[str, Any], versions: Mapping[str, int], digest: str, *, now: dt.datetime
) -> dict[str, Any]:
    pinned = {table: version for table, version in versions.items() if version >= 0}
    value, reason = _ask(lake, decision["kpi_query"], pinned)
    verdict = "inconclusive"
    if value is not None:
        verdict = "pass" if _HOLDS[decision["kpi_comparison"]](value, decision["kpi_threshold"]) else "fail"
    return {
        "decision_id": decision["decision_id"],
        "input_digest": digest,
        "revision_index": decision["revision_index"],
        "title": decision["title"],
        "kpi_name": decision["kpi_name"],
        "value": value,
        "comparison": decision["kpi_comparison"],
        "threshold": decision["kpi_threshold"],
        "unit": decision["kpi_unit"],
        "verdict": verdict,
        "reason": reason,
        "input_versions": [{"table": table, "version": version} for table, version in pinned.items()],
        "checked_at": now,
    }


def _ask(lake: Lake, query: str, versions: Mapping[str, int]) -> tuple[float | None, str | None]:
    """The number that the query gives on these versions, or why there is none."""
    try:
        answer = lake.sql(query, at=versions)
    except BenchlakeError as error:
        return None, str(error)
    if answer.shape != (1, 1):
        return None, f"The query gave {answer.height} rows of {answer.width} columns; it must give one number."
    value = answer.item()
    if value is None:
        return None, "The query gave null: nothing was measured."
    try:
        number = float(value)
    except (TypeError, ValueError):
        return None, f"The query gave {type(value).__name__}, not a number."
    return (number, None) if math.isfinite(number) else (None, f"The query gave {number}.")
