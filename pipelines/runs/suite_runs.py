"""The suite runner: ask a backend every sample of a suite and write Benchlake's own run file.

Here: the order of work, concurrency, scores and what a kill leaves behind. Backends come in as an argument
(`resources/backends/`), the file's lines are `run_lines.py`, its bytes `partial_runs.py`; importing it is
`importers/benchlake.py`.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path
from threading import Lock
from typing import Literal

from lake.errors import UserError
from lake.identity import derived_id
from pipelines.runs.backends import Backend, BackendIdentity, BackendStartError, Completion, SamplingParameters
from pipelines.runs.partial_runs import PartialRun, landed_status, partial_path, sole_writer
from pipelines.runs.run_lines import (
    Asked,
    CodeVersion,
    Line,
    check_run_id,
    encode_line,
    end_line,
    output_line,
    run_line,
)
from pipelines.runs.scorers import ScorerError, score
from pipelines.runs.suites import Sample, Suite

Clock = Callable[[], dt.datetime]
# Done, total, name of the backend.
Progress = Callable[[int, int, str], None]


@dataclass(frozen=True, kw_only=True)
class SuiteRunResult:
    """What a suite run came to.

    `path` is the landed file. `reused_count` of the `sample_count` outputs had been answered before, by an earlier
    attempt or a finished run; `discarded_count` outputs of an earlier attempt were asked again because something that
    outputs depend on had changed. `status` is `error` only if the backend could not start.
    """

    run_id: str
    backend: str
    path: Path
    status: Literal["success", "error"]
    sample_count: int
    reused_count: int
    discarded_count: int
    seconds: float
    error_message: str | None = None


def suite_run_id(*, suite_digest: str, backend_digest: str, run_date: dt.date, label: str) -> str:
    """The id of a suite's run on a backend on a date: the same night resumes or reuses its run.

    `backend_digest` covers the backend's name and configuration; `label` tells apart runs that are wanted twice on a
    date, for instance by commit.
    """
    return derived_id("suite_run", suite_digest, backend_digest, run_date.isoformat(), label)


def run_suite(  # noqa: PLR0913 - each is a separate decision of the caller
    suite: Suite,
    open_backend: Callable[[], Backend],
    *,
    run_id: str,
    backend_name: str,
    repeats: int,
    work: Path,
    landing: Path,
    code_version: CodeVersion,
    tags: Sequence[str],
    clock: Clock,
    progress: Progress | None = None,
) -> SuiteRunResult:
    """Answer `suite` and land `<landing>/<run_id>.jsonl`; a finished run is not asked again, a killed one resumes.

    Samples that fail or time out are outputs with that status, and the run is a success all the same. A backend that
    cannot start gives a run with status `error`, which the next call tries again. Each repeat asks the whole suite
    once; it adds its index to the seed, so that repeats at a temperature above 0 are draws and not copies. With a
    backend of concurrency 1 the order of lines is that of the suite.

    Raises `UserError` for a run id that is no file name or repeats below 1, `RunBusyError` if another process answers
    the same run.
    """
    _check(run_id, repeats)
    begun_at = clock()
    target = landing / f"{run_id}.jsonl"
    total = len(suite.samples) * repeats

    def result(
        *, status: Literal["success", "error"], reused: int, discarded: int = 0, message: str | None = None
    ) -> SuiteRunResult:
        return SuiteRunResult(
            run_id=run_id,
            backend=backend_name,
            path=target,
            status=status,
            sample_count=0 if status == "error" else total,
            reused_count=reused,
            discarded_count=discarded,
            seconds=(clock() - begun_at).total_seconds(),
            error_message=message,
        )

    def header(identity: BackendIdentity, concurrency: int | None) -> Line:
        return run_line(
            suite,
            identity,
            run_id=run_id,
            repeats=repeats,
            concurrency=concurrency,
            code_version=code_version,
            tags=tags,
            started_at=begun_at,
        )

    def tell(done: int) -> None:
        if progress is not None:
            progress(done, total, backend_name)

    path = partial_path(work, run_id)
    with sole_writer(path), ExitStack() as stack:
        if landed_status(target) == "success":
            return result(status="success", reused=total)
        try:
            backend = stack.enter_context(open_backend())
        except BackendStartError as error:
            _land_error(target, header(_unstarted(backend_name, error), None), clock=clock, message=str(error))
            return result(status="error", reused=0, message=str(error))
        partial = PartialRun.open(path, header(replace(backend.identity, name=backend_name), backend.max_concurrency))
        stack.callback(partial.close)
        reused = _answer_missing(suite, backend, partial, repeats=repeats, clock=clock, tell=tell)
        partial.append(end_line(status="success", ended_at=clock()))
        partial.land(target)
        return result(status="success", reused=reused, discarded=partial.discarded_count)


def _answer_missing(
    suite: Suite, backend: Backend, partial: PartialRun, *, repeats: int, clock: Clock, tell: Callable[[int], None]
) -> int:
    """Ask what `partial` does not hold yet; returns how many outputs it held."""
    wanted = [(sample, repeat) for repeat in range(repeats) for sample in suite.samples]
    missing = [(sample, repeat) for sample, repeat in wanted if (sample.id, repeat) not in partial.answered]
    done = len(wanted) - len(missing)
    tell(done)
    writing = Lock()

    def answer(sample: Sample, repeat: int) -> None:
        asked = _ask(suite, backend, sample, repeat_index=repeat, clock=clock)
        # Written by the worker itself: with one worker the lines keep the order of the suite.
        with writing:
            partial.append(output_line(asked))

    with ThreadPoolExecutor(max_workers=max(1, backend.max_concurrency)) as pool:
        futures = [pool.submit(answer, sample, repeat) for sample, repeat in missing]
        try:
            for count, future in enumerate(as_completed(futures), start=done + 1):
                future.result()
                tell(count)
        except BaseException:
            # Ctrl-C or a full disk: what is under way ends, what waits is not asked.
            pool.shutdown(wait=False, cancel_futures=True)
            raise
    return done


def _ask(suite: Suite, backend: Backend, sample: Sample, *, repeat_index: int, clock: Clock) -> Asked:
    sampling = _sampling_of(suite.parameters, repeat_index)
    started_at = clock()
    try:
        completion = backend.complete(sample.prompt, sampling)
    except Exception as error:  # noqa: BLE001 - a defect in one backend must not cost the night's other outputs
        elapsed_ms = (clock() - started_at).total_seconds() * 1000
        completion = Completion.failed(f"{type(error).__name__}: {error}", latency_ms=elapsed_ms)
    scores, errors = _score(suite, sample, completion)
    return Asked(
        sample=sample,
        repeat_index=repeat_index,
        started_at=started_at,
        completion=completion,
        scores=scores,
        scorer_errors=errors,
    )


def _score(suite: Suite, sample: Sample, completion: Completion) -> tuple[dict[str, float], dict[str, str]]:
    """Scores of an output that came whole; an error or a timeout has none, since it is not a score of 0."""
    scores: dict[str, float] = {}
    errors: dict[str, str] = {}
    if completion.status != "ok":
        return scores, errors
    for use in suite.uses_of(sample):
        try:
            scores[use.name] = score(use.name, completion.output or "", sample.reference, use.options)
        except ScorerError as error:
            errors[use.name] = str(error)
    return scores, errors


def _sampling_of(parameters: SamplingParameters, repeat_index: int) -> SamplingParameters:
    return parameters if parameters.seed is None else replace(parameters, seed=parameters.seed + repeat_index)


def _land_error(target: Path, header: Line, *, clock: Clock, message: str) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    # Neither dot files nor .part files are imported.
    hidden = target.with_name(f".{target.name}.part")
    hidden.write_bytes(
        encode_line(header) + encode_line(end_line(status="error", ended_at=clock(), error_message=message))
    )
    hidden.replace(target)


def _unstarted(name: str, error: BackendStartError) -> BackendIdentity:
    return BackendIdentity(name=name, engine=error.engine, engine_version=None, model=error.model)


def _check(run_id: str, repeats: int) -> None:
    check_run_id(run_id)
    if repeats < 1:
        raise UserError(f"repeats is {repeats}; a suite is asked at least once.")
