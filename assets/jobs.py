"""Jobs: the night, and its two halves for arrivals and late dates."""

from __future__ import annotations

import dagster as dg

from assets.evidence import EVIDENCE_KEYS
from assets.runs import IMPORT_KEYS, SUITE_RUNS

NIGHTLY = dg.define_asset_job(
    "nightly",
    selection=dg.AssetSelection.assets(SUITE_RUNS, *IMPORT_KEYS, *EVIDENCE_KEYS),
    description="Ask the suite, import what landed, diff outputs, judge gates: one night, for one run date.",
)
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
JOBS = (NIGHTLY, IMPORT_LANDING, UPDATE_EVIDENCE)
