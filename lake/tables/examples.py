"""Tables of the example store: few-shot examples, their uses and what each is worth."""

from __future__ import annotations

from lake.contracts import TableContract

TABLES: tuple[TableContract, ...] = ()
