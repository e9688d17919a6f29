"""What a comparison of runs reads from the lake, at its newest state or at pinned versions."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import polars as pl

from lake.errors import UserError
from lake.store import Lake
from pipelines.experiments.run_diff import RunRows

# Everything that a comparison is computed from; a scenario pins these.
COMPARED_TABLES = ("silver.runs", "silver.run_params", "silver.run_metrics", "silver.outputs", "gold.gate_results")
_OUTPUT_COLUMNS = (
    "run_id",
    "sample_id",
    "repeat_index",
    "prompt_digest",
    "output_digest",
    "status",
    "latency_ms",
    "time_to_first_token_ms",
    "scores",
    "tags",
)
_VERDICT_COLUMNS = ("candidate_run_id", "gate", "severity", "verdict")

Versions = Mapping[str, int]
"""Delta versions by table; a table that is not named is read as it is now, one at -1 did not exist yet."""


def read_run_rows(lake: Lake, run_ids: Sequence[str], *, at: Versions | None = None) -> RunRows:
    """All rows about these runs, in their order. Raises `UserError` for a run that is not there."""
    at = at or {}
    runs = _read(lake, "silver.runs", at, where={"run_id": list(run_ids)})
    by_id: dict[str, Mapping[str, Any]] = {row["run_id"]: row for row in runs.to_dicts()}
    missing = [run_id for run_id in run_ids if run_id not in by_id]
    if missing:
        raise UserError(f"No run {', '.join(missing)} in the lake. See them all:  benchlake runs")
    dates = sorted({row["run_date"] for row in by_id.values()})
    where = {"run_id": list(run_ids)}
    return RunRows(
        runs=[by_id[run_id] for run_id in run_ids],
        parameters=_read(lake, "silver.run_params", at, where=where),
        metrics=_read(lake, "silver.run_metrics", at, where=where),
        outputs=_read(lake, "silver.outputs", at, columns=_OUTPUT_COLUMNS, where={"run_date": dates, **where}),
        verdicts=_read(
            lake,
            "gold.gate_results",
            at,
            columns=_VERDICT_COLUMNS,
            where={"run_date": dates, "candidate_run_id": list(run_ids)},
        ),
    )


def _read(
    lake: Lake, table: str, at: Versions, *, columns: Sequence[str] | None = None, where: Mapping[str, Any]
) -> pl.DataFrame:
    version = at.get(table)
    if version is not None and version < 0:
        # It was not there when the versions were pinned.
        return lake.read(table, columns=columns, where=where).clear()
    return lake.read(table, columns=columns, where=where, at=version)
