"""The writer of runs for people without a harness: how a run begins, is taken up again, ends and is imported.

What belongs here: the life of a run. What may be logged in between is `run_log.py`. The face that users import is the
package `benchlake`.
"""

from __future__ import annotations

import datetime as dt
import time
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Literal, Self

from lake.errors import UserError
from pipelines.runs.live_files import SUFFIX, LiveFile
from pipelines.runs.loggable import checked
from pipelines.runs.metric_names import METRIC_NAMES
from pipelines.runs.run_lines import Line, check_run_id, encode_line, end_line, instant
from pipelines.runs.run_log import Clock, RunLog
from pipelines.runs.run_progress import CLOSING_METRICS, RunProgress, read_progress

if TYPE_CHECKING:
    from lake.store import Lake
    from pipelines.runs.imports import ImportResult

EndStatus = Literal["success", "error", "cancelled"]

# Leaving a `with` block in one of these ways is no failure of the run's own.
_CANCELLING = ("KeyboardInterrupt", "CancelledError", "GeneratorExit")


def start_run(
    lake: Lake, landing: Path, header: Line, *, resume: bool = False, is_new_id: bool = False, clock: Clock
) -> RunWriter:
    """Begin the run of `header`, or go on with it, as `<landing>/<run_id>.jsonl`.

    A run of this id that was killed is taken up: what it logged stands and may not be logged again. One that has
    ended is taken up with `resume` only. Either must have begun with the same suite, backend, model and commit.
    `is_new_id` says that nobody can have used the id, which spares looking for it.

    Raises `UserError` for a header that departs from the format or from how the run began, and for an id that a run
    in the lake has whose file is not in `landing`; `RunBusyError` while another writer has the run.
    """
    header = checked("start_run", header)
    run_id = header["run_id"]
    check_run_id(run_id)
    path = landing / f"{run_id}{SUFFIX}"
    if not is_new_id and not path.exists():
        _refuse_known(lake, run_id, path)
    file = LiveFile.open(path)
    try:
        progress = read_progress(file, header, resume=resume)
        writer = RunWriter(file, progress, lake=lake, clock=clock)
        if progress.is_new:
            file.append(encode_line(header))
        else:
            writer.log_params(header.get("parameters") or {})
    except BaseException:
        file.close()
        raise
    return writer


class RunWriter(RunLog):
    """A run that is being written. Leave its `with` block, or call `end`, to end it and bring it into the lake.

    A killed process loses nothing that was logged but the sums of fallbacks; the next import takes such a run in with
    status `started`. `result` is what the import at the end did.
    """

    def __init__(self, file: LiveFile, progress: RunProgress, *, lake: Lake, clock: Clock) -> None:
        super().__init__(file, progress, clock=clock)
        self._lake = lake
        self.result: ImportResult | None = None

    def end(self, *, status: EndStatus = "success", error_message: str | None = None) -> ImportResult:
        """End the run: write what was accumulated, close the file, import it; leaving the `with` block does this.

        Raises what the import raises; the file is complete then, and any later import takes it in.
        """
        with self._writing:
            line = {"type": "end", "status": status, "error_message": error_message}
            self._checked("end", line)
            ended_at = self._clock()
            self._write_sums(ended_at)
            self._append(end_line(status=status, ended_at=ended_at, error_message=error_message))
            self._is_ended = True
            self._file.close(is_complete=True)
        self.result = self._import()
        return self.result

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._is_ended:
            return
        if error is None or (isinstance(error, SystemExit) and error.code in {None, 0}):
            self.end()
            return
        cancelled = type(error).__name__ in _CANCELLING
        words = f"{type(error).__name__}: {error}".rstrip(": ")
        try:
            self.end(status="cancelled" if cancelled else "error", error_message=words)
        except Exception as problem:  # noqa: BLE001  # what went wrong in the block is what its author must see
            error.add_note(f"Besides, Benchlake could not end or import the run in {self.path}: {problem}")

    def _write_sums(self, ended_at: dt.datetime) -> None:
        """The run's time and its fallbacks, all recorded at its end, by which a resumed run knows and replaces them."""
        runtime_ms = self._since_start_ns(time.perf_counter_ns()) / 1e6
        sums = [("runtime_ms", "", runtime_ms)]
        sums.extend(("fallback_count", name, float(count)) for name, count in self._progress.fallbacks.items())
        for metric, variant, value in sums:
            known = METRIC_NAMES[metric]
            assert metric in CLOSING_METRICS
            line = {
                "type": "metric",
                "metric": metric,
                "value": value,
                "unit": known.unit,
                "variant": variant,
                "step": 0,
                "repeat_index": 0,
                "is_higher_better": known.is_higher_better,
                "recorded_at": instant(ended_at),
            }
            # What the program logged under this name itself stands.
            if not self._progress.repeats.has(metric, variant, 0, 0):
                self._append(line)

    def _import(self) -> ImportResult:
        from pipelines.runs.steps import import_paths

        try:
            return import_paths(self._lake, [self.path], now=self._clock())
        except Exception as error:
            error.add_note(f"The run is whole in {self.path}; the next import takes it in.")
            raise


def _refuse_known(lake: Lake, run_id: str, path: Path) -> None:
    known = lake.read("silver.runs", columns=("run_id", "file_sha256"), where={"run_id": run_id})
    if known.height:
        raise UserError(
            f"start_run: the run {run_id} is in the lake, but its file is not at {path}, so it cannot go on. "
            "Choose another run_id, or leave it out."
        )
