"""Tables of the evidence room: diffs, comparisons, gate verdicts, promotions."""

from __future__ import annotations

import dataframely as dy

from lake.contracts import TableContract, count, measure, vocabulary

VERDICTS = ("pass", "fail", "inconclusive", "incomparable")
GATE_FAMILIES = ("score_parity", "latency_regression", "failure_rate")
SEVERITIES = ("block", "warn")
COMPARABILITIES = ("comparable", "warn", "incomparable")
CHANGE_KINDS = ("identical", "changed", "empty", "error")

_INPUT_VERSIONS = dy.List(
    dy.Struct({"table": dy.String(), "version": dy.Int64()}),
    description="Delta versions of the tables that were read; with them the result can be reproduced.",
)


class OutputDiffs(dy.Schema):
    """What exactly differed between two answers to one prompt."""

    comparison_id = dy.String(primary_key=True, description="Comparison it belongs to.")
    sample_id = dy.String(primary_key=True, description="Sample within the suite.")
    repeat_index = dy.Int32(primary_key=True, min=0, description="Repeat of the same sample, from 0.")
    run_date = dy.Date(description="UTC date of the candidate run.")
    candidate_run_id = dy.String(description="Run that is judged.")
    baseline_run_id = dy.String(description="Run it is judged against.")
    candidate_output_digest = dy.String(nullable=True, description="SHA-256 of the candidate's output.")
    baseline_output_digest = dy.String(nullable=True, description="SHA-256 of the baseline's output.")
    change_kind = vocabulary(
        *CHANGE_KINDS, description="How the outputs differ; error when a side has no output, empty when one is blank."
    )
    similarity_ratio = dy.Float64(
        min=0,
        max=1,
        nullable=True,
        description="2 x kept words / words of both sides; 1 when identical.",
        metadata={"unit": "ratio"},
    )
    first_difference_char = count("Character at which the outputs part, in the baseline; null when identical.")
    inserted_word_count = count("Words that only the candidate has.")
    deleted_word_count = count("Words that only the baseline has.")
    opcodes = dy.List(
        dy.Int32(),
        nullable=True,
        description="Word edits from baseline to candidate as groups of 5: tag (1 replace, 2 delete, 3 insert), "
        "baseline start and end, candidate start and end, in diff words; null when identical.",
    )


class RunComparisons(dy.Schema):
    """A candidate run beside its baseline, as a whole."""

    comparison_id = dy.String(primary_key=True, description="Derived from both run ids and the pairing rule.")
    run_date = dy.Date(description="UTC date of the candidate run.")
    pairing = dy.String(description="Rule of the policy that paired the runs.")
    suite = dy.String(description="Suite that both ran.")
    candidate_run_id = dy.String(description="Run that is judged.")
    baseline_run_id = dy.String(description="Run it is judged against.")
    comparability = vocabulary(*COMPARABILITIES, description="Whether a comparison means anything.")
    reasons = dy.List(dy.String(), description="Why the runs are not plainly comparable; empty when they are.")
    candidate_sample_count = count("Outputs of the candidate.", nullable=False)
    baseline_sample_count = count("Outputs of the baseline.", nullable=False)
    paired_sample_count = count("Samples and repeats that both have.", nullable=False)
    identical_count = count("Pairs with identical outputs.")
    changed_count = count("Pairs with different outputs.")
    mean_similarity_ratio = measure("ratio", "Mean similarity over pairs where both sides answered.", min=0)
    input_digest = dy.String(description="Digest of everything the comparison was computed from.")
    input_versions = _INPUT_VERSIONS


class GateResults(dy.Schema):
    """A gate's verdict with its numbers. The row is the verdict; checks and exit codes are views of it."""

    comparison_id = dy.String(primary_key=True, description="Comparison that was judged.")
    gate = dy.String(primary_key=True, description="Name of the gate in the policy.")
    run_date = dy.Date(description="UTC date of the candidate run.")
    family = vocabulary(*GATE_FAMILIES, description="What kind of gate it is.")
    suite = dy.String(description="Suite that both ran.")
    candidate_run_id = dy.String(description="Run that is judged.")
    baseline_run_id = dy.String(description="Run it is judged against.")
    metric = dy.String(description="Metric that the gate looks at.")
    unit = dy.String(description="Unit of effect, margin and interval.")
    severity = vocabulary(*SEVERITIES, description="Whether a failure blocks promotion or only warns.")
    verdict = vocabulary(*VERDICTS, description="The judgement; missing evidence is inconclusive, never pass.")
    sample_count = count("Pairs, or outputs, that the numbers rest on.", nullable=False)
    candidate_value = measure("ms for a latency, else the column unit", "Metric of the candidate.")
    baseline_value = measure("ms for a latency, else the column unit", "Metric of the baseline.")
    effect = measure("as in the column unit", "Candidate against baseline, as the family defines it.")
    interval_low = measure("as in the column unit", "Lower end of the effect's confidence interval.")
    interval_high = measure("as in the column unit", "Upper end of the effect's confidence interval.")
    confidence = dy.Float64(min=0, max=1, nullable=True, description="Confidence level of the interval.")
    margin = measure("as in the column unit", "How much worse is still acceptable; null when auto found none.")
    minimum_detectable_effect = measure(
        "as in the column unit", "Smallest true worsening that the gate would have failed four times in five."
    )
    p_value = dy.Float64(
        min=0,
        max=1,
        nullable=True,
        description="How likely an effect as bad is if the true one is just at the margin; one-sided.",
    )
    q_value = dy.Float64(
        min=0,
        max=1,
        nullable=True,
        description="p after false-discovery control over the gates of the comparison (Benjamini-Hochberg).",
    )
    reasons = dy.List(dy.String(), description="Why this verdict, in sentences.")
    policy_digest = dy.String(description="Digest of the policy file that was applied.")
    input_digest = dy.String(description="Digest of everything the verdict was computed from.")
    input_versions = _INPUT_VERSIONS


class PromotedRuns(dy.Schema):
    """The runs that downstream work may build on."""

    run_id = dy.String(primary_key=True, description="Run that was promoted.")
    policy_digest = dy.String(primary_key=True, description="Policy under which it was promoted.")
    run_date = dy.Date(description="UTC date of the run.")
    suite = dy.String(description="Suite that it ran.")
    backend = dy.String(description="Backend that answered.")
    gate_count = count("Blocking gates that passed.", nullable=False)
    comparison_ids = dy.List(dy.String(), description="Comparisons whose gates were read, sorted.")


TABLES = (
    TableContract(
        name="output_diffs",
        layer="gold",
        grain="One row per comparison, sample and repeat.",
        schema=OutputDiffs,
        partition_by=("run_date",),
        sort_by=("comparison_id", "sample_id", "repeat_index"),
    ),
    TableContract(
        name="run_comparisons",
        layer="gold",
        grain="One row per candidate run and the baseline it was paired with.",
        schema=RunComparisons,
        partition_by=("run_date",),
        sort_by=("comparison_id",),
    ),
    TableContract(
        name="gate_results",
        layer="gold",
        grain="One row per comparison and gate.",
        schema=GateResults,
        partition_by=("run_date",),
        sort_by=("comparison_id", "gate"),
    ),
    TableContract(
        name="promoted_runs",
        layer="gold",
        grain="One row per run that passed every blocking gate of a policy.",
        schema=PromotedRuns,
        sort_by=("run_date", "run_id"),
    ),
)
