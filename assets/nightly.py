"""Run the night here, without a daemon: `python -m assets.nightly`.

For `benchlake nightly` and CI. Executes the same jobs in the same Dagster instance that the UI shows, and tells its
parent process how far it is by one JSON object a line on standard output; drawing that is the parent's business.
"""

from __future__ import annotations

import datetime as dt
import json
import logging
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import dagster as dg
from filelock import FileLock, Timeout

from assets.definitions import build_defs
from assets.partitions import FIRST_RUN_DATE, range_tags, ranges
from lake.errors import UserError
from pipelines.evidence.steps import stale_run_dates
from pipelines.timelines.staleness import stale_timeline_dates
from resources.installation import Installation

# What brings the dates up to date that the import touched beside tonight's, and how they are found.
_LATE = {"update_evidence": stale_run_dates, "update_timelines": stale_timeline_dates}
_NIGHT = {"benchlake/started_by": "benchlake nightly"}
_QUIET = {"loggers": {"console": {"config": {"log_level": "CRITICAL"}}}}


def main() -> int:
    """Tonight's `nightly`, then the evidence of every other date that the import touched; 0 unless a step broke."""
    folder = Path.cwd()
    installation = Installation(folder=folder, on_progress=_tell_progress)
    defs = build_defs(folder=folder)
    tonight = dt.datetime.now(dt.UTC).date()
    with _only_night(installation), dg.DagsterInstance.get() as instance:
        _bury_killed_nights(instance)
        succeeded = _execute(defs, "nightly", instance, installation, tonight, tonight)
        for job, find_stale in _LATE.items():
            late = find_stale(installation.lake, installation.policy, first_date=FIRST_RUN_DATE)
            for first, last in ranges([date for date in late if date != tonight]):
                succeeded &= _execute(defs, job, instance, installation, first, last)
        succeeded &= _execute(defs, "nightly_report", instance, installation, tonight, tonight)
    return 0 if succeeded else 1


@contextmanager
def _only_night(installation: Installation) -> Iterator[None]:
    """Hold this installation's night; the system lets go of the lock when the holder dies, however it dies."""
    lock = FileLock(installation.state.home / "night.lock", timeout=0)
    try:
        lock.acquire()
    except Timeout:
        raise UserError(
            f"Another night is running on {installation.state.home}. Wait for it, or look at it with: benchlake ui"
        ) from None
    with lock:
        yield


def _bury_killed_nights(instance: dg.DagsterInstance) -> None:
    """Fail the runs of nights that were killed, and give back their pool slots, on which this one would wait for ever.

    Only one night runs at a time, so any other that claims to be running is dead.
    """
    for run in instance.get_runs(dg.RunsFilter(tags=_NIGHT, statuses=[dg.DagsterRunStatus.STARTED])):
        instance.report_run_failed(run, "The process was killed; the next night took up its work.")
        instance.event_log_storage.free_concurrency_slots_for_run(run.run_id)


def _execute(
    defs: dg.Definitions,
    job: str,
    instance: dg.DagsterInstance,
    installation: Installation,
    first: dt.date,
    last: dt.date,
) -> bool:
    """Run one job for a range of dates; True when every step ran, whatever the gates said."""
    is_one_date = first == last
    result = defs.resolve_job_def(job).execute_in_process(
        instance=instance,
        partition_key=first.isoformat() if is_one_date else None,
        raise_on_error=False,
        run_config=_QUIET,
        tags=_NIGHT if is_one_date else {**_NIGHT, **range_tags(first, last)},
        resources={"installation": installation},
    )
    broken = [event for event in result.all_events if event.is_step_failure and not _is_gate_failure(event)]
    _tell(event="job_done", job=job, run_id=result.run_id, broken=[_why(event) for event in broken])
    return not broken


def _is_gate_failure(event: dg.DagsterEvent) -> bool:
    error = event.step_failure_data.error
    return error is not None and error.cls_name == "DagsterAssetCheckFailedError"


def _why(event: dg.DagsterEvent) -> str:
    error = event.step_failure_data.error
    # Dagster wraps what a step raised once; what that was caused by in turn is for debuggers.
    if error is not None and error.cause is not None:
        error = error.cause
    return f"{event.step_key}: {error.message.strip() if error else 'failed'}"


def _tell_progress(done: int, total: int, label: str) -> None:
    _tell(event="progress", done=done, total=total, label=label)


def _tell(**facts: object) -> None:
    sys.stdout.write(json.dumps(facts) + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    logging.getLogger("dagster").setLevel(logging.CRITICAL)
    try:
        sys.exit(main())
    except UserError as error:
        sys.stderr.write(f"{error}\n")
        sys.exit(3)
