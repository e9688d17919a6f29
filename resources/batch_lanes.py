"""The cells of a batch while they are asked: lanes side by side, one backend open in each, every finished run imported.

What belongs here: threads, opening and closing, and what a stop leaves. Which cells there are and what is told of
the whole is `batches.py`.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from concurrent.futures import FIRST_EXCEPTION, Future, ThreadPoolExecutor, wait
from dataclasses import dataclass, field
from itertools import groupby
from threading import Event, Lock
from typing import Any

from lake.errors import BenchlakeError
from pipelines.runs.backends import Backend
from pipelines.runs.batch_steps import BatchCancelledError, BatchJournal
from pipelines.runs.batches import BatchCell, BatchFacts
from pipelines.runs.partial_runs import count_answered, partial_path
from pipelines.runs.redaction import redact_text
from pipelines.runs.run_lines import CodeVersion
from pipelines.runs.steps import import_paths
from pipelines.runs.suite_runs import Clock, SuiteRunResult, run_suite
from pipelines.runs.suites import Suite
from resources.backends.kept_open import KeptOpen
from resources.installation import Installation

# A cell and how many of its outputs stand.
OnCell = Callable[[BatchCell, int], None]

_SECONDS_TO_A_SIGNAL = 0.2


@dataclass(frozen=True, kw_only=True)
class CellResult:
    """What became of a cell in this launch; `state` is that of silver.batch_runs.

    Of the `answered_count` outputs `reused_count` stood before. `seconds` is None for a cell that was not asked.
    """

    cell: BatchCell
    state: str
    answered_count: int
    reused_count: int = 0
    seconds: float | None = None
    error_message: str | None = None


@dataclass(frozen=True, kw_only=True)
class BatchResult:
    """What became of a batch in one launch, cell by cell, finished ones of earlier launches included."""

    batch_id: str
    name: str
    cells: tuple[CellResult, ...]
    is_cancelled: bool

    @property
    def unfinished(self) -> tuple[CellResult, ...]:
        """Cells without a whole run."""
        return tuple(result for result in self.cells if result.state != "finished")


class _StoppedError(Exception):
    """Another lane failed, or the batch was interrupted or cancelled: ask nothing more."""


@dataclass(kw_only=True)
class Lanes:
    """One launch of a batch; `ask` is called once."""

    installation: Installation
    batch: BatchFacts
    suites: Mapping[str, Suite]
    code_version: CodeVersion
    journal: BatchJournal
    clock: Clock
    on_message: Callable[[str], None]
    on_cell: OnCell | None
    opener: Callable[[str], Backend]
    _stop: Event = field(default_factory=Event)
    _importing: Lock = field(default_factory=Lock)
    _results: dict[str, SuiteRunResult] = field(default_factory=dict)

    def ask(self, lanes: Sequence[Sequence[BatchCell]], *, finished: Sequence[BatchCell], jobs: int) -> BatchResult:
        """Ask every cell, `jobs` lanes at a time; whatever ends it, the journal says what can be resumed."""
        is_cancelled = False
        with ThreadPoolExecutor(max_workers=max(1, min(jobs, len(lanes)))) as pool:
            futures = [pool.submit(self._ask_lane, lane) for lane in lanes]
            try:
                _wait(futures)
            except BatchCancelledError:
                is_cancelled = True
            except KeyboardInterrupt:
                self.on_message("Stopping: what is under way ends first, and nothing that was answered is lost.")
                raise
            finally:
                # Ends the other lanes, after a failure, Ctrl-C or a cancellation, behind the samples under way.
                self._stop.set()
                pool.shutdown(wait=True, cancel_futures=True)
                self.journal.put_back(is_cancelled=is_cancelled, now=self.clock())
        before = [CellResult(cell=cell, state="finished", answered_count=cell.expected_count) for cell in finished]
        asked = [self._result(cell, self.journal.row(cell.run_id)) for lane in lanes for cell in lane]
        return BatchResult(
            batch_id=self.batch.batch_id,
            name=self.batch.name,
            cells=(*before, *asked),
            is_cancelled=is_cancelled,
        )

    def _ask_lane(self, cells: Sequence[BatchCell]) -> None:
        for backend, own in groupby(cells, key=lambda cell: cell.backend):
            with KeptOpen(lambda backend=backend: self.opener(backend)) as kept:  # type: ignore[misc]
                for cell in own:
                    if self._stop.is_set():
                        return
                    self._ask_cell(cell, kept)

    def _ask_cell(self, cell: BatchCell, kept: KeptOpen) -> None:
        """Ask one cell and import its run; what goes wrong with it alone is written down, the others go on."""
        self.journal.begin(cell.run_id, now=self.clock())
        try:
            result = self._run(cell, kept)
            self._import(result)
        except (_StoppedError, BatchCancelledError) as stop:
            # What was under way has been written since the last count.
            path = partial_path(self.installation.state.work, cell.run_id)
            self.journal.recount(cell.run_id, count_answered(path))
            if isinstance(stop, BatchCancelledError):
                raise
            return
        except (BenchlakeError, OSError) as error:
            self._fail(cell, str(error))
            return
        self._results[cell.run_id] = result
        if result.status == "error":
            self._fail(cell, result.error_message or "The backend did not start.")
            return
        self.journal.count(cell.run_id, result.sample_count)
        self.journal.end(cell.run_id, "finished", now=self.clock())
        self.on_message(_told(cell, result))

    def _run(self, cell: BatchCell, kept: KeptOpen) -> SuiteRunResult:
        def tell(done: int, _total: int, _backend: str) -> None:
            if self._stop.is_set():
                raise _StoppedError
            self.journal.count(cell.run_id, done)
            if self.on_cell is not None:
                self.on_cell(cell, done)

        return run_suite(
            self.suites[cell.suite_digest],
            kept.lend,
            run_id=cell.run_id,
            backend_name=cell.backend,
            repeats=cell.repeats,
            work=self.installation.state.work,
            landing=self.installation.landing,
            code_version=self.code_version,
            tags=self.batch.tags,
            clock=self.clock,
            progress=tell,
        )

    def _import(self, result: SuiteRunResult) -> None:
        landing = self.installation.landing
        with self._importing:
            imported = import_paths(self.installation.lake, [result.path], root=landing, now=self.clock())
        for message in imported.messages:
            self.on_message(message)

    def _fail(self, cell: BatchCell, message: str) -> None:
        clean = redact_text(message)
        self.journal.end(cell.run_id, "failed", now=self.clock(), error_message=clean)
        self.on_message(f"{cell.suite} on {cell.backend} failed: {clean}")

    def _result(self, cell: BatchCell, row: Mapping[str, Any]) -> CellResult:
        result = self._results.get(cell.run_id)
        return CellResult(
            cell=cell,
            state=row["state"],
            answered_count=row["answered_count"],
            reused_count=0 if result is None else result.reused_count,
            seconds=None if result is None else result.seconds,
            error_message=row["error_message"],
        )


def _wait(futures: Sequence[Future[None]]) -> None:
    """Wait for every lane, or for the first that raises."""
    waiting: Collection[Future[None]] = futures
    while waiting:
        # In short waits: libraries in this process have system calls restarted after a signal, so that Ctrl-C would
        # not be seen before a lane ends.
        done, waiting = wait(waiting, timeout=_SECONDS_TO_A_SIGNAL, return_when=FIRST_EXCEPTION)
        for future in done:
            future.result()


def _told(cell: BatchCell, result: SuiteRunResult) -> str:
    reused = f", {result.reused_count} of them answered before" if result.reused_count else ""
    discarded = (
        f"; {result.discarded_count} answers were asked again because something they depend on had changed"
        if result.discarded_count
        else ""
    )
    return f"{cell.suite} on {cell.backend}: {result.sample_count} outputs{reused}{discarded}, {result.seconds:.1f} s."
