"""Diffs of frames of output pairs: one row in, one row of `gold.output_diffs` out.

The diff of two texts is `diff.py`; which runs are compared is `pairing.py`.
"""

from __future__ import annotations

import numpy as np
import polars as pl
import pyarrow as pa

from pipelines.evidence.diff import diff_word_lists, first_difference, split_words

# Words of so many pairs are held at once.
BATCH_PAIRS = 2_000

_RESULT = {
    "similarity_ratio": pl.Float64(),
    "first_difference_char": pl.Int64(),
    "inserted_word_count": pl.Int64(),
    "deleted_word_count": pl.Int64(),
    "opcodes": pl.List(pl.Int32()),
}


def diff_pairs(pairs: pl.DataFrame) -> pl.DataFrame:
    """The same rows with `change_kind` and the word diff in place of the texts.

    `pairs` has `baseline_output` and `candidate_output` (text or null) and their `_digest` columns, which spare the
    comparison of equal texts; a missing digest is made up for by the texts. Other columns are passed through.
    """
    kinds = pairs.with_columns(_change_kind().alias("change_kind"))
    texts = kinds.filter(pl.col("change_kind").is_in(["changed", "empty"])).select(
        "baseline_output", "candidate_output"
    )
    places = kinds.select(place=pl.int_range(pl.len()), kind="change_kind")
    differing = places.filter(pl.col("kind").is_in(["changed", "empty"])).select("place")
    diffs = [_diff_batch(batch) for batch in texts.iter_slices(BATCH_PAIRS)]
    found = differing.hstack(pl.concat(diffs)) if diffs else pl.DataFrame(schema={"place": pl.Int64, **_RESULT})
    numbers = places.join(found, on="place", how="left", maintain_order="left").drop("place", "kind")
    is_same = pl.col("change_kind") == "identical"
    return (
        kinds.drop("baseline_output", "candidate_output")
        .hstack(numbers)
        .with_columns(
            pl.when(is_same).then(1.0).otherwise("similarity_ratio").alias("similarity_ratio"),
            pl.when(is_same).then(0).otherwise("inserted_word_count").alias("inserted_word_count"),
            pl.when(is_same).then(0).otherwise("deleted_word_count").alias("deleted_word_count"),
        )
    )


def _change_kind() -> pl.Expr:
    baseline, candidate = pl.col("baseline_output"), pl.col("candidate_output")
    same_digest = pl.col("baseline_output_digest") == pl.col("candidate_output_digest")
    is_blank = [side.str.strip_chars() == "" for side in (baseline, candidate)]
    return (
        pl.when(baseline.is_null() | candidate.is_null())
        .then(pl.lit("error"))
        .when(same_digest.fill_null(baseline == candidate))
        .then(pl.lit("identical"))
        .when(pl.any_horizontal(is_blank))
        .then(pl.lit("empty"))
        .otherwise(pl.lit("changed"))
    )


def _diff_batch(texts: pl.DataFrame) -> pl.DataFrame:
    baselines, candidates = texts["baseline_output"].to_list(), texts["candidate_output"].to_list()
    baseline_words = list(map(split_words, baselines))
    candidate_words = list(map(split_words, candidates))
    arrays = diff_word_lists(zip(baseline_words, candidate_words, strict=True))
    baseline_counts = np.fromiter(map(len, baseline_words), dtype=np.int64, count=len(baselines))
    candidate_counts = np.fromiter(map(len, candidate_words), dtype=np.int64, count=len(candidates))
    kept = arrays.kept_word_counts
    opcodes = pa.ListArray.from_arrays(pa.array(arrays.offsets), pa.array(arrays.opcodes))
    return pl.DataFrame(
        {
            "similarity_ratio": 2 * kept / np.maximum(baseline_counts + candidate_counts, 1),
            "first_difference_char": list(map(first_difference, baselines, candidates)),
            "inserted_word_count": candidate_counts - kept,
            "deleted_word_count": baseline_counts - kept,
            "opcodes": opcodes,
        },
        schema=_RESULT,
    )
