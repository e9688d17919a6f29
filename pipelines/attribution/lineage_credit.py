"""Credit of data units and of what they were made from, out of the values of examples.

An example is shown at a version of its unit; that version receives the example's value and hands parts of it on to its
ancestors (`rollup.py`), so that the values of a run's units add up to those of its examples. Intervals are carried the
same way, as if all errors pointed in one direction: never too narrow, whatever depends on what.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Mapping, Sequence
from typing import Any

import orjson
import polars as pl

from lake.identity import json_digest
from lake.store import Lake
from pipelines.attribution.recording import (
    ATTRIBUTIONS,
    MethodResult,
    Valuation,
    Worth,
    result_of,
    standing_rows,
    stands,
    write_valuation,
)
from pipelines.attribution.rollup import Unit, roll_up
from pipelines.databits.lineage import ANCESTOR
from pipelines.databits.lineage_steps import ancestors_of, read_parents, update_lineage
from pipelines.databits.units import DatabitKey
from pipelines.optimization.items import EXAMPLES

KEPT_SHARE = 0.5
_USAGES = "silver.example_usages"
_LOOKED_UP = 400


def credit_lineage(lake: Lake, run_id: str, *, now: dt.datetime, kept_share: float = KEPT_SHARE) -> list[MethodResult]:
    """Carry each method's values of a run's examples to their units and ancestors; one result a method and setting.

    Lineage is brought up to date first. Nothing is written where values, versions and lineage are as they were.
    """
    update_lineage(lake)
    rows = lake.read(ATTRIBUTIONS, where={"run_id": run_id, "unit_kind": "example"})
    if rows.is_empty():
        return []
    units = read_units(lake, run_id, rows["unit_id"].unique().sort().to_list())
    keys = [DatabitKey(*unit) for unit in sorted(set(units.values()))]
    above = [DatabitKey(*row) for row in ancestors_of(lake, keys).select(ANCESTOR).unique().iter_rows()]
    parents = {
        (key.databit_id, key.version): [(parent.databit_id, parent.version) for parent in own]
        for key, own in read_parents(lake, {*keys, *above}).items()
    }
    return [
        _credit(lake, run_id, part, units, parents, kept_share=kept_share, now=now)
        for part in rows.partition_by("method", "settings", maintain_order=True)
    ]


def read_units(lake: Lake, run_id: str, example_ids: Sequence[str]) -> dict[str, Unit]:
    """The unit and version that each example showed: as its uses in the run say, else as it stands."""
    found: dict[str, Unit] = {}
    for start in range(0, len(example_ids), _LOOKED_UP):
        part = list(example_ids[start : start + _LOOKED_UP])
        rows = lake.read(EXAMPLES, columns=["example_id", "databit_id", "databit_version"], where={"example_id": part})
        found.update({example_id: (unit, version) for example_id, unit, version in rows.iter_rows()})
    used = lake.read(_USAGES, columns=["example_id", "databit_version"], where={"consumer_id": run_id})
    for example_id, version in used.group_by("example_id").agg(pl.col("databit_version").max()).iter_rows():
        if example_id in found:
            found[example_id] = (found[example_id][0], version)
    return found


def _credit(
    lake: Lake,
    run_id: str,
    rows: pl.DataFrame,
    units: Mapping[str, Unit],
    parents: Mapping[Unit, Sequence[Unit]],
    *,
    kept_share: float,
    now: dt.datetime,
) -> MethodResult:
    first = rows.row(0, named=True)
    settings: dict[str, Any] = {
        "of": first["method"],
        "kept_share": kept_share,
        "settings": orjson.loads(first["settings"]),
    }
    known = rows.filter(pl.col("unit_id").is_in(list(units))).sort("unit_id")
    carried = [
        [row["unit_id"], *units[row["unit_id"]], row["value"], row["interval_low"], row["interval_high"]]
        for row in known.iter_rows(named=True)
    ]
    lineage = sorted([*child, *(part for parent in own for part in parent)] for child, own in parents.items())
    digest = json_digest([carried, lineage, settings])
    standing = standing_rows(lake, run_id, "lineage_rollup", settings)
    if stands(standing, digest):
        return result_of(standing, run_id, "lineage_rollup", is_new=False)
    valuation = Valuation(
        run_id=run_id,
        method="lineage_rollup",
        unit_kind="databit",
        utility=first["utility"],
        worths=_worths(known, units, parents, kept_share=kept_share),
        unit_count=first["unit_count"],
        sample_count=first["sample_count"],
        evaluation_count=None,
        seed=first["seed"],
        settings=settings,
        input_digest=digest,
    )
    write_valuation(lake, valuation, now=now)
    return result_of(standing_rows(lake, run_id, "lineage_rollup", settings), run_id, "lineage_rollup", is_new=True)


def _worths(
    rows: pl.DataFrame, units: Mapping[str, Unit], parents: Mapping[Unit, Sequence[Unit]], *, kept_share: float
) -> list[Worth]:
    """Values and both ends of their intervals, each carried up the lineage; all three are linear in what is carried."""
    carried = [
        {
            unit: credit.kept
            for unit, credit in roll_up(_sums(rows, units, column), parents, kept_share=kept_share).items()
        }
        for column in ("value", "interval_low", "interval_high")
    ]
    values, lows, highs = carried
    # Where one example has no interval, what is above it has none either; methods give all or none.
    has_interval = not rows["interval_low"].has_nulls() and not rows["interval_high"].has_nulls()
    return [
        Worth(
            unit_id=unit,
            unit_version=version,
            value=value,
            low=lows[unit, version] if has_interval else None,
            high=highs[unit, version] if has_interval else None,
        )
        for (unit, version), value in values.items()
    ]


def _sums(rows: pl.DataFrame, units: Mapping[str, Unit], column: str) -> dict[Unit, float]:
    found: dict[Unit, float] = {}
    for unit_id, value in rows.select("unit_id", column).iter_rows():
        unit = units[unit_id]
        found[unit] = found.get(unit, 0.0) + (value or 0.0)
    return found
