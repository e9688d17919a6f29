"""Tables of the evidence room about tokens: where two outputs part, and every position up to there.

The tokens themselves are `silver.output_tokens`, with the runs.
"""

from __future__ import annotations

import dataframely as dy

from lake.contracts import TableContract, count, measure, vocabulary

DIVERGENCE_KINDS = ("identical", "near_tie_flip", "distribution_shift", "inconclusive", "incomparable")
DIVERGENCE_REASONS = (
    "cut_short",
    "unlisted_end",
    "tokens_apart",
    "no_logprobs",
    "sampled",
    "short_top_k",
    "no_tokens",
    "logprobs_modes",
    "bytes_unknown",
)
ALIGNMENTS = ("token_ids", "token_bytes")

_NATS = {"unit": "nats"}
_INNER_NUMBER = dy.Float64(nullable=True)


def _ratio(description: str) -> dy.Float64:
    return dy.Float64(min=0, max=1, nullable=True, description=description, metadata={"unit": "ratio"})


class TokenDivergences(dy.Schema):
    """Where the tokens of two answers to one prompt part, and whether numeric noise explains it."""

    comparison_id = dy.String(primary_key=True, description="Comparison it belongs to.")
    sample_id = dy.String(primary_key=True, description="Sample within the suite.")
    repeat_index = dy.Int32(primary_key=True, min=0, description="Repeat of the same sample, from 0.")
    run_date = dy.Date(description="UTC date of the candidate run.")
    candidate_run_id = dy.String(description="Run that is judged.")
    baseline_run_id = dy.String(description="Run it is judged against.")
    divergence_kind = vocabulary(
        *DIVERGENCE_KINDS, description="What happened (docs/token-divergence.md has the rule)."
    )
    reason = vocabulary(
        *DIVERGENCE_REASONS, nullable=True, description="Why it is inconclusive or incomparable, else null."
    )
    alignment = vocabulary(
        *ALIGNMENTS,
        nullable=True,
        description="How tokens were laid side by side: by id within one tokenizer, else by the bytes they add.",
    )
    first_divergence_index = count("Shared positions before the one at which the outputs part; null when none is seen.")
    candidate_shared_token_count = count("Tokens of the candidate before it, or in all.")
    baseline_shared_token_count = count("Tokens of the baseline before it, or in all.")
    shared_byte_count = count("Bytes of the outputs before it, or in all.")
    candidate_token = dy.String(nullable=True, description="Token with which the candidate parts; null: it ends there.")
    baseline_token = dy.String(nullable=True, description="Token with which the baseline parts; null: it ends there.")
    candidate_logprob = measure("nats", "Log-probability of the candidate's token on its own side.")
    baseline_logprob = measure("nats", "Log-probability of the baseline's token on its own side.")
    candidate_token_rank = dy.Int64(
        min=1,
        nullable=True,
        description="Rank of the candidate's token in the baseline's list, from 1; null: not in it.",
    )
    baseline_token_rank = dy.Int64(
        min=1,
        nullable=True,
        description="Rank of the baseline's token in the candidate's list, from 1; null: not in it.",
    )
    candidate_runner_up_gap = measure("nats", "Its token before the likeliest other one; below 0: not its likeliest.")
    baseline_runner_up_gap = measure("nats", "Its token before the likeliest other one; below 0: not its likeliest.")
    log_odds_shift = measure("nats", "How far the odds between the two tokens moved; null when a list lacks one.")
    log_odds_shift_lower = measure("nats", "What that is at least, also when a list lacks one.")
    compared_position_count = count("Shared positions at which both sides have a log-probability.")
    mean_abs_logprob_difference = measure("nats", "Mean over these of the absolute difference.", min=0)
    max_abs_logprob_difference = measure("nats", "Largest of them.", min=0)
    distribution_count = count("Positions whose distributions are compared: shared ones and the one where they part.")
    same_top_ratio = _ratio("Share of these at which the likeliest token is the same.")
    mean_kl_lower = measure("nats", "Lower bound of KL(baseline || candidate), mean over these positions.", min=0)
    mean_kl_upper = measure("nats", "Upper bound of KL(baseline || candidate), mean over these positions.", min=0)
    max_kl_lower = measure("nats", "Largest lower bound among these positions.", min=0)
    top_k_count = count("Alternatives that both sides list at each of these positions, at least.")
    candidate_covered_ratio = _ratio("Mean probability of what the candidate lists there.")
    baseline_covered_ratio = _ratio("Mean probability of what the baseline lists there.")
    candidate_perplexity = measure("1", "Of the shared tokens; null when the sides cut them unlike.", min=0)
    baseline_perplexity = measure("1", "Of the shared tokens; null when the sides cut them unlike.", min=0)
    candidate_bits_per_byte = measure("bits/byte", "Of the shared bytes, whatever the tokens.")
    baseline_bits_per_byte = measure("bits/byte", "Of the shared bytes, whatever the tokens.")


class TokenPositions(dy.Schema):
    """The positions up to and including the one at which two answers part: one list a field, all of one length."""

    comparison_id = dy.String(primary_key=True, description="Comparison it belongs to.")
    sample_id = dy.String(primary_key=True, description="Sample within the suite.")
    repeat_index = dy.Int32(primary_key=True, min=0, description="Repeat of the same sample, from 0.")
    run_date = dy.Date(description="UTC date of the candidate run.")
    first_position_index = count("Position with which the lists begin: of a long answer the last ones are kept.")
    candidate_token_indexes = dy.List(dy.Int32(min=0), description="Where each begins in the candidate's tokens.")
    baseline_token_indexes = dy.List(dy.Int32(min=0), description="Where each begins in the baseline's tokens.")
    candidate_logprobs = dy.List(_INNER_NUMBER, description="What the candidate gave its own tokens.", metadata=_NATS)
    baseline_logprobs = dy.List(_INNER_NUMBER, description="What the baseline gave its own tokens.", metadata=_NATS)
    kl_lower = dy.List(_INNER_NUMBER, description="Lower bound of KL(baseline || candidate).", metadata=_NATS)
    kl_upper = dy.List(_INNER_NUMBER, description="Upper bound of KL(baseline || candidate).", metadata=_NATS)
    has_same_top = dy.List(dy.Bool(nullable=True), description="Whether the likeliest token is the same.")


TABLES = (
    TableContract(
        name="token_divergences",
        layer="gold",
        grain="One row per comparison, sample and repeat of which at least one side has tokens.",
        schema=TokenDivergences,
        partition_by=("run_date",),
        sort_by=("comparison_id", "sample_id", "repeat_index"),
    ),
    TableContract(
        name="token_positions",
        layer="gold",
        grain="One row per comparison, sample and repeat whose tokens can be compared position by position.",
        schema=TokenPositions,
        aligned_lists=(
            "candidate_token_indexes",
            "baseline_token_indexes",
            "candidate_logprobs",
            "baseline_logprobs",
            "kl_lower",
            "kl_upper",
            "has_same_top",
        ),
        partition_by=("run_date",),
        sort_by=("comparison_id", "sample_id", "repeat_index"),
    ),
)
