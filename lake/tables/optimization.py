"""Tables of prompt optimisation: templates, optimisation runs with their trials and programs, requests to stop."""

from __future__ import annotations

from typing import Literal, get_args

import dataframely as dy

from lake.contracts import TableContract, count, measure, timestamp, vocabulary

PROGRAM_KINDS = ("predict", "chain_of_thought", "chain")
TEMPLATE_STATES = ("active", "pending", "refused", "archived")
Optimizer = Literal[
    "labeled_few_shot",
    "bootstrap_few_shot",
    "random_search",
    "knn_few_shot",
    "mipro_v2",
    "copro",
    "simba",
    "gepa",
]
OPTIMIZERS: tuple[Optimizer, ...] = get_args(Optimizer)
OPTIMIZATION_STATES = ("running", "finished", "budget_spent", "cancelled", "failed")
CONCLUSIONS = ("improved", "no_difference_shown", "worse", "not_tested")
SPLITS = ("train", "validation", "test")
TRIAL_KINDS = ("start", "candidate", "best")
_DIGEST = "^[0-9a-f]{64}$"


class Templates(dy.Schema):
    """A version of a template: the task's fields, instructions and demos from which a program is built."""

    template_id = dy.String(primary_key=True, description="Id of the template, derived from its name.")
    version_index = dy.Int64(primary_key=True, min=1, description="Place among the versions of the template, from 1.")
    template = dy.String(min_length=1, description="Name of the template.")
    template_digest = dy.String(regex=_DIGEST, description="SHA-256 of everything that decides what is sent.")
    schema_digest = dy.String(
        regex=_DIGEST, description="SHA-256 of the fields: equal where one program's state fits the other."
    )
    description = dy.String(nullable=True, description="What the template is for.")
    program_kind = vocabulary(*PROGRAM_KINDS, description="How the model is asked.")
    instructions = dy.String(description="What the model is told to do; of a chain, what its last step is told.")
    input_fields = dy.String(description="Input fields with type and description, as JSON text.")
    output_fields = dy.String(description="Output fields with type and description, as JSON text.")
    steps = dy.String(description="Steps of the program with instructions and fields, as JSON text.")
    example_query = dy.String(nullable=True, description="Inputs to try the template with, a JSON object.")
    demos = dy.String(description="Demos by step, as JSON text: what the model is shown before the question.")
    demo_example_ids = dy.List(
        dy.String(), description="Examples among the demos, in their order; joins silver.examples."
    )
    model_settings = dy.String(description="Language model, temperature and token limit, as JSON text.")
    metric = dy.String(description="How an output is scored: a scorer with its options, as JSON text.")
    state = vocabulary(*TEMPLATE_STATES, description="Whether the version may be used; a learnt one waits for a gate.")
    parent_version_index = count("Version it was made from; null for the first.")
    optimization_run_id = dy.String(nullable=True, description="Optimisation run that learnt it; joins gold.dspy_runs.")
    evaluation_run_id = dy.String(nullable=True, description="Run that the gates judge it by; joins silver.runs.")
    created_at = timestamp("When it was saved.", nullable=False)
    created_by = dy.String(description="Who saved it.")
    change_note = dy.String(nullable=True, description="What is different from the version before, in words.")
    settled_at = timestamp("When its state changed last.")
    settled_reason = dy.String(nullable=True, description="Why its state changed.")


class DspyRuns(dy.Schema):
    """A search for a better program, with what it had, what it spent and what the test set says of it."""

    optimization_run_id = dy.String(primary_key=True, description="Id, derived from everything that decides the run.")
    template_id = dy.String(description="Template that is optimised; joins silver.templates.")
    template = dy.String(description="Name of the template.")
    template_version_index = count("Version that the run started from.", nullable=False)
    optimizer = vocabulary(*OPTIMIZERS, description="Which optimiser searched.")
    optimizer_settings = dy.String(description="Settings of the optimiser, as JSON text.")
    metric = dy.String(description="How an output is scored, as JSON text.")
    seed = dy.Int64(description="Seed of the optimiser and of sampling.")
    language_model = dy.String(description="Configured name of the model that answers.")
    model = dy.String(description="Model behind that name.")
    prompt_model = dy.String(description="Configured name of the model that writes instructions.")
    dataset_digest = dy.String(regex=_DIGEST, description="SHA-256 of the three splits.")
    train_count = count("Items of the training split.", nullable=False)
    validation_count = count("Items of the validation split.", nullable=False)
    test_count = count("Items of the test split.", nullable=False)
    left_out = dy.String(description="Items left out and why (copies, contradictions, known prompts), as JSON text.")
    state = vocabulary(*OPTIMIZATION_STATES, description="How the run stands, or ended.")
    state_reason = dy.String(nullable=True, description="Why it ended as it did, and what that means.")
    budget_calls = count("Calls of the model allowed; null without a limit.")
    budget_tokens = count("Input and output tokens allowed.")
    budget_cost_usd = measure("USD", "Cost allowed.", min=0)
    budget_seconds = measure("s", "Time allowed.", min=0)
    call_count = count("Calls of the model that were answered anew.", nullable=False)
    cached_call_count = count("Calls answered from the cache, which cost nothing.", nullable=False)
    input_token_count = count("Tokens sent.", nullable=False)
    output_token_count = count("Tokens generated.", nullable=False)
    cost_usd = measure("USD", "Cost; null where the model has no known price.", min=0)
    duration_ms = measure("ms", "Time spent, over all attempts.", nullable=False, min=0)
    trial_count = count("Trials recorded.", nullable=False)
    attempt_count = count("How often the run was begun: 1, and 1 for each time it was taken up.", nullable=False)
    start_program_id = dy.String(nullable=True, description="Program it started from; joins gold.dspy_programs.")
    best_program_id = dy.String(nullable=True, description="Program that did best; joins gold.dspy_programs.")
    start_validation_score = measure("score", "Mean validation score of the start.")
    best_validation_score = measure("score", "Mean validation score of the best; chosen among many, hence too high.")
    start_test_score = measure("score", "Mean test score of the start.")
    best_test_score = measure("score", "Mean test score of the best.")
    test_effect = measure("score", "Best minus start on the test split, paired by item.")
    test_interval_low = measure("score", "Lower end of the effect's interval.")
    test_interval_high = measure("score", "Upper end of the effect's interval.")
    confidence = measure("1", "Confidence of the interval.", min=0)
    conclusion = vocabulary(
        *CONCLUSIONS, description="What the interval allows to say; `improved` only where all of it is above 0."
    )
    started_at = timestamp("When the run was begun first.", nullable=False)
    updated_at = timestamp("When this row was written last.", nullable=False)
    ended_at = timestamp("When it ended; null while it runs.")
    requested_by = dy.String(description="Who launched it.")
    synced_at = timestamp("When what it learnt was carried back to the example store.")


class DspyTrials(dy.Schema):
    """A program evaluated on items, recorded while the run goes on."""

    trial_id = dy.String(primary_key=True, description="Id of run, program, items, scores and occurrence.")
    optimization_run_id = dy.String(description="Optimisation run; joins gold.dspy_runs.")
    trial_index = count("Place in the run, from 0; a run that was taken up goes on counting.", nullable=False)
    trial_kind = vocabulary(*TRIAL_KINDS, description="Why the program was evaluated.")
    split = vocabulary(*SPLITS, description="Which items it was evaluated on.")
    program_id = dy.String(description="Program that was evaluated; joins gold.dspy_programs.")
    instructions = dy.String(description="Instructions by step, as JSON text.")
    demo_example_ids = dy.List(dy.String(), description="Examples among its demos, in their order.")
    demo_count = count("Demos it shows.", nullable=False)
    bootstrapped_demo_count = count("Demos whose outputs the model wrote itself.", nullable=False)
    score = measure("score", "Mean score of the items, from 0 to 1.", nullable=False)
    interval_low = measure("score", "Lower end of the score's 95 % interval.", nullable=False)
    interval_high = measure("score", "Upper end of the score's 95 % interval.", nullable=False)
    item_count = count("Items evaluated.", nullable=False)
    error_count = count("Items without a usable output; they score 0.", nullable=False)
    item_ids = dy.List(dy.String(), description="Examples evaluated; joins silver.examples.")
    item_scores = dy.List(dy.Float64(), description="Their scores, in the same order.")
    item_outputs = dy.List(
        dy.String(), description="Output fields that the program gave, a JSON object each; {} where it gave none."
    )
    call_count = count("Calls answered anew since the trial before.", nullable=False)
    cached_call_count = count("Calls answered from the cache since the trial before.", nullable=False)
    input_token_count = count("Tokens sent since the trial before.", nullable=False)
    output_token_count = count("Tokens generated since the trial before.", nullable=False)
    cost_usd = measure("USD", "Cost since the trial before; null where the price is unknown.", min=0)
    duration_ms = measure("ms", "Time since the trial before.", nullable=False, min=0)
    recorded_at = timestamp("When the evaluation ended.", nullable=False)


class DspyPrograms(dy.Schema):
    """A program: a template with the instructions and demos that an optimiser gave it, as DSPy's JSON state."""

    program_id = dy.String(primary_key=True, description="Id, derived from template fields and state.")
    template_id = dy.String(description="Template it is of.")
    template = dy.String(description="Name of the template.")
    template_version_index = count("Version of the template that it was built from.", nullable=False)
    schema_digest = dy.String(regex=_DIGEST, description="Fields that the state fits; the state itself names none.")
    program_digest = dy.String(regex=_DIGEST, description="SHA-256 of the state.")
    program_kind = vocabulary(*PROGRAM_KINDS, description="How the model is asked.")
    program_state = dy.String(description="DSPy's JSON state: instructions and demos by predictor.")
    demo_example_ids = dy.List(dy.String(), description="Examples among its demos, in their order.")
    demo_count = count("Demos it shows.", nullable=False)
    neighbour_count = count("Nearest examples it shows for each question instead of fixed demos; null if it does not.")
    dspy_version = dy.String(description="DSPy that wrote the state.")
    optimization_run_id = dy.String(nullable=True, description="Run in which it was first seen.")
    created_at = timestamp("When it was first seen.", nullable=False)


class DspyStopRequests(dy.Schema):
    """That somebody asked a running optimisation run to stop."""

    request_id = dy.String(primary_key=True, description="Stable id of the act.")
    optimization_run_id = dy.String(description="Run that is to stop.")
    requested_at = timestamp("When it was asked.", nullable=False)
    requested_by = dy.String(description="Who asked.")
    reason = dy.String(nullable=True, description="Why it should stop.")


TABLES: tuple[TableContract, ...] = (
    TableContract(
        name="templates",
        layer="silver",
        grain="One row per version of a template.",
        schema=Templates,
        sort_by=("template", "version_index"),
    ),
    TableContract(
        name="dspy_stop_requests",
        layer="silver",
        grain="One row per request to stop an optimisation run.",
        schema=DspyStopRequests,
        sort_by=("requested_at",),
        is_append_only=True,
    ),
    TableContract(
        name="dspy_runs",
        layer="gold",
        grain="One row per optimisation run.",
        schema=DspyRuns,
        sort_by=("started_at", "optimization_run_id"),
    ),
    TableContract(
        name="dspy_trials",
        layer="gold",
        grain="One row per program evaluated within an optimisation run.",
        schema=DspyTrials,
        sort_by=("optimization_run_id", "trial_index"),
        is_append_only=True,
        aligned_lists=("item_ids", "item_scores", "item_outputs"),
    ),
    TableContract(
        name="dspy_programs",
        layer="gold",
        grain="One row per program: instructions and demos of a template.",
        schema=DspyPrograms,
        sort_by=("template", "created_at", "program_id"),
    ),
)
