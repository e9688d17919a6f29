"""Tables of timelines: where the time of a run went, and how that differs between runs."""

from __future__ import annotations

from lake.contracts import TableContract

TABLES: tuple[TableContract, ...] = ()
