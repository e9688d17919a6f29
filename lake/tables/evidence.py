"""Tables of the evidence room: diffs, comparisons, gate verdicts, promotions.

Those about tokens are `tokens.py` and `token_scorings.py`.
"""

from __future__ import annotations

import dataframely as dy

from lake.contracts import TableContract, count, measure, vocabulary
from lake.tables import token_scorings, tokens

VERDICTS = ("pass", "fail", "inconclusive", "incomparable")
GATE_FAMILIES = ("score_parity", "latency_regression", "failure_rate", "token_divergence")
SEVERITIES = ("block", "warn")
MARGIN_SOURCES = ("policy", "repeats", "history")
COMPARABILITIES = ("comparable", "warn", "incomparable")
CHANGE_KINDS = ("identical", "formatting", "wording", "content", "empty", "error")
REFERENCE_RELATIONS = ("equal", "contained", "absent")
JSON_CHANGES = ("added", "removed", "changed")
SLICE_KINDS = ("suite", "tag", "prompt_group")

_INPUT_VERSIONS = dy.List(
    dy.Struct({"table": dy.String(), "version": dy.Int64()}),
    description="Delta versions of the tables that were read; with them the result can be reproduced.",
)


def _similarity(description: str) -> dy.Float64:
    return dy.Float64(min=0, max=1, nullable=True, description=description, metadata={"unit": "ratio"})


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
        *CHANGE_KINDS,
        description="How the outputs differ (docs/diffs.md): content unless the rules can tell that it is less; "
        "error when a side has no output, empty when one side alone is blank.",
    )
    similarity_ratio = _similarity("2 x kept words / words of both sides; 1 when identical.")
    first_difference_char = count("Character at which the outputs part, in the baseline; null when identical.")
    inserted_word_count = count("Words that only the candidate has.")
    deleted_word_count = count("Words that only the baseline has.")
    moved_word_count = count("Words in sentences and lines that both have in another order.")
    opcodes = dy.List(
        dy.Int32(),
        nullable=True,
        description="Word edits from baseline to candidate as groups of 5: tag (1 replace, 2 delete, 3 insert), "
        "baseline start and end, candidate start and end, in diff words; null when identical.",
    )
    json_changes = dy.List(
        dy.Struct({"path": dy.String(), "change": vocabulary(*JSON_CHANGES, description="What happened there.")}),
        nullable=True,
        description="Where two JSON outputs differ, as JSON Pointers, at most 1,000; null unless both are JSON.",
    )
    candidate_reference_relation = vocabulary(
        *REFERENCE_RELATIONS,
        nullable=True,
        description="Whether the candidate's output is or holds the reference, formatting apart; null when the outputs "
        "are identical or there is no reference.",
    )
    baseline_reference_relation = vocabulary(
        *REFERENCE_RELATIONS, nullable=True, description="The same of the baseline's output."
    )
    candidate_reference_similarity_ratio = _similarity("2 x words kept from the reference / words of both.")
    baseline_reference_similarity_ratio = _similarity("The same of the baseline's output.")
    nearer_to_reference = vocabulary(
        "candidate",
        "baseline",
        "neither",
        nullable=True,
        description="Which output comes nearer to the reference: by relation, then by similarity.",
    )


class Contingencies(dy.Schema):
    """How many answers both runs got right, only one of them, or neither."""

    comparison_id = dy.String(primary_key=True, description="Comparison it belongs to.")
    scorer = dy.String(primary_key=True, description="Scorer that says what is right.")
    slice_kind = vocabulary(*SLICE_KINDS, primary_key=True, description="What the pairs have in common.")
    slice_value = dy.String(primary_key=True, description="The suite, the tag, or the group that the sample ids name.")
    run_date = dy.Date(description="UTC date of the candidate run.")
    candidate_run_id = dy.String(description="Run that is judged.")
    baseline_run_id = dy.String(description="Run it is judged against.")
    right_score = measure("score", "Score from which an output is right.", nullable=False)
    pair_count = count("Pairs that the scorer scored on both sides: the sum of the next four.", nullable=False)
    both_right_count = count("Pairs that both got right.", nullable=False)
    candidate_only_count = count("Pairs that only the candidate got right.", nullable=False)
    baseline_only_count = count("Pairs that only the baseline got right.", nullable=False)
    both_wrong_count = count("Pairs that neither got right.", nullable=False)
    unscored_count = count("Pairs that have a score on one side alone, and are not counted.", nullable=False)
    input_digest = dy.String(description="Digest of everything the counts were computed from.")


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
    changed_count = count("Pairs with different outputs, whatever their kind.")
    formatting_count = count("Pairs that differ in formatting alone.")
    wording_count = count("Pairs that say the same in other words.")
    content_count = count("Pairs that differ in content, as far as anyone can tell.")
    empty_count = count("Pairs of which one output alone is blank.")
    error_count = count("Pairs of which a side has no output.")
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
    margin_source = vocabulary(
        *MARGIN_SOURCES,
        nullable=True,
        description="Where the margin is from: the policy, or with auto the noise between repeats of a run or between "
        "runs of unchanged code; null when auto found none.",
    )
    noise_run_ids = dy.List(
        dy.String(), nullable=True, description="Runs between which that noise was measured; null with a given margin."
    )
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
    rerun_ids = dy.List(
        dy.String(),
        nullable=True,
        description="Runs of the same code and settings that were judged too, in order; null unless a failure must be "
        "confirmed.",
    )
    reasons = dy.List(dy.String(), description="Why this verdict, in sentences.")
    policy_digest = dy.String(description="Digest of the policy file that was applied.")
    input_digest = dy.String(description="Digest of everything the verdict was computed from.")
    input_versions = _INPUT_VERSIONS


class Policies(dy.Schema):
    """A policy that judged: what every verdict's `policy_digest` stands for."""

    policy_digest = dy.String(primary_key=True, description="Digest of what the policy says.")
    content = dy.String(description="The policy as canonical JSON text, every default spelled out.")
    comparison_count = count("Comparison rules in it.", nullable=False)
    gate_count = count("Gates in it.", nullable=False)


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
    *tokens.TABLES,
    *token_scorings.TABLES,
    TableContract(
        name="contingencies",
        layer="gold",
        grain="One row per comparison, scorer and slice.",
        schema=Contingencies,
        partition_by=("run_date",),
        sort_by=("comparison_id", "scorer", "slice_kind", "slice_value"),
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
        name="policies",
        layer="gold",
        grain="One row per policy that judged anything.",
        schema=Policies,
    ),
    TableContract(
        name="promoted_runs",
        layer="gold",
        grain="One row per run that passed every blocking gate of a policy.",
        schema=PromotedRuns,
        sort_by=("run_date", "run_id"),
    ),
)
