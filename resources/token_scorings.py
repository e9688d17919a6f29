"""Teacher-forced mode with the configured backends: one run on demand, and the night's comparisons between backends.

What belongs here: which backends are opened for a scoring. What is scored and stored is
`pipelines/evidence/scoring_steps.py`.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from typing import Any, Self

import polars as pl

from lake.errors import UserError
from pipelines.evidence.reading import RUNS, read_plan
from pipelines.evidence.scoring_matches import match_scorings
from pipelines.evidence.scoring_steps import Clock, ScoringResult, same_backend, score_run
from pipelines.runs.backends import Backend, BackendStartError, TokenScoringBackend, can_score_tokens
from resources.backends import open_backend
from resources.installation import Installation

# Alternatives that are asked for at each position where a vocabulary is not to be had at once. With so many of the
# embedded model's 49,152 the bounds of a divergence lie 0.007 to 0.01 nats apart, at twice the time of generating.
TOP_K = 4096
# So many are read as fast as five, and cover 98.9 % of that model's probability.
NIGHTLY_TOP_K = 256

Opener = Callable[[str], Backend]


class OpenBackends:
    """Backends by name, each opened once and all closed when left."""

    def __init__(self, installation: Installation, opener: Opener | None = None) -> None:
        self._installation = installation
        self._opener = opener or self._open
        self._opened: dict[str, TokenScoringBackend] = {}
        self._stack = ExitStack()

    def get(self, name: str) -> TokenScoringBackend:
        """The backend; raises `UserError` if there is none of this name or it cannot score tokens."""
        if name not in self._opened:
            configured = self._installation.config.backends
            if name not in configured:
                raise UserError.unknown("backend", name, configured)
            backend = self._stack.enter_context(self._opener(name))
            if not can_score_tokens(backend):
                raise UserError(f"The backend {name} has no way to score given tokens.")
            self._opened[name] = backend
        return self._opened[name]

    def reference_of(self, run: Mapping[str, Any]) -> tuple[TokenScoringBackend | None, str]:
        """What answered `run`, if it can be asked again, else None and why not."""
        name = run["backend"]
        try:
            backend = self.get(name)
        except (UserError, BackendStartError) as error:
            return None, str(error)
        if not same_backend(run, backend.identity):
            return None, f"The backend {name} is not what it was when it answered the run."
        return backend, ""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    def _open(self, name: str) -> Backend:
        return open_backend(name, self._installation.config.backends[name], self._installation.state.home)


def score_tokens_of(  # noqa: PLR0913 - each is a separate decision of the caller
    installation: Installation,
    run: Mapping[str, Any],
    backend_name: str,
    *,
    top_k: int | None,
    is_recorded: bool,
    sample_limit: int | None,
    clock: Clock,
    on_message: Callable[[str], None],
    opener: Opener | None = None,
) -> ScoringResult:
    """Score the outputs of `run`, a row of `silver.runs`, with a configured backend.

    The reference is what answered the run, asked again; with `is_recorded`, or where that is not to be had any more,
    it is what the run recorded, which is told by `on_message`.
    """
    with OpenBackends(installation, opener) as backends:
        backend = backends.get(backend_name)
        reference, why = (None, "") if is_recorded else backends.reference_of(run)
        if why:
            on_message(f"{why} The reference is what the run recorded, so there are wide bounds alone.")
        return score_run(
            installation.lake,
            run,
            backend,
            reference=reference,
            top_k=top_k,
            sample_limit=sample_limit,
            clock=clock,
            progress=installation.on_progress,
        )


def score_night(
    installation: Installation,
    *,
    clock: Clock,
    on_message: Callable[[str], None],
    opener: Opener | None = None,
) -> list[ScoringResult]:
    """Have each backend of the night score what it is compared with, as the policy pairs tonight's runs.

    Only pairs of different backends: a backend beside its own run of the night before would tell little for its time.
    A comparison that has a scoring is left as it is, and no backend opened for it.
    """
    limit = installation.config.nightly.scored_samples
    if limit == 0:
        return []
    results = []
    with OpenBackends(installation, opener) as backends:
        for candidate, baseline in _unscored_pairs(installation, clock().date()):
            try:
                backend, (reference, why) = backends.get(candidate["backend"]), backends.reference_of(baseline)
                if reference is None or not same_backend(candidate, backend.identity):
                    raise UserError(why or f"The backend {candidate['backend']} is not what it was.")  # noqa: TRY301
                result = score_run(
                    installation.lake,
                    baseline,
                    backend,
                    reference=reference,
                    top_k=NIGHTLY_TOP_K,
                    sample_limit=limit,
                    clock=clock,
                    progress=installation.on_progress,
                )
            except (UserError, BackendStartError) as error:
                on_message(f"{candidate['backend']} did not score {baseline['backend']}: {error}")
                continue
            on_message(_told(result))
            results.append(result)
    return results


def _told(result: ScoringResult) -> str:
    failed = f", {result.failed_count} could not be scored ({result.first_error})" if result.failed_count else ""
    return (
        f"{result.backend} scored {result.position_count} tokens of {result.scored_count} outputs of "
        f"{result.reference}{failed}"
    )


def _unscored_pairs(installation: Installation, date: dt.date) -> list[tuple[dict[str, Any], dict[str, Any]]]:
    lake, nightly = installation.lake, installation.config.nightly
    plan, _ = read_plan(lake, installation.policy, [date], version=lake.version(RUNS))
    plan = plan.join(match_scorings(lake, plan), on="comparison_id", how="anti")
    ids = sorted({*plan["candidate_run_id"], *plan["baseline_run_id"]})
    runs = {row["run_id"]: row for row in lake.read(RUNS, where={"run_id": ids}).to_dicts()}
    pairs: dict[tuple[str, str], tuple[dict[str, Any], dict[str, Any]]] = {}
    for candidate_id, baseline_id in plan.select("candidate_run_id", "baseline_run_id").iter_rows():
        candidate, baseline = runs[candidate_id], runs[baseline_id]
        names = {candidate["backend"], baseline["backend"]}
        if len(names) > 1 and names <= set(nightly.backends) and _has_tokens(installation, baseline):
            pairs.setdefault((baseline_id, candidate["backend"]), (candidate, baseline))
    return list(pairs.values())


def _has_tokens(installation: Installation, run: Mapping[str, Any]) -> bool:
    where = {"run_date": run["run_date"], "run_id": run["run_id"]}
    tokens = installation.lake.read("silver.output_tokens", columns=["token_ids"], where=where)
    return bool(tokens.select((pl.col("token_ids").list.len() > 0).any()).item()) if tokens.height else False
