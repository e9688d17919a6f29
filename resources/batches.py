"""Launch a batch: open its backends, ask its cells side by side as far as that is fair, land and import each run.

What belongs here: what a batch needs from outside (backends, folders, the lock of the machine) and the order of
work. The matrix is `pipelines/runs/batches.py`, its rows `pipelines/runs/batch_steps.py`, one run
`pipelines/runs/suite_runs.py`. The command line and Dagster both call this.
"""

from __future__ import annotations

import datetime as dt
import os
import secrets
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import filelock
import polars as pl

from lake.errors import UserError
from pipelines.runs.backends import Backend
from pipelines.runs.batch_steps import BatchJournal, find_batch, read_cells, start_batch
from pipelines.runs.batches import (
    BatchCell,
    BatchFacts,
    Wanted,
    arrange_lanes,
    batch_id_of,
    cell_row,
    facts_of,
    plan_cells,
    reconcile,
)
from pipelines.runs.suite_registry import load_saved_suite, save_suite
from pipelines.runs.suite_runs import Clock
from pipelines.runs.suites import Suite
from resources.backends import BackendConfig, backend_digest, open_backend
from resources.batch_lanes import BatchResult, Lanes, OnCell
from resources.code_version import read_code_version
from resources.installation import Installation
from resources.suite_choice import choose_suite

Opener = Callable[[str, BackendConfig, Path], Backend]


class BatchBusyError(UserError):
    """Another process on this machine asks the same batch."""


@dataclass(frozen=True, kw_only=True)
class BatchRequest:
    """What somebody asks for: every suite on every backend, each sample `repeats` times.

    No suites or no backends means those of the night. `name` continues the batch of that name if there is one; None
    makes a new name. `jobs` backends are asked side by side; embedded ones share the processor, so they take turns.
    """

    suites: Sequence[str] = ()
    backends: Sequence[str] = ()
    repeats: int = 1
    tags: Sequence[str] = ()
    name: str | None = None
    jobs: int = 1


@dataclass(frozen=True, kw_only=True)
class BatchContext:
    """What a launch needs besides the request: the time, who asks, whom to tell, and how a backend is opened."""

    clock: Clock
    author: str
    on_message: Callable[[str], None]
    on_cell: OnCell | None = None
    opener: Opener = open_backend


def launch_batch(installation: Installation, request: BatchRequest, context: BatchContext) -> BatchResult:
    """Ask every suite on every backend and import what comes back; a batch of the same name is continued.

    Finished runs are not asked again, unfinished ones continue with the samples that are missing, failed ones are
    tried again. What is not as it was at the first launch (suite, backend configuration, commit, repeats) is told
    and asked anew. Ctrl-C, a kill and a cancellation leave a batch that can be resumed.

    Raises `UserError` for what cannot be asked at all (no such suite or backend), before anything is asked.
    """
    _check(installation, request)
    now = context.clock()
    name = request.name or f"batch-{now:%Y%m%d-%H%M%S}-{secrets.token_hex(2)}"
    batch_id = batch_id_of(name)
    with _only_process(installation, batch_id, name):
        suites = _saved_suites(installation, request, context)
        backends = tuple(dict.fromkeys(request.backends or installation.config.nightly.backends))
        wanted = [Wanted(suite, backend, request.repeats) for suite in suites for backend in backends]
        standing = read_cells(installation.lake, batch_id)
        batch = _facts(standing, request, context, batch_id=batch_id, name=name, now=now)
        return _ask(installation, batch, wanted, standing, context, jobs=request.jobs)


def resume_batch(installation: Installation, reference: str, context: BatchContext, *, jobs: int = 1) -> BatchResult:
    """Ask what is not finished of a batch (its name, its id or the beginning of it), cancelled or failed cells too.

    The suites are those that were launched, from the lake, whatever became of their files. Raises `UserError` when
    there is no such batch, or one of its suites or backends cannot be asked any more.
    """
    lake = installation.lake
    batch_id = find_batch(lake, reference)
    with _only_process(installation, batch_id, reference):
        standing = read_cells(lake, batch_id)
        open_ = standing.filter(pl.col("state") != "finished")
        _known_backends(installation, open_["backend"].unique().to_list())
        suites = {digest: load_saved_suite(lake, digest).suite for digest in open_["suite_digest"].unique()}
        wanted = [
            Wanted(suites[digest], backend, repeats)
            for digest, backend, repeats in open_.select("suite_digest", "backend", "repeat_count").iter_rows()
        ]
        return _ask(installation, facts_of(standing), wanted, standing, context, jobs=jobs)


def is_asked_here(installation: Installation, batch_id: str) -> bool:
    """Whether a process of this machine is asking the batch right now."""
    path = _lock_path(installation, batch_id)
    if not path.exists():
        return False
    lock = filelock.FileLock(path, timeout=0)
    try:
        with lock:
            return False
    except filelock.Timeout:
        return True


def _ask(
    installation: Installation,
    batch: BatchFacts,
    wanted: Sequence[Wanted],
    standing: pl.DataFrame,
    context: BatchContext,
    *,
    jobs: int,
) -> BatchResult:
    configured = installation.config.backends
    code_version = read_code_version(installation.folder, os.environ)
    cells = plan_cells(
        wanted,
        batch_id=batch.batch_id,
        backend_digests={one.backend: backend_digest(one.backend, configured[one.backend]) for one in wanted},
        commit=code_version.commit,
    )
    plan = reconcile(cells, standing)
    for change in plan.changes:
        context.on_message(change)
    start_batch(installation.lake, batch, plan.unfinished, superseded=plan.superseded)
    context.on_message(_headline(batch, plan.unfinished, finished=len(plan.finished)))
    lanes = Lanes(
        installation=installation,
        batch=batch,
        suites={one.suite.digest: one.suite for one in wanted},
        code_version=code_version,
        journal=BatchJournal(installation.lake, (cell_row(cell, batch) for cell in plan.unfinished)),
        clock=context.clock,
        on_message=context.on_message,
        on_cell=context.on_cell,
        opener=lambda backend: context.opener(backend, configured[backend], installation.state.home),
    )
    embedded = {name for name, config in configured.items() if config.is_embedded}
    return lanes.ask(arrange_lanes(plan.unfinished, embedded=embedded), finished=plan.finished, jobs=jobs)


def _headline(batch: BatchFacts, cells: Sequence[BatchCell], *, finished: int) -> str:
    outputs = sum(cell.expected_count for cell in cells)
    before = f", {finished} finished before" if finished else ""
    return f"Batch {batch.name} ({batch.batch_id[:8]}): runs to ask {len(cells)}, outputs {outputs}{before}."


def _saved_suites(installation: Installation, request: BatchRequest, context: BatchContext) -> list[Suite]:
    """The suites of the request, each saved in the lake, so that the batch can be resumed without their files."""
    chosen = [choose_suite(installation, reference) for reference in request.suites] or [installation.written_suite]
    for written in chosen:
        saved = save_suite(installation.lake, written, now=context.clock(), author=context.author)
        which = f"Suite {saved.suite}@{saved.version_index} ({saved.suite_digest[:12]})"
        context.on_message(f"{which}, saved as a new version." if saved.is_new else f"{which}.")
    return [written.suite for written in chosen]


def _facts(
    standing: pl.DataFrame,
    request: BatchRequest,
    context: BatchContext,
    *,
    batch_id: str,
    name: str,
    now: dt.datetime,
) -> BatchFacts:
    tags = tuple(sorted({f"batch:{batch_id}", *request.tags}))
    if standing.is_empty():
        return BatchFacts(batch_id=batch_id, name=name, requested_at=now, requested_by=context.author, tags=tags)
    batch = facts_of(standing)
    if request.tags and tags != batch.tags:
        context.on_message(f"The tags stay those of the first launch ({', '.join(batch.tags)}), as on finished runs.")
    return batch


def _check(installation: Installation, request: BatchRequest) -> None:
    _known_backends(installation, request.backends)
    for name, value in (("repeats", request.repeats), ("jobs", request.jobs)):
        if value < 1:
            raise UserError(f"{name} is {value}; it must be at least 1.")
    if not all(tag.strip() for tag in request.tags):
        raise UserError("A tag is empty; leave it out.")


def _known_backends(installation: Installation, names: Sequence[str]) -> None:
    for name in names:
        if name not in installation.config.backends:
            raise UserError.unknown("backend", name, installation.config.backends)


@contextmanager
def _only_process(installation: Installation, batch_id: str, name: str) -> Iterator[None]:
    """Hold the batch on this machine; the system lets go of the lock when the holder dies, however it dies."""
    lock = filelock.FileLock(_lock_path(installation, batch_id), timeout=0)
    try:
        lock.acquire()
    except filelock.Timeout:
        raise BatchBusyError(
            f"The batch {name} is being asked by another process here. Wait for it, or look at it with: "
            f"benchlake batch show {name}"
        ) from None
    with lock:
        yield


def _lock_path(installation: Installation, batch_id: str) -> Path:
    return installation.state.work / f"batch-{batch_id}.lock"
