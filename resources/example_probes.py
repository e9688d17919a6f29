"""The night's probes: some samples of its suite asked again with one example each, on one of its backends."""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable
from typing import TYPE_CHECKING

from pipelines.examples.probes import ProbePlace, ProbeResult, ask_probes, plan_probes
from pipelines.runs.backends import BackendStartError
from resources.backends import backend_digest, open_backend
from resources.example_search import open_example_search

if TYPE_CHECKING:
    from resources.installation import Installation

# Examples that are ranked for a sample; each night takes the first that was not tried with it.
_RANKED = 25


def run_probes(
    installation: Installation, *, now: dt.datetime, on_message: Callable[[str], None]
) -> ProbeResult | None:
    """Ask tonight's probes and record what came of them; None when there is nothing to ask or nobody to ask.

    A model is opened only if something is left to ask: a second call on the same date asks what failed, or nothing.
    """
    config = installation.config
    if not config.examples.probes_per_night or not config.nightly.backends:
        return None
    name = config.examples.probe_backend or config.nightly.backends[0]
    backend_config = config.backends[name]
    place = ProbePlace(suite=installation.suite, backend=name, backend_digest=backend_digest(name, backend_config))
    search = open_example_search(installation)

    def rank(prompt: str) -> list[str]:
        return search.search(prompt, count=_RANKED).rows["example_id"].to_list()

    probes = plan_probes(installation.lake, place, rank, count=config.examples.probes_per_night, now=now)
    if not probes:
        on_message(f"No probe is left to ask on {name}.")
        return None
    try:
        with open_backend(name, backend_config, installation.state.home) as backend:
            return ask_probes(installation.lake, place, probes, backend, now=now, progress=installation.on_progress)
    except BackendStartError as error:
        on_message(f"No probes: {name} does not start: {error}")
        return None
