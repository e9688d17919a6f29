"""Tables of the experiment explorer: scenarios and decisions."""

from __future__ import annotations

from lake.contracts import TableContract

TABLES: tuple[TableContract, ...] = ()
