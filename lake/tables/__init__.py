"""Every table of the lake, by address.

One module a room; a table exists because it is listed in its module's `TABLES`.
"""

from __future__ import annotations

from lake.contracts import TableContract
from lake.errors import UserError
from lake.tables import (
    attribution,
    databits,
    embeddings,
    evidence,
    examples,
    experiments,
    operations,
    optimization,
    remarks,
    runs,
    suites,
    timelines,
    trends,
)

ROOMS = (
    operations,
    runs,
    suites,
    remarks,
    evidence,
    timelines,
    trends,
    databits,
    embeddings,
    examples,
    optimization,
    attribution,
    experiments,
)

CONTRACTS: dict[str, TableContract] = {contract.address: contract for room in ROOMS for contract in room.TABLES}


def contract_of(address: str) -> TableContract:
    """The contract of `layer.name`; raises `UserError` with the nearest names if there is none."""
    try:
        return CONTRACTS[address]
    except KeyError:
        raise UserError.unknown("table", address, CONTRACTS, list_all="benchlake tables") from None
