"""Batches from the Dagster UI: suites by backends by repeats, as a job with a typed config."""

import datetime as dt
import os
import time
from collections.abc import Callable, Iterator

import dagster as dg
from pydantic import Field

from assets.presentation import batch_table
from assets.tables import asset_key, table_metadata, table_spec
from lake.tables import suites
from pipelines.runs.batch_steps import list_cells
from pipelines.runs.batches import BatchCell
from resources.author import read_author
from resources.batches import BatchContext, BatchRequest, launch_batch
from resources.installation import Installation

BATCH_TABLES = tuple(contract.address for contract in suites.TABLES)
BATCH_KEYS = tuple(map(asset_key, BATCH_TABLES))
# The log of a run is for reading: a line for every output would bury it.
SECONDS_BETWEEN_COUNTS = 15.0


class AskSuites(dg.Config):
    """What a batch asks, as the launchpad shows it."""

    suites: list[str] = Field(
        default=[],
        description="Suite files, or saved suites as NAME, NAME@VERSION or the first digits of a digest. "
        "Empty: the night's suite.",
    )
    backends: list[str] = Field(default=[], description="Configured backends. Empty: the night's.")
    repeats: int = Field(default=1, ge=1, description="How often each sample is asked.")
    tags: list[str] = Field(default=[], description="Labels of the batch's runs.")
    batch: str = Field(
        default="",
        description="Name. A batch of this name is continued: what is finished is not asked again. "
        "Empty: named after this Dagster run, so that re-executing it continues it.",
    )
    jobs: int = Field(
        default=1,
        ge=1,
        description="Backends asked side by side; embedded ones share the processor, so they always take turns.",
    )


@dg.multi_asset(
    name="asked_suites",
    specs=[table_spec(table) for table in BATCH_TABLES],
    pool="inference",
    can_subset=False,
)
def asked_suites(
    context: dg.AssetExecutionContext, config: AskSuites, installation: dg.ResourceParam[Installation]
) -> Iterator[dg.MaterializeResult[None]]:
    """Ask every suite on every backend as one batch, import each run as it ends; fails if a cell did not finish."""
    request = BatchRequest(
        suites=config.suites,
        backends=config.backends,
        repeats=config.repeats,
        tags=config.tags,
        name=config.batch or f"dagster-{(context.run.root_run_id or context.run.run_id)[:8]}",
        jobs=config.jobs,
    )
    result = launch_batch(
        installation,
        request,
        BatchContext(
            clock=lambda: dt.datetime.now(dt.UTC),
            author=read_author(installation.folder, os.environ),
            on_message=context.log.info,
            on_cell=logged_counts(context.log.info),
        ),
    )
    lake = installation.lake
    shown: dict[str, dg.MetadataValue | str] = {
        "batch": result.name,
        "cells": dg.MetadataValue.md(batch_table(list_cells(lake, result.batch_id))),
    }
    facts = table_metadata(lake, BATCH_TABLES)
    for table in BATCH_TABLES:
        own = shown if table == "silver.batch_runs" else {}
        yield dg.MaterializeResult(asset_key=asset_key(table), metadata={**facts[table], **own})
    if result.unfinished:
        raise dg.Failure(
            f"{len(result.unfinished)} of {len(result.cells)} runs did not finish; re-execute to ask what is missing.",
            metadata=shown,
            allow_retries=False,
        )


def logged_counts(
    log: Callable[[str], None], *, ticks: Callable[[], float] = time.monotonic
) -> Callable[[BatchCell, int], None]:
    """What takes how far a cell is, and logs it now and then."""
    told_at = ticks()

    def tell(cell: BatchCell, answered: int) -> None:
        nonlocal told_at
        if ticks() - told_at >= SECONDS_BETWEEN_COUNTS:
            told_at = ticks()
            log(f"{cell.suite} on {cell.backend}: {answered} of {cell.expected_count} outputs")

    return tell
