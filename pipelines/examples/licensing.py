"""Whether examples may be passed on: the licences of their data units, with what they inherit by lineage.

The rules are `pipelines/databits/licenses.py`; here they are asked for examples.
"""

from __future__ import annotations

import polars as pl

from lake.errors import UserError
from lake.store import Lake
from pipelines.databits.lineage_steps import update_lineage

LICENSES = "gold.databit_licenses"
_SHOWN = 3


def read_licenses(lake: Lake, rows: pl.DataFrame) -> pl.DataFrame:
    """Rows of silver.examples with `effective_license`, `status` and `findings`; lineage is brought up to date first.

    `status` is `unknown` where the lineage does not know the unit.
    """
    update_lineage(lake)
    licenses = lake.read(LICENSES, columns=["databit_id", "version", "effective_license", "status", "findings"]).rename(
        {"version": "databit_version"}
    )
    judged = rows.join(licenses, on=["databit_id", "databit_version"], how="left", maintain_order="left")
    return judged.with_columns(pl.col("status").fill_null("unknown"))


def refuse_unlicensed(judged: pl.DataFrame, *, override: str | None) -> None:
    """Raises `UserError` when examples inherit licences that do not go together, unless there is a reason."""
    barred = judged.filter(pl.col("status") == "incompatible")
    if override is not None and not override.strip():
        raise UserError("An override needs a reason that somebody can check later.")
    if barred.is_empty() or override is not None:
        return
    shown = "; ".join(
        f"{row['example_id'][:8]}: {' '.join(row['findings'] or ['no reason given'])}"
        for row in barred.head(_SHOWN).iter_rows(named=True)
    )
    raise UserError(
        f"{barred.height} examples may not be passed on: {shown}. Leave them out with a filter, put their licences "
        "right, or export in spite of it with --override-licenses REASON."
    )
