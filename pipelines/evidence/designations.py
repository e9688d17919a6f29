"""Which run is the designated baseline of a candidate: pure, from the acts in `silver.baselines`.

Recording an act is `pipelines.runs.remarks`.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import orjson
import polars as pl

from lake.identity import json_digest
from pipelines.runs.run_query import field_of, is_glob, matches


@dataclass(frozen=True, kw_only=True)
class Designation:
    """An act: candidates that `selector` admits are compared with `run_id` (None: with nothing) from a date on."""

    selector: Mapping[str, str]
    run_id: str | None
    effective_date: dt.date
    designated_at: dt.datetime
    selector_digest: str

    @property
    def precision(self) -> tuple[int, int]:
        """How narrow the selector is: fields with one value count before fields with a glob."""
        literal = sum(not is_glob(pattern) for pattern in self.selector.values())
        return literal, len(self.selector)

    def admits(self, run: Mapping[str, Any]) -> bool:
        """Whether a row of `silver.runs` is a candidate of this designation."""
        return all(matches(field_of(run, name), [pattern]) for name, pattern in self.selector.items())


def read_designations(acts: pl.DataFrame) -> list[Designation]:
    """Acts in the order in which they were done, from rows of `silver.baselines`."""
    return [
        Designation(
            selector=orjson.loads(row["selector"]),
            run_id=row["run_id"],
            effective_date=row["effective_date"],
            designated_at=row["designated_at"],
            selector_digest=row["selector_digest"],
        )
        for row in acts.sort("designated_at", "designation_id").iter_rows(named=True)
    ]


def designated_run_id(candidate: Mapping[str, Any], designations: Sequence[Designation]) -> str | None:
    """The baseline of a row of `silver.runs`; None when nobody designated one for its run date.

    Of the acts of one selector the latest counts that is in effect on the candidate's run date; of several selectors
    that admit the candidate the narrowest, and of equally narrow ones the latest.
    """
    latest = {
        act.selector_digest: act
        for act in designations
        if act.effective_date <= candidate["run_date"] and act.admits(candidate)
    }
    standing = [act for act in latest.values() if act.run_id is not None]
    if not standing:
        return None
    return max(standing, key=lambda act: (act.precision, act.designated_at, act.selector_digest)).run_id


def designations_digest(designations: Sequence[Designation]) -> str:
    """Digest of all acts: with another, another baseline may be meant."""
    return json_digest(
        [
            [act.selector_digest, act.run_id, act.effective_date.isoformat(), act.designated_at.isoformat()]
            for act in designations
        ]
    )
