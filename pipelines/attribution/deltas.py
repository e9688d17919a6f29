"""How a unit's value changed: from one version of it to the next, and from one run to the next.

Values may be compared where method, settings and template are the same. Both are taken as independent, which they are
for different runs' items; where two runs asked the same items the interval is wider than it need be.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from itertools import pairwise
from typing import Any

import polars as pl

from lake.identity import derived_id
from lake.store import Lake
from lake.tables import contract_of
from pipelines.attribution.recording import ATTRIBUTIONS, DELTAS
from pipelines.databits.following import follow
from pipelines.optimization.recording import RUNS

CONSUMER = "attribution_deltas"
_LOOKED_UP = 400
_GROUP = ("unit_kind", "unit_id", "method", "settings", "template_id")


def update_deltas(lake: Lake) -> int:
    """Compute the deltas of units with new values; what a value between has parted goes. Gives the rows written."""
    written = 0
    for changed in follow(lake, ATTRIBUTIONS, CONSUMER, columns=["unit_id"]):
        ids = changed["unit_id"].unique().sort().to_list()
        for start in range(0, len(ids), _LOOKED_UP):
            written += _update(lake, ids[start : start + _LOOKED_UP])
    return written


def deltas_of(values: pl.DataFrame) -> pl.DataFrame:
    """Rows of gold.attribution_deltas from those of gold.attributions with `template_id` and `started_at` of the run.

    Pure. A value is set against that of the run before, by the start of runs, in which the unit has one: of the same
    version, then the delta is of kind `run`, else of the newest version there, then it is of kind `version`.
    """
    ordered = values.sort("started_at", "run_id", "unit_version")
    rows = [
        _delta(_before(earlier.rows(named=True), row), row)
        for part in ordered.partition_by(_GROUP, maintain_order=True)
        for earlier, later in pairwise(part.partition_by("run_id", maintain_order=True))
        for row in later.iter_rows(named=True)
    ]
    return pl.DataFrame(rows, schema=contract_of(DELTAS).dtypes)


def _before(earlier: Sequence[dict[str, Any]], row: dict[str, Any]) -> dict[str, Any]:
    """The value of an earlier run that a row is set against; `earlier` is in the order of versions."""
    return next((one for one in earlier if one["unit_version"] == row["unit_version"]), earlier[-1])


def _update(lake: Lake, unit_ids: Sequence[str]) -> int:
    values = lake.read(ATTRIBUTIONS, where={"unit_id": list(unit_ids)})
    runs = lake.read(RUNS, columns=["optimization_run_id", "template_id", "started_at"])
    found = deltas_of(values.join(runs.rename({"optimization_run_id": "run_id"}), on="run_id"))
    standing = lake.read(DELTAS, columns=["delta_id"], where={"unit_id": list(unit_ids)})
    parted = standing.join(found, on="delta_id", how="anti")
    if parted.height:
        lake.remove(DELTAS, parted)
    return lake.upsert(DELTAS, found).rows_written if found.height else 0


def _delta(earlier: dict[str, Any], later: dict[str, Any]) -> dict[str, Any]:
    effect = later["value"] - earlier["value"]
    low, high = _interval(earlier, later, effect)
    return {
        "delta_id": derived_id("attribution_delta", earlier["attribution_id"], later["attribution_id"]),
        "delta_kind": "version" if earlier["unit_version"] != later["unit_version"] else "run",
        **{name: later[name] for name in ("unit_kind", "unit_id", "method", "run_id", "unit_version", "value")},
        **{f"previous_{name}": earlier[name] for name in ("run_id", "unit_version", "value")},
        "effect": effect,
        "interval_low": low,
        "interval_high": high,
        "is_distinct": (low is not None and low > 0) or (high is not None and high < 0),
        "computed_at": later["computed_at"],
    }


def _interval(earlier: dict[str, Any], later: dict[str, Any], effect: float) -> tuple[float | None, float | None]:
    """Both intervals joined as by Newcombe: distances to the ends add as squares."""
    ends = list(_ends(earlier, later))
    if any(end is None for end in ends):
        return None, None
    before_low, before_high, after_low, after_high = ends
    before, after = earlier["value"], later["value"]
    return (
        effect - math.hypot(after - after_low, before_high - before),
        effect + math.hypot(after_high - after, before - before_low),
    )


def _ends(earlier: dict[str, Any], later: dict[str, Any]) -> Iterator[Any]:
    for row in (earlier, later):
        yield row["interval_low"]
        yield row["interval_high"]
