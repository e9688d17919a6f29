"""Tables of attribution: what each unit or example contributed to a run."""

from __future__ import annotations

from lake.contracts import TableContract

TABLES: tuple[TableContract, ...] = ()
