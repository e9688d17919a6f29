from __future__ import annotations

import multiprocessing
from concurrent.futures import ProcessPoolExecutor
from typing import TYPE_CHECKING

import pytest

from lake.tables import CONTRACTS

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from lake.contracts import TableContract

WRITERS = 4


@pytest.fixture(scope="session")
def workers() -> Iterator[ProcessPoolExecutor]:
    """Four other processes, started once: importing Polars anew for each test would be most of the suite's time."""
    with ProcessPoolExecutor(WRITERS, mp_context=multiprocessing.get_context("spawn")) as pool:
        list(pool.map(abs, range(WRITERS)))
        yield pool


@pytest.fixture
def register(monkeypatch: pytest.MonkeyPatch) -> Callable[[TableContract], str]:
    """Make a contract known for the length of a test; gives its address."""

    def add(contract: TableContract) -> str:
        monkeypatch.setitem(CONTRACTS, contract.address, contract)
        return contract.address

    return add
