"""Every table of the lake, by address.

One module a room; a table exists because it is listed in its module's `TABLES`.
"""

from __future__ import annotations

from lake.contracts import TableContract
from lake.errors import UserError
from lake.tables import evidence, operations, remarks, runs, suites

CONTRACTS: dict[str, TableContract] = {
    contract.address: contract
    for contract in (*operations.TABLES, *runs.TABLES, *suites.TABLES, *remarks.TABLES, *evidence.TABLES)
}


def contract_of(address: str) -> TableContract:
    """The contract of `layer.name`; raises `UserError` with the nearest names if there is none."""
    try:
        return CONTRACTS[address]
    except KeyError:
        raise UserError.unknown("table", address, CONTRACTS) from None
