"""One attempt at an optimisation run: start, search, choose, test; what it writes is `recording.py`."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping
from typing import Any

import polars as pl

from lake.store import Lake
from lake.tables import contract_of
from pipelines.optimization.dspy_adapter.calling import Metric, Quiet, calling, evaluate, items_by_inputs, make_model
from pipelines.optimization.dspy_adapter.optimizers import Search, optimize
from pipelines.optimization.dspy_adapter.programs import build_program, load_program, read_facts
from pipelines.optimization.dspy_adapter.watching import Watch, WatchFailed, make_callback
from pipelines.optimization.items import balanced_order
from pipelines.optimization.recording import RUNS, STOP_REQUESTS, Recorder, Trial, TrialKind, spent_columns, spent_of
from pipelines.optimization.requests import Models, OptimizationRequest, Watching
from pipelines.optimization.run_rows import explain_end, outcome_columns, request_columns
from pipelines.optimization.spending import Engine, Meter, MeteredEngine, RunStopped, Spent
from pipelines.optimization.templates import ModelSettings

# Room for an instruction and the JSON around it.
_WRITTEN_TOKENS = 256
# Of the model that writes instructions; at 0 it would write the same again and again.
_WRITING_TEMPERATURE = 1.0


class Attempt:
    """A run from its beginning or taken up; `before` is its row of gold.dspy_runs if there is one."""

    def __init__(
        self,
        lake: Lake,
        request: OptimizationRequest,
        models: Models,
        watching: Watching,
        *,
        run_id: str,
        before: Mapping[str, Any] | None,
    ) -> None:
        self._lake, self._request, self._models, self._watching = lake, request, models, watching
        self._run_id, self._before = run_id, before
        self._began = watching.clock()
        self._template = request.searched_template
        self._quiet = Quiet()
        self._meter = Meter(
            budget=request.budget,
            ticks=watching.ticks,
            before=spent_of(before) if before is not None else Spent(),
            should_stop=self._stop_reason,
            on_call=self._tell_call,
            reserved_calls=2 * len(request.splits.test) * len(self._template.program_steps),
        )
        self._recorder = Recorder(
            lake=lake,
            run_id=run_id,
            version=request.version,
            splits=request.splits,
            meter=self._meter,
            clock=watching.clock,
            on_trial=self._tell_trial,
        )
        self._metric = Metric(template=self._template, items=items_by_inputs(request.splits.items))
        self._watch = Watch(metric=self._metric, on_evaluated=self._recorder.record)
        self._metric.listeners.append(self._watch.item_scored)

    def carry_out(self) -> dict[str, Any]:
        """Search and test; gives the run's row as it stands at the end."""
        self._write("running", None)
        try:
            state, reason = self._search()
            if state != "cancelled":
                state, reason = self._test(state, reason)
        except WatchFailed as error:
            self._write("failed", _said(error.__cause__ or error))
            raise (error.__cause__ or error) from None
        except Exception as error:
            self._write("failed", _said(error))
            raise
        except BaseException as error:
            # Control-C, and Dagster's own way to end a run, which is no `Exception` either.
            self._write("cancelled", f"Interrupted ({type(error).__name__}).")
            raise
        return self._write(state, reason)

    def _search(self) -> tuple[str, str | None]:
        splits, seed = self._request.splits, self._request.seed
        try:
            with self._asking():
                start = build_program(self._request.version.template, nearest=self._models.nearest)
                evaluate(start, splits.validation, self._metric, threads=self._threads)
                self._recorder.kind = "candidate"
                search = Search(
                    train=balanced_order(splits.train, field=self._template.scored_field, seed=seed),
                    validation=splits.validation,
                    metric=self._metric,
                    settings=self._request.settings,
                    seed=seed,
                    threads=self._threads,
                    prompt_model=self._model(self._models.prompt_engine, is_writing=True),
                )
                program = build_program(self._template, nearest=self._models.nearest)
                self._watch.sees_calls = self._request.optimizer == "simba"
                learnt = optimize(self._request.optimizer, program, search)
                self._watch.flush()
                self._watch.sees_calls = False
                self._validate(learnt)
        except RunStopped as stop:
            return stop.state, stop.reason
        return "finished", None

    def _validate(self, learnt: Any) -> None:  # noqa: ANN401 - a dspy.Module
        """Evaluate what an optimiser ended with, unless it did so itself."""
        known = {trial.facts.program_id for trial in self._recorder.validated()}
        if read_facts(learnt).program_id not in known:
            evaluate(learnt, self._request.splits.validation, self._metric, threads=self._threads)

    def _test(self, state: str, reason: str | None) -> tuple[str, str | None]:
        """Start and best on the test split; what was kept back is for this."""
        # A search that was stopped may have left it on.
        self._watch.sees_calls = False
        start, best = self._recorder.start(), self._recorder.best()
        self._meter.reserved_calls = 0
        if start is None or best is None:
            return state, reason
        try:
            with self._asking():
                tests: tuple[tuple[TrialKind, Trial], ...] = (("start", start), ("best", best))
                for kind, trial in tests:
                    self._recorder.kind = kind
                    evaluate(self._load(trial), self._request.splits.test, self._metric, threads=self._threads)
        except RunStopped as stop:
            return stop.state, " ".join(filter(None, (reason, f"No test: {stop.reason}")))
        return state, reason

    def _load(self, trial: Trial) -> Any:  # noqa: ANN401 - a dspy.Module
        chooses = trial.facts.neighbour_count is not None
        template = self._template if chooses else self._request.version.template
        return load_program(template, trial.facts.state, nearest=self._models.nearest)

    @contextlib.contextmanager
    def _asking(self) -> Iterator[None]:
        callback = make_callback(self._watch)
        with self._quiet, calling(self._model(self._models.engine), callbacks=[callback], threads=self._threads):
            yield

    def _model(self, engine: Engine, *, is_writing: bool = False) -> Any:  # noqa: ANN401 - a dspy.LM
        settings = self._template.model
        if is_writing:
            tokens = max(settings.max_output_tokens, _WRITTEN_TOKENS)
            settings = ModelSettings(temperature=_WRITING_TEMPERATURE, max_output_tokens=tokens)
        return make_model(MeteredEngine(engine, self._meter), settings)

    @property
    def _threads(self) -> int:
        return self._models.engine.max_concurrency

    def _tell_trial(self, trial: Trial) -> None:
        self._write("running", None)
        if self._watching.on_trial is not None:
            with self._quiet.aloud():
                self._watching.on_trial(trial)

    def _tell_call(self, spent: Spent) -> None:
        if self._watching.on_call is not None:
            with self._quiet.aloud():
                self._watching.on_call(spent)

    def _stop_reason(self) -> str | None:
        rows = self._lake.read(STOP_REQUESTS, where={"optimization_run_id": self._run_id})
        asked = rows.filter(pl.col("requested_at") >= self._began).sort("requested_at")
        if asked.is_empty():
            return None
        row = asked.row(-1, named=True)
        return f"{row['requested_by']} asked it to stop{': ' + row['reason'] if row['reason'] else ''}."

    def _write(self, state: str, reason: str | None) -> dict[str, Any]:
        """Write the run's row as things stand."""
        now = self._watching.clock()
        before = self._before
        row = {
            "optimization_run_id": self._run_id,
            **request_columns(self._request, self._models),
            "state": state,
            "state_reason": explain_end(self._recorder, state, reason, is_taken_up=before is not None),
            **spent_columns(self._meter.total),
            "trial_count": self._recorder.trial_count,
            "attempt_count": (before["attempt_count"] if before is not None else 0) + 1,
            **outcome_columns(self._recorder),
            "started_at": before["started_at"] if before is not None else self._began,
            "updated_at": now,
            "ended_at": None if state == "running" else now,
            "synced_at": None,
        }
        self._lake.upsert(RUNS, pl.DataFrame([row], schema=contract_of(RUNS).dtypes))
        return row


def _said(error: BaseException) -> str:
    return f"{type(error).__name__}: {error}"
