"""Rows for the tests of the lake, and the two ways of looking at a table that they share."""

from __future__ import annotations

import datetime as dt
from typing import TYPE_CHECKING

import polars as pl

from lake.tables import contract_of

if TYPE_CHECKING:
    from collections.abc import Iterable

    from lake.store import Lake

METRICS = "silver.run_metrics"
OUTPUTS = "silver.outputs"
DAY = dt.date(2026, 11, 20)
NOON = dt.datetime(2026, 11, 20, 12, tzinfo=dt.UTC)


def metrics(values: dict[str, float]) -> pl.DataFrame:
    """Rows of `silver.run_metrics`, one a run: {run id: value}."""
    count = len(values)
    return pl.DataFrame(
        {
            "run_id": list(values),
            "metric": ["accuracy"] * count,
            "variant": [""] * count,
            "step": [0] * count,
            "repeat_index": [0] * count,
            "run_date": [DAY] * count,
            "value": list(values.values()),
            "unit": ["1"] * count,
        },
        schema={
            name: contract_of(METRICS).dtypes[name]
            for name in ("run_id", "metric", "variant", "step", "repeat_index", "run_date", "value", "unit")
        },
    )


def metric_keys(runs: Iterable[str]) -> pl.DataFrame:
    return metrics(dict.fromkeys(runs, 0.0)).select(contract_of(METRICS).key)


def values_of(lake: Lake, *, at: int | None = None) -> dict[str, float]:
    """{run id: value} of `silver.run_metrics`; fails when a key stands twice."""
    frame = lake.read(METRICS, columns=["run_id", "value"], at=at)
    assert frame["run_id"].is_unique().all(), f"doubled rows: {frame.sort('run_id')}"
    return dict(frame.iter_rows())


def outputs(run_id: str, samples: Iterable[int | str], *, output: str = "answer", day: dt.date = DAY) -> pl.DataFrame:
    """Rows of `silver.outputs` of one run."""
    ids = [str(sample) for sample in samples]
    return pl.DataFrame(
        {
            "run_id": [run_id] * len(ids),
            "sample_id": ids,
            "repeat_index": [0] * len(ids),
            "run_date": [day] * len(ids),
            "output": [f"{output} {sample}" for sample in ids],
            "status": ["ok"] * len(ids),
            "scores": [[{"scorer": "exact_match", "value": 1.0}]] * len(ids),
            "tags": [["a", "b"]] * len(ids),
        },
        schema_overrides={
            "run_id": pl.String,
            "sample_id": pl.String,
            "repeat_index": pl.Int32,
            "run_date": pl.Date,
            "output": pl.String,
            "status": pl.String,
            "scores": contract_of(OUTPUTS).dtypes["scores"],
            "tags": pl.List(pl.String),
        },
    )


def replay(lake: Lake, table: str) -> pl.DataFrame:
    """The table as its change feed tells it from version 0; equal to the table when the feed misses nothing.

    Within a commit what goes comes before what arrives.
    """
    contract = contract_of(table)
    rows: dict[tuple[object, ...], dict[str, object]] = {}
    feed = lake.changes(table, -1).with_columns(__goes=pl.col("_change_type").is_in(["delete", "update_preimage"]))
    for row in feed.sort(["_commit_version", "__goes"], descending=[False, True]).iter_rows(named=True):
        key = tuple(row[name] for name in contract.key)
        content = {name: row[name] for name in contract.dtypes}
        if row["__goes"]:
            assert rows.pop(key) == content, f"the feed takes away a row that did not stand: {content}"
        else:
            assert key not in rows, f"the feed inserts {key} twice"
            rows[key] = content
    return pl.DataFrame(list(rows.values()), schema=contract.dtypes).sort(contract.key)
