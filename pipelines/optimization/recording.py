"""What an optimisation run leaves behind while it goes on: a row per trial, per new program, and the run's own row.

Each evaluation is three small commits, so that a kill keeps every trial that ended. A trial's id follows from what was
evaluated on what, so a run that is taken up meets its earlier trials again instead of writing them twice.
"""

from __future__ import annotations

import datetime as dt
import threading
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

import polars as pl

from lake.identity import derived_id
from lake.store import Lake
from lake.tables import contract_of
from pipelines.databits.units import canonical_text
from pipelines.examples.digests import input_digest
from pipelines.optimization.dspy_adapter.programs import AUGMENTED, ProgramFacts, dspy_version
from pipelines.optimization.dspy_adapter.watching import Evaluated
from pipelines.optimization.scores import mean, score_interval
from pipelines.optimization.spending import Meter, Spent
from pipelines.optimization.splitting import Splits
from pipelines.optimization.template_registry import TemplateVersion

RUNS, TRIALS, PROGRAMS = "gold.dspy_runs", "gold.dspy_trials", "gold.dspy_programs"
STOP_REQUESTS = "silver.dspy_stop_requests"
TrialKind = Literal["start", "candidate", "best"]


@dataclass(frozen=True, kw_only=True)
class Trial:
    """A program with its scores, as whoever watches is told; `is_repeated` when an earlier attempt had it."""

    trial_index: int
    trial_kind: TrialKind
    split: str
    facts: ProgramFacts
    scores: Mapping[str, float]
    score: float
    interval_low: float
    interval_high: float
    is_repeated: bool


@dataclass
class Recorder:
    """Writes trials and programs of one run, and knows which program did best."""

    lake: Lake
    run_id: str
    version: TemplateVersion
    splits: Splits
    meter: Meter
    clock: Callable[[], dt.datetime]
    on_trial: Callable[[Trial], None] | None = None
    kind: TrialKind = "start"
    trials: list[Trial] = field(default_factory=list)

    def __post_init__(self) -> None:
        earlier = self.lake.read(TRIALS, where={"optimization_run_id": self.run_id})
        self._earlier: dict[str, int] = dict(earlier.select("trial_id", "trial_index").iter_rows())
        self._met: set[str] = set()
        self._writing = threading.Lock()
        self._next_index = max(self._earlier.values(), default=-1) + 1
        self._occurrences: Counter[tuple[str, ...]] = Counter()
        self._programs: set[str] = set()
        self._example_ids = {item.input_digest: item.example_id for item in self.splits.items}

    @property
    def earlier_count(self) -> int:
        """Trials of earlier attempts."""
        return len(self._earlier)

    @property
    def met_count(self) -> int:
        """Those of them that came out again."""
        return len(self._met)

    @property
    def trial_count(self) -> int:
        """Trials of all attempts."""
        return self._next_index

    def record(self, evaluated: Evaluated) -> None:
        """Write an evaluation, the program first if it is new; one at a time, since GEPA may try several at once."""
        with self._writing:
            self._record(evaluated)

    def _record(self, evaluated: Evaluated) -> None:
        spent = self.meter.since_mark()
        trial_id = self._trial_id(evaluated)
        is_repeated = trial_id in self._earlier
        index = self._earlier.get(trial_id, self._next_index)
        trial = self._trial(evaluated, index=index, is_repeated=is_repeated)
        self._write_program(evaluated.facts)
        if is_repeated:
            self._met.add(trial_id)
        else:
            self._next_index += 1
            row = self._trial_row(trial_id, trial, evaluated, spent)
            self.lake.append(TRIALS, pl.DataFrame([row], schema=contract_of(TRIALS).dtypes), token=trial_id)
        self.trials.append(trial)
        if self.on_trial is not None:
            self.on_trial(trial)

    def validated(self) -> list[Trial]:
        """Trials on the whole validation split, on which alone programs are chosen."""
        wanted = {item.example_id for item in self.splits.validation}
        return [trial for trial in self.trials if set(trial.scores) == wanted]

    def start(self) -> Trial | None:
        """The program that the run started from, on the validation split."""
        return next((trial for trial in self.validated() if trial.trial_kind == "start"), None)

    def best(self) -> Trial | None:
        """The first trial of the highest validation score; None while none is complete."""
        return max(self.validated(), key=lambda trial: trial.score, default=None)

    def tested(self, kind: TrialKind) -> Trial | None:
        """The test of the start or of the best."""
        return next((trial for trial in self.trials if (trial.split, trial.trial_kind) == ("test", kind)), None)

    def example_ids(self, facts: ProgramFacts) -> list[str]:
        """Examples among a program's demos; a demo that a model answered is found by its inputs too."""
        names = [part.name for part in self.version.template.inputs]
        found = [
            self._example_ids.get(input_digest({name: demo[name] for name in names}))
            for demos in facts.demos.values()
            for demo in demos
            if all(name in demo for name in names)
        ]
        return list(dict.fromkeys(example_id for example_id in found if example_id is not None))

    def _trial(self, evaluated: Evaluated, *, index: int, is_repeated: bool) -> Trial:
        interval = score_interval(evaluated.scores)
        return Trial(
            trial_index=index,
            trial_kind=self.kind,
            split=self.splits.split_of({item.input_digest for item in evaluated.items}),
            facts=evaluated.facts,
            scores={item.example_id: score for item, score in zip(evaluated.items, evaluated.scores, strict=True)},
            score=mean(evaluated.scores),
            interval_low=interval.low,
            interval_high=interval.high,
            is_repeated=is_repeated,
        )

    def _trial_id(self, evaluated: Evaluated) -> str:
        # Scores too: a model that answers otherwise this time is not the same trial again.
        scored = canonical_text(
            [[item.input_digest, score] for item, score in zip(evaluated.items, evaluated.scores, strict=True)]
        )
        key = (self.kind, evaluated.facts.program_id, scored)
        occurrence = self._occurrences[key]
        self._occurrences[key] += 1
        return derived_id("dspy_trial", self.run_id, *key, occurrence)

    def _trial_row(self, trial_id: str, trial: Trial, evaluated: Evaluated, spent: Spent) -> dict[str, Any]:
        demos = list(_all_demos(trial.facts))
        return {
            "trial_id": trial_id,
            "optimization_run_id": self.run_id,
            "trial_index": trial.trial_index,
            "trial_kind": trial.trial_kind,
            "split": trial.split,
            "program_id": trial.facts.program_id,
            "instructions": canonical_text(dict(trial.facts.instructions)),
            "demo_example_ids": self.example_ids(trial.facts),
            "demo_count": len(demos),
            "bootstrapped_demo_count": sum(bool(demo.get(AUGMENTED)) for demo in demos),
            "score": trial.score,
            "interval_low": trial.interval_low,
            "interval_high": trial.interval_high,
            "item_count": len(evaluated.items),
            "error_count": sum(not given for given in evaluated.outputs),
            "item_ids": [item.example_id for item in evaluated.items],
            "item_scores": list(evaluated.scores),
            "item_outputs": [canonical_text(dict(given)) for given in evaluated.outputs],
            "recorded_at": self.clock(),
            **spent_columns(spent),
        }

    def _write_program(self, facts: ProgramFacts) -> None:
        if facts.program_id in self._programs:
            return
        self._programs.add(facts.program_id)
        # The first run that saw a program is kept.
        if self.lake.read(PROGRAMS, columns=["program_id"], where={"program_id": facts.program_id}).height:
            return
        row = {
            "program_id": facts.program_id,
            "template_id": self.version.template_id,
            "template": self.version.template.template,
            "template_version_index": self.version.version_index,
            "schema_digest": self.version.template.schema_digest,
            "program_digest": facts.program_digest,
            "program_kind": self.version.template.program_kind,
            "program_state": canonical_text(facts.state),
            "demo_example_ids": self.example_ids(facts),
            "demo_count": len(list(_all_demos(facts))),
            "neighbour_count": facts.neighbour_count,
            "dspy_version": dspy_version(),
            "optimization_run_id": self.run_id,
            "created_at": self.clock(),
        }
        self.lake.upsert(PROGRAMS, pl.DataFrame([row], schema=contract_of(PROGRAMS).dtypes))


def spent_columns(spent: Spent) -> dict[str, Any]:
    """What was spent, as the columns of runs and trials."""
    return {
        "call_count": spent.calls,
        "cached_call_count": spent.cached_calls,
        "input_token_count": spent.input_tokens,
        "output_token_count": spent.output_tokens,
        "cost_usd": spent.cost_usd,
        "duration_ms": spent.seconds * 1000,
    }


def spent_of(row: Mapping[str, Any]) -> Spent:
    """What a row of gold.dspy_runs says was spent."""
    return Spent(
        calls=row["call_count"],
        cached_calls=row["cached_call_count"],
        input_tokens=row["input_token_count"],
        output_tokens=row["output_token_count"],
        cost_usd=row["cost_usd"],
        seconds=row["duration_ms"] / 1000,
    )


def _all_demos(facts: ProgramFacts) -> Iterable[Mapping[str, Any]]:
    return (demo for demos in facts.demos.values() for demo in demos)
