"""The pairs whose tokens part, for a reader: how many of each kind, and the ones that tell most with their texts.

What belongs here: reading and ordering. How they are shown is `render_tokens.py`, what is stored `divergence_steps.py`.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Mapping, Sequence
from typing import Any

import polars as pl

from lake.store import Lake
from pipelines.evidence.reading import DIVERGENCES, RUNS, TOKENS
from pipelines.evidence.slices import dates_slice
from pipelines.evidence.token_arrays import SIDES, Side

# Kinds by how much a reader should care.
_ORDER = ("distribution_shift", "inconclusive", "incomparable", "near_tie_flip", "identical")
_KEY = ["comparison_id", "sample_id", "repeat_index"]
_ALTERNATIVES = pl.List(pl.Struct({"token": pl.String, "logprob": pl.Float64}))
_TOKEN_KEY = ["run_id", "sample_id", "repeat_index"]


def count_divergences(lake: Lake, run_dates: Sequence[dt.date]) -> pl.DataFrame:
    """Pairs of these dates by divergence_kind and reason, as pair_count; the kind to care about first."""
    columns = ["divergence_kind", "reason"]
    counts = lake.read(DIVERGENCES, columns=columns, where=dates_slice(run_dates)).group_by(columns)
    return counts.agg(pair_count=pl.len().cast(pl.Int64)).sort(_rank(), "reason", nulls_last=False)


def list_parted_pairs(lake: Lake, run_dates: Sequence[dt.date], *, limit: int = 10) -> pl.DataFrame:
    """The pairs of these dates whose tokens part, shifted distributions first and among them the largest shift.

    Rows of `gold.token_divergences` with suite, `candidate_` and `baseline_` backend, each side's text `_before` and
    `_after` the token with which it parts, and its `_alternatives` there: the likeliest tokens with their logprob.
    """
    where = dates_slice(run_dates)
    found = lake.read(
        DIVERGENCES,
        columns=[*_KEY, "run_date", "divergence_kind", "first_divergence_index", "log_odds_shift_lower"],
        where=where,
    ).filter(pl.col("first_divergence_index").is_not_null())
    shown = found.sort(
        _rank(), pl.col("log_odds_shift_lower"), *_KEY, descending=[False, True, *[False] * len(_KEY)], nulls_last=True
    ).head(limit)
    chosen = {name: shown[name].unique().sort().to_list() for name in ("comparison_id", "sample_id")}
    rows = lake.read(DIVERGENCES, where={**where, **chosen})
    return _with_texts(lake, shown.select(_KEY).join(rows, on=_KEY, how="left", maintain_order="left"))


def _with_texts(lake: Lake, pairs: pl.DataFrame) -> pl.DataFrame:
    ids = sorted({*pairs["candidate_run_id"], *pairs["baseline_run_id"]})
    runs = lake.read(RUNS, columns=["run_id", "run_date", "suite", "backend"], where={"run_id": ids})
    tokens = lake.read(
        TOKENS,
        columns=[*_TOKEN_KEY, "tokens", "token_bytes", "top_k"],
        where={
            "run_date": runs["run_date"].unique().sort().to_list(),
            "run_id": ids,
            "sample_id": pairs["sample_id"].unique().sort().to_list(),
        },
    )
    by_key = {tuple(row[name] for name in _TOKEN_KEY): row for row in tokens.iter_rows(named=True)}
    named = {row["run_id"]: row for row in runs.to_dicts()}
    return pairs.with_columns(
        pl.Series("suite", [named[run_id]["suite"] for run_id in pairs["candidate_run_id"]], dtype=pl.String),
        *(
            pl.Series(
                f"{side}_backend", [named[run_id]["backend"] for run_id in pairs[f"{side}_run_id"]], dtype=pl.String
            )
            for side in SIDES
        ),
        *(
            pl.Series(f"{side}_{name}", texts, dtype=pl.String)
            for side in SIDES
            for name, texts in _texts_of(pairs, side, by_key).items()
        ),
        *(
            pl.Series(f"{side}_alternatives", _alternatives_of(pairs, side, by_key), dtype=_ALTERNATIVES)
            for side in SIDES
        ),
    )


def _texts_of(
    pairs: pl.DataFrame, side: Side, by_key: Mapping[tuple[Any, ...], Mapping[str, Any]]
) -> dict[str, list[str]]:
    texts: dict[str, list[str]] = {"before": [], "after": []}
    for row in pairs.iter_rows(named=True):
        found = by_key[row[f"{side}_run_id"], row["sample_id"], row["repeat_index"]]
        contents = [
            text.encode() if content is None else content
            for text, content in zip(found["tokens"], found["token_bytes"], strict=True)
        ]
        place = row[f"{side}_shared_token_count"]
        texts["before"].append(b"".join(contents[:place]).decode("utf-8", "replace"))
        texts["after"].append(b"".join(contents[place + 1 :]).decode("utf-8", "replace"))
    return texts


def _alternatives_of(
    pairs: pl.DataFrame, side: Side, by_key: Mapping[tuple[Any, ...], Mapping[str, Any]]
) -> list[list[dict[str, Any]] | None]:
    found = []
    for row in pairs.iter_rows(named=True):
        top_k = by_key[row[f"{side}_run_id"], row["sample_id"], row["repeat_index"]]["top_k"]
        place = row[f"{side}_shared_token_count"]
        found.append(top_k[place] if place < len(top_k) else None)
    return found


def _rank() -> pl.Expr:
    return pl.col("divergence_kind").replace_strict({kind: place for place, kind in enumerate(_ORDER)})
