"""A history that was really measured: the night's suite on an embedded backend, many times, with the settings changed.

For a first look at trends on this machine. What belongs here: which settings come after which, and asking. The made-up
history, which takes no time, is `pipelines/trends/sample_history.py`.
"""

from __future__ import annotations

import datetime as dt
import os
from collections.abc import Callable
from functools import partial

from lake.errors import UserError
from pipelines.runs.suite_registry import save_suite
from pipelines.runs.suite_runs import SuiteRunResult, run_suite, suite_run_id
from resources.author import read_author
from resources.backends import backend_digest, open_backend
from resources.backends.configuration import LlamaCppConfig, TransformersConfig
from resources.code_version import read_code_version
from resources.installation import Installation

SEED_TAG = "seeded-history"
_OTHER_THREADS = 1


def run_seeded_history(
    installation: Installation,
    *,
    backend: str,
    run_count: int,
    now: dt.datetime,
    on_message: Callable[[str], None],
) -> list[SuiteRunResult]:
    """Ask the night's suite `run_count` times, the second half with one thread, into the landing folder.

    Asked again on the same day, finished runs are not asked again. Raises `UserError` when there is no such backend or
    it does not run in this process.
    """
    if backend not in installation.config.backends:
        raise UserError.unknown("backend", backend, installation.config.backends)
    config = installation.config.backends[backend]
    if not isinstance(config, LlamaCppConfig | TransformersConfig):
        raise UserError(f"{backend} is a server; its threads cannot be set from here. Choose an embedded backend.")
    save_suite(
        installation.lake, installation.written_suite, now=now, author=read_author(installation.folder, os.environ)
    )
    code_version = read_code_version(installation.folder, os.environ)
    results = []
    for index in range(run_count):
        threads = config.threads if index < run_count // 2 else _OTHER_THREADS
        chosen = config.model_copy(update={"threads": threads})
        result = run_suite(
            installation.suite,
            partial(open_backend, backend, chosen, installation.state.home),
            run_id=suite_run_id(
                suite_digest=installation.suite.digest,
                backend_digest=backend_digest(backend, chosen),
                run_date=now.date(),
                label=f"{SEED_TAG} {index}",
            ),
            backend_name=backend,
            repeats=1,
            work=installation.state.work,
            landing=installation.landing,
            code_version=code_version,
            tags=[SEED_TAG],
            clock=lambda: dt.datetime.now(dt.UTC),
            progress=installation.on_progress,
        )
        on_message(f"run {index + 1} of {run_count}, {threads} threads: {result.error_message or result.path.name}")
        results.append(result)
    return results
