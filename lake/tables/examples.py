"""Tables of the example store: examples, where each was used, and what it is worth.

What an example says is kept version by version in `silver.databits`; here stands what it is searched by and judged by.
"""

from __future__ import annotations

import dataframely as dy

from lake.contracts import TableContract, count, measure, timestamp, vocabulary

CONSUMER_KINDS = ("optimization_run", "training_run", "prompt", "evaluation")
EFFECT_KINDS = ("helps", "harms", "unclear", "too_few_uses")


def _score(description: str) -> dy.Float64:
    return dy.Float64(nullable=True, min=0, max=1, description=description, metadata={"unit": "score"})


class Examples(dy.Schema):
    """An example as it stands; the change feed and silver.databits hold what it was before."""

    example_id = dy.String(primary_key=True, description="Stable id of the example, whatever is edited in it.")
    databit_id = dy.String(description="Data unit that holds its content; joins silver.databits.")
    databit_version = dy.Int64(min=1, description="Version of that unit which the example shows.")
    content_version = dy.Int64(
        min=1, description="Version of the unit in which inputs or expected output last changed; only its uses count."
    )
    inputs = dy.String(description="Input fields by name, as a canonical JSON object.")
    expected_output = dy.String(
        description="What a good answer is: text, or a JSON object of output fields where there are several."
    )
    function_name = dy.String(nullable=True, description="Program, prompt or task that the example is for.")
    domain = dy.String(nullable=True, description="Field of knowledge that it is from.")
    tags = dy.List(dy.String(), description="Labels, sorted.")
    source = dy.String(nullable=True, description="Where it is from: a file, a suite, a run, a person.")
    license = dy.String(nullable=True, description="SPDX expression of the licence that it may be used under.")
    input_digest = dy.String(
        regex="^[0-9a-f]{64}$",
        description="SHA-256 of the canonical input fields, by which demos of a program are told apart.",
    )
    text_digest = dy.String(
        regex="^[0-9a-f]{64}$",
        description="SHA-256 of the text that is embedded and searched; joins silver.embeddings.",
    )
    usage_count = count("Uses of its present content, as known when its effect was last computed.", nullable=False)
    effectiveness_score = measure(
        "score", "Lift of a use over comparable uses without it, shrunken; null until there are enough."
    )
    effectiveness_low = measure("score", "Lower end of the 95% interval of effectiveness_score.")
    effectiveness_high = measure("score", "Upper end of the 95% interval of effectiveness_score.")
    created_at = timestamp("When it was created.", nullable=False)
    created_by = dy.String(description="Who created it.")
    updated_at = timestamp("When its content or labels last changed.", nullable=False)
    updated_by = dy.String(description="Who changed it last.")
    is_deleted = dy.Bool(description="Whether it is deleted: kept for its uses, no longer found.")


class ExampleUsages(dy.Schema):
    """That an example was shown to a model in one call, and what came of it."""

    usage_id = dy.String(primary_key=True, description="Stable id, derived from example, call and position.")
    example_id = dy.String(description="The example that was used.")
    databit_version = dy.Int64(min=1, description="Version of its data unit that was shown.")
    consumer_kind = vocabulary(*CONSUMER_KINDS, description="What used it.")
    consumer_id = dy.String(description="Id of the run that used it.")
    sample_id = dy.String(nullable=True, description="Sample that was asked with it.")
    call_id = dy.String(description="The one request to a model that it was part of; its examples share it.")
    stratum = dy.String(
        description="Calls of one stratum differ by their examples alone, so that their outcomes may be compared."
    )
    position = count("Place among the examples of the call, from 0.", nullable=False)
    outcome_score = _score("How good the answer was, from 0 to 1, higher is better; null while unknown.")
    baseline_score = _score("What the same call scored without this example, where that was asked.")
    used_at = timestamp("When it was used.", nullable=False)


class ExampleEffects(dy.Schema):
    """What using an example changes, as an estimate with its uncertainty."""

    example_id = dy.String(primary_key=True, description="The example.")
    usage_count = count("Uses of its present content.", nullable=False)
    scored_count = count(
        "Different calls whose outcome is known; the very same call again adds nothing.", nullable=False
    )
    comparable_count = count("Of these, calls that have something comparable without the example.", nullable=False)
    stratum_count = count("Strata in which it is compared.", nullable=False)
    mean_outcome_score = measure("score", "Mean outcome of its uses; what it was used on is not taken out.")
    lift = measure("score", "Mean difference to comparable calls without it, before shrinkage.")
    standard_error = measure("score", "Standard error of lift.", min=0)
    prior_scale = measure("score", "Standard deviation of true lifts among examples, as estimated.", min=0)
    effectiveness_score = measure("score", "Posterior mean of the lift; null below the minimum exposure.")
    effectiveness_low = measure("score", "Lower end of its 95% interval.")
    effectiveness_high = measure("score", "Upper end of its 95% interval.")
    effect_kind = vocabulary(*EFFECT_KINDS, description="Which side of zero the whole interval is on, if any.")
    first_used_at = timestamp("First use.")
    last_used_at = timestamp("Latest use.")
    computed_at = timestamp("When this row was computed.", nullable=False)
    estimator_version = dy.Int64(min=1, description="Version of the estimator; a new one computes every row again.")


TABLES = (
    TableContract(
        name="examples",
        layer="silver",
        grain="One row per example, at its newest version.",
        schema=Examples,
        sort_by=("example_id",),
        is_read_by_key=True,
    ),
    TableContract(
        name="example_usages",
        layer="silver",
        grain="One row per use of an example in one call.",
        schema=ExampleUsages,
        sort_by=("example_id", "used_at"),
    ),
    TableContract(
        name="example_effects",
        layer="gold",
        grain="One row per example that was used.",
        schema=ExampleEffects,
        sort_by=("example_id",),
    ),
)
