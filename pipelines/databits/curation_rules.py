"""What puts units into the queue by itself: findings about them that a person should judge.

What belongs here: the rules, as data, and the step that applies them to findings that are new. The queue is
`curation.py`; what is found is written by `quality_steps.py`, `duplicate_steps.py` and `lineage_steps.py`.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import polars as pl

from lake.store import Lake
from pipelines.databits.curation import CurationDraft, enqueue_items
from pipelines.databits.following import follow
from pipelines.databits.personal_data import mask_personal_data
from pipelines.databits.reading import read_newest
from pipelines.databits.revising import UNCHANGED
from pipelines.databits.units import Content, parse_content

Row = Mapping[str, Any]


@dataclass(frozen=True, kw_only=True)
class Rule:
    """Which rows of a table put their unit into the queue, why, and what is proposed instead, if anything."""

    name: str
    table: str
    columns: tuple[str, ...]
    applies: Callable[[], pl.Expr]
    reason: Callable[[Row], str]
    priority: float
    propose: Callable[[Content], Content] | None = None


def masked_content(content: Content) -> Content:
    """Content with personal data masked in every text of it."""
    if isinstance(content, str):
        return mask_personal_data(content)
    if isinstance(content, list):
        return [masked_content(item) for item in content]
    if isinstance(content, dict):
        return {name: masked_content(value) for name, value in content.items()}
    return content


def _score_rule(
    name: str, scorer: str, limit: float, reason: str, *, priority: float, propose: Callable[[Content], Content] | None
) -> Rule:
    return Rule(
        name=name,
        table="gold.quality_scores",
        columns=("databit_id", "version", "scorer", "value", "detail"),
        applies=lambda: (pl.col("scorer") == scorer) & (pl.col("value") >= limit),
        reason=lambda row: reason.format(value=row["value"], detail=row["detail"] or "unnamed"),
        priority=priority,
        propose=propose,
    )


RULES: tuple[Rule, ...] = (
    _score_rule(
        "personal_data", "personal_data_count", 1, "It may hold personal data or secrets: {detail}.",
        priority=3.0, propose=masked_content,
    ),
    Rule(
        name="license",
        table="gold.databit_licenses",
        columns=("databit_id", "version", "status", "findings"),
        applies=lambda: pl.col("status").is_in(["incompatible", "unrecognised"]),
        reason=lambda row: f"Its licence is {row['status']}: {'; '.join(row['findings'])}.",
        priority=2.5,
    ),
    _score_rule(
        "leakage", "leakage_ratio", 0.5, "{value:.0%} of the prompt {detail} stands in it, with the reference.",
        priority=2.0, propose=None,
    ),
    Rule(
        name="duplicate",
        table="gold.databit_duplicates",
        columns=("databit_id", "version", "duplicate_kind", "canonical_id", "similarity_ratio"),
        applies=lambda: pl.lit(value=True),
        reason=lambda row: (
            f"It repeats {row['canonical_id']} ({row['duplicate_kind']}, similarity {row['similarity_ratio']:.2f})."
        ),
        priority=1.0,
    ),
    _score_rule(
        "repetition", "repetition_ratio", 0.3, "{value:.0%} of its three-word runs repeat: {detail!r}.",
        priority=0.5, propose=None,
    ),
)  # fmt: skip


def fill_queue(lake: Lake, *, now: dt.datetime) -> dict[str, int]:
    """Put units into the queue about which something was found since the last time; how many items a rule added.

    Findings about versions that are no longer the newest, or retracted, are passed over.
    """
    added = {}
    for rule in RULES:
        added[rule.name] = 0
        for rows in follow(lake, rule.table, f"databit_curation:{rule.name}", columns=rule.columns):
            added[rule.name] += enqueue_items(lake, _drafts(lake, rule, rows.filter(rule.applies())), now=now)
    return added


def _drafts(lake: Lake, rule: Rule, rows: pl.DataFrame) -> list[CurationDraft]:
    if rows.is_empty():
        return []
    newest = read_newest(lake, rows["databit_id"].to_list(), columns=["databit_id", "version", "content", "is_deleted"])
    current = rows.join(newest.filter(~pl.col("is_deleted")), on=["databit_id", "version"], how="inner")
    return [_draft(rule, row) for row in current.iter_rows(named=True)]


def _draft(rule: Rule, row: Row) -> CurationDraft:
    return CurationDraft(
        subject_kind="databit",
        subject_id=row["databit_id"],
        subject_version=row["version"],
        rule=rule.name,
        reason=rule.reason(row),
        proposed_content=UNCHANGED if rule.propose is None else rule.propose(parse_content(row["content"])),
        priority=rule.priority,
    )
