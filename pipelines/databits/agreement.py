"""How often the assistant would have decided as people did. Pure: items in, statistics out.

Agreement alone flatters a labeller that always says what is commonest, so Cohen's kappa (1960), which takes out what
chance alone would give, stands beside it.
"""

from __future__ import annotations

import polars as pl

CONFIDENCE = 0.95
_LABEL_OF_STATE = {"accepted": "accept", "edited": "edit", "rejected": "reject"}


def agreement_statistics(items: pl.DataFrame) -> pl.DataFrame:
    """One row per model and reviewer, and one for all reviewers of a model (reviewer null).

    `items` are rows of silver.curation_items; those that are decided and labelled count. Columns: assistant_model,
    reviewer, item_count, agreement_ratio with its Wilson interval (`agreement_low`, `agreement_high`), `kappa` (null
    where both always say one and the same), and the mean confidence of labels that agreed and of those that did not.
    """
    decided = items.filter(
        pl.col("state").is_in(list(_LABEL_OF_STATE)) & pl.col("assistant_label").is_not_null()
    ).with_columns(
        decision=pl.col("state").replace_strict(_LABEL_OF_STATE, default=None, return_dtype=pl.String),
    )
    groups = [
        ((model, reviewer), rows)
        for keys in (["assistant_model"], ["assistant_model", "reviewer"])
        for (model, reviewer), rows in (
            ((name[0], name[1] if len(name) > 1 else None), rows) for name, rows in decided.group_by(keys)
        )
    ]
    rows = [{"assistant_model": model, "reviewer": reviewer} | _agreement(own) for (model, reviewer), own in groups]
    return pl.DataFrame(rows, schema=_SCHEMA).sort("assistant_model", "reviewer", nulls_last=False)


_SCHEMA = {
    "assistant_model": pl.String,
    "reviewer": pl.String,
    "item_count": pl.Int64,
    "agreement_ratio": pl.Float64,
    "agreement_low": pl.Float64,
    "agreement_high": pl.Float64,
    "kappa": pl.Float64,
    "confidence_when_right": pl.Float64,
    "confidence_when_wrong": pl.Float64,
}


def _agreement(decided: pl.DataFrame) -> dict[str, float | int | None]:
    from pipelines.evidence.statistics import wilson

    agrees = decided["decision"] == decided["assistant_label"]
    low, high = wilson(int(agrees.sum()), decided.height, confidence=CONFIDENCE)
    return {
        "item_count": decided.height,
        "agreement_ratio": float(agrees.sum()) / decided.height,
        "agreement_low": low,
        "agreement_high": high,
        "kappa": cohen_kappa(decided["decision"], decided["assistant_label"]),
        "confidence_when_right": _mean(decided.filter(agrees)),
        "confidence_when_wrong": _mean(decided.filter(~agrees)),
    }


def _mean(rows: pl.DataFrame) -> float | None:
    mean = rows["assistant_confidence"].mean()
    return float(mean) if isinstance(mean, float) else None


def cohen_kappa(decisions: pl.Series, labels: pl.Series) -> float | None:
    """Agreement beyond chance: 1 perfect, 0 as by chance; None where chance alone would give perfect agreement."""
    count = decisions.len()
    shares = [{value: n / count for value, n in side.value_counts().iter_rows()} for side in (decisions, labels)]
    by_chance = sum(share * shares[1].get(value, 0.0) for value, share in shares[0].items())
    if by_chance == 1.0:
        return None
    observed = float((decisions == labels).sum()) / count
    return float((observed - by_chance) / (1.0 - by_chance))


def count_states(items: pl.DataFrame) -> pl.DataFrame:
    """How many items each rule has in each state: rule, open, claimed, accepted, edited, rejected."""
    states = ["open", "claimed", *_LABEL_OF_STATE]
    return (
        items.group_by("rule")
        .agg((pl.col("state") == state).sum().cast(pl.Int64).alias(state) for state in states)
        .sort("rule")
    )
