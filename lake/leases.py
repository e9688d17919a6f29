"""Leases: the right to do, alone and for a while, what only one process on any machine may do.

A lease is a row of `silver.leases` that is taken and given back by compare-and-set commits, so it works wherever the
lake does and needs no lock server. A holder that dies is taken for dead when its lease expires. The method stands on
clocks that agree to within `EXPIRY`; maintenance verifies its result besides.
"""

from __future__ import annotations

import datetime as dt
import threading
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

import polars as pl

from lake.errors import LeaseHeldError
from lake.tables import contract_of

if TYPE_CHECKING:
    from lake.store import Lake

LEASES = "silver.leases"
EXPIRY = dt.timedelta(minutes=5)
# A third of the expiry: two renewals may fail before anybody else may take the lease.
RENEWAL_SECONDS = EXPIRY.total_seconds() / 3


@contextmanager
def hold(lake: Lake, resource: str) -> Iterator[None]:
    """Hold `resource` for the length of the block, renewing in the background.

    Raises `LeaseHeldError` at once when another holder's lease has not expired.
    """
    holder = str(uuid.uuid4())
    if not _take(lake, resource, holder):
        standing = lake.read(LEASES, where={"resource": resource})
        until = standing["expires_at"][0] if standing.height else None
        raise LeaseHeldError(
            f"Another process holds {resource!r} until {until} unless it renews. Wait for it, or, if it died, "
            f"for the lease to run out."
        )
    done = threading.Event()
    renewal = threading.Thread(target=_renew, args=(lake, resource, holder, done), daemon=True)
    renewal.start()
    try:
        yield
    finally:
        done.set()
        renewal.join()
        _release(lake, resource, holder)


def _take(lake: Lake, resource: str, holder: str) -> bool:
    now = dt.datetime.now(dt.UTC)

    def is_free(standing: pl.DataFrame) -> bool:
        return standing.is_empty() or standing["holder"][0] in {"", holder} or standing["expires_at"][0] < now

    return lake.compare_and_upsert(LEASES, _row(resource, holder, now + EXPIRY), expected=is_free)


def _renew(lake: Lake, resource: str, holder: str, done: threading.Event) -> None:
    while not done.wait(RENEWAL_SECONDS):
        _take(lake, resource, holder)


def _release(lake: Lake, resource: str, holder: str) -> None:
    lake.compare_and_upsert(
        LEASES,
        _row(resource, "", dt.datetime.now(dt.UTC)),
        expected=lambda standing: standing.height == 1 and standing["holder"][0] == holder,
    )


def _row(resource: str, holder: str, expires_at: dt.datetime) -> pl.DataFrame:
    return pl.DataFrame(
        {"resource": [resource], "holder": [holder], "expires_at": [expires_at]},
        schema=contract_of(LEASES).dtypes,
    )
