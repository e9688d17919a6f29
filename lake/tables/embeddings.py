"""Tables of vectors: embeddings of texts and what the index was built from."""

from __future__ import annotations

from lake.contracts import TableContract

TABLES: tuple[TableContract, ...] = ()
