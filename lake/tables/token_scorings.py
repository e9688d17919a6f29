"""Tables of teacher-forced mode: what a backend makes of tokens that another run's outputs consist of.

The tokens themselves are `silver.output_tokens`; where two free-running outputs part is `tokens.py`.
"""

from __future__ import annotations

import dataframely as dy

from lake.contracts import TableContract, count, measure, timestamp, vocabulary

# From the best to the worst.
BANDS = ("same", "close", "degraded", "broken")
BAND_BASES = ("exact", "bounds", "coverage")
REFERENCE_KINDS = ("backend", "recorded")

_NATS = {"unit": "nats"}
_RATIO = {"unit": "ratio"}
_INNER_NUMBER = dy.Float64(nullable=True)


def _share(description: str, *, least: float = 0) -> dy.Float64:
    return dy.Float64(min=least, max=1, nullable=True, description=description, metadata=_RATIO)


class TokenScorings(dy.Schema):
    """A backend's pass over the outputs of a run: what was scored, by what, against what."""

    scoring_id = dy.String(primary_key=True, description="Derived from the run, the backend's identity and the lists.")
    run_id = dy.String(description="Run whose outputs were scored; its own backend is the reference.")
    run_date = dy.Date(description="UTC date of that run.")
    suite = dy.String(description="Suite of that run.")
    backend = dy.String(description="Name of the backend that scored.")
    model = dy.String(description="Its model.")
    model_digest = dy.String(nullable=True, description="Digest of its weights, where known.")
    engine = dy.String(nullable=True, description="Its inference software.")
    engine_version = dy.String(nullable=True, description="Version of the inference software.")
    tokenizer = dy.String(nullable=True, description="Its tokenizer, where known.")
    reference_kind = vocabulary(
        *REFERENCE_KINDS,
        description="Whose lists are the reference: the run's own backend, asked again, or what the run recorded.",
    )
    is_exact = dy.Bool(
        description="Whether both sides listed the whole vocabulary, so that both bounds are the number."
    )
    output_count = count("Outputs of the run that have tokens.", nullable=False)
    scored_count = count("Outputs that were scored.", nullable=False)
    failed_count = count("Outputs that could not be scored; their rows say why.", nullable=False)
    position_count = count("Tokens that were scored.", nullable=False)
    content_digest = dy.String(description="Digest of every number of the scoring.")
    scored_at = timestamp("When the scoring was finished.", nullable=False)


class ScoredTokens(dy.Schema):
    """The tokens of an output as another backend sees them: one list a field, all of one length."""

    scoring_id = dy.String(primary_key=True, description="Scoring it belongs to.")
    sample_id = dy.String(primary_key=True, description="Sample within the suite.")
    repeat_index = dy.Int32(primary_key=True, min=0, description="Repeat of the same sample, from 0.")
    run_id = dy.String(description="Run whose output it is.")
    run_date = dy.Date(description="UTC date of that run.")
    backend = dy.String(description="Name of the backend that scored.")
    token_ids = dy.List(dy.Int64(), description="The output's tokens, which both sides were given.")
    logprobs = dy.List(_INNER_NUMBER, description="What the backend gives each token.", metadata=_NATS)
    reference_logprobs = dy.List(_INNER_NUMBER, description="What the run's own backend gives it.", metadata=_NATS)
    kl_lower = dy.List(_INNER_NUMBER, description="Lower bound of KL(reference || backend).", metadata=_NATS)
    kl_upper = dy.List(
        _INNER_NUMBER,
        description="Upper bound of KL(reference || backend); equal to the lower where both list the vocabulary.",
        metadata=_NATS,
    )
    has_same_top = dy.List(dy.Bool(nullable=True), description="Whether the likeliest token is the same.")
    top_tokens = dy.List(dy.String(nullable=True), description="Text of the backend's likeliest token.")
    top_k_counts = dy.List(
        dy.Int64(min=0, nullable=True),
        description="Tokens that the shorter of the two lists names, the given one apart.",
    )
    covered_ratios = dy.List(_INNER_NUMBER, description="Probability of what the backend lists.", metadata=_RATIO)
    reference_covered_ratios = dy.List(
        _INNER_NUMBER, description="Probability of what the reference lists.", metadata=_RATIO
    )
    error_message = dy.String(
        nullable=True, description="Why the output could not be scored; then the lists are empty."
    )


class ForcedDivergences(dy.Schema):
    """How far a candidate's backend is from the baseline's on the baseline's own output, token by token."""

    comparison_id = dy.String(primary_key=True, description="Comparison it belongs to.")
    sample_id = dy.String(primary_key=True, description="Sample within the suite.")
    repeat_index = dy.Int32(primary_key=True, min=0, description="Repeat of the same sample, from 0.")
    run_date = dy.Date(description="UTC date of the candidate run.")
    candidate_run_id = dy.String(description="Run that is judged; its backend scored the baseline's tokens.")
    baseline_run_id = dy.String(description="Run it is judged against, whose tokens were scored.")
    scoring_id = dy.String(description="Scoring that it was computed from.")
    position_count = count("Tokens of which both sides' lists are known.", nullable=False)
    is_exact = dy.Bool(
        description="Whether both sides listed the whole vocabulary, so that both bounds are the number."
    )
    mean_kl_lower = measure("nats", "Lower bound of KL(baseline || candidate), mean over positions.", min=0)
    mean_kl_upper = measure("nats", "Upper bound of KL(baseline || candidate), mean over positions.", min=0)
    max_kl_lower = measure("nats", "Largest lower bound.", min=0)
    same_top_ratio = _share("Share of positions at which the likeliest token is the same.")
    mean_probability_difference = _share("Candidate's probability of the token minus the baseline's, mean.", least=-1)
    rms_probability_difference = _share("Root of the mean square of that difference.")
    candidate_perplexity = measure("1", "Of the baseline's output under the candidate's backend.", min=0)
    baseline_perplexity = measure("1", "Of the baseline's output under its own backend.", min=0)
    top_k_count = count("Tokens that both sides list at each of these positions, at least.")
    candidate_covered_ratio = _share("Mean probability of what the candidate's side lists.")
    baseline_covered_ratio = _share("Mean probability of what the baseline's side lists.")


class DivergenceBands(dy.Schema):
    """How far a candidate's backend is from the baseline's over a whole run, as one band."""

    comparison_id = dy.String(primary_key=True, description="Comparison it is about.")
    run_date = dy.Date(description="UTC date of the candidate run.")
    suite = dy.String(description="Suite that both ran.")
    candidate_run_id = dy.String(description="Run that is judged; its backend scored the baseline's tokens.")
    baseline_run_id = dy.String(description="Run it is judged against, whose tokens were scored.")
    scoring_id = dy.String(description="Scoring that it was computed from.")
    band = vocabulary(
        *BANDS, nullable=True, description="Band of the mean divergence; null where nothing tells which of several."
    )
    band_basis = vocabulary(
        *BAND_BASES,
        nullable=True,
        description="What tells: the number itself, both bounds in one band, or the lower bound of lists that cover "
        "nearly everything.",
    )
    best_band = vocabulary(*BANDS, description="Band of the lower bound: it is this one or a worse one.")
    worst_band = vocabulary(*BANDS, description="Band of the upper bound: it is this one or a better one.")
    is_exact = dy.Bool(
        description="Whether both sides listed the whole vocabulary, so that both bounds are the number."
    )
    sample_count = count("Outputs that were scored.", nullable=False)
    position_count = count("Tokens of which both sides' lists are known.", nullable=False)
    mean_kl_lower = measure("nats", "Lower bound of KL(baseline || candidate), mean over all positions.", min=0)
    mean_kl_lower_standard_error = measure("nats", "Its standard error, clustered by sample.", min=0)
    mean_kl_upper = measure("nats", "Upper bound of KL(baseline || candidate), mean over all positions.", min=0)
    mean_kl_upper_standard_error = measure("nats", "Its standard error, clustered by sample.", min=0)
    median_kl_lower = measure("nats", "Median over positions of the lower bound.", min=0)
    p95_kl_lower = measure("nats", "95th percentile over positions of the lower bound.", min=0)
    p99_kl_lower = measure("nats", "99th percentile over positions of the lower bound.", min=0)
    max_kl_lower = measure("nats", "Largest lower bound.", min=0)
    same_top_ratio = _share("Share of positions at which the likeliest token is the same.")
    same_top_standard_error = measure("ratio", "Standard error of that share, clustered by sample.", min=0)
    mean_probability_difference = _share("Candidate's probability of the token minus the baseline's, mean.", least=-1)
    rms_probability_difference = _share("Root of the mean square of that difference.")
    candidate_perplexity = measure("1", "Of the baseline's outputs under the candidate's backend.", min=0)
    baseline_perplexity = measure("1", "Of the baseline's outputs under its own backend.", min=0)
    top_k_count = count("Tokens that both sides list at every position, at least.")
    candidate_covered_ratio = _share("Mean probability of what the candidate's side lists.")
    baseline_covered_ratio = _share("Mean probability of what the baseline's side lists.")


_PAIR_ORDER = ("comparison_id", "sample_id", "repeat_index")

TABLES = (
    TableContract(
        name="token_scorings",
        layer="silver",
        grain="One row per run and backend that scored its outputs' tokens.",
        schema=TokenScorings,
    ),
    TableContract(
        name="scored_tokens",
        layer="silver",
        grain="One row per scoring, sample and repeat.",
        schema=ScoredTokens,
        aligned_lists=(
            "token_ids",
            "logprobs",
            "reference_logprobs",
            "kl_lower",
            "kl_upper",
            "has_same_top",
            "top_tokens",
            "top_k_counts",
            "covered_ratios",
            "reference_covered_ratios",
        ),
        partition_by=("run_date",),
        sort_by=("scoring_id", "sample_id", "repeat_index"),
    ),
    TableContract(
        name="forced_divergences",
        layer="gold",
        grain="One row per comparison, sample and repeat whose baseline tokens the candidate's backend scored.",
        schema=ForcedDivergences,
        partition_by=("run_date",),
        sort_by=_PAIR_ORDER,
    ),
    TableContract(
        name="divergence_bands",
        layer="gold",
        grain="One row per comparison whose baseline tokens the candidate's backend scored.",
        schema=DivergenceBands,
        partition_by=("run_date",),
        sort_by=("comparison_id",),
    ),
)
