"""Which labels examples have, and which part of a filter it is that nothing matches.

What belongs here: counting labels for whoever asked for one that no example has. Filtering is `catalogue.py`.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from typing import Literal

import polars as pl

from pipelines.examples.catalogue import Catalogue, ExampleFilter

LabelKind = Literal["function", "domain", "tag", "source", "license", "effectiveness"]
_COLUMNS: tuple[tuple[LabelKind, str], ...] = (
    ("function", "function_name"),
    ("domain", "domain"),
    ("source", "source"),
    ("license", "license"),
)


@dataclass(frozen=True, kw_only=True)
class Condition:
    """One part of a filter: how many examples meet it alone, and which labels of its kind there are.

    `known` begins with the labels nearest to the one asked for; then come the commonest.
    """

    kind: LabelKind
    wanted: str
    example_count: int
    known: Sequence[str]


def weigh_conditions(catalogue: Catalogue, wanted: ExampleFilter) -> list[Condition]:
    """Every condition of a filter by itself, over the examples that may be listed by it. Pure."""
    rows = catalogue.rows if wanted.has_deleted else catalogue.living
    return list(_conditions(rows, wanted))


def _conditions(rows: pl.DataFrame, wanted: ExampleFilter) -> Iterator[Condition]:
    for kind, column in _COLUMNS:
        value = getattr(wanted, column)
        if value is not None:
            yield _condition(kind, value, rows[column])
    for tag in wanted.tags:
        yield _condition("tag", tag, rows["tags"].explode(empty_as_null=True))
    if wanted.min_effectiveness is not None:
        scores = rows["effectiveness_score"].drop_nulls()
        highest = [f"{max(scores.to_list()):.3f}"] if scores.len() else []
        count = int((scores >= wanted.min_effectiveness).sum())
        yield Condition(kind="effectiveness", wanted=str(wanted.min_effectiveness), example_count=count, known=highest)


def _condition(kind: LabelKind, value: str, labels: pl.Series) -> Condition:
    counts = labels.drop_nulls().alias("label").value_counts().sort(["count", "label"], descending=[True, False])
    common = counts["label"].to_list()
    near = get_close_matches(value, common, n=3)
    return Condition(
        kind=kind,
        wanted=value,
        example_count=int((labels == value).sum()),
        known=[*near, *(label for label in common if label not in near)],
    )
