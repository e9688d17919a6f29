"""Tables of attribution: what each unit or example contributed to a run, and how that changed."""

from __future__ import annotations

import dataframely as dy

from lake.contracts import TableContract, count, measure, timestamp, vocabulary

UNIT_KINDS = ("example", "databit")
METHODS = ("leave_one_out", "shapley_exact", "shapley_sampled", "knn_shapley", "influence_proxy", "lineage_rollup")
FINDINGS = ("helpful", "harmful", "indistinguishable")
DELTA_KINDS = ("version", "run")

_UTILITY_UNIT = "as in the column utility"


class Attributions(dy.Schema):
    """What a unit was worth in a run by one method, with how sure that is."""

    attribution_id = dy.String(primary_key=True, description="Stable id: of run, unit, version, method and setting.")
    run_id = dy.String(description="Run whose score is explained: an optimisation run, or a run of silver.runs.")
    unit_kind = vocabulary(*UNIT_KINDS, description="What the unit is.")
    unit_id = dy.String(description="Example or data unit.")
    unit_version = dy.Int64(nullable=True, min=1, description="Version of the data unit; null for an example.")
    method = vocabulary(*METHODS, description="How the value was found; docs/attribution.md says what each assumes.")
    utility = dy.String(description="What the value is a share of, in words: mean score of items, matches/K and so on.")
    value = measure(_UTILITY_UNIT, "What the unit contributed; above 0 it helped.", nullable=False)
    interval_low = measure(_UTILITY_UNIT, "Lower end of the interval; null where one observation allows none.")
    interval_high = measure(_UTILITY_UNIT, "Upper end of the interval.")
    confidence = measure("1", "Confidence of the interval.", nullable=False, min=0)
    finding = vocabulary(
        *FINDINGS, description="helpful or harmful only where all of the interval is on one side of 0."
    )
    sample_count = count("Items or queries that the value is a mean over.", nullable=False)
    unit_count = count("Units that were valued together.", nullable=False)
    evaluation_count = count("Evaluations that it took for all of them: prompts asked, or comparisons made.")
    seed = dy.Int64(nullable=True, description="Seed of the sampling; null for an exact method.")
    settings = dy.String(
        description="Everything else that decides the value (K, model, budget), as canonical JSON text."
    )
    input_digest = dy.String(regex="^[0-9a-f]{64}$", description="SHA-256 of what it was computed from.")
    computed_at = timestamp("When it was computed.", nullable=False)


class AttributionDeltas(dy.Schema):
    """How a unit's value changed from one version of it, or from one run, to the next."""

    delta_id = dy.String(primary_key=True, description="Stable id of the pair of attributions.")
    delta_kind = vocabulary(*DELTA_KINDS, description="Whether the unit's version or the run changed.")
    unit_kind = vocabulary(*UNIT_KINDS, description="What the unit is.")
    unit_id = dy.String(description="Example or data unit.")
    method = vocabulary(*METHODS, description="How both values were found.")
    run_id = dy.String(description="The later run.")
    previous_run_id = dy.String(description="The earlier run.")
    unit_version = dy.Int64(nullable=True, min=1, description="The later version.")
    previous_unit_version = dy.Int64(nullable=True, min=1, description="The earlier version.")
    value = measure(_UTILITY_UNIT, "The later value.", nullable=False)
    previous_value = measure(_UTILITY_UNIT, "The earlier value.", nullable=False)
    effect = measure(_UTILITY_UNIT, "Later minus earlier.", nullable=False)
    interval_low = measure(_UTILITY_UNIT, "Lower end of the effect's interval, both values taken as independent.")
    interval_high = measure(_UTILITY_UNIT, "Upper end of the effect's interval.")
    is_distinct = dy.Bool(description="Whether the interval leaves 0 out.")
    computed_at = timestamp("When the later value was computed.", nullable=False)


class AttributionEvaluations(dy.Schema):
    """A program asked the same items with some of its demos: what ablation and Shapley values are made of."""

    evaluation_id = dy.String(primary_key=True, description="Stable id: of the game and the demos that were shown.")
    run_id = dy.String(description="Optimisation run whose best program it is; joins gold.dspy_runs.")
    game_digest = dy.String(
        regex="^[0-9a-f]{64}$",
        description="SHA-256 of program, items, model and template; evaluations of one game may be compared.",
    )
    coalition_digest = dy.String(regex="^[0-9a-f]{64}$", description="SHA-256 of the examples that were shown.")
    example_ids = dy.List(dy.String(), description="Examples that were shown, sorted; empty for none.")
    item_ids = dy.List(dy.String(), description="Examples that were asked; joins silver.examples.")
    item_scores = dy.List(dy.Float64(), description="Their scores, in the same order.")
    score = measure("score", "Mean score of the items, from 0 to 1.", nullable=False)
    item_count = count("Items asked.", nullable=False)
    error_count = count("Items without a usable output; they score 0. Null where a trial was taken over.")
    trial_id = dy.String(nullable=True, description="Trial that was this very evaluation, so that nothing was asked.")
    evaluated_at = timestamp("When the evaluation ended.", nullable=False)


TABLES = (
    TableContract(
        name="attribution_evaluations",
        layer="gold",
        grain="One row per game and set of demos that was asked with.",
        schema=AttributionEvaluations,
        sort_by=("run_id", "game_digest", "evaluated_at"),
        is_append_only=True,
        aligned_lists=("item_ids", "item_scores"),
    ),
    TableContract(
        name="attributions",
        layer="gold",
        grain="One row per run, unit, version, method and setting.",
        schema=Attributions,
        sort_by=("run_id", "method", "unit_id"),
    ),
    TableContract(
        name="attribution_deltas",
        layer="gold",
        grain="One row per unit and pair of attributions that follow each other.",
        schema=AttributionDeltas,
        sort_by=("unit_id", "run_id"),
    ),
)
