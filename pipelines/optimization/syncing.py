"""What an optimisation run learnt, carried back: uses of examples, a next version, an evaluation, curation items.

Every write is idempotent, so a sync that was cut off is done again from the start. The tables alone are read; nothing
is asked of a model.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import orjson
import polars as pl

from lake.identity import derived_id
from lake.store import Lake
from lake.tables import contract_of
from pipelines.databits.curation import CurationDraft, enqueue_items
from pipelines.databits.units import DatabitKey, canonical_text
from pipelines.examples.drafts import ExampleDraft, search_keys, unit_content, unit_id_of
from pipelines.examples.effect_steps import update_effects
from pipelines.examples.usages import Usage, record_usages
from pipelines.optimization.dspy_adapter.programs import AUGMENTED, ProgramFacts, apply_facts, clean_state
from pipelines.optimization.evaluation_runs import write_evaluation_runs
from pipelines.optimization.items import read_outputs
from pipelines.optimization.recording import PROGRAMS, RUNS, TRIALS
from pipelines.optimization.steps import read_run
from pipelines.optimization.template_registry import (
    EXAMPLES,
    Origin,
    SavedTemplate,
    TemplateVersion,
    read_template,
    save_template,
    set_state,
)

RULE = "bootstrapped_demo"
_COLUMNS = ("example_id", "databit_id", "databit_version", "inputs", "expected_output", "license")


@dataclass(frozen=True, kw_only=True)
class SyncResult:
    """What a sync did: uses written, versions saved (None without a better program), items put into the queue."""

    run_id: str
    usage_count: int
    unknown_example_count: int
    version: SavedTemplate | None
    evaluation_run_ids: tuple[str, ...]
    curation_count: int


def sync_optimization_results(
    lake: Lake, reference: str, *, landing: Path, now: dt.datetime, author: str, clock: Callable[[], dt.datetime]
) -> SyncResult:
    """Carry back what the run whose id begins with `reference` learnt; a second sync changes nothing.

    Uses are those of trials on training and validation items: outcomes of the test items must not decide which
    examples are shown next time. The best program becomes the template's next version, pending: start and best are
    written as two runs over the test items, which the policy's gates judge like any others.
    """
    run = read_run(lake, reference)
    run_id = str(run["optimization_run_id"])
    start = read_template(lake, f"{run['template']}@{run['template_version_index']}")
    trials = lake.read(TRIALS, where={"optimization_run_id": run_id}).sort("trial_index")
    usages, unknown = _write_usages(lake, run, trials)
    update_effects(lake, now=now)
    facts = read_best(lake, run, start)
    version: SavedTemplate | None = None
    evaluations: tuple[str, ...] = ()
    queued = 0
    if facts is not None:
        queued = enqueue_items(lake, _curation_drafts(lake, run, start, facts), now=now)
        if run["conclusion"] in {"improved", "no_difference_shown"}:
            evaluations = write_evaluation_runs(lake, run, start.template, trials, landing=landing, clock=clock)
            version = save_template(
                lake,
                apply_facts(start.template, facts),
                now=now,
                author=author,
                note=f"learnt by {run['optimizer']}, optimisation run {run_id[:8]}",
                origin=Origin(
                    parent_version_index=start.version_index,
                    optimization_run_id=run_id,
                    evaluation_run_id=evaluations[-1],
                    state="pending",
                ),
            )
    lake.upsert(RUNS, pl.DataFrame([run | {"synced_at": run["synced_at"] or now}], schema=contract_of(RUNS).dtypes))
    return SyncResult(
        run_id=run_id,
        usage_count=usages,
        unknown_example_count=unknown,
        version=version,
        evaluation_run_ids=evaluations,
        curation_count=queued,
    )


def settle_templates(lake: Lake, *, now: dt.datetime) -> list[str]:
    """Make learnt versions active whose evaluation was promoted, and refuse those that failed a blocking gate.

    Gives those that changed, as NAME@VERSION. What no gate has decided stays pending.
    """
    pending = lake.read("silver.templates", where={"state": "pending"}).drop_nulls("evaluation_run_id")
    if pending.is_empty():
        return []
    runs = pending["evaluation_run_id"].to_list()
    promoted = set(lake.read("gold.promoted_runs", columns=["run_id"], where={"run_id": runs})["run_id"])
    gates = lake.read("gold.gate_results", where={"candidate_run_id": runs})
    failed = set(gates.filter(verdict="fail", severity="block")["candidate_run_id"])
    changed = []
    for row in pending.iter_rows(named=True):
        name, evaluation = f"{row['template']}@{row['version_index']}", row["evaluation_run_id"]
        if evaluation in promoted:
            changed += set_state(lake, name, "active", now=now, reason=f"Run {evaluation[:8]} passed the gates.")
        elif evaluation in failed:
            changed += set_state(lake, name, "refused", now=now, reason=f"Run {evaluation[:8]} failed a gate.")
    return changed


def read_best(lake: Lake, run: Mapping[str, Any], start: TemplateVersion) -> ProgramFacts | None:
    """The run's best program where it is another than the start; None while there is none."""
    best = run["best_program_id"]
    if best is None or best == run["start_program_id"]:
        return None
    return read_facts_of(lake.read(PROGRAMS, where={"program_id": best}).row(0, named=True), start)


def read_facts_of(row: Mapping[str, Any], version: TemplateVersion) -> ProgramFacts:
    """A row of gold.dspy_programs as a program of its template; raises `UserError` for a state that does not fit."""
    template = version.template
    state = clean_state(orjson.loads(row["program_state"]), template)
    # A step that thinks first has its predictor one level down.
    parts = {step.name: state.get(step.name) or state[f"{step.name}.predict"] for step in template.program_steps}
    return ProgramFacts(
        program_id=row["program_id"],
        program_digest=row["program_digest"],
        state=state,
        instructions={name: part["signature"]["instructions"] for name, part in parts.items()},
        demos={name: tuple(part["demos"]) for name, part in parts.items()},
        neighbour_count=row["neighbour_count"],
    )


def _write_usages(lake: Lake, run: Mapping[str, Any], trials: pl.DataFrame) -> tuple[int, int]:
    # Which of a pool a program showed for an item is not known afterwards.
    pools = lake.read(PROGRAMS, columns=["program_id", "neighbour_count"]).drop_nulls("neighbour_count")
    shown = trials.filter(pl.col("split") != "test").join(pools, on="program_id", how="anti")
    used = shown["demo_example_ids"].explode().drop_nulls().unique().to_list()
    known = (
        set(lake.read(EXAMPLES, columns=["example_id"], where={"example_id": used})["example_id"]) if used else set()
    )
    usages = [usage for row in shown.iter_rows(named=True) for usage in _usages_of(run, row, known)]
    if usages:
        record_usages(lake, usages)
    return len(usages), len(set(used) - known)


def _usages_of(run: Mapping[str, Any], trial: Mapping[str, Any], known: set[str]) -> Iterator[Usage]:
    for item_id, score in zip(trial["item_ids"], trial["item_scores"], strict=True):
        for position, example_id in enumerate(trial["demo_example_ids"]):
            if example_id in known:
                yield Usage(
                    example_id=example_id,
                    consumer_kind="optimization_run",
                    consumer_id=run["optimization_run_id"],
                    used_at=trial["recorded_at"],
                    sample_id=item_id,
                    position=position,
                    outcome_score=score,
                    call_id=derived_id("optimization_call", trial["trial_id"], item_id),
                    # The same question to the same model with the same instructions: demos alone make the difference.
                    stratum=derived_id(
                        "optimization_stratum", run["template_id"], run["model"], trial["instructions"], item_id
                    ),
                )


def _curation_drafts(
    lake: Lake, run: Mapping[str, Any], start: TemplateVersion, facts: ProgramFacts
) -> Iterator[CurationDraft]:
    """Demos of which the model wrote the outputs, where they are not what the example says already."""
    template, run_id = start.template, run["optimization_run_id"]
    ids = lake.read(PROGRAMS, columns=["demo_example_ids"], where={"program_id": facts.program_id})
    rows = lake.read(EXAMPLES, columns=_COLUMNS, where={"example_id": ids["demo_example_ids"][0].to_list()})
    names = [field.name for field in template.inputs]
    examples = {row["inputs"]: row for row in rows.iter_rows(named=True)}
    for demo in (demo for demos in facts.demos.values() for demo in demos if demo.get(AUGMENTED)):
        if not all(name in demo for name in names):
            continue
        inputs = {name: demo[name] for name in names}
        outputs = {name: value for name, value in demo.items() if name not in {*names, AUGMENTED}}
        source = examples.get(canonical_text(inputs))
        if source is None or read_outputs(source["expected_output"], template) == outputs:
            continue
        draft = ExampleDraft(inputs=inputs, expected_output=outputs, function_name=template.template)
        example_id = draft.key_id()
        yield CurationDraft(
            subject_kind="example",
            subject_id=example_id,
            rule=RULE,
            reason=f"The model's own answer scored full marks in optimisation run {run_id[:8]} and helped others.",
            proposed_content=unit_content(inputs, outputs),
            target_id=unit_id_of(example_id),
            license=source["license"],
            derived_from=[DatabitKey(source["databit_id"], source["databit_version"])],
            search_keys=search_keys(example_id, function_name=template.template, domain=None, tags=("bootstrapped",)),
        )
