"""What a room adds to the code location.

What does not belong here: any asset. A room's module ends in `ROOM = Room(…)`; `assets.definitions` puts them
together.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, TypeAlias

import dagster as dg

from assets.tables import asset_key

if TYPE_CHECKING:
    # What `dg.define_asset_job` gives; Dagster does not export the name.
    from dagster._core.definitions.unresolved_asset_job_definition import UnresolvedAssetJobDefinition

AssetJob: TypeAlias = "UnresolvedAssetJobDefinition"


@dataclass(frozen=True)
class Room:
    """Definitions of one room: what is computed, what is recorded beside it, and what of it belongs to the night."""

    assets: Sequence[dg.AssetsDefinition] = ()
    tables: Sequence[str] = ()
    """Tables that the assets write; each gets a contract check."""
    recorded_tables: Sequence[str] = ()
    """Tables that commands, or steps beside their own table, write: assets without a function."""
    written_later: Mapping[str, Sequence[dg.AssetKey]] = field(default_factory=dict)
    """Tables into which later assets write back: their contracts are checked after those."""
    checks: Sequence[dg.AssetChecksDefinition] = ()
    jobs: Sequence[dg.JobDefinition | AssetJob] = ()
    sensors: Sequence[dg.SensorDefinition] = ()
    night: Sequence[dg.AssetKey] = ()
    """Assets that the job `nightly` materialises, after those they depend on."""

    @property
    def keys(self) -> tuple[dg.AssetKey, ...]:
        """The keys of the tables that the assets write."""
        return tuple(map(asset_key, self.tables))
