"""Tables of trends: series, change points and regressions over commits and nights."""

from __future__ import annotations

from lake.contracts import TableContract

TABLES: tuple[TableContract, ...] = ()
