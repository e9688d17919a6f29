"""Jobs: the night, its two halves for arrivals and late dates, and batches on demand."""

from __future__ import annotations

from collections.abc import Iterable

import dagster as dg

from assets.batches import BATCH_KEYS
from assets.evidence import EVIDENCE_KEYS
from assets.rooms import AssetJob
from assets.runs import IMPORT_KEYS, SUITE_RUNS

IMPORT_LANDING = dg.define_asset_job(
    "import_landing",
    selection=dg.AssetSelection.assets(*IMPORT_KEYS),
    description="Import everything new in the landing folder.",
)
UPDATE_EVIDENCE = dg.define_asset_job(
    "update_evidence",
    selection=dg.AssetSelection.assets(*EVIDENCE_KEYS),
    description="Compute the evidence of run dates whose runs or policy changed. Launch a backfill for a range; "
    "the tag benchlake/recompute: all computes unchanged comparisons again.",
)
ASK_SUITES = dg.define_asset_job(
    "ask_suites",
    selection=dg.AssetSelection.assets(*BATCH_KEYS, *IMPORT_KEYS),
    description="Ask suites by backends by repeats as one batch that can be resumed. Choose them in the launchpad; "
    "launched as it stands it asks the night's suite on the night's backends.",
)

JOBS = (IMPORT_LANDING, UPDATE_EVIDENCE, ASK_SUITES)


def nightly_job(keys: Iterable[dg.AssetKey]) -> AssetJob:
    """The night, with what other rooms add to it (`keys`)."""
    return dg.define_asset_job(
        "nightly",
        selection=dg.AssetSelection.assets(SUITE_RUNS, *IMPORT_KEYS, *EVIDENCE_KEYS, *keys),
        description="Ask the suite, import what landed, diff outputs, judge gates, and bring every other room up to "
        "date: one night, for one run date.",
    )
