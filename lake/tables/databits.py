"""Tables of the training data: versioned units, their lineage, quality and curation."""

from __future__ import annotations

from lake.contracts import TableContract

TABLES: tuple[TableContract, ...] = ()
