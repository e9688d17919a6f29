"""Tables of prompt optimisation: templates, DSPy programs, runs and trials."""

from __future__ import annotations

from lake.contracts import TableContract

TABLES: tuple[TableContract, ...] = ()
