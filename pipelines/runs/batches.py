"""A batch: suites by backends as a matrix of cells, each of which is one run. Pure.

What belongs here: which cells a batch has, what may stand of an earlier launch, and in which order they can be
asked. Recording how far they are is `batch_steps.py`, asking them `resources/batches.py`.
"""

from __future__ import annotations

import datetime as dt
import re
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import polars as pl

from lake.errors import UserError
from lake.identity import derived_id
from lake.tables import contract_of
from pipelines.runs.suites import Suite

BATCH_RUNS = "silver.batch_runs"
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}")
_SHOWN_DIGEST_CHARS = 12


class Wanted(NamedTuple):
    """A cell as it is asked for: this suite on this backend, each sample so often."""

    suite: Suite
    backend: str
    repeats: int


@dataclass(frozen=True, kw_only=True)
class BatchCell:
    """One suite on one backend; `run_id` is the run that answers it, `expected_count` the outputs it will have."""

    run_id: str
    suite: str
    suite_digest: str
    backend: str
    backend_digest: str
    commit: str | None
    repeats: int
    expected_count: int


@dataclass(frozen=True, kw_only=True)
class BatchFacts:
    """What is the same for all cells of a batch: its first launch decides it."""

    batch_id: str
    name: str
    requested_at: dt.datetime
    requested_by: str
    tags: tuple[str, ...]


@dataclass(frozen=True, kw_only=True)
class Reconciled:
    """Planned cells beside what an earlier launch left.

    `finished` cells are not asked again. `superseded` are run ids of unfinished cells in whose place a planned one
    stands. `changes` says in words what is not as it was.
    """

    unfinished: tuple[BatchCell, ...]
    finished: tuple[BatchCell, ...]
    superseded: tuple[str, ...]
    changes: tuple[str, ...]


def batch_id_of(name: str) -> str:
    """The id of the batch with this name; raises `UserError` for a name that cannot be typed on a command line."""
    if not _NAME.fullmatch(name):
        raise UserError(f"{name!r} is no name for a batch; use letters, digits, dots, - and _, at most 100.")
    return derived_id("batch", name)


def plan_cells(
    wanted: Iterable[Wanted], *, batch_id: str, backend_digests: Mapping[str, str], commit: str | None
) -> tuple[BatchCell, ...]:
    """One cell for each that is wanted, each once, in that order.

    The run id follows from everything that decides what is asked of what, so the same cell of the same batch is the
    same run, and another suite, backend configuration, number of repeats or commit is another run.
    """
    cells: dict[str, BatchCell] = {}
    for suite, backend, repeats in wanted:
        parts = (batch_id, suite.digest, backend_digests[backend], repeats, commit)
        cell = BatchCell(
            run_id=derived_id("batch_run", *parts),
            suite=suite.name,
            suite_digest=suite.digest,
            backend=backend,
            backend_digest=backend_digests[backend],
            commit=commit,
            repeats=repeats,
            expected_count=len(suite.samples) * repeats,
        )
        cells.setdefault(cell.run_id, cell)
    return tuple(cells.values())


def reconcile(cells: Sequence[BatchCell], standing: pl.DataFrame) -> Reconciled:
    """`cells` beside the `standing` rows of silver.batch_runs of the same batch."""
    states = dict(standing.select("run_id", "state").iter_rows())
    planned = {cell.run_id for cell in cells}
    # By content before by name: a batch may ask two versions of one suite.
    places = {(cell.suite, cell.backend): cell for cell in cells}
    places |= {(cell.suite_digest, cell.backend): cell for cell in cells}
    superseded, changes = [], []
    for row in standing.sort("suite", "backend", "run_id").iter_rows(named=True):
        same_suite = places.get((row["suite_digest"], row["backend"]))
        cell = same_suite or places.get((row["suite"], row["backend"]))
        if cell is None or row["run_id"] in planned:
            continue
        if row["state"] != "finished":
            superseded.append(row["run_id"])
        if row["state"] != "finished" or cell.run_id not in states:
            changes.append(_change(row, cell))
    return Reconciled(
        unfinished=tuple(cell for cell in cells if states.get(cell.run_id) != "finished"),
        finished=tuple(cell for cell in cells if states.get(cell.run_id) == "finished"),
        superseded=tuple(superseded),
        changes=tuple(changes),
    )


def arrange_lanes(cells: Sequence[BatchCell], *, embedded: Collection[str]) -> list[list[BatchCell]]:
    """Cells that must wait for each other are one lane; lanes may be asked side by side.

    Embedded backends share the processor, and with it each other's latencies, so they are all one lane; every other
    backend is a lane, so that it never has more prompts under way than it allows. Within a lane a backend's cells
    stand together, so that it is opened once.
    """
    lanes: dict[str | None, list[BatchCell]] = {}
    for cell in cells:
        lanes.setdefault(None if cell.backend in embedded else cell.backend, []).append(cell)
    order = {name: place for place, name in enumerate(dict.fromkeys(cell.backend for cell in cells))}
    return [sorted(lane, key=lambda cell: order[cell.backend]) for lane in lanes.values()]


def cell_row(cell: BatchCell, batch: BatchFacts) -> dict[str, Any]:
    """A cell as a row of silver.batch_runs that nobody has begun."""
    return {
        "batch_id": batch.batch_id,
        "run_id": cell.run_id,
        "batch": batch.name,
        "suite": cell.suite,
        "suite_digest": cell.suite_digest,
        "backend": cell.backend,
        "backend_digest": cell.backend_digest,
        "commit": cell.commit,
        "repeat_count": cell.repeats,
        "tags": sorted(set(batch.tags)),
        "state": "planned",
        "expected_count": cell.expected_count,
        "answered_count": 0,
        "requested_at": batch.requested_at,
        "requested_by": batch.requested_by,
        "started_at": None,
        "ended_at": None,
        "error_message": None,
    }


def batch_rows(rows: Iterable[Mapping[str, Any]]) -> pl.DataFrame:
    """Rows as a frame of silver.batch_runs."""
    return pl.DataFrame(list(rows), schema=contract_of(BATCH_RUNS).dtypes)


def facts_of(standing: pl.DataFrame) -> BatchFacts:
    """What the first launch of a batch decided; `standing` are its rows, at least one."""
    first = standing.sort("requested_at", "run_id").row(0, named=True)
    return BatchFacts(
        batch_id=first["batch_id"],
        name=first["batch"],
        requested_at=first["requested_at"],
        requested_by=first["requested_by"],
        tags=tuple(first["tags"]),
    )


def _change(row: Mapping[str, Any], cell: BatchCell) -> str:
    what = [
        f"{name} {_short(row[column])} is {_short(now)} now"
        for name, column, now in (
            ("suite", "suite_digest", cell.suite_digest),
            ("backend configuration", "backend_digest", cell.backend_digest),
            ("repeats", "repeat_count", cell.repeats),
            ("commit", "commit", cell.commit),
        )
        if row[column] != now
    ]
    left = "its finished run stays beside the new one" if row["state"] == "finished" else "it begins anew"
    return f"{cell.suite} on {cell.backend} is not what was launched before ({', '.join(what)}): {left}."


def _short(value: object) -> str:
    return "unknown" if value is None else str(value)[:_SHOWN_DIGEST_CHARS]
