"""Values as rows of gold.attributions: their identity, their finding, and whether they stand already.

What belongs here: what all methods share once values are there. Where values come from is `demo_steps.py` and
`neighbour_steps.py`, credit of ancestors `lineage_credit.py`, changes `deltas.py`.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

import orjson
import polars as pl

from lake.identity import derived_id
from lake.store import Lake
from lake.tables import contract_of
from pipelines.attribution.values import CONFIDENCE
from pipelines.databits.units import canonical_text

ATTRIBUTIONS, DELTAS = "gold.attributions", "gold.attribution_deltas"
EVALUATIONS = "gold.attribution_evaluations"
UnitKind = Literal["example", "databit"]
Method = Literal[
    "leave_one_out", "shapley_exact", "shapley_sampled", "knn_shapley", "influence_proxy", "lineage_rollup"
]
Finding = Literal["helpful", "harmful", "indistinguishable"]
FINDING_WORDS: dict[Finding, str] = {
    "helpful": "helpful",
    "harmful": "harmful",
    "indistinguishable": "indistinguishable from 0",
}


@dataclass(frozen=True, kw_only=True)
class Worth:
    """What one unit is worth, with its interval where more than one observation allowed one."""

    unit_id: str
    unit_version: int | None = None
    value: float
    low: float | None
    high: float | None


@dataclass(frozen=True, kw_only=True)
class Valuation:
    """Units valued together by one method for one run; `settings` is all that decides the values beside the data."""

    run_id: str
    method: Method
    unit_kind: UnitKind = "example"
    utility: str
    worths: Sequence[Worth]
    unit_count: int
    sample_count: int
    evaluation_count: int | None
    seed: int | None
    settings: Mapping[str, Any]
    input_digest: str


@dataclass(frozen=True, kw_only=True)
class MethodResult:
    """What became of a method for a run. `note` says why there is nothing, or why it is not complete."""

    run_id: str
    method: Method
    is_new: bool
    is_complete: bool = True
    counts: Mapping[Finding, int] = field(default_factory=dict)
    note: str | None = None


def finding_of(low: float | None, high: float | None) -> Finding:
    """What an interval allows to say of a value."""
    if low is not None and low > 0:
        return "helpful"
    return "harmful" if high is not None and high < 0 else "indistinguishable"


def standing_rows(lake: Lake, run_id: str, method: Method, settings: Mapping[str, Any]) -> pl.DataFrame:
    """Values of the run by a method with these settings, if there are any."""
    return lake.read(
        ATTRIBUTIONS, where={"run_id": run_id, "method": method, "settings": canonical_text(dict(settings))}
    )


def stands(rows: pl.DataFrame, input_digest: str) -> bool:
    """Whether these rows were computed from just that."""
    return rows.height > 0 and set(rows["input_digest"]) == {input_digest}


def write_valuation(lake: Lake, valuation: Valuation, *, now: dt.datetime) -> None:
    """Make the lake hold these values and no others of the same run, method and settings."""
    settings = canonical_text(dict(valuation.settings))
    rows = pl.DataFrame(
        [_row(valuation, worth, settings, now) for worth in valuation.worths], schema=contract_of(ATTRIBUTIONS).dtypes
    )
    where = {"run_id": valuation.run_id, "method": valuation.method, "settings": settings}
    lake.replace(ATTRIBUTIONS, rows, where=where)


def result_of(
    rows: pl.DataFrame, run_id: str, method: Method, *, is_new: bool, note: str | None = None
) -> MethodResult:
    """Rows of gold.attributions as what is said of them."""
    counts = dict(rows["finding"].value_counts().iter_rows())
    return MethodResult(
        run_id=run_id,
        method=method,
        is_new=is_new,
        is_complete=note is None,
        counts={finding: counts.get(finding, 0) for finding in FINDING_WORDS},
        note=note,
    )


def method_text(rows: pl.DataFrame) -> pl.Series:
    """The method of each row in words; of credit, on a second line, also whose values were carried."""
    own = rows["method"].str.replace_all("_", " ")
    return own + pl.Series([_carried_method(text) for text in rows["settings"]], dtype=pl.String)


def _carried_method(settings: str) -> str:
    of = orjson.loads(settings).get("of")
    return f"\nof {of.replace('_', ' ')}" if of else ""


def _row(valuation: Valuation, worth: Worth, settings: str, now: dt.datetime) -> dict[str, Any]:
    unit = (valuation.unit_kind, worth.unit_id, worth.unit_version)
    return {
        "attribution_id": derived_id("attribution", valuation.run_id, *map(str, unit), valuation.method, settings),
        "run_id": valuation.run_id,
        "unit_kind": valuation.unit_kind,
        "unit_id": worth.unit_id,
        "unit_version": worth.unit_version,
        "method": valuation.method,
        "utility": valuation.utility,
        "value": worth.value,
        "interval_low": worth.low,
        "interval_high": worth.high,
        "confidence": CONFIDENCE,
        "finding": finding_of(worth.low, worth.high),
        "sample_count": valuation.sample_count,
        "unit_count": valuation.unit_count,
        "evaluation_count": valuation.evaluation_count,
        "seed": valuation.seed,
        "settings": settings,
        "input_digest": valuation.input_digest,
        "computed_at": now,
    }
