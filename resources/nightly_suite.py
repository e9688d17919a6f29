"""Tonight's suite runs: every configured backend asked once a day, resumed if it was killed, never asked twice."""

from __future__ import annotations

import datetime as dt
import os
from collections.abc import Callable
from functools import partial

from pipelines.runs.suite_registry import save_suite
from pipelines.runs.suite_runs import SuiteRunResult, run_suite, suite_run_id
from resources.author import read_author
from resources.backends import backend_digest, open_backend
from resources.code_version import read_code_version
from resources.installation import Installation


def run_nightly_suite(
    installation: Installation, *, now: dt.datetime, on_message: Callable[[str], None]
) -> list[SuiteRunResult]:
    """Run the night's suite on each backend, one after the other, into the landing folder.

    The suite is saved in the lake first, so that every run's suite digest can be looked up there. A backend that
    cannot start becomes a run with status `error`, so that its gates are inconclusive and the others still run.
    """
    nightly = installation.config.nightly
    code_version = read_code_version(installation.folder, os.environ)
    author = read_author(installation.folder, os.environ)
    saved = save_suite(installation.lake, installation.written_suite, now=now, author=author)
    if saved.is_new:
        on_message(f"{saved.suite} is saved as version {saved.version_index} ({saved.suite_digest[:12]})")
    results = []
    for name in nightly.backends:
        config = installation.config.backends[name]
        run_id = suite_run_id(
            suite_digest=installation.suite.digest,
            backend_digest=backend_digest(name, config),
            run_date=now.date(),
            # Another commit may answer otherwise, so it is asked again on the same date.
            label=f"nightly, {nightly.repeats} repeats, commit {code_version.commit}",
        )
        result = run_suite(
            installation.suite,
            partial(open_backend, name, config, installation.state.home),
            run_id=run_id,
            backend_name=name,
            repeats=nightly.repeats,
            work=installation.state.work,
            landing=installation.landing,
            code_version=code_version,
            tags=nightly.tags,
            clock=lambda: dt.datetime.now(dt.UTC),
            progress=installation.on_progress,
        )
        on_message(
            result.error_message
            or f"{name}: {result.sample_count} samples, {result.reused_count} reused, {result.path.name}"
        )
        results.append(result)
    return results
