"""Units for the tests of this room."""

from __future__ import annotations

import datetime as dt
from typing import Any

from lake.store import Lake
from pipelines.databits.revising import Changes, Hand, create_databit, revise_databit
from pipelines.databits.units import DatabitKey, Draft

NOON = dt.datetime(2026, 11, 20, 12, tzinfo=dt.UTC)


def hand(author: str = "ann", *, note: str | None = None, hours: int = 0) -> Hand:
    return Hand(author=author, at=NOON + dt.timedelta(hours=hours), note=note)


def make(lake: Lake, name: str, *, content: Any = None, license_id: str | None = None, parents=()) -> DatabitKey:
    """Version 1 of a unit that is called `name`."""
    draft = Draft(
        databit_id=name, content=name if content is None else content, license=license_id, derived_from=parents
    )
    return create_databit(lake, draft, hand=hand())


def relicense(lake: Lake, key: DatabitKey, license_id: str) -> DatabitKey:
    return revise_databit(lake, key.databit_id, Changes(license=license_id), expected_version=key.version, hand=hand())
