"""Bands of divergence in sentences, for terminals, pull requests and the Dagster UI. Pure.

Names in the rows are not escaped here; whoever shows the sentences does that.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pipelines.evidence.forced_divergence import band_words


def band_headline(row: Mapping[str, Any]) -> str:
    """`close: mean KL 0.0023 nats` of a row of `gold.divergence_bands`, or its bounds."""
    return f"{band_words(row)}: mean KL {kl_words(row)}"


def kl_words(row: Mapping[str, Any]) -> str:
    """The mean divergence with its standard error where it is known, else between its bounds."""
    low, high = row["mean_kl_lower"], row["mean_kl_upper"]
    if row["is_exact"]:
        error = row["mean_kl_lower_standard_error"]
        return f"{low:.2g} nats" if error is None else f"{low:.2g} nats (standard error {error:.1g})"
    if row["band_basis"] == "coverage":
        covered = 100 * min(row["baseline_covered_ratio"], row["candidate_covered_ratio"])
        return f"at least {low:.2g} nats by lists that cover {covered:.1f} % (at most {high:.2g})"
    return f"between {low:.2g} and {high:.2g} nats"


def band_sentences(row: Mapping[str, Any]) -> list[str]:
    """What a row of `gold.divergence_bands` says, in two sentences."""
    same_top = f"{100 * row['same_top_ratio']:.1f} %"
    rms = row["rms_probability_difference"]
    difference = (
        "" if rms is None else f", and the given one's probability differs by {100 * rms:.2g} % (root mean square)"
    )
    extent = f"over {row['position_count']} positions of {row['sample_count']} outputs"
    covered = 100 * min(row["baseline_covered_ratio"], row["candidate_covered_ratio"])
    lists = f"lists of at least {row['top_k_count']} tokens cover {covered:.2f} % or more in the mean"
    tops = f"The likeliest token is the same at {same_top} of them{difference}"
    return [
        f"Given the same tokens: {band_headline(row)}, {extent}.",
        f"{tops}; p99 of the lower bound {row['p99_kl_lower']:.2g} nats; {lists}.",
    ]
