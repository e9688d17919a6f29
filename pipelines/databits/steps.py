"""The night of DataBits: units of suites, lineage and licences, quality, duplicates, the queue.

Each step reads from the lake what is new to it, writes, and gives a small result; the assets and the command line
call these and nothing below them.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Mapping
from dataclasses import dataclass

from lake.store import Lake
from pipelines.databits.assistant import LanguageModel, label_items
from pipelines.databits.curation_rules import fill_queue
from pipelines.databits.duplicate_steps import DuplicatesResult, find_duplicates
from pipelines.databits.lineage_steps import LineageResult, update_lineage
from pipelines.databits.quality_steps import QualityResult, score_units
from pipelines.databits.suite_units import SuiteUnitsResult, update_suite_units

__all__ = [
    "CurationResult",
    "DuplicatesResult",
    "LineageResult",
    "QualityResult",
    "SuiteUnitsResult",
    "assess_quality",
    "find_duplicates",
    "queue_findings",
    "update_lineage",
    "update_suite_units",
]


@dataclass(frozen=True, kw_only=True)
class CurationResult:
    """Items that were added to the queue, by rule, and how many the assistant labelled."""

    added_by_rule: Mapping[str, int]
    labelled_count: int


def assess_quality(lake: Lake) -> tuple[QualityResult, DuplicatesResult]:
    """Score versions that are new, and look for duplicates among units that are."""
    return score_units(lake), find_duplicates(lake)


def queue_findings(
    lake: Lake, *, now: dt.datetime, assistant: LanguageModel | None = None, label_limit: int = 0
) -> CurationResult:
    """Put what was found into the queue, and have the assistant label what waits, `label_limit` items at most."""
    added = fill_queue(lake, now=now)
    labelled = 0 if assistant is None else label_items(lake, assistant, limit=label_limit)
    return CurationResult(added_by_rule=added, labelled_count=labelled)
